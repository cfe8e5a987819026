/* The images in tar files (WebDataset shards), by libarchive.  A shard is gone
 * through once for the places of its headers; an image is then read by opening
 * the archive there, so that any order costs the same. */
#include "data/dataset.h"

#ifdef MAE_HAVE_ARCHIVE

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/regular_file.h"

enum { MOST_BYTES = 1 << 30, BLOCK = 1 << 16 };

/* Where an image lies. */
typedef struct place {
  int32_t shard;
  int64_t header;
} place;

typedef struct shards {
  char **paths;
  int32_t count;
  place *places; /* of each image */
  int64_t room;
} shards;

/* ------------------------------------------------------------- reading --- */

/* A file from some byte on, as libarchive reads it. */
typedef struct source {
  int fd;
  int64_t at, size;
  char block[BLOCK];
} source;

static la_ssize_t on_read(struct archive *a, void *arg, const void **block) {
  source *s = arg;
  ssize_t n;
  do {
    n = pread(s->fd, s->block, sizeof s->block, (off_t)s->at);
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    archive_set_error(a, errno, "cannot read: %s", strerror(errno));
    return -1;
  }
  s->at += n;
  *block = s->block;
  return n;
}

static la_int64_t on_skip(struct archive *a, void *arg, la_int64_t request) {
  (void)a;
  source *s = arg;
  const int64_t left = s->size - s->at;
  if (request > left) request = left > 0 ? left : 0;
  s->at += request;
  return request;
}

/* The error is on_read's errno, or libarchive's own, of which some are numbers
 * of the system's that say other things. */
static mae_status bad(const char *path, struct archive *a) {
  const int lacking = errno == ENOMEM ? ENOMEM : 0;
  const int said = a ? archive_errno(a) : 0, error = said ? said : lacking;
  if (error > 0 && error != EILSEQ && error != EINVAL)
    return mae_io_fail("read", path, error);
  const char *why = a ? archive_error_string(a) : NULL;
  return mae_fail(MAE_ERROR_FORMAT, "%s: a damaged tar file: %.200s", path,
                  why ? why : "");
}

static mae_status open_source(const char *path, int64_t at, source *s) {
  s->at = at;
  return mae_open_regular(path, &s->fd, &s->size);
}

/* Call `work` with the archive open at some byte of a file. */
typedef mae_status (*archive_work)(struct archive *a,
                                   struct archive_entry *entry,
                                   const char *path, void *arg);

/* What archive_read_open2 does, but that checks no step for memory. */
static mae_status start(struct archive *a, const char *path, source *s) {
  errno = 0;
  if (archive_read_set_callback_data(a, s) != ARCHIVE_OK ||
      archive_read_set_read_callback(a, on_read) != ARCHIVE_OK ||
      archive_read_set_skip_callback(a, on_skip) != ARCHIVE_OK ||
      archive_read_open1(a) != ARCHIVE_OK)
    return bad(path, a);
  return MAE_OK;
}

/* The entry is ours, for libarchive's own comes without a check for memory. */
static mae_status with_archive(const char *path, int64_t at, archive_work work,
                               void *arg) {
  source *s = malloc(sizeof *s);
  struct archive *a = archive_read_new();
  struct archive_entry *entry = archive_entry_new();
  mae_status status = mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for %s", path);
  if (s && a && entry) {
    s->fd = -1;
    status = open_source(path, at, s);
    if (status == MAE_OK && archive_read_support_format_tar(a) != ARCHIVE_OK)
      status = bad(path, a);
    if (status == MAE_OK) status = start(a, path, s);
    if (status == MAE_OK) status = work(a, entry, path, arg);
    if (s->fd >= 0) close(s->fd);
  }
  archive_entry_free(entry);
  if (a) archive_read_free(a);
  free(s);
  return status;
}

/* ------------------------------------------------------------ indexing --- */

/* libarchive ends the program when a name cannot be converted while errno is
 * ENOMEM, be it from long ago. */
static const char *entry_name(struct archive_entry *entry) {
  errno = 0;
  const char *name = archive_entry_pathname_utf8(entry);
  if (!name) name = archive_entry_pathname(entry);
  return name ? name : "";
}

static bool is_image(struct archive_entry *entry) {
  return archive_entry_filetype(entry) == AE_IFREG &&
         !archive_entry_hardlink(entry) &&
         mae_name_ends(entry_name(entry), mae_image_endings);
}

