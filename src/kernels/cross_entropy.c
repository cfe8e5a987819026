/* Mean over rows of -sum(target log_softmax(logits)). */
#include <math.h>

#include "kernels/simd.h"

enum { TOP, LOG_SUM, LOSS, STATS };

typedef struct cross_entropy {
  int64_t classes;
  bool add_dlogits;
  const float *logits, *target, *saved;
  float *stats, *dlogits;
  float scale;
} cross_entropy;

/* Log-probabilities are (x - top) - log_sum: with top and log_sum apart those
 * of sure predictions keep their digits. */
static void forward_rows(void *arg, int64_t begin, int64_t end,
                         int32_t worker) {
  (void)worker;
  const cross_entropy *p = arg;
  const int64_t n = p->classes;
  for (int64_t row = begin; row < end; row++) {
    const float *x = p->logits + row * n, *t = p->target + row * n;
    float *stats = p->stats + row * STATS;
    const float top = max_of_row(x, n);
    vf sums = {0}, losses = {0};
    FOR_VECTORS(i, lanes, n, {
      vf e = vf_exp(LOAD(x + i, lanes) - top);
      sums += vf_first_lanes(e, lanes);
    });
    const float log_sum = logf(vf_sum(sums));
    FOR_VECTORS(i, lanes, n, {
      vf d = LOAD(x + i, lanes) - top;
      losses += LOAD(t + i, lanes) * (log_sum - d);
    });
    stats[TOP] = top;
    stats[LOG_SUM] = log_sum;
    stats[LOSS] = vf_sum(losses);
  }
}

void KERNEL(cross_entropy_forward)(mae_pool *pool, int64_t rows,
                                   int64_t classes, const float *logits,
                                   const float *target, float *stats,
                                   float *loss) {
  cross_entropy p = {.classes = classes, .logits = logits, .target = target,
                     .stats = stats};
  mae_pool_for(pool, rows, row_grain(classes), forward_rows, &p);
  double sum = 0;
  for (int64_t i = 0; i < rows; i++) sum += stats[i * STATS + LOSS];
  *loss = (float)(sum / (double)rows);
}

/* dx = softmax(x) sum(target) - target, by the mean's and the loss's scale. */
static void backward_rows(void *arg, int64_t begin, int64_t end,
                          int32_t worker) {
  (void)worker;
  const cross_entropy *p = arg;
  const int64_t n = p->classes;
  for (int64_t row = begin; row < end; row++) {
    const float *x = p->logits + row * n, *t = p->target + row * n;
    float *dx = p->dlogits + row * n;
    const float top = p->saved[row * STATS + TOP];
    const float log_sum = p->saved[row * STATS + LOG_SUM];
    vf sums = {0};
    FOR_VECTORS(i, lanes, n, sums += LOAD(t + i, lanes););
    const float mass = vf_sum(sums);
    FOR_VECTORS(i, lanes, n, {
      vf e = vf_exp(LOAD(x + i, lanes) - top - log_sum);
      vf d = (e * mass - LOAD(t + i, lanes)) * p->scale;
      STORE_ADD(dx + i, d, lanes, p->add_dlogits);
    });
  }
}

void KERNEL(cross_entropy_backward)(mae_pool *pool, int64_t rows,
                                    int64_t classes, const float *logits,
                                    const float *target, const float *stats,
                                    const float *dloss, float *dlogits,
                                    bool add_dlogits) {
  cross_entropy p = {.classes = classes, .logits = logits, .target = target,
                     .saved = stats, .dlogits = dlogits,
                     .add_dlogits = add_dlogits,
                     .scale = (float)(*dloss / (double)rows)};
  mae_pool_for(pool, rows, row_grain(classes), backward_rows, &p);
}
