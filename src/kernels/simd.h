/* Vectors for the kernels.
 *
 * Each kernel source is compiled once per instruction set, with MAE_VEC_BYTES
 * the vector width and MAE_ISA_NAME the suffix of its functions.  The vectors
 * are the compilers' own extension, so one text serves every processor.  All
 * loads and stores may be unaligned. */
#ifndef MAE_KERNELS_SIMD_H
#define MAE_KERNELS_SIMD_H

#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "kernels/kernels.h"

#define MAE_GLUE2(a, b, c) a##b##_##c
#define MAE_GLUE(a, b, c) MAE_GLUE2(a, b, c)
#define KERNEL(name) MAE_GLUE(mae_, name, MAE_ISA_NAME)

#define MAE_DECLARE(name) __typeof__(*((mae_kernels *)0)->name) KERNEL(name);
MAE_KERNEL_LIST(MAE_DECLARE)

/* Loops of constant bounds, whose arrays shall live in registers; and any
 * others, four rounds at a time. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#define UNROLL_BY_4 _Pragma("clang loop unroll_count(4)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL_BY_4 _Pragma("GCC unroll 4")
#endif
#define INLINE static inline __attribute__((always_inline))

enum { LANES = MAE_VEC_BYTES / 4 };
typedef float vf __attribute__((vector_size(MAE_VEC_BYTES)));
typedef int32_t vi __attribute__((vector_size(MAE_VEC_BYTES)));
typedef uint32_t vu __attribute__((vector_size(MAE_VEC_BYTES)));

static inline vf vf_load(const float *p) {
  vf v;
  memcpy(&v, p, sizeof v);
  return v;
}

static inline void vf_store(float *p, vf v) { memcpy(p, &v, sizeof v); }

/* x - 0 is x whatever x is, which x + 0 is not, so that this is no sum. */
static inline vf vf_set(float x) { return x - (vf){0}; }

/* The first n lanes, zeros after. */
static inline vf vf_load_part(const float *p, int64_t n) {
  vf v = {0};
  memcpy(&v, p, (size_t)n * sizeof(float));
  return v;
}

static inline void vf_store_part(float *p, vf v, int64_t n) {
  memcpy(p, &v, (size_t)n * sizeof(float));
}

/* Pairs from the ends inwards, so that the order is the same everywhere. */
static inline float vf_sum(vf v) {
  float lane[LANES];
  memcpy(lane, &v, sizeof v);
  for (int n = LANES / 2; n; n /= 2)
    for (int i = 0; i < n; i++) lane[i] += lane[i + n];
  return lane[0];
}

static inline vf vf_select(vi mask, vf a, vf b) {
  return (vf)(((vi)a & mask) | ((vi)b & ~mask));
}

/* a > b ? a : b.  gcc does not see the one instruction in the selection. */
static inline vf vf_max(vf a, vf b) {
#if !defined __x86_64__
  return vf_select(a > b, a, b);
#elif MAE_VEC_BYTES == 64
  return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif MAE_VEC_BYTES == 32
  return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return (vf)_mm_max_ps((__m128)a, (__m128)b);
#endif
}

/* 2^x for x <= 127, measured over all floats in [-126, 0] within 2.1 ulp, and
 * 2.3 where products are not fused; 2^-126 below that. */
static inline vf vf_exp2(vf x) {
  /* 1.5 * 2^23 rounds to an integer; 127 more, and the low bits of the sum are
   * the exponent of 2^n. */
  const vf round = vf_set(12582912.0f + 127);
  x = vf_max(vf_set(-126.0f), x); /* of NaN, NaN */
  const vf sum = x + round, r = x - (sum - round);
  vf p = r * 1.326472731e-3f + 9.671512991e-3f;
  p = p * r + 5.550733581e-2f;
  p = p * r + 2.402224243e-1f;
  p = p * r + 6.931470037e-1f;
  p = p * r + 1.0f;
  return p * (vf)((vi)sum << 23);
}

/* e^x for x <= 88, relative error below 2 ulp; e^-87.3 below -87.3. */
static inline vf vf_exp(vf x) {
  const vf round = vf_set(12582912.0f + 127); /* as above */
  x = vf_max(vf_set(-87.3f), x);
  const vf sum = x * 1.44269504f + round, n = sum - round;
  vf r = x - n * 0.693359375f + n * 2.12194440e-4f;
  const vf r2 = r * r;
  vf p = (r * 1.666652011e-01f + 4.999999341e-01f) +
         r2 * (r * 8.368780623e-03f + 4.166839426e-02f + r2 * 1.381446476e-03f);
  p = p * r2 + r + 1.0f;
  return p * (vf)((vi)sum << 23);
}

