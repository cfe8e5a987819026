#include "train/mix.h"

#include <math.h>

#include "libmae/mae.h"

/* Batch `number` has values number * VALUES ... of its own in this stream, in
 * fours: {mix at all, CutMix, row, column}, {power of each gamma, 2 unused},
 * then for each try of each gamma {two words of a normal, acceptance, unused}.
 * A try succeeds with more than 95 %. */
enum { TRIES = 15, VALUES = 4 * (2 + 2 * TRIES) };
static const uint64_t STREAM = 0x6d6978; /* "mix" */

typedef struct source {
  uint64_t seed, first;
} source;

static void uniforms(const source *s, uint64_t at, float out[4]) {
  mae_random_uniform(s->seed, STREAM, s->first + at, 4, out);
}

/* Within (0, 1): half of a step up. */
static double log_of(float u) {
  return log((double)u + 0.5 / 16777216);
}

/* Logarithm of a value of the gamma distribution, shape >= 1 (Marsaglia and
 * Tsang 2000, "A Simple Method for Generating Gamma Variables"). */
static double log_gamma_above_1(const source *s, double shape, uint64_t at) {
  const double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
  for (int i = 0; i < TRIES; i++, at += 4) {
    float x, u[4];
    mae_random_normal(s->seed, STREAM, s->first + at, 1, &x);
    uniforms(s, at, u);
    const double root = 1 + c * (double)x, v = root * root * root;
    if (v <= 0) continue;
    if (log_of(u[2]) < 0.5 * (double)x * x + d - d * v + d * log(v))
      return log(d * v);
  }
  return log(d);
}

/* A value of Beta(alpha, alpha) from two of the gamma distribution, each of
 * shape alpha + 1 times a power of a uniform one, in logarithms, since for a
 * small alpha both are tiny. */
static double draw_beta(const source *s, double alpha) {
  float u[4];
  uniforms(s, 4, u);
  double a = log_gamma_above_1(s, alpha + 1, 8) + log_of(u[0]) / alpha;
  double b = log_gamma_above_1(s, alpha + 1, 8 + 4 * TRIES) +
             log_of(u[1]) / alpha;
  return 1 / (1 + exp(b - a));
}

static int32_t clip(int32_t x, int32_t most) {
  return x < 0 ? 0 : x < most ? x : most;
}

mae_mix mae_mix_box(double lam, int32_t cy, int32_t cx, int32_t height,
                    int32_t width) {
  const double ratio = sqrt(1 - lam);
  const int32_t h = (int32_t)(height * ratio), w = (int32_t)(width * ratio);
  mae_mix mix = {.cutmix = true,
                 .top = clip(cy - h / 2, height),
                 .left = clip(cx - w / 2, width),
                 .bottom = clip(cy + (h + 1) / 2, height),
                 .right = clip(cx + (w + 1) / 2, width)};
  const double area =
      (double)(mix.bottom - mix.top) * (double)(mix.right - mix.left);
  mix.lam = 1 - area / ((double)height * width);
  return mix;
}

mae_mix mae_mix_draw(double mixup, double cutmix, double prob,
                     double switch_prob, int32_t height, int32_t width,
                     uint64_t seed, uint64_t number) {
  const source s = {seed, number * VALUES};
  float u[4];
  uniforms(&s, 0, u);
  if (!(mixup > 0 || cutmix > 0) || !(u[0] < prob))
    return (mae_mix){.lam = 1};
  const bool cut = cutmix > 0 && (!(mixup > 0) || u[1] < switch_prob);
  const double lam = draw_beta(&s, cut ? cutmix : mixup);
  if (!cut) return (mae_mix){.lam = lam};
  return mae_mix_box(lam, (int32_t)((double)u[2] * height),
                     (int32_t)((double)u[3] * width), height, width);
}

/* As torch computes x.mul_(lam).add_(other * (1 - lam)), of both at once. */
static void blend(double lam, float *a, float *b, int64_t n) {
  const float own = (float)lam, other = (float)(1 - lam);
  for (int64_t i = 0; i < n; i++) {
    const float x = a[i], y = b[i];
    a[i] = x * own + y * other;
    b[i] = y * own + x * other;
  }
}

static void swap_box(const mae_mix *mix, float *a, float *b, int64_t width) {
  for (int64_t row = mix->top; row < mix->bottom; row++)
    for (int64_t i = row * width + mix->left; i < row * width + mix->right;
         i++) {
      const float swap = a[i];
      a[i] = b[i];
      b[i] = swap;
    }
}

void mae_mix_images(const mae_mix *mix, float *images, int64_t n, int64_t chans,
                    int32_t height, int32_t width) {
  const int64_t plane = (int64_t)height * width, size = chans * plane;
  if (mix->lam == 1) return;
  for (int64_t i = 0; i < n / 2; i++) {
    float *a = images + i * size, *b = images + (n - 1 - i) * size;
    if (!mix->cutmix) {
      blend(mix->lam, a, b, size);
      continue;
    }
    for (int64_t c = 0; c < chans; c++)
      swap_box(mix, a + c * plane, b + c * plane, width);
  }
}

void mae_mix_targets(const mae_mix *mix, float *targets, int64_t n,
                     int64_t classes) {
  if (mix->lam == 1) return;
  for (int64_t i = 0; i < n / 2; i++)
    blend(mix->lam, targets + i * classes, targets + (n - 1 - i) * classes,
          classes);
}
