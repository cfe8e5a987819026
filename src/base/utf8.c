#include "base/utf8.h"

#include <stddef.h>
#include <stdint.h>

/* Bytes of a character that begins so; 0: none does. */
static int length_of(unsigned char first) {
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first < 0xe0) return 2;
  if (first >= 0xe0 && first < 0xf0) return 3;
  return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

/* The character at p and its length; the text's end is no part of one. */
static int decode(const unsigned char *p, uint32_t *character) {
  const int length = length_of(*p);
  uint32_t c = length > 1 ? *p & (0xffu >> (length + 1)) : *p;
  for (int i = 1; i < length; i++) {
    if (p[i] >> 6 != 2) return 0;
    c = c << 6 | (p[i] & 0x3f);
  }
  *character = c;
  return length;
}

static bool is_printed(uint32_t c, int length) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (c < least[length] || c > 0x10ffff) return false; /* spelt too long */
  if (c >= 0xd800 && c < 0xe000) return false;         /* half a pair */
  return c >= 0x20 && !(c >= 0x7f && c < 0xa0);
}

bool mae_is_line(const char *text) {
  const unsigned char *p = (const unsigned char *)text;
  while (*p) {
    uint32_t character = 0;
    const int length = decode(p, &character);
    if (!length || !is_printed(character, length)) return false;
    p += length;
  }
  return true;
}
