/* The safetensors format and the crash-safe replacement of files. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "count_alloc.h"
#include "folder.h"
#include "io/atomic_file.h"
#include "io/safetensors.h"
#include "suites.h"

/* ------------------------------------------------------------ folders --- */

typedef struct file_path {
  char text[128];
} file_path;

static file_path in_folder(const char *name) {
  file_path path;
  snprintf(path.text, sizeof path.text, "%s/%s", folder, name);
  return path;
}

/* A folder of its own, so that its files can be counted. */
static file_path new_folder(const char *name) {
  file_path path = in_folder(name);
  ck_assert_int_eq(mkdir(path.text, 0755), 0);
  return path;
}

static int count_files(const char *path) {
  DIR *dir = opendir(path);
  ck_assert_ptr_nonnull(dir);
  int n = 0;
  for (const struct dirent *entry; (entry = readdir(dir));)
    n += entry->d_name[0] != '.';
  closedir(dir);
  return n;
}

static void put_file(const char *path, const void *data, size_t size) {
  FILE *file = fopen(path, "wb");
  ck_assert_ptr_nonnull(file);
  ck_assert_uint_eq(fwrite(data, 1, size, file), size);
  ck_assert_int_eq(fclose(file), 0);
}

/* The whole file, for free(). */
static unsigned char *get_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  ck_assert_ptr_nonnull(file);
  ck_assert_int_eq(fseek(file, 0, SEEK_END), 0);
  *size = (size_t)ftell(file);
  rewind(file);
  unsigned char *data = malloc(*size + 1);
  ck_assert_uint_eq(fread(data, 1, *size, file), *size);
  fclose(file);
  return data;
}

static void assert_file_is(const char *path, const void *data, size_t size) {
  size_t found_size;
  unsigned char *found = get_file(path, &found_size);
  ck_assert_uint_eq(found_size, size);
  ck_assert_mem_eq(found, data, size);
  free(found);
}

/* -------------------------------------------------------------- files --- */

static mae_tensor *make_tensor(int32_t ndim, const int64_t *shape,
                               float first) {
  mae_tensor *tensor;
  ck_assert_int_eq(mae_tensor_create(ndim, shape, &tensor), MAE_OK);
  for (int64_t i = 0; i < mae_tensor_size(tensor); i++)
    tensor->data[i] = first + (float)i;
  return tensor;
}

/* One tensor "x" of n values from first on. */
static mae_status write_one(const char *path, int64_t n, float first) {
  mae_tensor *x = make_tensor(1, &n, first);
  mae_safetensors_entry entry = {"x", x};
  mae_status status = mae_safetensors_write(path, &entry, 1, NULL, 0);
  mae_tensor_destroy(x);
  return status;
}

static void assert_one(const char *path, int64_t n, float first) {
  mae_safetensors *file;
  ck_assert_int_eq(mae_safetensors_open(path, &file), MAE_OK);
  mae_tensor *x = make_tensor(1, &n, -1);
  ck_assert_int_eq(mae_safetensors_read(file, "x", x), MAE_OK);
  for (int64_t i = 0; i < n; i++)
    ck_assert_float_eq(x->data[i], first + (float)i);
  mae_tensor_destroy(x);
  mae_safetensors_close(file);
}

/* A file of this header, and after it `zeros` bytes of data. */
static void put_header(const char *path, const char *header, size_t zeros) {
  char bytes[1024] = {0};
  uint64_t length = strlen(header);
  ck_assert_uint_le(8 + length + zeros, sizeof bytes);
  memcpy(bytes, &length, 8);
  memcpy(bytes + 8, header, length);
  put_file(path, bytes, 8 + length + zeros);
}

static void assert_fails(mae_status status, mae_status expected,
                         const char *word) {
  ck_assert_msg(status == expected, "%s, not %s (%s)", mae_status_name(status),
                mae_status_name(expected), mae_last_error());
  ck_assert_msg(strstr(mae_last_error(), word), "\"%s\" lacks \"%s\"",
                mae_last_error(), word);
}

static mae_status open_and_close(const char *path) {
  mae_safetensors *file = NULL;
  mae_status status = mae_safetensors_open(path, &file);
  ck_assert((status == MAE_OK) == (file != NULL));
  mae_safetensors_close(file);
  return status;
}

/* --------------------------------------------------------- round trip --- */

