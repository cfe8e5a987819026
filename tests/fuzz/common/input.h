/* What the fuzz targets share: their entry point, and inputs as files. */
#ifndef FUZZ_COMMON_INPUT_H
#define FUZZ_COMMON_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* What libFuzzer calls; it is told of a failure by abort(). */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* libFuzzer's own mutations, for mutators that then mend checksums: without
 * that hardly any input would get past them. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most,
                               unsigned seed);

/* What must hold whatever the input is. */
#define REQUIRE(condition)                                                    \
  do {                                                                        \
    if (!(condition)) {                                                       \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                                \
    }                                                                         \
  } while (0)

/* These bytes as a file of this name in input_folder(), without touching the
 * disk; the path, which stays valid.  A second call replaces the bytes. */
const char *input_file(const char *name, const void *data, size_t size);
/* A folder of this process's own, below $TMPDIR, gone at exit. */
const char *input_folder(void);

#endif
