#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Products walk across rows in memory, each of which may be an ordinary page
 * of its own.  So the system is asked for larger ones, as far as whole ones
 * fit; it may refuse. */
static void ask_for_huge_pages(void *p, size_t bytes) {
#ifdef MADV_HUGEPAGE
  const size_t huge = (size_t)2 << 20;
  const size_t before = (huge - (uintptr_t)p % huge) % huge;
  if (bytes >= before + huge)
    madvise((char *)p + before, (bytes - before) / huge * huge, MADV_HUGEPAGE);
#else
  (void)p, (void)bytes;
#endif
}

void *mae_calloc(size_t count, size_t size) {
  size_t bytes;
  if (!__builtin_mul_overflow(count, size, &bytes) &&
      bytes <= SIZE_MAX - MAE_ALIGNMENT) {
    bytes = mae_align(bytes ? bytes : 1);
    void *p = aligned_alloc(MAE_ALIGNMENT, bytes);
    if (p) {
      ask_for_huge_pages(p, bytes);
      return memset(p, 0, bytes);
    }
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