START_TEST(round_trip) {
  file_path path = in_folder("round_trip");
  const int64_t shape[] = {2, 3, 1, 5};
  mae_tensor *a = make_tensor(4, shape, 0.5f), *b = make_tensor(1, shape, 7);
  const mae_safetensors_entry entries[] = {{"a.weight", a}, {"b", b}};
  const mae_safetensors_text texts[] = {{"step", "12"}, {"\xc3\xa9", "a\n\"b"}};
  ck_assert_int_eq(mae_safetensors_write(path.text, entries, 2, texts, 2),
                   MAE_OK);

  mae_safetensors *file;
  ck_assert_int_eq(mae_safetensors_open(path.text, &file), MAE_OK);
  ck_assert_int_eq(mae_safetensors_count(file), 2);
  ck_assert_str_eq(mae_safetensors_name(file, 0), "a.weight");
  ck_assert_str_eq(mae_safetensors_name(file, 1), "b");
  ck_assert_str_eq(mae_safetensors_metadata(file, "step"), "12");
  ck_assert_str_eq(mae_safetensors_metadata(file, "\xc3\xa9"), "a\n\"b");
  ck_assert_ptr_null(mae_safetensors_metadata(file, "epoch"));
  mae_tensor found;
  ck_assert_int_eq(mae_safetensors_shape(file, "a.weight", &found), MAE_OK);
  ck_assert(mae_tensor_same_shape(&found, a));
  ck_assert_ptr_null(found.data);
  for (int i = 0; i < 2; i++) {
    const mae_tensor *saved = entries[i].tensor;
    mae_tensor *read = make_tensor(saved->ndim, saved->shape, -9);
    ck_assert_int_eq(mae_safetensors_check(file, entries[i].name, read),
                     MAE_OK);
    ck_assert_int_eq(mae_safetensors_read(file, entries[i].name, read), MAE_OK);
    ck_assert_mem_eq(read->data, saved->data,
                     (size_t)mae_tensor_size(saved) * sizeof(float));
    mae_tensor_destroy(read);
  }
  mae_safetensors_close(file);
  mae_tensor_destroy(a);
  mae_tensor_destroy(b);
}
END_TEST

START_TEST(layout_written) {
  file_path path = in_folder("layout");
  mae_tensor *x = make_tensor(1, &(int64_t){3}, 1);
  const mae_safetensors_entry entry = {"x", x};
  const mae_safetensors_text text = {"k", "v"};
  ck_assert_int_eq(mae_safetensors_write(path.text, &entry, 1, &text, 1),
                   MAE_OK);
  static const char HEADER[] =
      "{\"__metadata__\":{\"k\":\"v\"},"
      "\"x\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}";
  unsigned char expected[128 + 12]; /* the data is aligned */
  memset(expected, ' ', sizeof expected);
  memcpy(expected, &(uint64_t){128 - 8}, 8);
  memcpy(expected + 8, HEADER, sizeof HEADER - 1);
  memcpy(expected + 128, x->data, 12);
  assert_file_is(path.text, expected, sizeof expected);
  mae_tensor_destroy(x);
}
END_TEST

START_TEST(no_tensors) {
  file_path path = in_folder("no_tensors");
  ck_assert_int_eq(mae_safetensors_write(path.text, NULL, 0, NULL, 0), MAE_OK);
  mae_safetensors *file;
  ck_assert_int_eq(mae_safetensors_open(path.text, &file), MAE_OK);
  ck_assert_int_eq(mae_safetensors_count(file), 0);
  mae_safetensors_close(file);
}
END_TEST

START_TEST(bad_names) {
  file_path dir = new_folder("bad_names");
  file_path path = in_folder("bad_names/file");
  mae_tensor *x = make_tensor(1, &(int64_t){1}, 0);
  const mae_safetensors_entry sound = {"x", x}, latin = {"\xe9", x};
  const mae_safetensors_entry twice[] = {sound, sound};
  const mae_safetensors_text latin_text = {"key", "\xe9"};
  ck_assert_int_ne(mae_safetensors_write(path.text, &latin, 1, NULL, 0),
                   MAE_OK);
  ck_assert_int_ne(mae_safetensors_write(path.text, twice, 2, NULL, 0), MAE_OK);
  ck_assert_int_ne(mae_safetensors_write(path.text, &sound, 1, &latin_text, 1),
                   MAE_OK);
  ck_assert_int_eq(count_files(dir.text), 0);
  mae_tensor_destroy(x);
}
END_TEST

/* ------------------------------------------------------------ reading --- */

#define T(dtype, shape, begin, end)                                         \
  "{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin \
  "," end "]}"
#define F32_AT(begin, end) T("F32", "1", begin, end)

/* clang-format off */
static const char EVERY_KIND[] =
    "{\"a_half\":" T("F16", "2", "0", "4") ","
    "\"d_deep\":" T("F32", "1,1,1,1,1", "8", "12") ","
    "\"c_none\":" T("F32", "2,0", "8", "8") ","
    "\"b_byte\":" T("F8_E5M2", "2,2", "4", "8") "}  ";
