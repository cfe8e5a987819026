/* Mean over removed patches of the mean square error, against pixels that may
 * be normalised per patch (unbiased variance, eps 1e-6). */
#include <math.h>

#include "kernels/simd.h"

enum { MEAN, RSTD, ERROR, STATS };

typedef struct masked_mse {
  int64_t width;
  bool normalise, add_dpred;
  const float *pred, *target, *mask, *saved;
  float *stats, *dpred;
  float scale;
} masked_mse;

static void forward_patches(void *arg, int64_t begin, int64_t end,
                            int32_t worker) {
  (void)worker;
  const masked_mse *p = arg;
  const int64_t n = p->width;
  for (int64_t row = begin; row < end; row++) {
    float *stats = p->stats + row * STATS;
    stats[MEAN] = stats[ERROR] = 0;
    stats[RSTD] = 1;
    if (p->mask[row] == 0) continue;
    const float *x = p->target + row * n, *pred = p->pred + row * n;
    if (p->normalise) {
      double sum = 0, squares = 0;
      for (int64_t i = 0; i < n; i++) sum += x[i];
      const double mean = sum / (double)n;
      for (int64_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean);
      stats[MEAN] = (float)mean;
      stats[RSTD] = (float)(1 / sqrt(squares / (double)(n - 1) + 1e-6));
    }
    const float mean = stats[MEAN], rstd = stats[RSTD];
    float error = 0;
    for (int64_t i = 0; i < n; i++) {
      float d = pred[i] - (x[i] - mean) * rstd;
      error += d * d;
    }
    stats[ERROR] = error / (float)n;
  }
}

void KERNEL(masked_mse_forward)(mae_pool *pool, int64_t patches, int64_t width,
                                bool normalise, const float *pred,
                                const float *target, const float *mask,
                                float *stats, float *loss) {
  masked_mse p = {.width = width, .normalise = normalise, .pred = pred,
                  .target = target, .mask = mask, .stats = stats};
  mae_pool_for(pool, patches, row_grain(width), forward_patches, &p);
  double sum = 0, removed = 0;
  for (int64_t i = 0; i < patches; i++) {
    sum += (double)mask[i] * stats[i * STATS + ERROR];
    removed += mask[i];
  }
  *loss = (float)(sum / removed);
}

static void backward_patches(void *arg, int64_t begin, int64_t end,
                             int32_t worker) {
  (void)worker;
  const masked_mse *p = arg;
  const int64_t n = p->width;
  for (int64_t row = begin; row < end; row++) {
    const float *x = p->target + row * n, *pred = p->pred + row * n;
    float *dpred = p->dpred + row * n;
    const float scale = p->scale * p->mask[row];
    if (scale == 0) {
      if (!p->add_dpred) zero_row(dpred, n);
      continue;
    }
    const float mean = p->saved[row * STATS + MEAN];
    const float rstd = p->saved[row * STATS + RSTD];
    FOR_VECTORS(i, lanes, n, {
      vf d = LOAD(pred + i, lanes) - (LOAD(x + i, lanes) - mean) * rstd;
      STORE_ADD(dpred + i, d * scale, lanes, p->add_dpred);
    });
  }
}

void KERNEL(masked_mse_backward)(mae_pool *pool, int64_t patches, int64_t width,
                                 const float *pred, const float *target,
                                 const float *mask, const float *stats,
                                 const float *dloss, float *dpred,
                                 bool add_dpred) {
  double removed = 0;
  for (int64_t i = 0; i < patches; i++) removed += mask[i];
  masked_mse p = {.width = width, .pred = pred, .target = target,
                  .mask = mask, .saved = stats, .dpred = dpred,
                  .add_dpred = add_dpred,
                  .scale = (float)(*dloss * 2.0 / ((double)width * removed))};
  mae_pool_for(pool, patches, row_grain(width), backward_patches, &p);
}
