#include "tool/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for so much more and a zero byte. */
static bool make_room(text *t, size_t more) {
  if (t->failed) return false;
  if (t->room - t->size > more) return true;
  size_t room = 2 * t->room + more + 64;
  char *bytes = realloc(t->bytes, room);
  t->failed = !bytes;
  if (!bytes) return false;
  t->bytes = bytes;
  t->room = room;
  return true;
}

void text_add_bytes(text *t, const void *bytes, size_t size) {
  if (!make_room(t, size)) return;
  memcpy(t->bytes + t->size, bytes, size);
  t->size += size;
  t->bytes[t->size] = '\0';
}

void text_add(text *t, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, format, args);
  if (n < 0)
    t->failed = true;
  else if (make_room(t, (size_t)n))
    t->size += (size_t)vsnprintf(t->bytes + t->size, (size_t)n + 1, format,
                                 again);
  va_end(again);
  va_end(args);
}

/* Bytes of the UTF-8 character at p, 0 when there is none. */
static size_t utf8_length(const unsigned char *p) {
  size_t n = p[0] < 0x80   ? 1
             : p[0] < 0xc2 ? 0
             : p[0] < 0xe0 ? 2
             : p[0] < 0xf0 ? 3
             : p[0] < 0xf5 ? 4
                           : 0;
  for (size_t i = 1; i < n; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  if (n == 3 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)))
    return 0;
  if (n == 4 && ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)))
    return 0;
  return n;
}

void text_add_html(text *t, const char *plain) {
  const unsigned char *p = (const unsigned char *)plain;
  while (*p) {
    size_t n = utf8_length(p);
    switch (*p) {
      case '&': text_add(t, "&amp;"); break;
      case '<': text_add(t, "&lt;"); break;
      case '>': text_add(t, "&gt;"); break;
      case '"': text_add(t, "&quot;"); break;
      default:
        if (n && (*p >= ' ' || *p == '\t'))
          text_add_bytes(t, p, n);
        else
          text_add(t, "?");
    }
    p += n ? n : 1;
  }
}

void text_add_json(text *t, const char *plain) {
  const unsigned char *p = (const unsigned char *)plain;
  text_add(t, "\"");
  while (*p) {
    size_t n = utf8_length(p);
    if (!n)
      text_add(t, "?");
    else if (*p == '"' || *p == '\\')
      text_add(t, "\\%c", *p);
    else if (*p < ' ')
      text_add(t, "\\u%04x", *p);
    else
      text_add_bytes(t, p, n);
    p += n ? n : 1;
  }
  text_add(t, "\"");
}

void text_add_base64(text *t, const void *bytes, size_t size) {
  static const char digits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const uint8_t *p = bytes;
  if (!make_room(t, (size + 2) / 3 * 4)) return;
  for (size_t i = 0; i < size; i += 3) {
    size_t left = size - i;
    uint32_t v = (uint32_t)p[i] << 16;
    if (left > 1) v |= (uint32_t)p[i + 1] << 8;
    if (left > 2) v |= p[i + 2];
    char four[4] = {digits[v >> 18], digits[v >> 12 & 63],
                    left > 1 ? digits[v >> 6 & 63] : '=',
                    left > 2 ? digits[v & 63] : '='};
    text_add_bytes(t, four, 4);
  }
}

void text_drop(text *t, size_t size) {
  if (!size) return;
  t->size -= size;
  memmove(t->bytes, t->bytes + size, t->size + 1);
}

void text_free(text *t) {
  free(t->bytes);
  *t = (text){NULL, 0, 0, false};
}
