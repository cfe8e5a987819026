/* The images below a folder, or the tar files in it. */
#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/dataset.h"
#include "io/atomic_file.h"

typedef struct search {
  mae_dataset *images;
  mae_dataset shards, compressed; /* their names alone are used */
} search;

static mae_status add_copy(mae_dataset *to, const char *path) {
  char *name = strdup(path);
  if (!name) return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for a path");
  return mae_dataset_add(to, name);
}

/* A link counts as what it leads to, when that is a file. */
static bool is_file(const FTSENT *entry) {
  struct stat info;
  if (entry->fts_info == FTS_F) return S_ISREG(entry->fts_statp->st_mode);
  return entry->fts_info == FTS_SL && !stat(entry->fts_path, &info) &&
         S_ISREG(info.st_mode);
}

static mae_status visit(search *s, const FTSENT *entry) {
  switch (entry->fts_info) {
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS: return mae_io_fail("read", entry->fts_path, entry->fts_errno);
    case FTS_F:
    case FTS_DEFAULT:
    case FTS_SL:
      if (!is_file(entry)) return MAE_OK;
      if (mae_name_ends(entry->fts_name, mae_image_endings))
        return add_copy(s->images, entry->fts_path);
      if (mae_name_ends(entry->fts_name, mae_tar_endings))
        return add_copy(&s->shards, entry->fts_path);
      if (mae_name_ends(entry->fts_name, mae_compressed_endings))
        return add_copy(&s->compressed, entry->fts_path);
      return MAE_OK;
    default: return MAE_OK;
  }
}

static mae_status walk(search *s, const char *path) {
  char *start = strdup(path);
  if (!start) return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for a path");
  for (size_t n = strlen(start); n > 1 && start[n - 1] == '/'; n--)
    start[n - 1] = '\0';
  /* The folder itself may be a link. */
  char *const roots[] = {start, NULL};
  FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, NULL);
  mae_status status = tree ? MAE_OK : mae_io_fail("read", path, errno);
  for (FTSENT *entry; status == MAE_OK; status = visit(s, entry)) {
    errno = 0;
    entry = fts_read(tree);
    if (!entry && errno) status = mae_io_fail("read", path, errno);
    if (!entry) break;
  }
  if (tree) fts_close(tree);
  free(start);
  return status;
}

static void sort(mae_dataset *d) {
  if (d->count) qsort(d->names, (size_t)d->count, sizeof *d->names, mae_by_name);
}

static void forget(mae_dataset *d) {
  for (int64_t i = 0; i < d->count; i++) free(d->names[i]);
  free(d->names);
}

/* Without images, the tar files are the data set. */
static mae_status use_shards(search *s) {
  sort(&s->shards);
  sort(&s->compressed);
  if (s->compressed.count)
    return mae_dataset_compressed(s->compressed.names[0]);
  if (!s->shards.count) return MAE_OK;
  return mae_dataset_tars(s->images, (const char *const *)s->shards.names,
                          s->shards.count);
}

mae_status mae_dataset_folder(mae_dataset *dataset, const char *path) {
  search s = {.images = dataset};
  dataset->class = &mae_dataset_folders;
  mae_status status = walk(&s, path);
  sort(dataset);
  if (status == MAE_OK && !dataset->count) status = use_shards(&s);
  forget(&s.shards);
  forget(&s.compressed);
  return status;
}
