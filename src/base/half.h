/* 16-bit floating point to and from f32, exactly. */
#ifndef MAE_BASE_HALF_H
#define MAE_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float mae_float_of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static inline float mae_from_bf16(uint16_t x) {
  return mae_float_of_bits((uint32_t)x << 16);
}

/* IEEE half precision. */
static inline float mae_from_f16(uint16_t x) {
  const uint32_t sign = (uint32_t)(x & 0x8000) << 16;
  const uint32_t exponent = x >> 10 & 31, fraction = x & 0x3ff;
  if (exponent == 31) /* infinity, NaN */
    return mae_float_of_bits(sign | 0x7f800000 | fraction << 13);
  if (exponent) /* the biases are 15 and 127 */
    return mae_float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
  float small = (float)fraction * 0x1p-24f; /* zero, subnormal */
  return sign ? -small : small;
}

/* To the nearest, ties to even; beyond the range infinity; NaN stays NaN. */
static inline uint16_t mae_to_f16(float value) {
  uint32_t x;
  memcpy(&x, &value, sizeof x);
  const uint16_t sign = (uint16_t)(x >> 16 & 0x8000);
  x &= 0x7fffffff;
  if (x > 0x7f800000) return sign | 0x7e00;
  if (x >= 0x477ff000) return sign | 0x7c00; /* 65520 rounds up to 65536 */
  if (x < 0x38800000) { /* below 2^-14 the step is 2^-24: let f32 round to it */
    const float rounded = mae_float_of_bits(x) + 0.5f;
    memcpy(&x, &rounded, sizeof x);
    return sign | (uint16_t)(x - 0x3f000000);
  }
  x += 0xfff + (x >> 13 & 1);
  return sign | (uint16_t)((x - 0x38000000) >> 13);
}

#endif
