/* Files of torch.save: read as PyTorch reads them, and hostile ones. */
#include "golden.h"
#include "suites.h"

#ifdef MAE_HAVE_ZIP

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zip.h>

#include "count_alloc.h"
#include "io/torch_file.h"
#include "io/weights.h"
#include "torch_builder.h"

static char path[64];

static void make_path(void) {
  snprintf(path, sizeof path, "/tmp/libmae-torch-XXXXXX");
  int fd = mkstemp(path);
  ck_assert_int_ge(fd, 0);
  close(fd);
}

static void drop_path(void) { unlink(path); }

/* ------------------------------------------------------------ archives --- */

typedef struct part {
  const char *name;
  const void *bytes;
  size_t size;
  int compressed;
} part;

static void write_archive(const part *parts, size_t n) {
  int code = 0;
  zip_t *archive = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);
  ck_assert_ptr_nonnull(archive);
  for (size_t i = 0; i < n; i++) {
    zip_source_t *source =
        zip_source_buffer(archive, parts[i].bytes, parts[i].size, 0);
    zip_int64_t at = zip_file_add(archive, parts[i].name, source, 0);
    ck_assert_int_ge(at, 0);
    ck_assert_int_eq(
        zip_set_file_compression(
            archive, (zip_uint64_t)at,
            parts[i].compressed ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0),
        0);
  }
  ck_assert_int_eq(zip_close(archive), 0);
}

static size_t slurp(const char *from, unsigned char **bytes) {
  FILE *file = fopen(from, "rb");
  ck_assert_ptr_nonnull(file);
  fseek(file, 0, SEEK_END);
  size_t n = (size_t)ftell(file);
  rewind(file);
  *bytes = malloc(n + 1);
  ck_assert_uint_eq(fread(*bytes, 1, n, file), n);
  fclose(file);
  return n;
}

static void spit(const void *bytes, size_t n) {
  FILE *file = fopen(path, "wb");
  ck_assert_ptr_nonnull(file);
  ck_assert_uint_eq(fwrite(bytes, 1, n, file), n);
  fclose(file);
}

/* Replace each occurrence of a text in the file by another of its length. */
static void edit(const char *from, const char *to) {
  unsigned char *bytes, *at;
  size_t n = slurp(path, &bytes), length = strlen(from), found = 0;
  for (at = bytes; (at = memmem(at, n - (size_t)(at - bytes), from, length));
       at += length) {
    memcpy(at, to, length);
    found++;
  }
  ck_assert_uint_gt(found, 0);
  spit(bytes, n);
  free(bytes);
}

static const float six[6] = {0, 1, 2, 3, 4, 5};

/* An archive of one dict with these tensors and the storage "0" of six
 * floats. */
static void write_tensors(const tensor_text *tensors, size_t n) {
  builder b = {0};
  begin_dict(&b);
  for (size_t i = 0; i < n; i++) put_tensor(&b, &tensors[i]);
  end_dict(&b);
  const part parts[] = {{"a/data.pkl", b.bytes, b.size, 0},
                        {"a/byteorder", "little", 6, 0},
                        {"a/data/0", six, sizeof six, 0}};
  write_archive(parts, 3);
  free(b.bytes);
}

static const tensor_text sound = {"w", NULL, NULL, 6, 0, 2, 2, {2, 3}, {3, 1}};

/* Whatever opens must be usable. */
static mae_status use_all(const char *from) {
  mae_weights *w = NULL;
  mae_status status = mae_weights_open(from, false, &w);
  ck_assert((status == MAE_OK) == (w != NULL));
  for (int32_t i = 0; status == MAE_OK && i < mae_weights_count(w); i++) {
    const mae_weight *weight = mae_weights_at(w, i);
    ck_assert_ptr_eq(mae_weights_find(w, weight->name), weight);
    if (!mae_element_is_real(weight->element) || weight->ndim > 4) continue;
    int64_t n = 1;
    for (int64_t k = 0; k < weight->ndim; k++) n *= weight->shape[k];
    ck_assert_int_le(n, 100000); /* no more than the files of these tests */
    float *values = malloc((size_t)n * sizeof *values + 1);
    mae_status reading = mae_weights_read(w, weight, values);
    ck_assert(reading == MAE_OK || reading == MAE_ERROR_FORMAT);
    free(values);
  }
  mae_weights_close(w);
  return status;
}

