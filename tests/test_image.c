/* JPEG, PNG and WebP: as Pillow decodes them, in full and at a fraction of the
 * size, and hostile files. */
#include "data/image.h"

#include "base/memory.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "golden.h"
#include "suites.h"

/* A record of golden_images.bin (make_images.py): the encoded bytes follow,
 * then the pixels when status is MAE_OK. */
typedef struct record {
  char name[24];
  int32_t status, tolerance;
  int32_t width, height, channels, size;
  uint8_t *data, *pixels;
} record;

enum { HEAD = 48, MOST = 64, IMAGES = 39, REFUSED = 11 };
_Static_assert(offsetof(record, data) == HEAD, "as in the file");

static record records[MOST];
static int record_count;

static uint8_t *take(FILE *file, size_t size) {
  uint8_t *data = malloc(size ? size : 1);
  ck_assert_ptr_nonnull(data);
  ck_assert_uint_eq(fread(data, 1, size, file), size);
  return data;
}

static const struct {
  const char *format, *head;
  size_t size;
} heads[] = {{"jpeg", "\xff\xd8\xff", 3},
             {"png", "\x89PNG\r\n\x1a\n", 8},
             {"webp", "RIFF\0\0\0\0WEBP", 12}};

/* The format is the first word of the name. */
static bool built_in(const char *name) {
  mae_image image;
  for (int i = 0; i < 3; i++)
    if (!strncmp(name, heads[i].format, strlen(heads[i].format)))
      return mae_image_decode(heads[i].head, heads[i].size, &image) !=
             MAE_ERROR_UNSUPPORTED;
  return false;
}

static size_t pixel_bytes(const record *r) {
  return (size_t)r->width * (size_t)r->height * (size_t)r->channels;
}

static void read_records(void) {
  FILE *file = fopen("tests/data/golden_images.bin", "rb");
  int images = 0, refused = 0;
  record r;
  ck_assert_ptr_nonnull(file);
  while (fread(&r, HEAD, 1, file) == 1) {
    ck_assert_int_lt(record_count, MOST);
    r.data = take(file, (size_t)r.size);
    r.pixels = NULL;
    if (r.status == MAE_OK) r.pixels = take(file, pixel_bytes(&r));
    *(r.status == MAE_OK ? &images : &refused) += 1;
    if (built_in(r.name)) {
      records[record_count++] = r;
    } else {
      free(r.data);
      free(r.pixels);
    }
  }
  fclose(file);
  ck_assert_int_eq(images, IMAGES);
  ck_assert_int_eq(refused, REFUSED);
}

static void free_records(void) {
  for (int i = 0; i < record_count; i++) {
    free(records[i].data);
    free(records[i].pixels);
  }
  record_count = 0;
}

/* ---------------------------------------------------------------- sound --- */

static void assert_pixels(const record *r, const mae_image *image) {
  const ptrdiff_t n = (ptrdiff_t)r->width * r->height * r->channels;
  ck_assert_msg(image->width == r->width && image->height == r->height &&
                    image->channels == r->channels,
                "%s: %d x %d x %d", r->name, image->width, image->height,
                image->channels);
  ck_assert_int_eq(image->stride, (ptrdiff_t)r->width * r->channels);
  for (ptrdiff_t i = 0; i < n; i++)
    if (abs(image->data[i] - r->pixels[i]) > r->tolerance)
      ck_abort_msg("%s: byte %td is %d, not %d", r->name, i, image->data[i],
                   r->pixels[i]);
}

START_TEST(as_pillow) {
  for (int i = 0; i < record_count; i++) {
    const record *r = &records[i];
    mae_image image = {.width = -7};
    mae_status status = mae_image_decode(r->data, (size_t)r->size, &image);
    ck_assert_msg((int)status == r->status, "%s: %s (%s)", r->name,
                  mae_status_name(status), mae_last_error());
    if (status != MAE_OK) {
      ck_assert_int_eq(image.width, -7);
      ck_assert_ptr_null(image.data);
      continue;
    }
    assert_pixels(r, &image);
    mae_image_free(&image);
    ck_assert_ptr_null(image.data);
    ck_assert_int_eq(image.width, 0);
  }
}
END_TEST

static mae_encoded encoded(const record *r) {
  return (mae_encoded){r->data, (size_t)r->size, r->name};
}

/* Those with a false size are refused, as when decoded; what is wrong with the
 * rest of a file, its header does not tell. */
