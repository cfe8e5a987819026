/* Faults: image files, IDX files, datasets, loaders. */
#include "faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifdef MAE_HAVE_ZLIB
#include <zlib.h>
#endif

static mae_status nothing(fault_world *w) {
  (void)w;
  return MAE_OK;
}

/* --------------------------------------------------------------- images --- */

/* An encoded image of golden_images.bin (make_images.py). */
static uint8_t encoded[8192];
static size_t encoded_size;

static mae_status take(const char *name) {
  struct {
    char name[24];
    int32_t status, tolerance, width, height, channels, size;
  } head;
  FILE *file = fopen("tests/data/golden_images.bin", "rb");
  mae_status status = MAE_ERROR_NOT_FOUND;
  while (file && fread(&head, sizeof head, 1, file) == 1) {
    if (head.size < 0 || (size_t)head.size > sizeof encoded) break;
    if (fread(encoded, 1, (size_t)head.size, file) != (size_t)head.size) break;
    encoded_size = (size_t)head.size;
    if (!strcmp(head.name, name)) {
      status = MAE_OK;
      break;
    }
    if (head.status == MAE_OK)
      fseek(file, (long)head.width * head.height * head.channels, SEEK_CUR);
  }
  if (file) fclose(file);
  return status;
}

#define TAKE(id, name)                       \
  static mae_status take_##id(fault_world *w) { \
    (void)w;                                 \
    return take(name);                       \
  }
TAKE(png, "png interlaced palette")
TAKE(jpeg, "jpeg progressive")
TAKE(cmyk, "jpeg cmyk")
TAKE(lossy, "webp lossy alpha")
TAKE(lossless, "webp lossless a")

static mae_status decode(fault_world *w) {
  return mae_image_decode(encoded, encoded_size, &w->image);
}

static mae_status make_jpeg_file(fault_world *w) {
  MAE_TRY(take("jpeg baseline"));
  fault_path(w, "picture.jpg");
  return fault_write(w->path, encoded, encoded_size);
}

static mae_status load(fault_world *w) {
  return mae_image_load(w->path, &w->image);
}

/* ------------------------------------------------------------------ IDX --- */

enum { IMAGES = 5, SIDE = 9 };

static mae_status write_gz(const char *path, const void *bytes, size_t size) {
#ifdef MAE_HAVE_ZLIB
  gzFile file = gzopen(path, "wb");
  if (!file) return MAE_ERROR_IO;
  const int n = gzwrite(file, bytes, (unsigned)size);
  return gzclose(file) == Z_OK && n == (int)size ? MAE_OK : MAE_ERROR_IO;
#else
  (void)path, (void)bytes, (void)size;
  return MAE_ERROR_UNSUPPORTED;
#endif
}

static mae_status make_idx(fault_world *w) {
  uint8_t images[16 + IMAGES * SIDE * SIDE] = {0, 0, 8, 3, 0, 0, 0, IMAGES,
                                               0, 0, 0, SIDE, 0, 0, 0, SIDE};
  const uint8_t labels[] = {0, 0, 8, 1, 0, 0, 0, IMAGES, 2, 1, 0, 1, 2};
  for (size_t i = 16; i < sizeof images; i++) images[i] = (uint8_t)(i * 7);
  fault_path(w, "x-labels-idx1-ubyte.gz");
  MAE_TRY(write_gz(w->path, labels, sizeof labels));
  fault_path(w, "x-images-idx3-ubyte.gz");
  return write_gz(w->path, images, sizeof images);
}

static mae_status load_idx(fault_world *w) {
  return mae_idx_load(w->path, &w->made.idx);
}

/* ------------------------------------------------------------- datasets --- */

static mae_status add_pictures(fault_world *w, const char *folder) {
  char name[64];
  fault_path(w, folder);
  mkdir(w->path, 0777);
  for (int i = 0; i < 3; i++) {
    snprintf(name, sizeof name, "%s/%d.png", folder, i);
    fault_path(w, name);
    MAE_TRY(fault_write_png(w->path));
  }
  return MAE_OK;
}

static mae_status make_folder(fault_world *w) {
  fault_path(w, "classes");
  mkdir(w->path, 0777);
  MAE_TRY(add_pictures(w, "classes/b"));
  MAE_TRY(add_pictures(w, "classes/b-c"));
  fault_path(w, "classes");
  return MAE_OK;
}

