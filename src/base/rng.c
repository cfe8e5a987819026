/* Philox4x32-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as
 * 1, 2, 3"): a block cipher over a counter, so any value is at hand. */
#include "base/error.h"

#include <math.h>
#include <string.h>

typedef struct philox_block {
  uint32_t word[4];
} philox_block;

static philox_block philox(uint64_t seed, uint64_t stream, uint64_t counter) {
  uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32);
  uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xD2511F53 * c0, p1 = (uint64_t)0xCD9E8D57 * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return (philox_block){{c0, c1, c2, c3}};
}

static const double INV_2_24 = 1.0 / 16777216.0;

static void uniform_block(philox_block block, float out[4]) {
  for (int i = 0; i < 4; i++)
    out[i] = (float)((block.word[i] >> 8) * INV_2_24);
}

/* Box-Muller on two pairs; the first of a pair is kept off zero. */
static void normal_block(philox_block block, float out[4]) {
  for (int i = 0; i < 4; i += 2) {
    double u = ((block.word[i] >> 8) + 1) * INV_2_24;
    double angle = 6.283185307179586 * ((block.word[i + 1] >> 8) * INV_2_24);
    double radius = sqrt(-2 * log(u));
    out[i] = (float)(radius * cos(angle));
    out[i + 1] = (float)(radius * sin(angle));
  }
}

static void fill(uint64_t seed, uint64_t stream, uint64_t first, size_t n,
                 float *out, void (*convert)(philox_block, float[4])) {
  float four[4];
  for (size_t done = 0; done < n;) {
    uint64_t at = first + done;
    size_t skip = at % 4, take = 4 - skip < n - done ? 4 - skip : n - done;
    convert(philox(seed, stream, at / 4), four);
    memcpy(out + done, four + skip, take * sizeof *out);
    done += take;
  }
}

mae_status mae_random_uniform(uint64_t seed, uint64_t stream, uint64_t first,
                              size_t n, float *out) {
  MAE_REQUIRE(out);
  fill(seed, stream, first, n, out, uniform_block);
  return MAE_OK;
}

mae_status mae_random_normal(uint64_t seed, uint64_t stream, uint64_t first,
                             size_t n, float *out) {
  MAE_REQUIRE(out);
  fill(seed, stream, first, n, out, normal_block);
  return MAE_OK;
}

mae_status mae_random_permutation(uint64_t seed, uint64_t stream, size_t n,
                                  uint32_t *out) {
  MAE_REQUIRE(out);
  if (n > UINT32_MAX)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "a permutation of %zu", n);
  for (size_t i = 0; i < n; i++) { /* Fisher-Yates, inside out */
    philox_block block = philox(seed, stream, i);
    uint64_t bits = (uint64_t)block.word[1] << 32 | block.word[0];
    size_t j = (size_t)(((unsigned __int128)bits * (i + 1)) >> 64);
    if (j != i) out[i] = out[j];
    out[j] = (uint32_t)i;
  }
  return MAE_OK;
}