/* ------------------------------------------------------------- reading --- */

static const char views[] = "tests/data/import/views.pt";

#ifdef MAE_HAVE_JSON

/* Every value as PyTorch has it, bit for bit. */
START_TEST(strided_views) {
  static const char *const names[] = {"base",     "transposed", "columns",
                                      "row",      "scalar",     "double",
                                      "permuted", "parameter",  "steps"};
  mae_safetensors *expected;
  mae_weights *w;
  ASSERT_OK(mae_safetensors_open("tests/data/import/expected.safetensors",
                                 &expected));
  ASSERT_OK(mae_weights_open(views, false, &w));
  ck_assert_str_eq(mae_weights_format(w), "pytorch");
  ck_assert_int_eq(mae_weights_count(w), 12);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char key[64];
    snprintf(key, sizeof key, "views.%s.value", names[i]);
    mae_tensor *want = golden(expected, key);
    const mae_weight *found = mae_weights_find(w, names[i]);
    ck_assert_ptr_nonnull(found);
    for (int64_t k = 0; k < found->ndim; k++)
      ck_assert_int_eq(found->shape[k], want->shape[k]);
    float *got = malloc((size_t)mae_tensor_size(want) * sizeof *got);
    ASSERT_OK(mae_weights_read(w, found, got));
    ck_assert_mem_eq(got, want->data,
                     (size_t)mae_tensor_size(want) * sizeof *got);
    free(got);
    mae_tensor_destroy(want);
  }
  ck_assert_int_eq(mae_weights_find(w, "integer")->element, MAE_ELEMENT_I64);
  ck_assert_int_eq(mae_weights_find(w, "flag")->element, MAE_ELEMENT_BOOL);
  ck_assert_int_eq(mae_weights_find(w, "none")->shape[0], 0);
  ck_assert_ptr_null(mae_weights_find(w, "other"));
  mae_weights_close(w);
  mae_safetensors_close(expected);
}
END_TEST

#endif

START_TEST(sound_archive) {
  float values[6];
  mae_weights *w;
  write_tensors(&sound, 1);
  ASSERT_OK(mae_weights_open(path, true, &w)); /* read all the same */
  ck_assert_ptr_null(mae_weights_in_place(w, mae_weights_at(w, 0)));
  ASSERT_OK(mae_weights_read(w, mae_weights_find(w, "w"), values));
  ck_assert_mem_eq(values, six, sizeof six);
  mae_weights_close(w);
}
END_TEST

START_TEST(halves) {
  static const uint16_t f16[] = {0x3c00, 0xc000, 0x0001,
                                 0x8000, 0x7bff, 0x0400};
  static const float f16_values[] = {1, -2, 0x1p-24f, -0.0f, 65504, 0x1p-14f};
  static const uint16_t bf16[] = {0x3f80, 0xc000, 0x0001,
                                  0x8000, 0x7f7f, 0x4049};
  static const uint32_t bf16_bits[] = {0x3f800000, 0xc0000000, 0x00010000,
                                       0x80000000, 0x7f7f0000, 0x40490000};
  for (int k = 0; k < 2; k++) {
    tensor_text t = sound;
    float values[6];
    mae_weights *w;
    builder b = {0};
    t.storage = k ? "BFloat16Storage" : "HalfStorage";
    begin_dict(&b);
    put_tensor(&b, &t);
    end_dict(&b);
    const part parts[] = {{"a/data.pkl", b.bytes, b.size, 0},
                          {"a/data/0", k ? bf16 : f16, sizeof f16, 0}};
    write_archive(parts, 2);
    ASSERT_OK(mae_weights_open(path, false, &w));
    ASSERT_OK(mae_weights_read(w, mae_weights_at(w, 0), values));
    ck_assert_mem_eq(values, k ? (const void *)bf16_bits : f16_values,
                     sizeof values);
    mae_weights_close(w);
    free(b.bytes);
  }
}
END_TEST