START_TEST(sizes) {
  for (int i = 0; i < record_count; i++) {
    const record *r = &records[i];
    const mae_encoded in = encoded(r);
    int32_t width = -7, height = -7;
    mae_status status = mae_image_size(&in, &width, &height);
    if (r->status == MAE_OK) {
      ck_assert_msg(status == MAE_OK, "%s: %s", r->name, mae_last_error());
      ck_assert_int_eq(width, r->width);
      ck_assert_int_eq(height, r->height);
    } else if (status != MAE_OK) {
      ck_assert_int_eq((int)status, r->status);
      ck_assert_ptr_nonnull(strstr(mae_last_error(), r->name));
      ck_assert(width == -7 && height == -7);
    }
    if (strstr(r->name, "bomb") || strstr(r->name, "wide") ||
        strstr(r->name, "zero") || strstr(r->name, "moving"))
      ck_assert_int_ne(status, MAE_OK);
  }
}
END_TEST

/* Only JPEG has smaller sizes. */
START_TEST(others_are_not_shrunk) {
  for (int i = 0; i < record_count; i++) {
    const record *r = &records[i];
    const mae_encoded in = encoded(r);
    mae_image image;
    if (r->status != MAE_OK || !strncmp(r->name, "jpeg", 4)) continue;
    ASSERT_OK(mae_image_decode_shrunk(&in, 4, &image));
    assert_pixels(r, &image);
    mae_image_free(&image);
  }
}
END_TEST

/* golden_shrunk.bin: its records have the shrink where others have a status. */
static void check_shrunk(const record *r) {
  const mae_encoded in = encoded(r);
  mae_image image;
  ASSERT_OK(mae_image_decode_shrunk(&in, r->status, &image));
  assert_pixels(r, &image);
  mae_image_free(&image);
  for (size_t size = 0; size < in.size; size++) {
    const mae_encoded part = {in.data, size, r->name};
    ASSERT_FAILS(mae_image_decode_shrunk(&part, r->status, &image),
                 MAE_ERROR_FORMAT, r->name);
  }
}

START_TEST(shrunk_as_pillow) {
  record r;
  int count = 0;
  if (!built_in("jpeg")) return;
  FILE *file = fopen("tests/data/golden_shrunk.bin", "rb");
  ck_assert_ptr_nonnull(file);
  for (; fread(&r, HEAD, 1, file) == 1; count++) {
    r.data = take(file, (size_t)r.size);
    r.pixels = take(file, pixel_bytes(&r));
    check_shrunk(&r);
    free(r.data);
    free(r.pixels);
  }
  fclose(file);
  ck_assert_int_eq(count, 30);
}
END_TEST