/* clang-format on */

/* A file may hold what a mae_tensor cannot. */
START_TEST(every_kind) {
  file_path path = in_folder("every_kind");
  put_header(path.text, EVERY_KIND, 12);
  mae_safetensors *file;
  ck_assert_int_eq(mae_safetensors_open(path.text, &file), MAE_OK);
  static const char *const NAMES[] = {"a_half", "b_byte", "c_none", "d_deep"};
  ck_assert_int_eq(mae_safetensors_count(file), 4);
  mae_tensor *one = make_tensor(1, &(int64_t){1}, 5), shape;
  for (int i = 0; i < 4; i++) {
    ck_assert_str_eq(mae_safetensors_name(file, i), NAMES[i]);
    ck_assert_int_ne(mae_safetensors_shape(file, NAMES[i], &shape), MAE_OK);
    ck_assert_int_ne(mae_safetensors_read(file, NAMES[i], one), MAE_OK);
  }
  assert_fails(mae_safetensors_read(file, "a_half", one), MAE_ERROR_MISMATCH,
               "a_half");
  assert_fails(mae_safetensors_read(file, "d_deep", one), MAE_ERROR_MISMATCH,
               "dimensions");
  assert_fails(mae_safetensors_read(file, "c_none", one), MAE_ERROR_MISMATCH,
               "empty");
  assert_fails(mae_safetensors_check(file, "gone", one), MAE_ERROR_MISMATCH,
               "gone");
  ck_assert_float_eq(one->data[0], 5);
  mae_tensor_destroy(one);
  mae_safetensors_close(file);
}
END_TEST

START_TEST(scalar) {
  file_path path = in_folder("scalar");
  put_header(path.text, "{\"x\":" T("F32", "", "0", "4") "}", 4);
  mae_safetensors *file;
  ck_assert_int_eq(mae_safetensors_open(path.text, &file), MAE_OK);
  mae_tensor *one = make_tensor(1, &(int64_t){1}, 5);
  ck_assert_int_eq(mae_safetensors_read(file, "x", one), MAE_OK);
  ck_assert_float_eq(one->data[0], 0);
  mae_tensor_destroy(one);
  mae_safetensors_close(file);
}
END_TEST

START_TEST(other_shape) {
  file_path path = in_folder("other_shape");
  ck_assert_int_eq(write_one(path.text, 6, 0), MAE_OK);
  mae_safetensors *file;
  ck_assert_int_eq(mae_safetensors_open(path.text, &file), MAE_OK);
  mae_tensor *x = make_tensor(2, (int64_t[]){2, 3}, 1);
  assert_fails(mae_safetensors_check(file, "x", x), MAE_ERROR_MISMATCH,
               "[2, 3]");
  assert_fails(mae_safetensors_read(file, "x", x), MAE_ERROR_MISMATCH,
               "[2, 3]");
  ck_assert_float_eq(x->data[0], 1);
  mae_tensor_destroy(x);
  mae_safetensors_close(file);
}
END_TEST

