#include "tool/parse.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The largest side of an image or a grid that makes sense to ask for. */
enum { MOST_SIDE = 1 << 20 };

/* strtoll skips spaces before a number; a command line should have none. */
static bool number_begins(const char *text) {
  return *text && !isspace((unsigned char)*text);
}

/* A number that ends at *end. */
static bool take_int(const char *text, int64_t least, int64_t most,
                     int32_t *out, char **end) {
  if (!number_begins(text)) return false;
  errno = 0;
  long long value = strtoll(text, end, 10);
  if (*end == text || errno || value < least || value > most) return false;
  *out = (int32_t)value;
  return true;
}

static bool take_real(const char *text, double least, double most, double *out,
                      char **end) {
  if (!number_begins(text)) return false;
  errno = 0;
  double value = strtod(text, end);
  if (*end == text || errno || !(value >= least && value <= most)) return false;
  *out = value;
  return true;
}

bool parse_int(const char *text, int64_t least, int64_t most, int32_t *out) {
  int32_t value;
  char *end;
  if (!take_int(text, least, most, &value, &end) || *end) return false;
  *out = value;
  return true;
}

bool parse_seed(const char *text, uint64_t *out) {
  char *end;
  if (!isdigit((unsigned char)*text)) return false;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  if (*end || errno) return false;
  *out = value;
  return true;
}

bool parse_real(const char *text, double least, double most, double *out) {
  double value;
  char *end;
  if (!take_real(text, least, most, &value, &end) || *end) return false;
  *out = value;
  return true;
}

bool parse_size(const char *text, int32_t *height, int32_t *width) {
  int32_t h, w;
  char *end;
  if (!take_int(text, 1, MOST_SIDE, &h, &end)) return false;
  w = h;
  if (*end && (*end != 'x' || !parse_int(end + 1, 1, MOST_SIDE, &w)))
    return false;
  *height = h;
  *width = w;
  return true;
}

bool parse_ints(const char *text, int32_t most, int32_t *out, int32_t *count) {
  for (int32_t n = 0; n < most; n++) {
    char *end;
    if (!take_int(text, INT32_MIN, INT32_MAX, &out[n], &end)) return false;
    *count = n + 1;
    if (!*end) return true;
    if (*end != ',') return false;
    text = end + 1;
  }
  return false;
}

bool parse_reals(const char *text, int32_t most, float *out, int32_t *count) {
  for (int32_t n = 0; n < most; n++) {
    char *end;
    double value;
    if (!take_real(text, -1e6, 1e6, &value, &end)) return false;
    out[n] = (float)value;
    *count = n + 1;
    if (!*end) return true;
    if (*end != ',') return false;
    text = end + 1;
  }
  return false;
}
