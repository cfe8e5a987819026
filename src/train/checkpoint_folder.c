#include "train/checkpoint_folder.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/atomic_file.h"

static const char prefix[] = "checkpoint-", suffix[] = ".safetensors";
static const char best_name[] = "best.safetensors";

static mae_status path_in(char path[PATH_MAX], const char *folder,
                          const char *name) {
  int n = snprintf(path, PATH_MAX, "%s/%s", folder, name);
  if (n > 0 && n < PATH_MAX) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "the name of the folder %.64s... "
                  "is too long", folder);
}

static mae_status path_of_step(char path[PATH_MAX], const char *folder,
                               int64_t step) {
  char name[64];
  snprintf(name, sizeof name, "%s%08" PRId64 "%s", prefix, step, suffix);
  return path_in(path, folder, name);
}

/* The N of checkpoint-N.safetensors, or -1; *rest is what follows. */
static int64_t step_of(const char *name, const char **rest) {
  const size_t n = sizeof prefix - 1;
  if (strncmp(name, prefix, n) || !isdigit((unsigned char)name[n])) return -1;
  char *end;
  errno = 0;
  long long step = strtoll(name + n, &end, 10);
  if (errno || strncmp(end, suffix, sizeof suffix - 1)) return -1;
  *rest = end + sizeof suffix - 1;
  return step;
}

/* ------------------------------------------------------------- listing --- */

typedef struct steps {
  int64_t *items;
  size_t count, room;
} steps;

static mae_status add_step(steps *s, int64_t step) {
  if (s->count == s->room) {
    size_t room = s->room ? 2 * s->room : 16;
    int64_t *items = mae_realloc(s->items, room, sizeof *items);
    if (!items) return MAE_ERROR_OUT_OF_MEMORY;
    s->items = items;
    s->room = room;
  }
  s->items[s->count++] = step;
  return MAE_OK;
}

static int newest_first(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x < y) - (x > y);
}

/* All checkpoints there are; free the items also on failure. */
static mae_status list_steps(const char *folder, steps *s) {
  *s = (steps){NULL, 0, 0};
  DIR *dir = opendir(folder);
  if (!dir) return mae_io_fail("open the folder", folder, errno);
  mae_status status = MAE_OK;
  const char *rest;
  while (status == MAE_OK) {
    errno = 0;
    const struct dirent *d = readdir(dir);
    if (!d && errno) status = mae_io_fail("read the folder", folder, errno);
    if (!d) break;
    int64_t step = step_of(d->d_name, &rest);
    if (step >= 0 && !*rest) status = add_step(s, step);
  }
  closedir(dir);
  if (s->count) qsort(s->items, s->count, sizeof *s->items, newest_first);
  return status;
}

/* ------------------------------------------------------------- writing --- */

/* Such as "checkpoint-00000012.safetensors.tmp-0". */
static bool is_left_over(const char *name) {
  const char *rest = "";
  if (!strncmp(name, best_name, sizeof best_name - 1))
    rest = name + sizeof best_name - 1;
  else if (step_of(name, &rest) < 0)
    return false;
  return !strncmp(rest, ".tmp-", 5);
}

mae_status mae_checkpoint_folder_begin(const char *folder) {
  if (mkdir(folder, 0777) && errno != EEXIST)
    return mae_io_fail("make the folder", folder, errno);
  DIR *dir = opendir(folder);
  if (!dir) return mae_io_fail("open the folder", folder, errno);
  for (struct dirent *d; (d = readdir(dir));)
    if (is_left_over(d->d_name)) unlinkat(dirfd(dir), d->d_name, 0);
  closedir(dir);
  return MAE_OK;
}

/* Checkpoints of more updates are of a run that came further and is not
 * continued by this one, being damaged, say: they stay, and do not count. */
static mae_status drop_old(const char *folder, int64_t step, int32_t keep) {
  steps s;
  char path[PATH_MAX];
  mae_status status = list_steps(folder, &s);
  for (size_t i = 0; status == MAE_OK && i < s.count; i++) {
    if (s.items[i] > step || keep-- > 0) continue;
    status = path_of_step(path, folder, s.items[i]);
    if (status == MAE_OK) unlink(path); /* what stays, stays */
  }
  free(s.items);
  return status;
}

mae_status mae_checkpoint_folder_save(const mae_trainer *trainer,
                                      const char *folder, int32_t keep) {
  char path[PATH_MAX];
  int64_t step = trainer->optimizer.step;
  MAE_TRY(path_of_step(path, folder, step));
  MAE_TRY(mae_trainer_save(trainer, path));
  return drop_old(folder, step, keep);
}

mae_status mae_checkpoint_folder_save_best(const mae_trainer *trainer,
                                           const char *folder) {
  char path[PATH_MAX];
  MAE_TRY(path_in(path, folder, best_name));
  return mae_model_save(trainer->model, path);
}

/* ------------------------------------------------------------ resuming --- */

typedef struct text {
  char *at;
  size_t left;
} text;

static void append(text *t, const char *what) {
  if (!t->left) return;
  size_t n = strlen(what);
  if (n >= t->left) n = t->left - 1;
  memcpy(t->at, what, n);
  t->at += n;
  t->left -= n;
  *t->at = '\0';
}

/* May an older file be taken in place of one that failed like this? */
static bool is_damage(mae_status status) {
  return status == MAE_ERROR_FORMAT || status == MAE_ERROR_IO ||
         status == MAE_ERROR_NOT_FOUND;
}

static mae_status resume_newest(mae_trainer *trainer, const char *folder,
                                const steps *s, text *note) {
  mae_status first = MAE_OK;
  char path[PATH_MAX], why[512] = "";
  for (size_t i = 0; i < s->count; i++) {
    MAE_TRY(path_of_step(path, folder, s->items[i]));
    mae_status status = mae_trainer_resume(trainer, path);
    if (status == MAE_OK) {
      if (i) append(note, "; resumed from ");
      if (i) append(note, strrchr(path, '/') + 1);
      return MAE_OK;
    }
    append(note, i ? "; " : "");
    append(note, mae_last_error());
    if (!i) snprintf(why, sizeof why, "%s", mae_last_error());
    if (!i) first = status;
    if (!is_damage(status)) return status;
  }
  if (!s->count)
    return mae_fail(MAE_ERROR_NOT_FOUND, "there is no checkpoint in %s",
                    folder);
  return mae_fail(first, "%s", why);
}

mae_status mae_trainer_resume_latest(mae_trainer *trainer, const char *folder,
                                     char *note, size_t note_size) {
  MAE_REQUIRE(trainer);
  MAE_REQUIRE(folder);
  char said[1024] = "";
  text t = {said, sizeof said};
  steps s;
  mae_status status = list_steps(folder, &s);
  if (status == MAE_OK) status = resume_newest(trainer, folder, &s, &t);
  free(s.items);
  if (status == MAE_OK && note && note_size)
    snprintf(note, note_size, "%s", said);
  return status;
}
