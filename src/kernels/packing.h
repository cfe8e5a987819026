/* Matrices brought into rows of whole vectors, as they are or transposed, and
 * what else exchanges lanes between vectors. */
#ifndef MAE_KERNELS_PACKING_H
#define MAE_KERNELS_PACKING_H

#include "kernels/simd.h"

static inline int64_t whole_vectors(int64_t n) {
  return (n + LANES - 1) / LANES * LANES;
}

/* y [rows, whole_vectors(width)] = x, whose rows are `stride` apart; zeros
 * beyond the width. */
static inline void pack_rows(float *y, const float *x, int64_t stride,
                             int64_t rows, int64_t width) {
  for (int64_t i = 0; i < rows; i++, y += whole_vectors(width))
    FOR_VECTORS(j, lanes, width,
                vf_store(y + j, LOAD(x + i * stride + j, lanes)););
}

/* The same of numbers in bf16. */
static inline void pack_bf16_rows(float *y, const uint16_t *x, int64_t stride,
                                  int64_t rows, int64_t width) {
  for (int64_t i = 0; i < rows; i++, y += whole_vectors(width))
    FOR_VECTORS(j, lanes, width,
                vf_store(y + j, vf_load_bf16(x + i * stride + j, lanes)););
}

#if MAE_VEC_BYTES == 64
#define LOWER 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define UPPER 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif MAE_VEC_BYTES == 32
#define LOWER 0, 8, 1, 9, 2, 10, 3, 11
#define UPPER 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOWER 0, 4, 1, 5
#define UPPER 2, 6, 3, 7
#endif
#ifdef __clang__
#define INTERLEAVE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define INTERLEAVE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif

#define LOW(a, b) INTERLEAVE(a, b, LOWER)
#define HIGH(a, b) INTERLEAVE(a, b, UPPER)

/* The sums over lanes, or the largest lanes, of LANES vectors: that of x[i] in
 * lane i.  Each step halves the vectors, whose lanes it interleaves. */
INLINE vf sums_of(const vf *x) {
  vf v[LANES];
  memcpy(v, x, sizeof v);
  UNROLL for (int n = LANES / 2; n; n /= 2) {
    UNROLL for (int i = 0; i < n; i++) {
      v[i] = LOW(v[i], v[i + n]) + HIGH(v[i], v[i + n]);
    }
  }
  return v[0];
}

INLINE vf tops_of(const vf *x) {
  vf v[LANES];
  memcpy(v, x, sizeof v);
  UNROLL for (int n = LANES / 2; n; n /= 2) {
    UNROLL for (int i = 0; i < n; i++) {
      v[i] = vf_max(LOW(v[i], v[i + n]), HIGH(v[i], v[i + n]));
    }
  }
  return v[0];
}

/* Each step rotates the bits of (row, lane) by one place; log2(LANES) of them
 * exchange row and lane. */
INLINE void transpose_step(vf *to, const vf *from) {
  UNROLL for (int i = 0; i < LANES / 2; i++) {
    to[2 * i] = LOW(from[i], from[i + LANES / 2]);
    to[2 * i + 1] = HIGH(from[i], from[i + LANES / 2]);
  }
}

/* Rows become columns. */
INLINE void transpose(vf a[LANES]) {
  vf b[LANES];
  transpose_step(b, a);
  transpose_step(a, b);
#if MAE_VEC_BYTES == 32
  transpose_step(b, a);
  memcpy(a, b, sizeof b);
#elif MAE_VEC_BYTES == 64
  transpose_step(b, a);
  transpose_step(a, b);
#endif
}

/* The first `lanes` columns of up to LANES rows become rows of whole vectors,
 * zeros beyond the rows there were. */
INLINE void transpose_square(float *y, int64_t ldy, const float *x,
                             int64_t stride, int64_t rows, int64_t lanes) {
  vf a[LANES];
  UNROLL for (int i = 0; i < LANES; i++) {
    a[i] = i < rows ? LOAD(x + i * stride, lanes) : (vf){0};
  }
  transpose(a);
  UNROLL for (int i = 0; i < LANES; i++) {
    if (i < lanes) vf_store(y + i * ldy, a[i]);
  }
}

/* y [width, whole_vectors(rows)], the latter ldy apart, = the transpose of x
 * [rows, width]; zeros beyond the rows. */
static inline void pack_transposed(float *y, int64_t ldy, const float *x,
                                   int64_t stride, int64_t rows,
                                   int64_t width) {
  for (int64_t i = 0; i < rows; i += LANES) {
    const int64_t high = rows - i < LANES ? rows - i : LANES;
    FOR_VECTORS(j, lanes, width,
                transpose_square(y + j * ldy + i, ldy, x + i * stride + j,
                                 stride, high, lanes););
  }
}

#endif
