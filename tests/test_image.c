/* JPEG, PNG and WebP: as Pillow decodes them, and hostile files. */
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

static void read_records(void) {
  FILE *file = fopen("tests/data/golden_images.bin", "rb");
  int images = 0, refused = 0;
  record r;
  ck_assert_ptr_nonnull(file);
  while (fread(&r, HEAD, 1, file) == 1) {
    ck_assert_int_lt(record_count, MOST);
    r.data = take(file, (size_t)r.size);
    r.pixels = NULL;
    if (r.status == MAE_OK)
      r.pixels = take(file, (size_t)r.width * (size_t)r.height *
                                (size_t)r.channels);
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

/* Decode from a block of just this size, so that ASan sees reads beyond. */
static mae_status decode_copy(const uint8_t *data, size_t size) {
  mae_image image = {0};
  uint8_t *copy = malloc(size ? size : 1);
  ck_assert_ptr_nonnull(copy);
  memcpy(copy, data, size);
  mae_status status = mae_image_decode(copy, size, &image);
  if (status != MAE_OK && image.data) ck_abort_msg("an image and a failure");
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
    setrlimit(RLIMIT_AS, &before);
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
  tcase_add_test(tests, from_files);
  tcase_add_test(tests, truncated);
  tcase_add_test(tests, damaged);
  tcase_add_test(tests, bombs);
  tcase_add_test(tests, no_image);
  tcase_add_test(tests, heads_alone);
  tcase_add_test(tests, null_arguments);
  suite_add_tcase(suite, tests);
  return suite;
}
