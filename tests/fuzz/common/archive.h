/* A zip archive as torch.save writes it, entries stored plain. */
#ifndef FUZZ_COMMON_ARCHIVE_H
#define FUZZ_COMMON_ARCHIVE_H

#include <stddef.h>
#include <stdint.h>

typedef struct archive_entry_text {
  const char *name;
  const void *bytes;
  size_t size;
} archive_entry_text;

/* For free(); *size gets its bytes. */
uint8_t *archive_make(const archive_entry_text *entries, int n, size_t *size);

/* The state dict's pickle beside what it may name: "data/0", 2048 floats, and
 * "data/1", 1024 bytes. */
uint8_t *archive_of_pickle(const void *pickle, size_t n, size_t *size);
enum { ARCHIVE_FLOATS = 2048, ARCHIVE_BYTES = 1024 };

#endif