/* ------------------------------------------------------ hostile tensors --- */

#define MOST INT64_MAX

static const struct {
  tensor_text tensor;
  const char *word;
} bad_tensors[] = {
    {{"w", NULL, NULL, 6, 0, 1, 1, {7}, {1}}, "beyond its storage"},
    {{"w", NULL, NULL, 6, 1, 1, 1, {6}, {1}}, "beyond its storage"},
    {{"w", NULL, NULL, 6, 6, 1, 1, {1}, {1}}, "beyond its storage"},
    {{"w", NULL, NULL, 6, MOST, 1, 1, {1}, {1}}, "beyond its storage"},
    {{"w", NULL, NULL, 6, MOST, 1, 1, {2}, {1}}, "impossible"},
    {{"w", NULL, NULL, 6, -1, 1, 1, {1}, {1}}, "impossible"},
    {{"w", NULL, NULL, 6, 0, 1, 1, {-1}, {1}}, "impossible"},
    {{"w", NULL, NULL, 6, 5, 1, 1, {2}, {-1}}, "impossible"},
    {{"w", NULL, NULL, 6, 0, 2, 1, {2, 3}, {3}}, "impossible"},
    {{"w", NULL, NULL, 6, 0, 0, 1, {0}, {3}}, "impossible"},
    {{"w", NULL, NULL, 6, 0, 2, 2, {2, 3}, {4, 1}}, "beyond its storage"},
    {{"w", NULL, NULL, 6, 0, 1, 1, {2}, {MOST}}, "beyond its storage"},
    {{"w", NULL, NULL, 6, 0, 1, 1, {3}, {MOST}}, "impossible"},
    {{"w", NULL, NULL, 6, 0, 2, 2, {MOST, MOST}, {0, 0}}, "impossible"},
    {{"w", NULL, NULL, 6, 0, 2, 2, {MOST, 2}, {0, 0}}, "impossible"},
    {{"w", NULL, NULL, 6, 0, 2, 2, {2, 2}, {MOST, MOST}}, "impossible"},
    /* one value seen a million times would be a large model in no file */
    {{"w", NULL, NULL, 6, 0, 2, 2, {1000, 1000}, {0, 0}}, "beyond its storage"},
    {{"w", NULL, NULL, 6, 0, 1, 1, {7}, {0}}, "beyond its storage"},
    {{"w", NULL, NULL, 7, 0, 1, 1, {6}, {1}}, "another size"},
    {{"w", NULL, NULL, 5, 0, 1, 1, {5}, {1}}, "another size"},
    {{"w", NULL, NULL, -6, 0, 1, 1, {0}, {1}}, "impossible"},
    {{"w", NULL, NULL, MOST, 0, 1, 1, {6}, {1}}, "another size"},
    {{"w", "DoubleStorage", NULL, 6, 0, 1, 1, {6}, {1}}, "another size"},
    {{"w", "ByteStorage", NULL, 6, 0, 1, 1, {6}, {1}}, "another size"},
    {{"w", NULL, "1", 6, 0, 1, 1, {6}, {1}}, "not in the archive"},
    {{"w", NULL, "../byteorder", 6, 0, 1, 1, {6}, {1}}, "not in the archive"},
    {{"w", NULL, "", 6, 0, 1, 1, {6}, {1}}, "not in the archive"},
    {{"", NULL, NULL, 6, 0, 1, 1, {6}, {1}}, "empty"},
};

/* Tensors may share a tuple of sizes, so that its length counts for each. */
START_TEST(many_dimensions) {
  tensor_text t = sound;
  t.n_sizes = t.n_strides = 64;
  for (int i = 0; i < 65; i++) t.sizes[i] = t.strides[i] = 1;
  write_tensors(&t, 1);
  ASSERT_OK(use_all(path));
  t.n_sizes = t.n_strides = 65;
  write_tensors(&t, 1);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "impossible");
}
END_TEST

