/* Matrix products with what goes before and after them, blocked in cache. */
#ifndef MAE_KERNELS_PRODUCT_H
#define MAE_KERNELS_PRODUCT_H

#include "kernels/simd.h"

/* c [m, n] (+)= a [m, k] b [k, n] + bias + residual, then y = gelu(c).
 * Element (i, p) of a is a[i * a_row + p * a_step], (p, j) of b is
 * b[p * b_step + j * b_col]; one of each two strides is 1. */
typedef struct product {
  int64_t m, n, k;
  const float *a, *b;
  int64_t a_row, a_step, b_step, b_col;
  float *c;
  int64_t ldc; /* from row to row of c, residual and y */
  bool add;
  const float *bias, *residual; /* [n], [m, n]; NULL: none */
  float *y;                     /* NULL: none; may be c */
  float *sums;                  /* [m] (+)= those of a's rows, a_row being 1; or NULL */
  bool add_sums;
} product;

/* Over the pool.  Each worker has product_scratch floats of its own, as many
 * as a product of n columns and k terms needs, at most. */
void KERNEL(product)(mae_pool *pool, const product *p, float *scratch);
int64_t KERNEL(product_scratch)(int64_t n, int64_t k);

#endif