static mae_status add_place(mae_dataset *d, int64_t header) {
  shards *s = d->own;
  if (d->count == s->room) {
    const int64_t room = s->room ? 2 * s->room : 256;
    void *places = mae_realloc(s->places, (size_t)room, sizeof *s->places);
    if (!places) return MAE_ERROR_OUT_OF_MEMORY;
    s->places = places;
    s->room = room;
  }
  s->places[d->count] = (place){s->count - 1, header};
  return MAE_OK;
}

static mae_status add_member(mae_dataset *d, const char *path,
                             const char *member, int64_t header) {
  const size_t size = strlen(path) + strlen(member) + 2;
  MAE_TRY(add_place(d, header));
  char *name = mae_calloc(size, 1);
  if (!name) return MAE_ERROR_OUT_OF_MEMORY;
  snprintf(name, size, "%s!%s", path, member);
  return mae_dataset_add(d, name);
}

static mae_status index_shard(struct archive *a, struct archive_entry *entry,
                              const char *path, void *arg) {
  int result;
  while ((result = archive_read_next_header2(a, entry)) != ARCHIVE_EOF) {
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN) return bad(path, a);
    if (is_image(entry))
      MAE_TRY(add_member(arg, path, entry_name(entry),
                         archive_read_header_position(a)));
  }
  return MAE_OK;
}

/* --------------------------------------------------------------- items --- */

static mae_status read_member(struct archive *a, struct archive_entry *entry,
                              const char *path, void *arg) {
  mae_item *item = arg;
  int result = archive_read_next_header2(a, entry);
  if (result != ARCHIVE_OK && result != ARCHIVE_WARN) return bad(path, a);
  const int64_t size = archive_entry_size(entry);
  if (!archive_entry_size_is_set(entry) || size < 0 || size > MOST_BYTES ||
      archive_entry_sparse_count(entry))
    return mae_fail(MAE_ERROR_FORMAT, "%s: sparse, or more than %d bytes",
                    item->encoded.name, MOST_BYTES);
  item->owned = mae_realloc(NULL, (size_t)size, 1);
  if (!item->owned) return MAE_ERROR_OUT_OF_MEMORY;
  for (int64_t have = 0; have < size;) {
    la_ssize_t n = archive_read_data(a, item->owned + have,
                                     (size_t)(size - have));
    if (n <= 0) return bad(path, n ? a : NULL);
    have += n;
  }
  item->encoded.data = item->owned;
  item->encoded.size = (size_t)size;
  return MAE_OK;
}

static mae_status fetch(const mae_dataset *d, int64_t i, mae_item *item) {
  const shards *s = d->own;
  const place *p = &s->places[i];
  item->encoded.name = d->names[i];
  mae_status status =
      with_archive(s->paths[p->shard], p->header, read_member, item);
  if (status != MAE_OK) mae_item_free(item);
  return status;
}

static void destroy(mae_dataset *d) {
  shards *s = d->own;
  for (int32_t i = 0; i < s->count; i++) free(s->paths[i]);
  free(s->paths);
  free(s->places);
  free(s);
}

static const mae_dataset_class class = {.fetch = fetch, .destroy = destroy};

mae_status mae_dataset_tars(mae_dataset *dataset, const char *const *paths,
                            int64_t n) {
  shards *s = mae_calloc(1, sizeof *s);
  if (!s) return MAE_ERROR_OUT_OF_MEMORY;
  dataset->class = &class;
  dataset->own = s;
  if (n > INT32_MAX) return mae_fail(MAE_ERROR_UNSUPPORTED, "so many shards");
  s->paths = mae_calloc((size_t)n, sizeof *s->paths);
  if (!s->paths) return MAE_ERROR_OUT_OF_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    s->paths[i] = strdup(paths[i]);
    if (!s->paths[i])
      return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for a path");
    s->count++;
    MAE_TRY(with_archive(paths[i], 0, index_shard, dataset));
  }
  return MAE_OK;
}

#else /* built with ARCHIVE=none */

mae_status mae_dataset_tars(mae_dataset *dataset, const char *const *paths,
                            int64_t n) {
  (void)dataset, (void)n;
  return mae_fail(MAE_ERROR_UNSUPPORTED,
                  "%s: this libmae was built without libarchive, which tar "
                  "files need",
                  paths[0]);
}

#endif