/* The standard normal distribution: its density and, through the tail
 * Q(a) = e^(-a^2/2) u poly(u), u = 1 / (1 + 0.27 a), its integral Phi.  The
 * polynomial is a minimax fit over 0 <= a <= 13.5, relative error 2.4e-8
 * before rounding; measured over floats Phi is within 8e-7 relative for
 * |x| <= 5, where rounding a^2 / 2 costs most. */
static inline vf vf_normal(vf x, vf *density) {
  vf a = (vf)((vi)x & INT32_MAX);
  vf e = vf_exp(a * a * -0.5f);
  vf u = 1.0f / (a * 0.27f + 1.0f);
  const vf u2 = u * u, u4 = u2 * u2;
  const vf low = (u * 1.075607705e-01f + 1.077195369e-01f) +
                 u2 * (u * 7.249411577e-02f + 1.016903712e-01f);
  const vf high = (u * -6.784113523e-02f + 1.068342006e-01f) +
                  u2 * (u * -1.259516694e-01f + 1.686387903e-01f) +
                  u4 * 2.885503086e-02f;
  vf tail = e * u * (low + u4 * high);
  *density = e * 0.398942280f;
  return vf_select(x < 0.0f, tail, 1.0f - tail);
}

/* To bf16, an f32 without its lower 16 bits: to the nearest, of two equally
 * near ones to the even; beyond the largest infinity, and NaN stays NaN. */
static inline vf vf_round_bf16(vf x) {
  vu bits = (vu)x;
  vu nearest = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
  vu nan = (bits & 0xffff0000) | 0x00400000;
  return vf_select(x == x, (vf)nearest, (vf)nan);
}

/* As 16 bits in memory: the upper half of each lane. */
typedef uint16_t bf16_lanes __attribute__((vector_size(MAE_VEC_BYTES / 2)));

static inline void vf_store_rounded(uint16_t *p, vf x, int64_t n) {
  const bf16_lanes half = __builtin_convertvector((vu)x >> 16, bf16_lanes);
  memcpy(p, &half, (size_t)n * sizeof *p);
}

static inline void vf_store_bf16(uint16_t *p, vf x, int64_t n) {
  vf_store_rounded(p, vf_round_bf16(x), n);
}

/* Zeros beyond the first n lanes. */
static inline vf vf_load_bf16(const uint16_t *p, int64_t n) {
  bf16_lanes half = {0};
  memcpy(&half, p, (size_t)n * sizeof *p);
  return (vf)(__builtin_convertvector(half, vu) << 16);
}

/* Run the body for each vector of [0, n): `at` its offset, `lanes` how many of
 * its lanes are in range.  The whole vectors' loop has constant lanes, so the
 * compiler drops the partial loads there. */
#define FOR_VECTORS(at, lanes, n, ...)          \
  do {                                          \
    int64_t at = 0;                             \
    for (; at + LANES <= (n); at += LANES) {    \
      const int64_t lanes = LANES;              \
      __VA_ARGS__                               \
    }                                           \
    if (at < (n)) {                             \
      const int64_t lanes = (n)-at;             \
      __VA_ARGS__                               \
    }                                           \
  } while (0)

#define LOAD(p, lanes) ((lanes) == LANES ? vf_load(p) : vf_load_part(p, lanes))
#define STORE(p, v, lanes)                                   \
  ((lanes) == LANES ? vf_store(p, v) : vf_store_part(p, v, lanes))

/* y (+)= v */
#define STORE_ADD(p, v, lanes, add) \
  STORE(p, (add) ? LOAD(p, lanes) + (v) : (v), lanes)

/* The vector with lanes from n on zero: those beyond a row must not count. */
static inline vf vf_first_lanes(vf v, int64_t n) {
  return n == LANES ? v : vf_load_part((const float *)&v, n);
}

/* The largest of n >= 1 numbers. */
static inline float max_of_row(const float *x, int64_t n) {
  vf top = vf_set(x[0]);
  FOR_VECTORS(i, lanes, n, {
    vf v = top;
    memcpy(&v, x + i, (size_t)lanes * sizeof(float));
    top = vf_max(top, v);
  });
  float max = top[0];
  for (int i = 1; i < LANES; i++) max = top[i] > max ? top[i] : max;
  return max;
}

static inline void copy_row(float *y, const float *x, int64_t n) {
  memcpy(y, x, (size_t)n * sizeof *y);
}

