/* The IDX reader: Fashion-MNIST as Debian packages it (dataset-fashion-mnist),
 * and made-up files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "suites.h"

#define REAL "/usr/share/datasets/fashion-mnist/"
#define REAL_LABELS REAL "t10k-labels-idx1-ubyte.gz"
#define REAL_IMAGES REAL "t10k-images-idx3-ubyte.gz"

static char path[64];

static void make_path(void) {
  snprintf(path, sizeof path, "/tmp/libmae-idx-XXXXXX");
  int fd = mkstemp(path);
  ck_assert_int_ge(fd, 0);
  close(fd);
}

static void remove_path(void) { remove(path); }

static void put_file(const void *data, size_t size) {
  FILE *file = fopen(path, "wb");
  ck_assert_ptr_nonnull(file);
  ck_assert_uint_eq(fwrite(data, 1, size, file), size);
  ck_assert_int_eq(fclose(file), 0);
}

static size_t get_file(const char *from, uint8_t *data, size_t most) {
  FILE *file = fopen(from, "rb");
  ck_assert_msg(file != NULL, "%s: install dataset-fashion-mnist", from);
  size_t size = fread(data, 1, most, file);
  fclose(file);
  ck_assert_uint_lt(size, most);
  return size;
}

static void assert_fails(mae_status expected, const char *word) {
  mae_idx *idx = NULL;
  mae_status status = mae_idx_load(path, &idx);
  ck_assert_msg(status == expected, "%s, not %s (%s)", mae_status_name(status),
                mae_status_name(expected), mae_last_error());
  ck_assert_ptr_null(idx);
  ck_assert_msg(strstr(mae_last_error(), word), "\"%s\" lacks \"%s\"",
                mae_last_error(), word);
  ck_assert_ptr_nonnull(strstr(mae_last_error(), path));
}

/* ----------------------------------------------------------- gzipping --- */

static uint32_t crc32_of(const uint8_t *data, size_t size) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < size; i++) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; bit++)
      crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return ~crc;
}

/* A gzip member of one stored block, made here so that the tests need no zlib;
 * returns its size. */
