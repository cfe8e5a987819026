/* Headers of the tool's .npy and .safetensors files.  Nothing here reads .npy,
 * so the header is held against what the format says of it. */
#include <string.h>

#include "common/input.h"
#include "io/safetensors.h"
#include "tool/rows.h"

enum { MOST_NAMES = 64, DATA = 1 << 16 };

typedef struct bytes {
  const uint8_t *at;
  size_t left;
} bytes;

static uint64_t take(bytes *b, int n) {
  uint64_t number = 0;
  for (; n > 0 && b->left; n--, b->left--) number = number << 8 | *b->at++;
  return number;
}

/* "'shape': (N, N, )": each number in turn. */
static void check_shape(const char *text, const rows_layout *layout,
                        int64_t count) {
  char *at = strstr(text, "'shape': (");
  REQUIRE(at);
  at += strlen("'shape': (");
  for (int32_t i = -1; i < layout->ndim; i++) {
    REQUIRE(strtoll(at, &at, 10) == (i < 0 ? count : layout->shape[i]));
    at += strspn(at, ", ");
  }
  REQUIRE(!strcmp(at, "), }"));
}

static void check_npy(const rows_layout *layout, int64_t count) {
  size_t size = 0;
  char *h = npy_header(layout, count, &size), text[300];
  REQUIRE(h && size >= 10 && size % 64 == 0 && size < sizeof text);
  REQUIRE(!memcmp(h, "\x93NUMPY\1\0", 8));
  REQUIRE((size_t)(uint8_t)h[8] + 256 * (size_t)(uint8_t)h[9] == size - 10);
  REQUIRE(h[size - 1] == '\n' && !memchr(h, '\0', 7));
  memcpy(text, h + 10, size - 10);
  text[size - 11] = '\0';
  free(h);
  text[strcspn(text, "}") + 1] = '\0';
  REQUIRE(strstr(text, layout->dtype == MAE_DTYPE_F16 ? "'<f2'" : "'<f4'"));
  check_shape(text, layout, count);
}

/* The header with as many bytes after it as it says must be a sound file. */
static void check_file(const char *header, size_t size, int64_t data) {
  char *whole = calloc(1, size + (size_t)data);
  mae_safetensors *file = NULL;
  REQUIRE(whole);
  memcpy(whole, header, size);
  const char *path = input_file("rows.safetensors", whole, size + (size_t)data);
  free(whole);
  REQUIRE(mae_safetensors_open(path, &file) == MAE_OK);
  REQUIRE(mae_safetensors_count(file) == 1);
  REQUIRE(mae_safetensors_metadata(file, "files"));
  mae_safetensors_close(file);
}

static void check_tensor(const rows_layout *layout, const char *const *names,
                         size_t n) {
  size_t size = 0;
  char *header = NULL;
  const int64_t data = (int64_t)n * row_bytes(layout);
  if (data > DATA) return;
  REQUIRE(tensor_header_room(layout, names, n, &size) == MAE_OK);
  REQUIRE(tensor_header(layout, names, n, size, &header) == MAE_OK);
  check_file(header, size, data);
  free(header);
}

/* Texts that end with zero bytes. */
static size_t take_names(char *text, size_t size, const char **names) {
  size_t n = 0;
  for (char *at = text; at < text + size && n < MOST_NAMES;
       at += strlen(at) + 1)
    names[n++] = at;
  return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  bytes b = {data, size};
  rows_layout layout = {.dtype = (mae_dtype)(take(&b, 1) & 1),
                        .ndim = (int32_t)(take(&b, 1) % (ROW_MAX_DIMS + 1))};
  const int64_t count = (int64_t)(take(&b, 8) >> 1);
  for (int32_t i = 0; i < layout.ndim; i++)
    layout.shape[i] = (int64_t)(take(&b, 8) >> 1);
  check_npy(&layout, count);
  for (int32_t i = 0; i < layout.ndim; i++) layout.shape[i] %= 16;
  const char *names[MOST_NAMES];
  char *text = malloc(b.left + 1);
  REQUIRE(text);
  if (b.left) memcpy(text, b.at, b.left);
  text[b.left] = '\0';
  check_tensor(&layout, names, take_names(text, b.left, names));
  free(text);
  return 0;
}
