#include "common/archive.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/input.h"

typedef struct buffer {
  uint8_t *bytes;
  size_t size;
} buffer;

static void put(buffer *b, uint64_t number, int bytes) {
  for (int i = 0; i < bytes; i++)
    b->bytes[b->size++] = (uint8_t)(number >> 8 * i);
}

static void put_bytes(buffer *b, const void *bytes, size_t n) {
  if (n) memcpy(b->bytes + b->size, bytes, n);
  b->size += n;
}

/* What the local header and the directory have alike. */
static void put_entry(buffer *b, const archive_entry_text *e) {
  put(b, 20, 2);         /* version */
  put(b, 0, 2 + 2);      /* flags; stored */
  put(b, 0x21 << 16, 4); /* the first of January 1980 */
  put(b, crc32(0, e->bytes, (uInt)e->size), 4);
  put(b, e->size, 4);
  put(b, e->size, 4);
  put(b, strlen(e->name), 2);
  put(b, 0, 2); /* of extra fields */
}

static void put_local(buffer *b, const archive_entry_text *e) {
  put(b, 0x04034b50, 4);
  put_entry(b, e);
  put_bytes(b, e->name, strlen(e->name));
  put_bytes(b, e->bytes, e->size);
}

static void put_central(buffer *b, const archive_entry_text *e, size_t local) {
  put(b, 0x02014b50, 4);
  put(b, 20, 2);
  put_entry(b, e);
  put(b, 0, 2 + 2 + 2); /* comment, disk, attributes */
  put(b, 0, 4);
  put(b, local, 4);
  put_bytes(b, e->name, strlen(e->name));
}

uint8_t *archive_make(const archive_entry_text *entries, int n, size_t *size) {
  size_t room = 64, local[8];
  REQUIRE(n <= 8);
  for (int i = 0; i < n; i++)
    room += 128 + 2 * strlen(entries[i].name) + entries[i].size;
  buffer b = {malloc(room), 0};
  REQUIRE(b.bytes);
  for (int i = 0; i < n; i++) {
    local[i] = b.size;
    put_local(&b, &entries[i]);
  }
  const size_t directory = b.size;
  for (int i = 0; i < n; i++) put_central(&b, &entries[i], local[i]);
  const size_t end = b.size;
  put(&b, 0x06054b50, 4);
  put(&b, 0, 4); /* disks */
  put(&b, (uint64_t)n, 2);
  put(&b, (uint64_t)n, 2);
  put(&b, end - directory, 4);
  put(&b, directory, 4);
  put(&b, 0, 2);
  *size = b.size;
  return b.bytes;
}

uint8_t *archive_of_pickle(const void *pickle, size_t n, size_t *size) {
  static const float floats[ARCHIVE_FLOATS];
  static const char bytes[ARCHIVE_BYTES];
  const archive_entry_text entries[] = {{"a/data.pkl", pickle, n},
                                        {"a/byteorder", "little", 6},
                                        {"a/data/0", floats, sizeof floats},
                                        {"a/data/1", bytes, sizeof bytes}};
  return archive_make(entries, 4, size);
}
