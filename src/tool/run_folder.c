#include "tool/run_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool/say.h"

run_path run_file(const run_folder *folder, const char *format, ...) {
  run_path p;
  char name[64];
  va_list args;
  va_start(args, format);
  vsnprintf(name, sizeof name, format, args);
  va_end(args);
  snprintf(p.text, sizeof p.text, "%s/%s", folder->path, name);
  return p;
}

/* What a run writes; *left_over: half of it, as a killed one leaves it. */
static bool is_of_a_run(const char *name, bool *left_over) {
  static const char *const patterns[] = {
      "config.txt",       "metrics.jsonl", "loss.png",
      "report.html",      "model.safetensors", "best.safetensors",
      "model-ema.safetensors",
      "checkpoint-*[0-9].safetensors", "reconstruction-*[0-9].png"};
  char plain[256];
  snprintf(plain, sizeof plain, "%s", name);
  char *temporary = strstr(plain, ".tmp-");
  *left_over = temporary;
  if (temporary) *temporary = '\0';
  for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
    if (!fnmatch(patterns[i], plain, 0)) return true;
  return false;
}

/* Is there a run?  What a killed one left half written is deleted; with remove,
 * all its files are. */
static int look(const run_folder *folder, bool remove, bool *found) {
  DIR *dir = opendir(folder->path);
  if (!dir) return fail("cannot open %s: %s", folder->path, strerror(errno));
  int status = TOOL_OK;
  *found = false;
  for (struct dirent *d; status == TOOL_OK && (d = readdir(dir));) {
    bool left_over;
    if (!is_of_a_run(d->d_name, &left_over)) continue;
    *found = true;
    if ((remove || left_over) && unlinkat(dirfd(dir), d->d_name, 0))
      status = fail("cannot delete %s/%s: %s", folder->path, d->d_name,
                    strerror(errno));
  }
  closedir(dir);
  return status;
}

static int lock(run_folder *folder) {
  run_path path = run_file(folder, "lock");
  folder->lock = open(path.text, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (folder->lock < 0)
    return fail("cannot write %s: %s", path.text, strerror(errno));
  /* Not every file system has locks; then there is none. */
  if (flock(folder->lock, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
    return fail("another mae pretrain is at work in %s", folder->path);
  return TOOL_OK;
}

int run_folder_open(run_folder *folder, const char *path, bool *exists) {
  folder->lock = -1;
  if (strlen(path) >= sizeof folder->path)
    return fail_usage("--out: the name is too long");
  strcpy(folder->path, path);
  if (mkdir(path, 0777) && errno != EEXIST)
    return fail("cannot make the folder %s: %s", path, strerror(errno));
  int status = lock(folder);
  return status == TOOL_OK ? look(folder, false, exists) : status;
}

bool run_folder_has_checkpoint(const run_folder *folder) {
  DIR *dir = opendir(folder->path);
  bool found = false;
  for (struct dirent *d; dir && !found && (d = readdir(dir));)
    found = !fnmatch("checkpoint-*[0-9].safetensors", d->d_name, 0);
  if (dir) closedir(dir);
  return found;
}

int run_folder_clear(const run_folder *folder) {
  bool found;
  return look(folder, true, &found);
}

void run_folder_close(run_folder *folder) {
  if (folder->lock >= 0) close(folder->lock);
  folder->lock = -1;
}
