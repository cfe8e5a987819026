/* Datasets: what a path is, and what all kinds share. */
#include "data/dataset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "io/atomic_file.h"

/* An order of them is a permutation of 32-bit numbers. */
enum { MOST_IMAGES = INT32_MAX };

const char *const mae_image_endings[] = {".jpg", ".jpeg", ".png", ".webp",
                                         NULL};

const char *const mae_tar_endings[] = {".tar", NULL};
const char *const mae_compressed_endings[] = {".tar.gz",  ".tgz",
                                              ".tar.bz2", ".tar.xz",
                                              ".tar.zst", NULL};

mae_status mae_dataset_compressed(const char *path) {
  return mae_fail(MAE_ERROR_UNSUPPORTED,
                  "%s: a compressed tar file cannot be read at any place; "
                  "decompress it",
                  path);
}

int mae_by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

bool mae_name_ends(const char *name, const char *const *endings) {
  const size_t length = strlen(name);
  for (; *endings; endings++) {
    const size_t n = strlen(*endings);
    if (length > n && !strcasecmp(name + length - n, *endings)) return true;
  }
  return false;
}

mae_status mae_dataset_add(mae_dataset *d, char *name) {
  if (d->count == MOST_IMAGES) {
    free(name);
    return mae_fail(MAE_ERROR_UNSUPPORTED, "more than %d images", MOST_IMAGES);
  }
  if (d->count == d->room) {
    const int64_t room = d->room ? 2 * d->room : 256;
    void *names = mae_realloc(d->names, (size_t)room, sizeof *d->names);
    if (!names) {
      free(name);
      return MAE_ERROR_OUT_OF_MEMORY;
    }
    d->names = names;
    d->room = room;
  }
  d->names[d->count++] = name;
  return MAE_OK;
}

/* ------------------------------------------------------------ creation --- */

static mae_status open_file(mae_dataset *d, const char *path) {
  static const char *const lists[] = {".txt", ".list", ".lst", NULL};
  if (mae_name_ends(path, mae_compressed_endings))
    return mae_dataset_compressed(path);
  if (mae_name_ends(path, mae_tar_endings)) return mae_dataset_tars(d, &path, 1);
  if (mae_name_ends(path, lists)) return mae_dataset_list(d, path);
  return mae_dataset_idx(d, path);
}

static mae_status open_path(mae_dataset *d, const char *path) {
  struct stat info;
  if (stat(path, &info)) return mae_io_fail("open", path, errno);
  MAE_TRY(S_ISDIR(info.st_mode) ? mae_dataset_folder(d, path)
                                : open_file(d, path));
  if (d->count) return MAE_OK;
  return mae_fail(MAE_ERROR_NOT_FOUND, "%s: no images in it", path);
}

mae_status mae_dataset_open(const char *path, mae_dataset **out) {
  MAE_REQUIRE(path);
  MAE_REQUIRE(out);
  mae_dataset *d = mae_calloc(1, sizeof *d);
  if (!d) return MAE_ERROR_OUT_OF_MEMORY;
  mae_status status = open_path(d, path);
  if (status != MAE_OK) {
    mae_dataset_destroy(d);
    return status;
  }
  *out = d;
  return MAE_OK;
}

mae_status mae_dataset_from_callback(int64_t count, mae_fetch fetch, void *arg,
                                     mae_dataset **out) {
  MAE_REQUIRE(fetch);
  MAE_REQUIRE(out);
  if (count < 1 || count > MOST_IMAGES)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "%lld images",
                    (long long)count);
  mae_dataset *d = mae_calloc(1, sizeof *d);
  if (!d) return MAE_ERROR_OUT_OF_MEMORY;
  *d = (mae_dataset){.count = count, .callback = fetch, .arg = arg};
  *out = d;
  return MAE_OK;
}

void mae_dataset_destroy(mae_dataset *d) {
  if (!d) return;
  if (d->class && d->class->destroy) d->class->destroy(d);
  for (int64_t i = 0; d->names && i < d->count; i++) free(d->names[i]);
  free(d->names);
  mae_labels_free(&d->labels);
  free(d);
}

/* -------------------------------------------------------------- access --- */

int64_t mae_dataset_size(const mae_dataset *d) { return d ? d->count : 0; }

const char *mae_dataset_name(const mae_dataset *d, int64_t i) {
  return d && d->names && i >= 0 && i < d->count ? d->names[i] : "";
}

static mae_status fetch_file(const mae_dataset *d, int64_t i, mae_item *item) {
  MAE_TRY(mae_image_read_file(d->names[i], &item->owned, &item->encoded.size));
  item->encoded.data = item->owned;
  item->encoded.name = d->names[i];
  return MAE_OK;
}

const mae_dataset_class mae_dataset_files = {.fetch = fetch_file};
const mae_dataset_class mae_dataset_folders = {
    .fetch = fetch_file, .find_labels = mae_labels_of_folders};

void mae_item_free(mae_item *item) {
  free(item->owned);
  *item = (mae_item){0};
}

/* ---------------------------------------------------------- one image --- */

static mae_status copy_pixels(const char *name, const mae_image *from,
                              mae_image *image) {
  MAE_TRY(mae_image_begin(name, from->width, from->height, from->channels,
                          image));
  memcpy((uint8_t *)image->data, from->data,
         (size_t)image->stride * (size_t)image->height);
  return MAE_OK;
}

mae_status mae_dataset_load_image(const mae_dataset *d, int64_t i,
                                  mae_image *image) {
  MAE_REQUIRE(d);
  MAE_REQUIRE(image);
  if (i < 0 || i >= d->count)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "image %lld of %lld",
                    (long long)i, (long long)d->count);
  if (d->callback)
    return mae_fail(MAE_ERROR_UNSUPPORTED,
                    "a callback's images are not decoded");
  mae_item item = {0};
  mae_image made = {0};
  MAE_TRY(d->class->fetch(d, i, &item));
  mae_status status = item.encoded.data
                          ? mae_image_decode_shrunk(&item.encoded, 1, &made)
                          : copy_pixels(d->names[i], &item.pixels, &made);
  mae_item_free(&item);
  if (status == MAE_OK) *image = made;
  return status;
}