/* clang-format off */
static const struct {
  const char *header;
  size_t data;
  const char *word;
} MALFORMED[] = {
    {"[]", 0, "JSON object"},
    {"{]", 0, "header"},
    {"{} {}", 0, "expected near"},
    {"{\"x\":" F32_AT("0", "4"), 4, "header"},
    {"{\"\xff\":" F32_AT("0", "4") "}", 4, "decode byte"},
    {"{\"a\\u0000b\":" F32_AT("0", "4") "}", 4, "header"},
    {"{\"x\":" F32_AT("0", "4") ",\"x\":" F32_AT("4", "8") "}", 8, "duplicate"},
    {"{\"x\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],"
     "\"data_offsets\":[0,4]}}", 4, "duplicate"},
    {"{\"x\":1}", 0, "x"},
    {"{\"x\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype"},
    {"{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "shape"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],"
     "\"more\":1}}", 4, "data_offsets"},
    {"{\"x\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4,
     "shape"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4,
     "data_offsets"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4,
     "data_offsets"},
    {"{\"x\":" F32_AT("0", "4.0") "}", 4, "data"},
    {"{\"x\":" F32_AT("0", "99999999999999999999") "}", 4, "header"},
    {"{\"x\":" F32_AT("-4", "0") "}", 4, "data"},
    {"{\"x\":" F32_AT("4", "0") "}", 4, "data"},
    {"{\"x\":" F32_AT("0", "8") "}", 8, "shape"},
    {"{\"x\":" T("F31", "1", "0", "4") "}", 4, "dtype"},
    {"{\"x\":" T("f32", "1", "0", "4") "}", 4, "dtype"},
    {"{\"x\":" T("F32", "-1", "0", "4") "}", 4, "shape"},
    {"{\"x\":" T("F32", "1.0", "0", "4") "}", 4, "shape"},
    {"{\"x\":" T("F32", "true", "0", "4") "}", 4, "shape"},
    {"{\"x\":" T("F32", "4611686018427387904,4", "0", "0") "}", 0, "shape"},
    {"{\"x\":" T("F32", "4611686018427387905", "0", "4") "}", 4, "shape"},
    {"{\"x\":" F32_AT("0", "4") ",\"y\":" F32_AT("0", "4") "}", 4, "overlap"},
    {"{\"x\":" T("F32", "2", "0", "8") ",\"y\":" F32_AT("4", "8") "}", 8,
     "overlap"},
    {"{\"x\":" T("F32", "2", "0", "8") ",\"y\":" T("F32", "0", "4", "4") "}",
     8, "overlap"},
    {"{\"x\":" F32_AT("4", "8") "}", 8, "hole"},
    {"{\"x\":" F32_AT("0", "4") ",\"y\":" F32_AT("8", "12") "}", 12, "hole"},
    {"{\"x\":" F32_AT("0", "4") "}", 5, "at the end"},
    {"{}", 1, "at the end"},
    {"{\"x\":" F32_AT("0", "4") "}", 3, "outside the file"},
    {"{\"__metadata__\":[]}", 0, "metadata"},
    {"{\"__metadata__\":null}", 0, "metadata"},
    {"{\"__metadata__\":{\"step\":1}}", 0, "metadata"},
};
/* clang-format on */

START_TEST(malformed_header) {
  file_path path = in_folder("malformed");
  put_header(path.text, MALFORMED[_i].header, MALFORMED[_i].data);
  assert_fails(open_and_close(path.text), MAE_ERROR_FORMAT, MALFORMED[_i].word);
  assert_fails(open_and_close(path.text), MAE_ERROR_FORMAT, path.text);
}
END_TEST

START_TEST(header_size) {
  static const uint64_t SIZES[] = {0, 1, 9, 100000000, 100000001, UINT64_MAX};
  file_path path = in_folder("header_size");
  for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
    char bytes[16] = "        {}      ";
    memcpy(bytes, &SIZES[i], 8);
    put_file(path.text, bytes, sizeof bytes);
    assert_fails(open_and_close(path.text), MAE_ERROR_FORMAT, "header's size");
  }
}
END_TEST

/* Deep enough to exhaust a stack, were nesting unbounded. */
START_TEST(deep_nesting) {
  file_path path = in_folder("deep_nesting");
  enum { DEPTH = 1000000 };
  char *bytes = malloc(8 + DEPTH);
  memset(bytes, '[', 8 + DEPTH);
  memcpy(bytes, &(uint64_t){DEPTH}, 8);
  memcpy(bytes + 8, "{\"x\":", 5);
  put_file(path.text, bytes, 8 + DEPTH);
  assert_fails(open_and_close(path.text), MAE_ERROR_FORMAT, "depth");
  free(bytes);
}
END_TEST

/* A header of this begin, so many repetitions and this end. */
static void put_repeated(const char *path, const char *begin, const char *more,
                         size_t times, const char *end) {
  const size_t each = strlen(more);
  const size_t room = strlen(begin) + times * each + strlen(end);
  char *bytes = malloc(8 + room), *at = bytes + 8;
  memcpy(bytes, &(uint64_t){room}, 8);
  at = mempcpy(at, begin, strlen(begin));
  for (size_t i = 0; i < times; i++) at = mempcpy(at, more, each);
  memcpy(at, end, strlen(end));
  put_file(path, bytes, 8 + room);
  free(bytes);
}

/* Opening it within so much more memory must be refused for what it holds. */
static void assert_refused_within(const char *path, size_t bytes,
                                  const char *word) {
  assert_fails(open_and_close(path), MAE_ERROR_FORMAT, word);
  size_t pages = 0;
  FILE *statm = fopen("/proc/self/statm", "r");
  if (statm && fscanf(statm, "%zu", &pages) != 1) pages = 0;
  if (statm) fclose(statm);
  if (count_alloc_calls() < 0 || !pages) return; /* a sanitizer, valgrind */
  pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (child == 0) {
    const rlim_t most = pages * (size_t)sysconf(_SC_PAGESIZE) + bytes;
    const struct rlimit limit = {most, most};
    mae_safetensors *file;
    if (setrlimit(RLIMIT_AS, &limit)) _exit(2);
    _exit(mae_safetensors_open(path, &file) == MAE_ERROR_FORMAT ? 0 : 1);
  }
  int outcome = 0;
  ck_assert_int_eq(waitpid(child, &outcome, 0), child);
  ck_assert_int_eq(outcome, 0);
}