START_TEST(bad_tensor) {
  write_tensors(&bad_tensors[_i].tensor, 1);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, bad_tensors[_i].word);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, path);
}
END_TEST

START_TEST(odd_names) {
  char text[400];
  tensor_text t = sound;
  memset(text, 'n', sizeof text - 1);
  text[sizeof text - 1] = 0;
  t.name = text;
  write_tensors(&t, 1);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "overlong");
  t.name = "w", t.key = text;
  write_tensors(&t, 1);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "too long a name");
  const tensor_text twice[] = {sound, sound};
  write_tensors(twice, 2);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "two tensors of one name");
  tensor_text prefixed[] = {sound, sound};
  prefixed[1].name = "module.w";
  write_tensors(prefixed, 2);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "two tensors of one name");
}
END_TEST

/* What else a state dict holds is passed over. */
START_TEST(no_tensors_among_others) {
  builder b = {0};
  mae_weights *w;
  begin_dict(&b);
  put_text(&b, "step");
  put_int(&b, 7);
  put_tensor(&b, &sound);
  put_int(&b, 7);
  put_tensor_value(&b, &sound);
  end_dict(&b);
  const part parts[] = {{"a/data.pkl", b.bytes, b.size, 0},
                        {"a/data/0", six, sizeof six, 0}};
  write_archive(parts, 2);
  ASSERT_OK(mae_weights_open(path, false, &w));
  ck_assert_int_eq(mae_weights_count(w), 1);
  ck_assert_str_eq(mae_weights_at(w, 0)->name, "w");
  mae_weights_close(w);
  free(b.bytes);
}
END_TEST

START_TEST(name_with_nul) {
  builder b = {0};
  begin_dict(&b);
  PUT(&b, "X\3\0\0\0a\0b");
  put_tensor_value(&b, &sound);
  end_dict(&b);
  const part parts[] = {{"a/data.pkl", b.bytes, b.size, 0},
                        {"a/data/0", six, sizeof six, 0}};
  write_archive(parts, 2);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "broken name");
  free(b.bytes);
}
END_TEST

/* As put_tensor_value, with a storage's key of any bytes, and the one size or
 * stride as a text. */
static void write_odd(const char *key, size_t length, bool size, bool stride) {
  builder b = {0};
  begin_dict(&b);
  put_text(&b, "w");
  put_global(&b, "torch._utils", "_rebuild_tensor_v2");
  PUT(&b, "((");
  put_text(&b, "storage");
  put_global(&b, "torch", "FloatStorage");
  const uint32_t count = (uint32_t)length;
  PUT(&b, "X");
  put(&b, &count, 4);
  put(&b, key, length);
  put_text(&b, "cpu");
  put_int(&b, 6);
  PUT(&b, "tQ");
  put_int(&b, 0);
  for (int k = 0; k < 2; k++) {
    PUT(&b, "(");
    if (k ? stride : size)
      put_text(&b, "1");
    else
      put_int(&b, 1);
    PUT(&b, "t");
  }
  PUT(&b, "\x89");
  put_global(&b, "collections", "OrderedDict");
  PUT(&b, ")RtR");
  end_dict(&b);
  const part parts[] = {{"a/data.pkl", b.bytes, b.size, 0},
                        {"a/data/0", six, sizeof six, 0}};
  write_archive(parts, 2);
  free(b.bytes);
}

START_TEST(odd_values) {
  write_odd("0", 1, false, false);
  ASSERT_OK(use_all(path));
  write_odd("0", 1, true, false);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "impossible size or strides");
  write_odd("0", 1, false, true);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "impossible size or strides");
  write_odd("0\0x", 3, false, false); /* which C would take for "0" */
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "not in the archive");
}
END_TEST

