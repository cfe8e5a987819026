#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

void *mae_calloc(size_t count, size_t size) {
  size_t bytes;
  if (!__builtin_mul_overflow(count, size, &bytes) &&
      bytes <= SIZE_MAX - MAE_ALIGNMENT) {
    bytes = mae_align(bytes ? bytes : 1);
    void *p = aligned_alloc(MAE_ALIGNMENT, bytes);
    if (p) return memset(p, 0, bytes);
  }
  mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for %zu x %zu bytes", count,
           size);
  return NULL;
}

void *mae_realloc(void *old, size_t count, size_t size) {
  size_t bytes;
  void *p = NULL;
  if (!__builtin_mul_overflow(count, size, &bytes))
    p = realloc(old, bytes ? bytes : 1);
  if (!p)
    mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for %zu x %zu bytes", count,
             size);
  return p;
}