/* The largest headers that are looked at, of what takes the most memory. */
START_TEST(giant_headers) {
  enum { LIMIT = 256 << 20 };
  file_path path = in_folder("giant_headers");
  put_repeated(path.text, "{\"x\":[", "[],", 262000, "0]}");
  assert_refused_within(path.text, LIMIT, "x");
  put_repeated(path.text, "{\"x\":[", "{},", 262000, "0]}");
  assert_refused_within(path.text, LIMIT, "x");
  put_repeated(path.text, "{\"x\":[", "0,", 1000000, "0]}");
  assert_refused_within(path.text, LIMIT, "x");
  put_repeated(path.text, "{\"x\":[", "\"\",", 1000000, "0]}");
  assert_refused_within(path.text, LIMIT, "x");
  put_repeated(path.text, "{\"x\":\"", "xxxxxxxx", 2000000, "\"}");
  assert_refused_within(path.text, LIMIT, "x");
  put_repeated(path.text, "{\"x\":[", "[],", 263000, "0]}");
  assert_refused_within(path.text, LIMIT, "more items");
  put_repeated(path.text, "{\"x\":[", "0,", 1050000, "0]}");
  assert_refused_within(path.text, LIMIT, "more items");
  put_repeated(path.text, "{\"x\":\"", "xxxxxxxx", 3000000, "\"}");
  assert_refused_within(path.text, LIMIT, "beyond any model's");
  /* what stands in quotes counts for nothing */
  put_repeated(path.text, "{\"__metadata__\":{\"\\\"", "[,{\\\"", 300000,
               "\":\"\"}}");
  ck_assert_int_eq(open_and_close(path.text), MAE_OK);
}
END_TEST

START_TEST(many_tensors) {
  enum { N = 20000 };
  file_path path = in_folder("many_tensors");
  mae_tensor *x = make_tensor(1, &(int64_t){1}, 3);
  mae_safetensors_entry *entries = malloc(N * sizeof *entries);
  char(*names)[16] = malloc(N * sizeof *names);
  for (int i = 0; i < N; i++) {
    snprintf(names[i], sizeof names[i], "x%05d", i);
    entries[i] = (mae_safetensors_entry){names[i], x};
  }
  ck_assert_int_eq(mae_safetensors_write(path.text, entries, N, NULL, 0),
                   MAE_OK);
  mae_safetensors *file;
  ck_assert_int_eq(mae_safetensors_open(path.text, &file), MAE_OK);
  for (int i = 0; i < N; i++) {
    ck_assert_str_eq(mae_safetensors_name(file, i), names[i]);
    ck_assert_int_eq(mae_safetensors_check(file, names[i], x), MAE_OK);
  }
  mae_safetensors_close(file);
  mae_tensor_destroy(x);
  free(names);
  free(entries);
}
END_TEST

/* ------------------------------------------------------------- damage --- */

#define SMALL                                 \
  "{\"__metadata__\":{\"k\":\"v\"},\"a\":" T( \
      "F32", "2,1", "0", "8") ",\"b\":" F32_AT("8", "12") "}"

START_TEST(truncated_anywhere) {
  file_path path = in_folder("truncated");
  put_header(path.text, SMALL, 12);
  size_t size;
  unsigned char *bytes = get_file(path.text, &size);
  ck_assert_int_eq(open_and_close(path.text), MAE_OK);
  for (size_t n = 0; n < size; n++) {
    put_file(path.text, bytes, n);
    assert_fails(open_and_close(path.text), MAE_ERROR_FORMAT, path.text);
  }
  free(bytes);
}
END_TEST

START_TEST(truncated_while_open) {
  file_path path = in_folder("truncated_while_open");
  ck_assert_int_eq(write_one(path.text, 100, 0), MAE_OK);
  mae_safetensors *file;
  ck_assert_int_eq(mae_safetensors_open(path.text, &file), MAE_OK);
  ck_assert_int_eq(truncate(path.text, 200), 0);
  mae_tensor *x = make_tensor(1, &(int64_t){100}, 0);
  assert_fails(mae_safetensors_read(file, "x", x), MAE_ERROR_FORMAT,
               "truncated");
  mae_tensor_destroy(x);
  mae_safetensors_close(file);
}
END_TEST