/* A thousand views of one storage. */
START_TEST(shared_storage) {
  enum { VIEWS = 1000, ELEMENTS = 100000 };
  float *storage = calloc(ELEMENTS, sizeof *storage);
  for (int n = 2; n <= VIEWS; n += VIEWS - 2) {
    builder b = {0};
    begin_dict(&b);
    for (int i = 0; i < n; i++) {
      char name[16];
      snprintf(name, sizeof name, "w%d", i);
      const tensor_text t = {name, NULL, NULL, ELEMENTS, 0, 1, 1, {ELEMENTS},
                             {1}};
      put_tensor(&b, &t);
    }
    end_dict(&b);
    const part parts[] = {{"a/data.pkl", b.bytes, b.size, 0},
                          {"a/data/0", storage, ELEMENTS * sizeof *storage, 0}};
    write_archive(parts, 2);
    if (n == 2) /* two names for one tensor are common */
      ASSERT_OK(use_all(path));
    else
      ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "more bytes than the file");
    free(b.bytes);
  }
  free(storage);
}
END_TEST

static void write_root(const void *bytes, size_t size) {
  const part parts[] = {{"a/data.pkl", bytes, size, 0},
                        {"a/data/0", six, sizeof six, 0}};
  write_archive(parts, 2);
}

START_TEST(no_state_dict) {
  static const char none[] = "\x80\x02N.", empty[] = "\x80\x02}.";
  static const char text[] = "\x80\x02}X\5\0\0\0modelX\1\0\0\0as.";
  static const char self[] = "\x80\x02}q\0X\5\0\0\0modelh\0s.";
  static const char numbers[] = "\x80\x02}(K\1K\2K\3K\4u.";
  write_root(none, sizeof none - 1);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "no state dict");
  write_root(empty, sizeof empty - 1);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "no state dict");
  write_root(text, sizeof text - 1);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "no state dict");
  write_root(numbers, sizeof numbers - 1);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "no state dict");
  write_root(self, sizeof self - 1);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "holds itself");
}
END_TEST

/* ----------------------------------------------------- hostile archives --- */

START_TEST(zip_bomb) {
  enum { ZEROS = 64 << 20 };
  float *zeros = calloc(1, ZEROS);
  builder b = {0};
  const tensor_text t = {"w", NULL, NULL, ZEROS / 4, 0, 1, 1, {ZEROS / 4}, {1}};
  begin_dict(&b);
  put_tensor(&b, &t);
  end_dict(&b);
  const part storage[] = {{"a/data.pkl", b.bytes, b.size, 0},
                          {"a/data/0", zeros, ZEROS, 1}};
  write_archive(storage, 2);
  struct stat info;
  ck_assert_int_eq(stat(path, &info), 0);
  ck_assert_int_lt(info.st_size, 1 << 20);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "compressed");
  const part pickle[] = {{"a/data.pkl", zeros, ZEROS, 1},
                         {"a/data/0", six, sizeof six, 0}};
  write_archive(pickle, 2);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "compressed");
  const part large[] = {{"a/data.pkl", zeros, (16 << 20) + 1, 0}};
  write_archive(large, 1);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "larger than any");
  free(zeros);
  free(b.bytes);
}
END_TEST

START_TEST(odd_archives) {
  const part none[] = {{"a/other", "x", 1, 0}};
  write_archive(none, 1);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "without a data.pkl");
  const part top[] = {{"data.pkl", "x", 1, 0}};
  write_archive(top, 1);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "without a data.pkl");
  const part two[] = {{"a/data.pkl", "x", 1, 0}, {"b/data.pkl", "x", 1, 0}};
  write_archive(two, 2);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "more than one");
  const part empty[] = {{"a/data.pkl", "", 0, 0}};
  write_archive(empty, 1);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "no pickle");
  const part same[] = {{"a/data.pkl", "x", 1, 0}, {"a/data.pkx", "x", 1, 0}};
  write_archive(same, 2);
  edit("data.pkx", "data.pkl");
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, path);
  spit("PK\3\4", 4);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "zip");
#ifdef MAE_HAVE_JSON /* an archive of nothing has no mark of its kind */
  spit("PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 22);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, path);
#endif
}
END_TEST

