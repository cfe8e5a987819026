#include "common/header.h"

#include <string.h>

/* Bytes of the JSON object at the begin of a text; 0: it has no end. */
static uint64_t object_size(const uint8_t *text, size_t size) {
  int64_t depth = 0;
  int quoted = 0;
  for (size_t i = 0; i < size; i++) {
    if (text[i] == '"') quoted = !quoted;
    if (quoted && text[i] == '\\') i++;
    if (quoted) continue;
    depth += text[i] == '{';
    depth -= text[i] == '}';
    if (!depth) return i + 1;
  }
  return 0;
}

void header_mend(uint8_t *data, size_t size) {
  if (size < 10 || data[8] != '{') return;
  uint64_t n = object_size(data + 8, size - 8);
  if (!n) return;
  while (8 + n < size && data[8 + n] == ' ') n++; /* up to aligned data */
  memcpy(data, &n, sizeof n);
}