/* Whatever opens must be usable; returns whether it opened. */
static bool use_all(const char *path) {
  mae_safetensors *file = NULL;
  mae_status status = mae_safetensors_open(path, &file);
  if (status != MAE_OK) {
    assert_fails(status, MAE_ERROR_FORMAT, path);
    ck_assert_ptr_null(file);
    return false;
  }
  mae_safetensors_metadata(file, "k");
  for (int32_t i = 0; i < mae_safetensors_count(file); i++) {
    const char *name = mae_safetensors_name(file, i);
    mae_tensor shape, *tensor;
    if (mae_safetensors_shape(file, name, &shape) != MAE_OK) continue;
    ck_assert_int_le(mae_tensor_size(&shape), 3); /* the file has 12 bytes */
    tensor = make_tensor(shape.ndim, shape.shape, 1);
    ck_assert_int_eq(mae_safetensors_read(file, name, tensor), MAE_OK);
    mae_tensor_destroy(tensor);
  }
  mae_safetensors_close(file);
  return true;
}

START_TEST(any_byte_changed) {
  file_path path = in_folder("changed");
  put_header(path.text, SMALL, 12);
  size_t size;
  unsigned char *bytes = get_file(path.text, &size);
  int fd = open(path.text, O_WRONLY);
  ck_assert_int_ge(fd, 0);
  int opened = 0;
  for (size_t at = 0; at < size - 12; at++) {
    for (int flip = 1; flip < 256; flip++) {
      unsigned char byte = bytes[at] ^ (unsigned char)flip;
      ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
      opened += use_all(path.text);
    }
    ck_assert_int_eq(pwrite(fd, &bytes[at], 1, (off_t)at), 1);
  }
  close(fd);
  ck_assert_int_gt(opened, 0); /* names and metadata may be anything */
  ck_assert(use_all(path.text));
  free(bytes);
}
END_TEST

/* ------------------------------------------------------------ opening --- */

START_TEST(not_a_file) {
  assert_fails(open_and_close(in_folder("absent").text), MAE_ERROR_NOT_FOUND,
               "absent");
  assert_fails(open_and_close(folder), MAE_ERROR_IO, "not a regular file");
  assert_fails(open_and_close("/dev/zero"), MAE_ERROR_IO, "regular file");
  file_path pipe = in_folder("pipe");
  ck_assert_int_eq(mkfifo(pipe.text, 0600), 0);
  assert_fails(open_and_close(pipe.text), MAE_ERROR_IO, "regular file");
  assert_fails(write_one(pipe.text, 1, 0), MAE_ERROR_IO, "regular file");
}
END_TEST

START_TEST(open_while_replaced) {
  file_path path = in_folder("open_while_replaced");
  ck_assert_int_eq(write_one(path.text, 4, 10), MAE_OK);
  mae_safetensors *file;
  ck_assert_int_eq(mae_safetensors_open(path.text, &file), MAE_OK);
  ck_assert_int_eq(write_one(path.text, 4, 20), MAE_OK);
  mae_tensor *x = make_tensor(1, &(int64_t){4}, 0);
  ck_assert_int_eq(mae_safetensors_read(file, "x", x), MAE_OK);
  ck_assert_float_eq(x->data[0], 10);
  mae_tensor_destroy(x);
  mae_safetensors_close(file);
  assert_one(path.text, 4, 20);
}
END_TEST

/* ---------------------------------------------------------- replacing --- */

/* A limit on the size of files stands in for a full disk; at each limit
 * another write is the first to fail. */
START_TEST(disk_full) {
  static const rlim_t LIMITS[] = {0, 100, 128, 5000};
  file_path dir = new_folder("disk_full"), path = in_folder("disk_full/file");
  ck_assert_int_eq(write_one(path.text, 10, 1), MAE_OK);
  size_t size;
  unsigned char *old = get_file(path.text, &size);
  signal(SIGXFSZ, SIG_IGN);
  struct rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  for (size_t i = 0; i < sizeof LIMITS / sizeof *LIMITS; i++) {
    struct rlimit limit = {LIMITS[i], before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    mae_status status = write_one(path.text, 100000, 2);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_fails(status, MAE_ERROR_NO_SPACE, path.text);
    assert_file_is(path.text, old, size);
    ck_assert_int_eq(count_files(dir.text), 1);
  }
  signal(SIGXFSZ, SIG_DFL);
  free(old);
}
END_TEST

/* What is written at an offset, too. */
START_TEST(disk_full_at) {
  file_path dir = new_folder("disk_full_at");
  file_path path = in_folder("disk_full_at/file");
  static const char zeros[4096];
  mae_atomic_file file;
  ck_assert_int_eq(mae_atomic_begin(path.text, &file), MAE_OK);
  signal(SIGXFSZ, SIG_IGN);
  struct rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const struct rlimit limit = {5000, before.rlim_max};
  ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  mae_status inside = mae_atomic_write_at(&file, 500, zeros, sizeof zeros);
  mae_status across = mae_atomic_write_at(&file, 4000, zeros, sizeof zeros);
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, SIG_DFL);
  ck_assert_int_eq(inside, MAE_OK);
  assert_fails(across, MAE_ERROR_NO_SPACE, path.text);
  mae_atomic_abort(&file);
  ck_assert_int_eq(count_files(dir.text), 0);
}
END_TEST