START_TEST(big_endian) {
  write_tensors(&sound, 1);
  edit("little", "biggie");
  /* the checksum no longer fits, which is told first */
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "damaged");
  builder b = {0};
  begin_dict(&b);
  put_tensor(&b, &sound);
  end_dict(&b);
  const part parts[] = {{"a/data.pkl", b.bytes, b.size, 0},
                        {"a/byteorder", "big", 3, 0},
                        {"a/data/0", six, sizeof six, 0}};
  write_archive(parts, 3);
  ASSERT_FAILS(use_all(path), MAE_ERROR_UNSUPPORTED, "byte order");
  free(b.bytes);
}
END_TEST

/* A wrong checksum of a storage comes out when it is read. */
START_TEST(damaged_storage) {
  write_tensors(&sound, 1);
  unsigned char *bytes, *at;
  size_t n = slurp(path, &bytes);
  at = memmem(bytes, n, six, sizeof six);
  ck_assert_ptr_nonnull(at);
  at[5] ^= 1;
  spit(bytes, n);
  free(bytes);
  float values[6];
  mae_weights *w;
  ASSERT_OK(mae_weights_open(path, false, &w));
  ASSERT_FAILS(mae_weights_read(w, mae_weights_at(w, 0), values),
               MAE_ERROR_FORMAT, "damaged");
  mae_weights_close(w);
}
END_TEST

/* The central directory says where each entry lies: let one say that it lies
 * on another, beyond the file, or has another size. */
START_TEST(lying_directory) {
  write_tensors(&sound, 1);
  unsigned char *bytes;
  size_t n = slurp(path, &bytes);
  unsigned char *last = memmem(bytes, n, "PK\1\2", 4);
  for (unsigned char *at = last; at;
       at = memmem(at + 1, n - (size_t)(at + 1 - bytes), "PK\1\2", 4))
    last = at; /* of a/data/0 */
  static const struct {
    int field;
    uint32_t value;
  } lies[] = {{42, 0},         {42, 0xfffffff0}, {42, 1},
              {24, 0xfffffff}, {20, 0xfffffff},  {24, 12},
              {20, 12},        {28, 0xffff},     {10, 8}};
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    unsigned char was[4];
    const size_t width = lies[i].field == 28 || lies[i].field == 10 ? 2 : 4;
    memcpy(was, last + lies[i].field, width);
    memcpy(last + lies[i].field, &lies[i].value, width);
    spit(bytes, n);
    ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, path);
    memcpy(last + lies[i].field, was, width);
  }
  /* and the end record: how many entries, how large, where */
  unsigned char *end = memmem(bytes, n, "PK\5\6", 4);
  ck_assert_ptr_nonnull(end);
  for (int field = 8; field < 20; field += 2) {
    unsigned char was[2];
    memcpy(was, end + field, 2);
    memset(end + field, 0xff, 2);
    spit(bytes, n);
    ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, path);
    memcpy(end + field, was, 2);
  }
  free(bytes);
}
END_TEST

/* The file shrinks between the look at its directory and the reading. */
START_TEST(truncated_while_open) {
  enum { VALUES = 1 << 16 };
  static const char *const storages[] = {"FloatStorage", "HalfStorage"};
  float *values = calloc(VALUES, sizeof *values);
  for (int k = 0; k < 4; k++) {
    const size_t bytes = VALUES * (k % 2 ? sizeof(uint16_t) : sizeof(float));
    const tensor_text t = {"w", storages[k % 2], NULL, VALUES, 0,
                           1,   1,               {VALUES}, {1}};
    builder b = {0};
    mae_weights *w;
    begin_dict(&b);
    put_tensor(&b, &t);
    end_dict(&b);
    const part parts[] = {{"a/data.pkl", b.bytes, b.size, 0},
                          {"a/far", values, VALUES, 0}, /* from the cache */
                          {"a/data/0", values, bytes, 0}};
    write_archive(parts, 3);
    free(b.bytes);
    ASSERT_OK(mae_weights_open(path, false, &w));
    /* within the storage, or before it begins */
    ck_assert_int_eq(truncate(path, k < 2 ? VALUES + 9999 : 10), 0);
    ASSERT_FAILS(mae_weights_read(w, mae_weights_at(w, 0), values),
                 MAE_ERROR_FORMAT, path);
    mae_weights_close(w);
  }
  free(values);
}
END_TEST

