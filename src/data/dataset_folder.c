/* The images below a folder, or the tar files in it. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "data/dataset.h"
#include "io/atomic_file.h"

typedef struct search {
  mae_dataset *images;
  mae_dataset folders, shards, compressed; /* their names alone are used */
} search;

/* What is of no interest, such as a socket, has mode 0.  A link counts as what
 * it leads to, when that is a file. */
static mae_status find_mode(const char *path, unsigned char type,
                            mode_t *mode) {
  struct stat info;
  *mode = type == DT_REG ? S_IFREG : type == DT_DIR ? S_IFDIR : 0;
  if (type == DT_UNKNOWN) {
    if (lstat(path, &info)) return mae_io_fail("read", path, errno);
    *mode = info.st_mode & S_IFMT;
  }
  if (type != DT_LNK && *mode != S_IFLNK) return MAE_OK;
  *mode = !stat(path, &info) && S_ISREG(info.st_mode) ? S_IFREG : 0;
  return MAE_OK;
}

/* Takes the path over. */
static mae_status visit(search *s, char *path, unsigned char type) {
  const char *name = strrchr(path, '/') + 1;
  mae_dataset *to = NULL;
  mode_t mode = 0;
  mae_status status = find_mode(path, type, &mode);
  if (S_ISDIR(mode))
    to = &s->folders;
  else if (!S_ISREG(mode))
    to = NULL;
  else if (mae_name_ends(name, mae_image_endings))
    to = s->images;
  else if (mae_name_ends(name, mae_tar_endings))
    to = &s->shards;
  else if (mae_name_ends(name, mae_compressed_endings))
    to = &s->compressed;
  if (status == MAE_OK && to) return mae_dataset_add(to, path);
  free(path);
  return status;
}

static char *join(const char *folder, const char *name) {
  const char *slash = folder[strlen(folder) - 1] == '/' ? "" : "/";
  const size_t size = strlen(folder) + strlen(name) + 2;
  char *path = mae_calloc(size, 1);
  if (path) snprintf(path, size, "%s%s%s", folder, slash, name);
  return path;
}

static mae_status read_folder(search *s, DIR *dir, const char *folder) {
  for (;;) {
    errno = 0;
    const struct dirent *d = readdir(dir);
    if (!d) return errno ? mae_io_fail("read", folder, errno) : MAE_OK;
    if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..")) continue;
    char *path = join(folder, d->d_name);
    if (!path) return MAE_ERROR_OUT_OF_MEMORY;
    MAE_TRY(visit(s, path, d->d_type));
  }
}

/* Folder by folder, from a list that grows; so none is open while another is
 * read, however deep they lie. */
static mae_status walk(search *s, const char *path) {
  char *start = strdup(path);
  if (!start) return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for a path");
  for (size_t n = strlen(start); n > 1 && start[n - 1] == '/'; n--)
    start[n - 1] = '\0';
  mae_status status = mae_dataset_add(&s->folders, start);
  for (int64_t i = 0; status == MAE_OK && i < s->folders.count; i++) {
    const char *folder = s->folders.names[i];
    DIR *dir = opendir(folder);
    if (!dir) return mae_io_fail("read", folder, errno);
    status = read_folder(s, dir, folder);
    closedir(dir);
  }
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
  forget(&s.folders);
  forget(&s.shards);
  forget(&s.compressed);
  return status;
}