START_TEST(system_errors) {
  static const struct {
    int error;
    mae_status status;
  } kinds[] = {{ENOENT, MAE_ERROR_NOT_FOUND},    {ENOTDIR, MAE_ERROR_NOT_FOUND},
               {ENOSPC, MAE_ERROR_NO_SPACE},     {EDQUOT, MAE_ERROR_NO_SPACE},
               {EFBIG, MAE_ERROR_NO_SPACE},      {EIO, MAE_ERROR_IO},
               {ENOMEM, MAE_ERROR_OUT_OF_MEMORY}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    char word[128];
    snprintf(word, sizeof word, "cannot read a/b: %s", strerror(kinds[i].error));
    assert_fails(mae_io_fail("read", "a/b", kinds[i].error), kinds[i].status,
                 word);
  }
}
END_TEST

START_TEST(absent_folder) {
  assert_fails(write_one(in_folder("absent/file").text, 1, 0),
               MAE_ERROR_NOT_FOUND, "absent/file");
  assert_fails(write_one("", 1, 0), MAE_ERROR_NOT_FOUND, "cannot");
  file_path plain = in_folder("plain");
  put_file(plain.text, "", 0);
  assert_fails(write_one(in_folder("plain/file").text, 1, 0),
               MAE_ERROR_NOT_FOUND, "plain/file");
}
END_TEST

START_TEST(folder_as_target) {
  file_path dir = new_folder("folder_as_target");
  assert_fails(write_one(dir.text, 1, 0), MAE_ERROR_IO, "regular file");
  ck_assert_int_eq(count_files(dir.text), 0);
}
END_TEST

START_TEST(folder_without_permission) {
  file_path dir = new_folder("closed"), path = in_folder("closed/file");
  ck_assert_int_eq(write_one(path.text, 5, 1), MAE_OK);
  ck_assert_int_eq(chmod(folder, 0755), 0);
  ck_assert_int_eq(chmod(dir.text, 0555), 0);
  uid_t user = geteuid();
  if (user == 0) ck_assert_int_eq(seteuid(65534), 0); /* root may all */
  mae_status status = write_one(path.text, 5, 2);
  if (user == 0) ck_assert_int_eq(seteuid(user), 0);
  ck_assert_int_eq(chmod(dir.text, 0755), 0);
  assert_fails(status, MAE_ERROR_IO, "ermission");
  assert_one(path.text, 5, 1);
  ck_assert_int_eq(count_files(dir.text), 1);
}
END_TEST

START_TEST(symbolic_link) {
  file_path dir = new_folder("links"), other = new_folder("targets");
  file_path link = in_folder("links/link"), target = in_folder("targets/file");
  ck_assert_int_eq(symlink("../targets/file", link.text), 0);
  ck_assert_int_eq(write_one(target.text, 2, 1), MAE_OK);
  ck_assert_int_eq(write_one(link.text, 3, 2), MAE_OK);
  struct stat info;
  ck_assert_int_eq(lstat(link.text, &info), 0);
  ck_assert(S_ISLNK(info.st_mode));
  ck_assert_int_eq(lstat(target.text, &info), 0);
  ck_assert(S_ISREG(info.st_mode));
  assert_one(target.text, 3, 2);
  ck_assert_int_eq(count_files(dir.text), 1);
  ck_assert_int_eq(count_files(other.text), 1);
}
END_TEST

static mode_t mode_of(const char *path) {
  struct stat info;
  ck_assert_int_eq(stat(path, &info), 0);
  return info.st_mode & 07777;
}

START_TEST(file_mode) {
  file_path path = in_folder("mode");
  mode_t before = umask(027);
  ck_assert_int_eq(write_one(path.text, 1, 0), MAE_OK);
  ck_assert_int_eq(mode_of(path.text), 0640);
  ck_assert_int_eq(chmod(path.text, 0606), 0);
  ck_assert_int_eq(write_one(path.text, 1, 0), MAE_OK);
  umask(before);
  ck_assert_int_eq(mode_of(path.text), 0606);
}
END_TEST