START_TEST(old_formats) {
  ASSERT_FAILS(use_all("tests/data/import/old.pth"), MAE_ERROR_FORMAT,
               "before torch 1.6");
#ifdef MAE_HAVE_JSON /* it might be a safetensors file */
  spit("\x80\4\x95\3\0\0\0\0\0\0\0N.", 13);
  ASSERT_FAILS(use_all(path), MAE_ERROR_FORMAT, "bare pickle");
#endif
  ASSERT_FAILS(use_all("tests/data/import/namespace.pth"), MAE_ERROR_FORMAT,
               "argparse.Namespace is not part of a tensor state dict");
}
END_TEST

START_TEST(not_a_file) {
  mae_torch_file *file = NULL;
  ASSERT_FAILS(mae_torch_open("/nowhere/at/all", &file), MAE_ERROR_NOT_FOUND,
               "/nowhere");
  ASSERT_FAILS(mae_torch_open("/dev/zero", &file), MAE_ERROR_IO,
               "regular file");
  ASSERT_FAILS(mae_torch_open("/tmp", &file), MAE_ERROR_IO, "regular file");
  ck_assert_ptr_null(file);
}
END_TEST

/* -------------------------------------------------------------- damage --- */

START_TEST(truncated_anywhere) {
  unsigned char *bytes;
  size_t n = slurp(views, &bytes);
  for (size_t cut = 4; cut < n; cut++) { /* less has no mark of its kind */
    spit(bytes, cut);
    ck_assert_int_eq(use_all(path), MAE_ERROR_FORMAT);
  }
  free(bytes);
}
END_TEST

/* Some eighth of all bits at a time; together the eight runs flip each. */
START_TEST(any_bit_flipped) {
  unsigned char *bytes;
  size_t n = slurp(views, &bytes);
  spit(bytes, n);
  int fd = open(path, O_WRONLY);
  ck_assert_int_ge(fd, 0);
  for (size_t at = 0; at < n; at++) {
    const unsigned char byte = bytes[at] ^ (unsigned char)(1 << _i);
    ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
    mae_status status = use_all(path);
    ck_assert_msg(status == MAE_OK || status == MAE_ERROR_FORMAT ||
                      status == MAE_ERROR_UNSUPPORTED,
                  "bit %d of byte %zu: %s", _i, at, mae_last_error());
    ck_assert_int_eq(pwrite(fd, &bytes[at], 1, (off_t)at), 1);
  }
  close(fd);
  free(bytes);
}
END_TEST

/* -------------------------------------------------------------- memory --- */

static size_t pages_now(void) {
  size_t pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file && fscanf(file, "%zu", &pages) != 1) pages = 0;
  if (file) fclose(file);
  return pages;
}

/* Opening the file at path in a process that may take so much more memory
 * must end with a refusal of the file, not for want of memory. */
static void assert_refused_within(size_t bytes) {
  const size_t pages = pages_now();
  if (count_alloc_calls() < 0 || !pages) return; /* a sanitizer, valgrind */
  pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (child == 0) {
    const rlim_t most = pages * (size_t)sysconf(_SC_PAGESIZE) + bytes;
    const struct rlimit limit = {most, most};
    mae_weights *w;
    if (setrlimit(RLIMIT_AS, &limit)) _exit(2);
    _exit(mae_weights_open(path, false, &w) == MAE_ERROR_FORMAT ? 0 : 1);
  }
  int outcome = 0;
  ck_assert_int_eq(waitpid(child, &outcome, 0), child);
  ck_assert_int_eq(outcome, 0);
}

static void write_repeated(const char *begin, size_t size, const char *more,
                           size_t more_size, size_t times) {
  builder b = {0};
  put(&b, begin, size);
  for (size_t i = 0; i < times; i++) put(&b, more, more_size);
  write_root(b.bytes, b.size);
  free(b.bytes);
}