static size_t gzip(const uint8_t *data, uint16_t size, uint8_t *out) {
  const uint8_t head[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
  const uint16_t lengths[] = {size, (uint16_t)~size};
  const uint32_t tail[] = {crc32_of(data, size), size};
  uint8_t *at = out;
  at = mempcpy(at, head, sizeof head);
  *at++ = 1; /* the last block, stored */
  at = mempcpy(at, lengths, sizeof lengths);
  at = mempcpy(at, data, size);
  at = mempcpy(at, tail, sizeof tail);
  return (size_t)(at - out);
}

/* ------------------------------------------------------------- sound --- */

static const uint8_t SMALL[] = {0, 0, 8, 2, 0, 0, 0, 2, 0,
                                0, 0, 3, 9, 8, 7, 6, 5, 4};

static void assert_small(void) {
  mae_idx *idx;
  ck_assert_msg(mae_idx_load(path, &idx) == MAE_OK, "%s", mae_last_error());
  ck_assert_int_eq(mae_idx_ndim(idx), 2);
  ck_assert_int_eq(mae_idx_dim(idx, 0), 2);
  ck_assert_int_eq(mae_idx_dim(idx, 1), 3);
  ck_assert_int_eq(mae_idx_dim(idx, 2), 0);
  ck_assert_int_eq(mae_idx_dim(idx, -1), 0);
  ck_assert_mem_eq(mae_idx_data(idx), SMALL + 12, 6);
  mae_idx_destroy(idx);
}

START_TEST(small_plain) {
  put_file(SMALL, sizeof SMALL);
  assert_small();
}
END_TEST

START_TEST(small_gzipped) {
  uint8_t zipped[64];
  put_file(zipped, gzip(SMALL, sizeof SMALL, zipped));
  assert_small();
}
END_TEST

START_TEST(two_members) { /* gzip files may be concatenated */
  uint8_t zipped[128];
  size_t first = gzip(SMALL, 13, zipped);
  put_file(zipped, first + gzip(SMALL + 13, sizeof SMALL - 13, zipped + first));
  assert_small();
}
END_TEST

START_TEST(real_labels) {
  static const uint8_t FIRST[] = {9, 2, 1, 1, 6};
  mae_idx *idx;
  ck_assert_int_eq(mae_idx_load(REAL_LABELS, &idx), MAE_OK);
  ck_assert_int_eq(mae_idx_ndim(idx), 1);
  ck_assert_int_eq(mae_idx_dim(idx, 0), 10000);
  ck_assert_mem_eq(mae_idx_data(idx), FIRST, sizeof FIRST);
  int count[10] = {0};
  for (int i = 0; i < 10000; i++) {
    ck_assert_uint_lt(mae_idx_data(idx)[i], 10);
    count[mae_idx_data(idx)[i]]++;
  }
  for (int i = 0; i < 10; i++) ck_assert_int_eq(count[i], 1000);
  mae_idx_destroy(idx);
}
END_TEST

START_TEST(real_images) {
  mae_idx *idx;
  ck_assert_int_eq(mae_idx_load(REAL_IMAGES, &idx), MAE_OK);
  ck_assert_int_eq(mae_idx_ndim(idx), 3);
  ck_assert_int_eq(mae_idx_dim(idx, 0), 10000);
  ck_assert_int_eq(mae_idx_dim(idx, 1), 28);
  ck_assert_int_eq(mae_idx_dim(idx, 2), 28);
  double sum = 0;
  for (int64_t i = 0; i < 10000 * 784; i++) sum += mae_idx_data(idx)[i];
  ck_assert_double_eq_tol(sum / 10000 / 784 / 255, 0.2868, 5e-5);
  mae_idx_destroy(idx);
}
END_TEST

/* ------------------------------------------------------------- damage --- */

#define BYTES(...) {__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__})

static const struct {
  uint8_t bytes[24];
  size_t size;
  const char *word;
} MALFORMED[] = {
    {BYTES(1, 0, 8, 1, 0, 0, 0, 1, 5), "not an IDX"},
    {BYTES(0, 1, 8, 1, 0, 0, 0, 1, 5), "not an IDX"},
    {BYTES(0, 0, 13, 1, 0, 0, 0, 1, 0, 0, 0, 0), "not an IDX"}, /* float */
    {BYTES(0, 0, 8, 0, 5), "not an IDX"},
    {BYTES(0, 0, 8, 5, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1), "not an IDX"},
    {BYTES(0, 0, 8, 4, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
           255, 255, 255, 255, 255),
     "overflow"},
    {BYTES(0, 0, 8, 1, 0, 0, 0, 1, 5, 6), "more data"},
};

START_TEST(malformed) {
  put_file(MALFORMED[_i].bytes, MALFORMED[_i].size);
  assert_fails(MAE_ERROR_FORMAT, MALFORMED[_i].word);
}
END_TEST

START_TEST(truncated_plain) {
  for (size_t n = 0; n < sizeof SMALL; n++) {
    put_file(SMALL, n);
    assert_fails(MAE_ERROR_FORMAT, "truncated");
  }
}
END_TEST

START_TEST(truncated_gzip) {
  uint8_t zipped[64];
  size_t size = gzip(SMALL, sizeof SMALL, zipped);
  for (size_t n = 0; n < size; n++) {
    put_file(zipped, n);
    assert_fails(MAE_ERROR_FORMAT, "");
  }
}
END_TEST

START_TEST(corrupt_gzip) {
  uint8_t zipped[64];
  size_t size = gzip(SMALL, sizeof SMALL, zipped);
  for (size_t at = 11; at < size; at++) { /* bits before are idle */
    zipped[at] ^= 0x10;
    put_file(zipped, size);
    assert_fails(MAE_ERROR_FORMAT, "");
    zipped[at] ^= 0x10;
  }
}
END_TEST

/* The same with Huffman codes, at some places. */
START_TEST(damaged_real_labels) {
  static uint8_t zipped[1 << 16];
  size_t size = get_file(REAL_LABELS, zipped, sizeof zipped);
  for (size_t at = 50; at < size; at += 97) {
    zipped[at] ^= 1;
    put_file(zipped, size);
    assert_fails(MAE_ERROR_FORMAT, "");
    zipped[at] ^= 1;
    put_file(zipped, at);
    assert_fails(MAE_ERROR_FORMAT, "");
  }
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

/* 4 GB by its header, yet little memory is asked for. */
START_TEST(false_header) {
  const uint8_t bytes[20] = {0, 0, 8, 1, 255, 255, 255, 255};
  put_file(bytes, sizeof bytes);
  struct rlimit before, limit;
  getrlimit(RLIMIT_AS, &before);
  limit = before;
  limit.rlim_cur = memory_in_use() + (256 << 20);
  ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
  mae_idx *idx;
  mae_status status = mae_idx_load(path, &idx);
  setrlimit(RLIMIT_AS, &before);
  ck_assert_msg(status == MAE_ERROR_FORMAT, "%s", mae_last_error());
}
END_TEST

START_TEST(not_a_file) {
  mae_idx *idx;
  ck_assert_int_eq(mae_idx_load("/absent/file", &idx), MAE_ERROR_NOT_FOUND);
  ck_assert_int_eq(mae_idx_load("/tmp", &idx), MAE_ERROR_IO);
  ck_assert_int_eq(mae_idx_load("/dev/zero", &idx), MAE_ERROR_IO);
  remove(path);
  ck_assert_int_eq(mkfifo(path, 0600), 0);
  assert_fails(MAE_ERROR_IO, "not a regular file");
  remove(path);
}
END_TEST

START_TEST(null_arguments) {
  mae_idx *idx;
  ck_assert_int_eq(mae_idx_load(NULL, &idx), MAE_ERROR_INVALID_ARGUMENT);
  ck_assert_int_eq(mae_idx_load(path, NULL), MAE_ERROR_INVALID_ARGUMENT);
  ck_assert_int_eq(mae_idx_ndim(NULL), 0);
  ck_assert_int_eq(mae_idx_dim(NULL, 0), 0);
  ck_assert_ptr_null(mae_idx_data(NULL));
  mae_idx_destroy(NULL);
}
END_TEST

START_TEST(left_out) {
  mae_idx *idx;
  ck_assert_int_eq(mae_idx_load(path, &idx), MAE_ERROR_UNSUPPORTED);
  ck_assert_ptr_nonnull(strstr(mae_last_error(), "without zlib"));
}
END_TEST

static bool built_in(void) {
  mae_idx *idx;
  return mae_idx_load("", &idx) != MAE_ERROR_UNSUPPORTED;
}

static void add_reading(TCase *tests) {
  tcase_add_test(tests, small_plain);
  tcase_add_test(tests, small_gzipped);
  tcase_add_test(tests, two_members);
  tcase_add_test(tests, real_labels);
  tcase_add_test(tests, real_images);
  tcase_add_loop_test(tests, malformed, 0,
                      sizeof MALFORMED / sizeof *MALFORMED);
  tcase_add_test(tests, truncated_plain);
  tcase_add_test(tests, truncated_gzip);
  tcase_add_test(tests, corrupt_gzip);
  tcase_add_test(tests, damaged_real_labels);
  tcase_add_test(tests, false_header);
  tcase_add_test(tests, not_a_file);
  tcase_add_test(tests, null_arguments);
}

Suite *idx_suite(void) {
  Suite *suite = suite_create("idx");
  TCase *tests = tcase_create("idx");
  tcase_add_unchecked_fixture(tests, make_path, remove_path);
  tcase_set_timeout(tests, 60);
  if (built_in())
    add_reading(tests);
  else
    tcase_add_test(tests, left_out);
  suite_add_tcase(suite, tests);
  return suite;
}
