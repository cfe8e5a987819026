/* Products of matrices that fit in cache, as those of one attention head:
 * no threads, no call to BLAS, whose packing and dispatch cost more than such
 * a product.  Sizes along vectors are whole vectors; what packs the matrices
 * pads them. */
#ifndef MAE_KERNELS_SMALL_PRODUCTS_H
#define MAE_KERNELS_SMALL_PRODUCTS_H

#include "base/memory.h"
#include "kernels/simd.h"

/* a[i, x] = at[i * row + x * column]: rows of a matrix or of its transpose. */
typedef struct factor {
  const float *at;
  int64_t row, column;
} factor;

/* The i-th of `count` about equal pieces of [0, n) begins here. */
static inline int64_t piece_begin(int64_t n, int64_t count, int64_t i) {
  return n * i / count;
}

/* How many pieces of no more than `most`. */
static inline int64_t pieces_of(int64_t n, int64_t most) {
  return (n + most - 1) / most;
}

/* Rows for the cache, of several matrices by turns, that the next products
 * will be about: a few are asked for at each tile of these, which hides the way
 * from memory.  All at once would have to wait for each other, and rows that
 * lie far apart the processor does not foresee. */
enum { MOST_FETCHED = 8 };

typedef struct fetch {
  struct {
    const float *row;
    int64_t stride;
  } from[MOST_FETCHED];
  int64_t matrices, width, rows, at_once;
  int64_t next; /* of the matrices */
} fetch;

static inline void fetch_add(fetch *f, const float *rows, int64_t stride) {
  f->from[f->matrices].row = rows;
  f->from[f->matrices++].stride = stride;
}

/* c [rows, vectors] (+)= a [rows, depth] b [depth, vectors]. */
void KERNEL(small_product)(int64_t rows, int64_t vectors, int64_t depth,
                           factor a, const float *b, int64_t ldb, float *c,
                           int64_t ldc, bool add, fetch *f);
#define small_product KERNEL(small_product)

#endif