#define REPEATED(begin, more, times) \
  write_repeated(begin, sizeof(begin) - 1, more, sizeof(more) - 1, times)

/* The largest pickles that are looked at, of what takes the most memory. */
START_TEST(bounded_memory) {
  enum { LIMIT = 160 << 20, ALL = 15 << 20 };
  REPEATED("\x80\2", "]", ALL);
  assert_refused_within(LIMIT);
  REPEATED("\x80\2", "}", ALL);
  assert_refused_within(LIMIT);
  REPEATED("\x80\2", "(", ALL);
  assert_refused_within(LIMIT);
  REPEATED("\x80\2Nq\0", "h\0", ALL / 2);
  assert_refused_within(LIMIT);
  REPEATED("\x80\2]q\0", "h\0h\0a", ALL / 5);
  assert_refused_within(LIMIT);
  REPEATED("\x80\2", "N\x85", ALL / 2);
  assert_refused_within(LIMIT);
  REPEATED("\x80\2", "N\x94", ALL / 2);
  assert_refused_within(LIMIT);
  REPEATED("\x80\2N", "r\xff\xff\x0f\0", ALL / 5);
  assert_refused_within(LIMIT);
}
END_TEST

/* End records that announce more entries than any file has. */
START_TEST(bounded_archive) {
  static const unsigned char end64[] =
      "PK\3\4PK\6\6\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0"
      "\xff\xff\xff\xff\xff\xff\0\0\xff\xff\xff\xff\xff\xff\0\0"
      "\xff\xff\xff\xff\xff\0\0\0\4\0\0\0\0\0\0\0"
      "PK\6\7\0\0\0\0\4\0\0\0\0\0\0\0\1\0\0\0"
      "PK\5\6\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
      "\0";
  spit(end64, sizeof end64 - 1 + 1);
  ck_assert_int_eq(use_all(path), MAE_ERROR_FORMAT);
  assert_refused_within(64 << 20);
}
END_TEST

static void add_tests(TCase *tests) {
#ifdef MAE_HAVE_JSON /* in which the expected values are */
  tcase_add_test(tests, strided_views);
#endif
  tcase_add_test(tests, sound_archive);
  tcase_add_test(tests, halves);
  tcase_add_loop_test(tests, bad_tensor, 0,
                      sizeof bad_tensors / sizeof *bad_tensors);
  tcase_add_test(tests, many_dimensions);
  tcase_add_test(tests, odd_names);
  tcase_add_test(tests, no_tensors_among_others);
  tcase_add_test(tests, name_with_nul);
  tcase_add_test(tests, odd_values);
  tcase_add_test(tests, shared_storage);
  tcase_add_test(tests, no_state_dict);
  tcase_add_test(tests, zip_bomb);
  tcase_add_test(tests, odd_archives);
  tcase_add_test(tests, big_endian);
  tcase_add_test(tests, damaged_storage);
  tcase_add_test(tests, lying_directory);
  tcase_add_test(tests, truncated_while_open);
  tcase_add_test(tests, old_formats);
  tcase_add_test(tests, not_a_file);
  tcase_add_test(tests, truncated_anywhere);
  tcase_add_loop_test(tests, any_bit_flipped, 0, 8);
  tcase_add_test(tests, bounded_memory);
  tcase_add_test(tests, bounded_archive);
}

#else

#include "io/torch_file.h"

START_TEST(left_out) {
  mae_torch_file *file;
  ASSERT_FAILS(mae_torch_open("x", &file), MAE_ERROR_UNSUPPORTED,
               "built without");
}
END_TEST

static void make_path(void) {}
static void drop_path(void) {}
static void add_tests(TCase *tests) { tcase_add_test(tests, left_out); }

#endif

Suite *torch_file_suite(void) {
  Suite *suite = suite_create("torch_file");
  TCase *tests = tcase_create("torch_file");
  tcase_set_timeout(tests, 300);
  tcase_add_checked_fixture(tests, make_path, drop_path);
  add_tests(tests);
  suite_add_tcase(suite, tests);
  return suite;
}
