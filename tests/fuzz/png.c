#include <zlib.h>

#include "common/input.h"
#include "common/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  picture_use("\x89PNG\r\n\x1a\n", 8, data, size);
  return 0;
}

static void write_big(uint8_t *at, uint32_t number) {
  for (int i = 0; i < 4; i++) at[i] = (uint8_t)(number >> (24 - 8 * i));
}

/* Each chunk's checksum, as far as chunks go. */
static void mend(uint8_t *data, size_t size) {
  for (size_t at = 8; at + 12 <= size;) {
    const uint8_t *n = data + at;
    const size_t length =
        (size_t)n[0] << 24 | (size_t)n[1] << 16 | (size_t)n[2] << 8 | n[3];
    if (length > size - at - 12) return;
    write_big(data + at + 8 + length,
              (uint32_t)crc32(0, data + at + 4, (uInt)length + 4));
    at += 12 + length;
  }
}

/* One in eight stays broken. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most,
                               unsigned seed) {
  size = LLVMFuzzerMutate(data, size, most);
  if (seed % 8) mend(data, size);
  return size;
}
