/* The header of a .npy file, version 1.0. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/rows.h"

/* A multiple of 64, as the format asks, with room for any shape. */
enum { HEADER_BYTES = 256 };

/* "(12, 3, 4)"; one number alone is "(12,)". */
static int write_shape(char *out, size_t size, const rows_layout *layout,
                       int64_t count) {
  int at = snprintf(out, size, "(%lld,", (long long)count);
  for (int32_t i = 0; i < layout->ndim; i++)
    at += snprintf(out + at, size - (size_t)at, "%s%lld", i ? ", " : " ",
                   (long long)layout->shape[i]);
  return at + snprintf(out + at, size - (size_t)at, ")");
}

char *npy_header(const rows_layout *layout, int64_t count, size_t *size) {
  static const char magic[8] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0};
  const int rest = HEADER_BYTES - 10; /* after magic and this number */
  char shape[(ROW_MAX_DIMS + 1) * 22 + 3];
  char *header = malloc(HEADER_BYTES);
  if (!header) return NULL;
  write_shape(shape, sizeof shape, layout, count);
  memcpy(header, magic, sizeof magic);
  header[8] = (char)(rest & 0xff);
  header[9] = (char)(rest >> 8);
  int length =
      snprintf(header + 10, (size_t)rest,
               "{'descr': '<f%d', 'fortran_order': False, 'shape': %s, }",
               layout->dtype == MAE_DTYPE_F16 ? 2 : 4, shape);
  /* The format wants spaces up to a last line break. */
  memset(header + 10 + length, ' ', (size_t)(rest - length));
  header[HEADER_BYTES - 1] = '\n';
  *size = HEADER_BYTES;
  return header;
}