/* What a killed process leaves behind is neither used nor in the way. */
START_TEST(stale_temporary) {
  file_path dir = new_folder("stale"), path = in_folder("stale/file");
  char stale[160];
  snprintf(stale, sizeof stale, "%s.tmp-0", path.text);
  put_file(stale, "old", 3);
  ck_assert_int_eq(write_one(path.text, 2, 1), MAE_OK);
  assert_one(path.text, 2, 1);
  assert_file_is(stale, "old", 3);
  ck_assert_int_eq(count_files(dir.text), 2);
}
END_TEST

/* Ten thousand runs that were killed: no name is free. */
START_TEST(stale_temporaries) {
  enum { TRIED = 10000 };
  new_folder("many_stale");
  file_path path = in_folder("many_stale/file");
  char stale[160];
  ck_assert_int_eq(write_one(path.text, 2, 1), MAE_OK);
  for (int i = 0; i < TRIED; i++) {
    snprintf(stale, sizeof stale, "%s.tmp-%d", path.text, i);
    ck_assert_int_eq(symlink("nowhere", stale), 0);
  }
  assert_fails(write_one(path.text, 2, 5), MAE_ERROR_IO, path.text);
  assert_one(path.text, 2, 1);
  ck_assert_int_eq(unlink(stale), 0);
  ck_assert_int_eq(write_one(path.text, 2, 5), MAE_OK);
  assert_one(path.text, 2, 5);
}
END_TEST

START_TEST(relative_path) {
  new_folder("relative");
  int here = open(".", O_RDONLY | O_DIRECTORY);
  ck_assert_int_ge(here, 0);
  ck_assert_int_eq(chdir(in_folder("relative").text), 0);
  ck_assert_int_eq(write_one("file", 2, 1), MAE_OK);
  ck_assert_int_eq(write_one("file", 2, 5), MAE_OK);
  assert_one("file", 2, 5);
  ck_assert_int_eq(count_files("."), 1);
  ck_assert_int_eq(fchdir(here), 0);
  close(here);
}
END_TEST

START_TEST(left_out) {
  assert_fails(open_and_close("x"), MAE_ERROR_UNSUPPORTED, "built without");
  assert_fails(write_one(in_folder("x").text, 1, 0), MAE_ERROR_UNSUPPORTED,
               "built without");
}
END_TEST

static bool built_in(void) {
  mae_safetensors *file;
  return mae_safetensors_open("", &file) != MAE_ERROR_UNSUPPORTED;
}

static void add_reading(TCase *tests) {
  tcase_add_test(tests, round_trip);
  tcase_add_test(tests, layout_written);
  tcase_add_test(tests, no_tensors);
  tcase_add_test(tests, bad_names);
  tcase_add_test(tests, every_kind);
  tcase_add_test(tests, scalar);
  tcase_add_test(tests, other_shape);
  tcase_add_loop_test(tests, malformed_header, 0,
                      sizeof MALFORMED / sizeof *MALFORMED);
  tcase_add_test(tests, header_size);
  tcase_add_test(tests, deep_nesting);
  tcase_add_test(tests, giant_headers);
  tcase_add_test(tests, many_tensors);
  tcase_add_test(tests, truncated_anywhere);
  tcase_add_test(tests, truncated_while_open);
  tcase_add_test(tests, any_byte_changed);
  tcase_add_test(tests, not_a_file);
  tcase_add_test(tests, open_while_replaced);
}

static void add_replacing(TCase *tests) {
  tcase_add_test(tests, disk_full);
  tcase_add_test(tests, disk_full_at);
  tcase_add_test(tests, system_errors);
  tcase_add_test(tests, absent_folder);
  tcase_add_test(tests, folder_as_target);
  tcase_add_test(tests, folder_without_permission);
  tcase_add_test(tests, symbolic_link);
  tcase_add_test(tests, file_mode);
  tcase_add_test(tests, stale_temporary);
  tcase_add_test(tests, stale_temporaries);
  tcase_add_test(tests, relative_path);
}

Suite *safetensors_suite(void) {
  Suite *suite = suite_create("safetensors");
  TCase *tests = tcase_create("safetensors");
  tcase_add_unchecked_fixture(tests, make_folder, remove_folder);
  tcase_set_timeout(tests, 120);
  if (built_in()) {
    add_reading(tests);
    add_replacing(tests);
  } else {
    tcase_add_test(tests, left_out);
  }
  suite_add_tcase(suite, tests);
  return suite;
}