static mae_status make_list(fault_world *w) {
  static const char lines[] = "classes/b/0.png\nclasses/b/1.png\r\n"
                              "classes/b-c/2.png\n";
  MAE_TRY(make_folder(w));
  fault_path(w, "some.txt");
  return fault_write(w->path, lines, sizeof lines - 1);
}

/* A tar file of the same picture twice; one name is too long for a header and
 * takes memory of its own. */
static size_t put_member(uint8_t *at, const char *name, char type,
                         const void *bytes, size_t size) {
  char *head = (char *)at;
  unsigned sum = 0;
  memset(head, 0, 512);
  snprintf(head, 100, "%s", name);
  memcpy(head + 100, "0000644\0000000000\0000000000", 24);
  snprintf(head + 124, 12, "%011o", (unsigned)size);
  memcpy(head + 136, "00000000000\0        ", 20);
  head[156] = type;
  memcpy(head + 257, "ustar\00000", 8);
  for (int i = 0; i < 512; i++) sum += at[i];
  snprintf(head + 148, 8, "%06o", sum);
  memcpy(at + 512, bytes, size);
  return 512 + (size + 511) / 512 * 512;
}

static mae_status make_tar(fault_world *w) {
  static uint8_t tar[16384];
  char long_name[201];
  memset(tar, 0, sizeof tar);
  memset(long_name, 'n', sizeof long_name);
  memcpy(long_name + 190, "/long.jpg", 10);
  MAE_TRY(take("jpeg baseline"));
  size_t size = put_member(tar, "a.jpg", '0', encoded, encoded_size);
  size += put_member(tar + size, "a.cls", '0', "3", 1);
  size += put_member(tar + size, "././@LongLink", 'L', long_name, 200);
  size += put_member(tar + size, "nnn", '0', encoded, encoded_size);
  fault_path(w, "shards");
  mkdir(w->path, 0777);
  fault_path(w, "shards/some.tar");
  return fault_write(w->path, tar, size + 1024);
}

static mae_status make_shards(fault_world *w) {
  MAE_TRY(make_tar(w));
  fault_path(w, "shards");
  return MAE_OK;
}

static mae_status open_path(fault_world *w) {
  return mae_dataset_open(w->path, &w->made.dataset);
}

static mae_status open_labelled(fault_world *w) {
  return mae_dataset_open_labelled(w->path, NULL, 0, &w->made.dataset);
}

static mae_status open_named(fault_world *w) {
  static const char *const names[] = {"z", "b-c", "b"};
  return mae_dataset_open_labelled(w->path, names, 3, &w->made.dataset);
}

static mae_status no_image(void *arg, int64_t i, float *out) {
  (void)arg, (void)i, (void)out;
  return MAE_ERROR_IO;
}

static mae_status from_callback(fault_world *w) {
  return mae_dataset_from_callback(3, no_image, NULL, &w->made.dataset);
}

static mae_status set_labels(fault_world *w) {
  static const int32_t labels[] = {1, 0, 1, 0, 1};
  static const char *const names[] = {"odd", "even"};
  return mae_dataset_set_labels(w->dataset, labels, 2, names);
}

static mae_status open_for(fault_world *w, mae_status (*make)(fault_world *)) {
  MAE_TRY(make(w));
  return mae_dataset_open(w->path, &w->dataset);
}
static mae_status open_tar(fault_world *w) { return open_for(w, make_shards); }
static mae_status open_idx(fault_world *w) { return open_for(w, make_idx); }
static mae_status open_folder(fault_world *w) {
  return open_for(w, make_folder);
}

static mae_status load_image(fault_world *w) {
  return mae_dataset_load_image(w->dataset, 1, &w->image);
}

/* -------------------------------------------------------------- loaders --- */

static mae_status create_loader(fault_world *w) {
  const mae_loader_options o = fault_loader_options();
  return mae_loader_create(w->dataset, &o, &w->made.loader);
}

static mae_status create_plain_loader(fault_world *w) {
  mae_loader_options o = fault_loader_options();
  o.augment = 0;
  return mae_loader_create(w->dataset, &o, &w->made.loader);
}

static mae_status make_loader_of(fault_world *w) {
  const mae_loader_options o = fault_loader_options();
  return mae_loader_create(w->dataset, &o, &w->loader);
}