/* y (+)= x */
static inline void add_row(float *y, const float *x, int64_t n, bool add) {
  if (!add) {
    if (y != x) copy_row(y, x, n);
    return;
  }
  FOR_VECTORS(i, lanes, n,
              STORE(y + i, LOAD(y + i, lanes) + LOAD(x + i, lanes), lanes););
}

static inline void round_bf16_row(float *y, const float *x, int64_t n) {
  FOR_VECTORS(i, lanes, n,
              STORE(y + i, vf_round_bf16(LOAD(x + i, lanes)), lanes););
}

static inline void store_bf16_row(uint16_t *y, const float *x, int64_t n) {
  FOR_VECTORS(i, lanes, n,
              vf_store_bf16(y + i, LOAD(x + i, lanes), lanes););
}

static inline void zero_row(float *y, int64_t n) {
  memset(y, 0, (size_t)n * sizeof *y);
}

/* y[j] (+)= the sum over rows of x[row * stride + j], for j in [0, n). */
static inline void sum_rows(float *y, const float *x, int64_t rows,
                            int64_t stride, int64_t n, bool add) {
  enum { WIDE = 4 }; /* vectors at a time, as far as there are as many */
  for (; n >= WIDE * LANES; n -= WIDE * LANES) {
    vf sum[WIDE] = {{0}};
    for (int64_t i = 0; i < rows; i++)
      for (int v = 0; v < WIDE; v++)
        sum[v] += vf_load(x + i * stride + v * LANES);
    for (int v = 0; v < WIDE; v++)
      STORE_ADD(y + v * LANES, sum[v], LANES, add);
    x += WIDE * LANES;
    y += WIDE * LANES;
  }
  FOR_VECTORS(j, lanes, n, {
    vf sum = {0};
    for (int64_t i = 0; i < rows; i++)
      sum += LOAD(x + i * stride + j, lanes);
    STORE_ADD(y + j, sum, lanes, add);
  });
}

/* x Phi(x), the activation. */
static inline vf vf_gelu(vf x) {
  vf density;
  return x * vf_normal(x, &density);
}

/* d/dx x Phi(x) = Phi(x) + x phi(x) */
static inline vf vf_gelu_slope(vf x) {
  vf density;
  const vf phi = vf_normal(x, &density);
  return phi + x * density;
}

/* From 0 at x <= -5 to 1 at x >= 5: 1/2 + x c(u), c a polynomial of
 * u = 2 (x / 5)^2 - 1. */
enum { RISE_TERMS = 13 };
INLINE vf vf_rise(vf x, const float c[RISE_TERMS]) {
  const vf least = vf_set(-5.0f);
  const vf minus_x = vf_max(least, -vf_max(least, x)); /* of NaN, NaN */
  const vf u = minus_x * minus_x * 0.08f - 1.0f;
  const vf u2 = u * u, u4 = u2 * u2;
  const vf low = (u * c[1] + c[0]) + u2 * (u * c[3] + c[2]);
  const vf middle = (u * c[5] + c[4]) + u2 * (u * c[7] + c[6]);
  const vf high = (u * c[9] + c[8]) + u2 * (u * c[11] + c[10]) + u4 * c[12];
  return 0.5f - (low + u4 * (middle + u4 * high)) * minus_x;
}

/* Both where they are rounded to bf16 after, each by a minimax polynomial: Phi
 * within 6e-7, the slope within 8e-6, a hundredth of what rounding is off. */
static inline vf vf_gelu_bf16(vf x) {
  static const float c[RISE_TERMS] = {
      1.413637996e-01f, -7.029598206e-02f, 5.151884258e-02f,
      -4.044974968e-02f, 3.146572411e-02f, -2.322211489e-02f,
      1.628457569e-02f, -1.128574740e-02f, 6.670712493e-03f,
      -2.549058525e-03f, 1.461545820e-03f, -1.668420853e-03f,
      7.058671908e-04f};
  return x * vf_rise(x, c);
}

static inline vf vf_gelu_slope_bf16(vf x) {
  static const float c[RISE_TERMS] = {
      1.421327442e-01f, -7.510055602e-02f, 6.665497273e-02f,
      -7.205473632e-02f, 7.927475870e-02f, -8.210621774e-02f,
      8.497267216e-02f, -7.672847062e-02f, 4.241831973e-02f,
      -1.859489642e-02f, 2.621437423e-02f, -2.434455417e-02f,
      7.261602674e-03f};
  return vf_rise(x, c);
}

/* Elements worth a piece of pool work of their own. */
enum { GRAIN = 16384 };

static inline int64_t row_grain(int64_t width) { return GRAIN / width + 1; }

#endif
