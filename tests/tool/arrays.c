/* .npy and .safetensors files, read with care. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helper.h"

/* An array file: where its values begin, and their type. */
typedef struct array {
  char *bytes;
  size_t size, begin;
  int half;
} array;

static uint64_t little(const char *bytes, int n) {
  uint64_t value = 0;
  for (int i = n - 1; i >= 0; i--) value = value << 8 | (unsigned char)bytes[i];
  return value;
}

/* Values in "(3, 4)" or "[3, 4]". */
static size_t product(const char *shape) {
  size_t n = 1;
  for (const char *c = shape + 1; *c && *c != ')' && *c != ']';) {
    char *end;
    n *= strtoul(c, &end, 10);
    c = end + strspn(end, ", ");
  }
  return n;
}

void check_npy(int n, char **arguments) {
  size_t size;
  char *b = read_file(arguments[0], &size), expected[256];
  const char *type = arguments[1], *shape = arguments[2];
  (void)n;
  if (size < 10 || memcmp(b, "\x93NUMPY\x01\x00", 8)) die("not a .npy 1.0");
  size_t length = little(b + 8, 2);
  if ((10 + length) % 64 || 10 + length > size || b[9 + length] != '\n')
    die("a header of %zu bytes", length);
  snprintf(expected, sizeof expected,
           "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", type,
           shape);
  size_t text = strlen(expected);
  if (strncmp(b + 10, expected, text))
    die("%.*s instead of %s", (int)length, b + 10, expected);
  if (10 + text + strspn(b + 10 + text, " ") != 9 + length)
    die("more than spaces after the dictionary");
  if (size != 10 + length + product(shape) * (type[2] == '2' ? 2 : 4))
    die("%zu bytes do not fit %s", size, shape);
  free(b);
}

static json_t *read_header(const char *path, size_t *begin, size_t *size) {
  char *b = read_file(path, size);
  uint64_t length = *size > 8 ? little(b, 8) : 0;
  if (length < 2 || length > *size - 8 || length % 8 || b[8] != '{')
    die("%s: a header of %llu bytes", path, (unsigned long long)length);
  json_t *header = json_loadb(b + 8, length, JSON_REJECT_DUPLICATES, NULL);
  if (!header) die("%s: the header is no JSON", path);
  *begin = 8 + (size_t)length;
  free(b);
  return header;
}

static void check_files(json_t *header, int n, char **paths) {
  json_t *metadata = json_object_get(header, "__metadata__");
  const char *text = json_string_value(json_object_get(metadata, "files"));
  json_t *list = text ? json_loads(text, 0, NULL) : NULL;
  if (!list || json_array_size(list) != (size_t)n)
    die("files is not a list of %d", n);
  for (int i = 0; i < n; i++)
    if (strcmp(json_string_value(json_array_get(list, (size_t)i)), paths[i]))
      die("row %d is %s, not %s", i,
          json_string_value(json_array_get(list, (size_t)i)), paths[i]);
  json_decref(list);
}

void check_tensors(int n, char **arguments) {
  size_t begin, size;
  json_t *header = read_header(arguments[0], &begin, &size);
  json_t *tensor = json_object_get(header, "features");
  const char *type = json_string_value(json_object_get(tensor, "dtype"));
  json_t *offsets = json_object_get(tensor, "data_offsets");
  char *shape = json_dumps(json_object_get(tensor, "shape"), 0);
  if (!type || strcmp(type, arguments[1])) die("dtype %s", type ? type : "-");
  if (!shape || strcmp(shape, arguments[2])) die("shape %s", shape);
  size_t bytes = product(arguments[2]) * (strcmp(type, "F16") ? 4 : 2);
  if (json_object_size(header) != 2 || size != begin + bytes ||
      json_integer_value(json_array_get(offsets, 0)) != 0 ||
      json_integer_value(json_array_get(offsets, 1)) != (json_int_t)bytes)
    die("the data do not fit the shape");
  check_files(header, n - 3, arguments + 3);
  free(shape);
  json_decref(header);
}

static array open_array(const char *path) {
  array a = {0};
  a.bytes = read_file(path, &a.size);
  if (a.size > 10 && !memcmp(a.bytes, "\x93NUMPY", 6)) {
    a.begin = 10 + little(a.bytes + 8, 2);
    a.half = strstr(a.bytes + 10, "<f2") != NULL;
  } else if (strstr(path, ".safetensors")) {
    a.begin = 8 + little(a.bytes, 8);
    a.half = strstr(a.bytes + 8, "\"F16\"") != NULL;
  }
  return a;
}

static float from_half(uint64_t bits) {
  int exponent = bits >> 10 & 31, fraction = bits & 1023;
  float value = exponent == 31 ? (fraction ? NAN : INFINITY)
                : exponent     ? ldexpf(1024 + (float)fraction, exponent - 25)
                               : ldexpf((float)fraction, -24);
  return bits >> 15 ? -value : value;
}

static float value_at(const array *a, size_t i) {
  float value;
  if (a->half) return from_half(little(a->bytes + a->begin + 2 * i, 2));
  memcpy(&value, a->bytes + a->begin + 4 * i, sizeof value);
  return value;
}

void check_same(int n, char **arguments) {
  array got = open_array(arguments[0]), want = open_array(arguments[1]);
  size_t count = want.size / 4, each = got.half ? 2 : 4;
  double most = 0, scale = 0;
  (void)n;
  if (!count || got.size - got.begin != count * each)
    die("%zu bytes are not %zu values", got.size - got.begin, count);
  for (size_t i = 0; i < count; i++) {
    double w = value_at(&want, i), d = fabs(value_at(&got, i) - w);
    if (!(d <= most)) most = d; /* NaN stays */
    if (fabs(w) > scale) scale = fabs(w);
  }
  if (!(scale > 0) || !(most <= (got.half ? 1e-3 : 1e-5) * scale))
    die("values differ by %g of %g", most, scale);
  free(got.bytes);
  free(want.bytes);
}

void print_text(int n, char **arguments) {
  array a = open_array(arguments[0]);
  (void)n;
  for (size_t i = 0; i < a.size / 4; i++)
    printf("%.9g\n", (double)value_at(&a, i));
  free(a.bytes);
}
