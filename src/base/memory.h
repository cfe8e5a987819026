/* Aligned memory and sizes that cannot overflow unseen. */
#ifndef MAE_BASE_MEMORY_H
#define MAE_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define MAE_ALIGNMENT 64 /* bytes: a cache line and an AVX-512 vector */

/* Zeroed, MAE_ALIGNMENT-aligned; released by free().  NULL, with the error
 * set, when there is no memory or count * size overflows. */
void *mae_calloc(size_t count, size_t size);

/* As realloc, but count * size may not overflow; sets the error on NULL. */
void *mae_realloc(void *old, size_t count, size_t size);

/* Round up to MAE_ALIGNMENT. */
static inline size_t mae_align(size_t n) {
  return (n + MAE_ALIGNMENT - 1) & ~(size_t)(MAE_ALIGNMENT - 1);
}

/* *product = a * b of non-negative numbers; false when it overflows. */
static inline bool mae_mul(int64_t a, int64_t b, int64_t *product) {
  return !__builtin_mul_overflow(a, b, product);
}

#endif