START_TEST(bad_shrinks) {
  static const int32_t bad[] = {0, -1, 3, 16, INT32_MIN};
  const mae_encoded in = {(const uint8_t *)"\xff\xd8\xff", 3, "it"};
  int32_t side;
  mae_image image = {.width = -7};
  for (int i = 0; i < 5; i++)
    ASSERT_FAILS(mae_image_decode_shrunk(&in, bad[i], &image),
                 MAE_ERROR_INVALID_ARGUMENT, "it: shrink");
  ASSERT_FAILS(mae_image_decode_shrunk(NULL, 1, &image),
               MAE_ERROR_INVALID_ARGUMENT, "NULL");
  ASSERT_FAILS(mae_image_decode_shrunk(&in, 1, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "NULL");
  ASSERT_FAILS(mae_image_size(NULL, &side, &side), MAE_ERROR_INVALID_ARGUMENT,
               "NULL");
  ASSERT_FAILS(mae_image_size(&in, NULL, &side), MAE_ERROR_INVALID_ARGUMENT,
               "NULL");
  ASSERT_FAILS(mae_image_size(&in, &side, NULL), MAE_ERROR_INVALID_ARGUMENT,
               "NULL");
  ck_assert_int_eq(image.width, -7);
}
END_TEST

static char path[64];

static void make_path(void) {
  snprintf(path, sizeof path, "/tmp/libmae-image-XXXXXX.jpg");
  int fd = mkstemps(path, 4);
  ck_assert_int_ge(fd, 0);
  close(fd);
  read_records();
}

static void remove_path(void) {
  remove(path);
  free_records();
}

static void put_file(const void *data, size_t size) {
  FILE *file = fopen(path, "wb");
  ck_assert_ptr_nonnull(file);
  ck_assert_uint_eq(fwrite(data, 1, size, file), size);
  ck_assert_int_eq(fclose(file), 0);
}

START_TEST(from_files) {
  for (int i = 0; i < record_count; i++) {
    const record *r = &records[i];
    mae_image image;
    put_file(r->data, (size_t)r->size); /* the name says .jpg of all */
    mae_status status = mae_image_load(path, &image);
    ck_assert_msg((int)status == r->status, "%s: %s (%s)", r->name,
                  mae_status_name(status), mae_last_error());
    if (status != MAE_OK) {
      ck_assert_ptr_nonnull(strstr(mae_last_error(), path));
      continue;
    }
    assert_pixels(r, &image);
    mae_image_free(&image);
  }
}
END_TEST

/* --------------------------------------------------------------- hostile -- */

/* What the size alone and a shrunk image must be, given the full image; only
 * the status is trusted of an image that fails. */
static void check_others(const mae_encoded *in, mae_status status,
                         const mae_image *image) {
  int32_t width = 0, height = 0;
  mae_image small = {0};
  const mae_status size_status = mae_image_size(in, &width, &height);
  const mae_status small_status = mae_image_decode_shrunk(in, 8, &small);
  if (status == MAE_OK &&
      (size_status != MAE_OK || width != image->width ||
       height != image->height || small_status != MAE_OK ||
       (small.width != width && small.width != (width + 7) / 8) ||
       (small.height != height && small.height != (height + 7) / 8)))
    ck_abort_msg("%d x %d, by its header %d x %d, shrunk %d x %d (%s)",
                 image->width, image->height, width, height, small.width,
                 small.height, mae_last_error());
  if (status != MAE_OK && size_status != MAE_OK && size_status != status)
    ck_abort_msg("%s by the header, %s in full", mae_status_name(size_status),
                 mae_status_name(status));
  mae_image_free(&small);
}

/* Decode from a block of just this size, so that ASan sees reads beyond. */
static mae_status decode_copy(const uint8_t *data, size_t size) {
  mae_image image = {0};
  uint8_t *copy = malloc(size ? size : 1);
  ck_assert_ptr_nonnull(copy);
  memcpy(copy, data, size);
  mae_status status = mae_image_decode(copy, size, &image);
  if (status != MAE_OK && image.data) ck_abort_msg("an image and a failure");
  const mae_encoded in = {copy, size, "copy"};
  check_others(&in, status, &image);
  mae_image_free(&image);
  free(copy);
  return status;
}

START_TEST(truncated) {
  for (int i = 0; i < record_count; i++) {
    const record *r = &records[i];
    if (r->status != MAE_OK) continue;
    for (size_t size = 0; size < (size_t)r->size; size++) {
      mae_status status = decode_copy(r->data, size);
      if (status != MAE_ERROR_FORMAT)
        ck_abort_msg("%s of %zu bytes: %s", r->name, size,
                     mae_status_name(status));
    }
  }
}
END_TEST

/* One byte after the other is damaged; some damage makes another picture. */
START_TEST(damaged) {
  long fine = 0, refused = 0;
  for (int i = 0; i < record_count; i++) {
    const record *r = &records[i];
    for (int at = 0; at < 3 * r->size; at++) {
      const uint8_t flips[] = {(uint8_t)(1 << at % 8), 0xff, 0x80};
      const int byte = at / 3;
      r->data[byte] ^= flips[at % 3];
      mae_status status = decode_copy(r->data, (size_t)r->size);
      r->data[byte] ^= flips[at % 3];
      if (status != MAE_OK && status != MAE_ERROR_FORMAT &&
          status != MAE_ERROR_UNSUPPORTED)
        ck_abort_msg("%s, byte %d: %s", r->name, byte, mae_last_error());
      *(status == MAE_OK ? &fine : &refused) += 1;
    }
  }
  ck_assert(record_count == 0 || (refused > 0 && fine > 0));
}
END_TEST

static rlim_t memory_in_use(void) {
  FILE *file = fopen("/proc/self/statm", "r");
  ck_assert_ptr_nonnull(file);
  unsigned long pages;
  ck_assert_int_eq(fscanf(file, "%lu", &pages), 1);
  fclose(file);
  return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* 65500 x 65500 pixels by their headers: refused before memory is asked for. */
START_TEST(bombs) {
  struct rlimit before, limit;
  getrlimit(RLIMIT_AS, &before);
  limit = before;
  limit.rlim_cur = memory_in_use() + (64 << 20);
  for (int i = 0; i < record_count; i++) {
    if (!strstr(records[i].name, "bomb")) continue;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    mae_image image;
    mae_status status =
        mae_image_decode(records[i].data, (size_t)records[i].size, &image);
    const mae_encoded in = encoded(&records[i]);
    mae_status small = mae_image_decode_shrunk(&in, 8, &image);
    setrlimit(RLIMIT_AS, &before);
    ck_assert_int_eq(small, MAE_ERROR_FORMAT);
    ASSERT_FAILS(status, MAE_ERROR_FORMAT, " pixels");
  }
}
END_TEST

START_TEST(no_image) {
  mae_image image;
  put_file("", 0);
  ASSERT_FAILS(mae_image_load(path, &image), MAE_ERROR_FORMAT, "neither");
  put_file("just some text\n", 15);
  ASSERT_FAILS(mae_image_load(path, &image), MAE_ERROR_FORMAT, path);
  ASSERT_FAILS(mae_image_load("/absent/a.jpg", &image), MAE_ERROR_NOT_FOUND,
               "/absent/a.jpg");
  ASSERT_FAILS(mae_image_load("/tmp", &image), MAE_ERROR_IO, "regular");
  ASSERT_FAILS(mae_image_load("/dev/zero", &image), MAE_ERROR_IO, "regular");
  remove(path);
  ck_assert_int_eq(mkfifo(path, 0600), 0);
  ASSERT_FAILS(mae_image_load(path, &image), MAE_ERROR_IO, "regular");
  remove(path);
  int fd = open(path, O_WRONLY | O_CREAT, 0600);
  ck_assert_int_ge(fd, 0);
  ck_assert_int_eq(ftruncate(fd, ((off_t)1 << 30) + 1), 0); /* a hole */
  close(fd);
  ASSERT_FAILS(mae_image_load(path, &image), MAE_ERROR_FORMAT, "bytes");
}
END_TEST

/* Either the decoder looks for more, or it is not there and says so. */
START_TEST(heads_alone) {
  mae_image image;
  for (int i = 0; i < 3; i++) {
    if (built_in(heads[i].format))
      ASSERT_FAILS(mae_image_decode(heads[i].head, heads[i].size, &image),
                   MAE_ERROR_FORMAT, "");
    else
      ASSERT_FAILS(mae_image_decode(heads[i].head, heads[i].size, &image),
                   MAE_ERROR_UNSUPPORTED, "built without");
  }
}
END_TEST

START_TEST(whole_files) {
  uint8_t *data = NULL;
  size_t size = 7;
  ASSERT_FAILS(mae_image_read_file("/absent/a", &data, &size),
               MAE_ERROR_NOT_FOUND, "/absent/a");
  ASSERT_FAILS(mae_image_read_file("/tmp", &data, &size), MAE_ERROR_IO,
               "regular");
  ck_assert_ptr_null(data);
  ck_assert_uint_eq(size, 7);
  put_file("any\0thing", 9);
  ASSERT_OK(mae_image_read_file(path, &data, &size));
  ck_assert_uint_eq(size, 9);
  ck_assert_mem_eq(data, "any\0thing", 9);
  free(data);
  put_file("", 0);
  ASSERT_OK(mae_image_read_file(path, &data, &size));
  ck_assert_uint_eq(size, 0);
  free(data);
}
END_TEST

START_TEST(null_arguments) {
  mae_image image;
  ASSERT_FAILS(mae_image_load(NULL, &image), MAE_ERROR_INVALID_ARGUMENT,
               "path");
  ASSERT_FAILS(mae_image_load(path, NULL), MAE_ERROR_INVALID_ARGUMENT,
               "image");
  ASSERT_FAILS(mae_image_decode(NULL, 5, &image), MAE_ERROR_INVALID_ARGUMENT,
               "data");
  ASSERT_FAILS(mae_image_decode("", 0, &image), MAE_ERROR_FORMAT, "neither");
  mae_image_free(NULL);
}
END_TEST

Suite *image_suite(void) {
  Suite *suite = suite_create("image");
  TCase *tests = tcase_create("image");
  tcase_add_unchecked_fixture(tests, make_path, remove_path);
  tcase_set_timeout(tests, 300);
  tcase_add_test(tests, as_pillow);
  tcase_add_test(tests, sizes);
  tcase_add_test(tests, others_are_not_shrunk);
  tcase_add_test(tests, shrunk_as_pillow);
  tcase_add_test(tests, bad_shrinks);
  tcase_add_test(tests, from_files);
  tcase_add_test(tests, whole_files);
  tcase_add_test(tests, truncated);
  tcase_add_test(tests, damaged);
  tcase_add_test(tests, bombs);
  tcase_add_test(tests, no_image);
  tcase_add_test(tests, heads_alone);
  tcase_add_test(tests, null_arguments);
  suite_add_tcase(suite, tests);
  return suite;
}