#define LOADER(name, open)                       \
  static mae_status name(fault_world *w) {       \
    MAE_TRY(open(w));                            \
    return make_loader_of(w);                    \
  }
LOADER(make_tar_loader, open_tar)
LOADER(make_idx_loader, open_idx)
LOADER(make_folder_loader, open_folder)
LOADER(make_callback_loader, fault_make_dataset)

/* After a failure a loader goes on from a seek. */
static mae_status next(fault_world *w) {
  const float *images;
  MAE_TRY(mae_loader_seek(w->loader, 0));
  MAE_TRY(mae_loader_next(w->loader, &images));
  memcpy(w->out, images, FAULT_BATCH * FAULT_VALUES * sizeof *images);
  return MAE_OK;
}

/* An image that is skipped for want of memory would be another run. */
static uint64_t skipped(fault_world *w) {
  return (uint64_t)mae_loader_skipped(w->loader);
}

#define IMAGE(call, how, make, run) \
  {call, how, MAKES_NOTHING, make, run, NULL, 0, NULL}
#define DATASET(call, how, make, run) \
  {call, how, MAKES_DATASET, make, run, NULL, 0, NULL}
#define TAR(call, how, kind, make, run) \
  {call, how, kind, make, run, NULL, 0, ""}
#define NEXT(how, make)                                        \
  {"mae_loader_next", how, MAKES_NOTHING, make, next, skipped, \
   FAULT_SKIPS, NULL}
const fault_case fault_data[] = {
    IMAGE("mae_image_decode", "png", take_png, decode),
    IMAGE("mae_image_decode", "jpeg", take_jpeg, decode),
    IMAGE("mae_image_decode", "jpeg cmyk", take_cmyk, decode),
    /* libwebp 1.2.4 uses Huffman tables that it got no memory for. */
    {"mae_image_decode", "webp lossy", MAKES_NOTHING, take_lossy, decode, NULL,
     0, "libwebp."},
    {"mae_image_decode", "webp lossless", MAKES_NOTHING, take_lossless, decode,
     NULL, 0, "libwebp."},
    IMAGE("mae_image_load", "", make_jpeg_file, load),
    {"mae_idx_load", "", MAKES_IDX, make_idx, load_idx, NULL, FAULT_BY_ZLIB,
     NULL},
    DATASET("mae_dataset_open", "folder", make_folder, open_path),
    DATASET("mae_dataset_open", "list", make_list, open_path),
    /* libarchive 3.6.2 ends the program when it has no memory for a name, be it
     * that of the C library on its behalf. */
    TAR("mae_dataset_open", "tar", MAKES_DATASET, make_tar, open_path),
    TAR("mae_dataset_open", "shards", MAKES_DATASET, make_shards, open_path),
    {"mae_dataset_open", "idx", MAKES_DATASET, make_idx, open_path, NULL,
     FAULT_BY_ZLIB, NULL},
    DATASET("mae_dataset_open_labelled", "folder", make_folder, open_labelled),
    DATASET("mae_dataset_open_labelled", "names", make_folder, open_named),
    {"mae_dataset_open_labelled", "idx", MAKES_DATASET, make_idx, open_labelled,
     NULL, FAULT_BY_ZLIB, NULL},
    DATASET("mae_dataset_from_callback", "", nothing, from_callback),
    IMAGE("mae_dataset_set_labels", "", fault_make_dataset, set_labels),
    IMAGE("mae_dataset_load_image", "folder", open_folder, load_image),
    TAR("mae_dataset_load_image", "tar", MAKES_NOTHING, open_tar, load_image),
    IMAGE("mae_dataset_load_image", "idx", open_idx, load_image),
    {"mae_loader_create", "", MAKES_LOADER, fault_make_dataset, create_loader,
     NULL, 0, NULL},
    {"mae_loader_create", "plain", MAKES_LOADER, fault_make_dataset,
     create_plain_loader, NULL, 0, NULL},
    NEXT("callback", make_callback_loader),
    NEXT("idx", make_idx_loader),
    NEXT("folder", make_folder_loader),
    {"mae_loader_next", "tar", MAKES_NOTHING, make_tar_loader, next, skipped,
     FAULT_SKIPS, ""},
    {0}};
