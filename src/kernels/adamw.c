/* AdamW (Loshchilov & Hutter 2019), in the order torch.optim.AdamW computes
 * it, and the norm that gradient clipping needs. */
#include <math.h>

#include "kernels/simd.h"

static inline vf vf_sqrt(vf v) {
  for (int i = 0; i < LANES; i++) v[i] = sqrtf(v[i]);
  return v;
}

void KERNEL(adamw)(int64_t n, float scale, float lr, float decay, float beta1,
                   float beta2, float eps, float bias1, float bias2,
                   const float *grad, float *m, float *v, float *x) {
  const float keep = 1 - lr * decay, rate = lr / bias1;
  const float inverse_root = 1 / sqrtf(bias2);
  FOR_VECTORS(i, lanes, n, {
    vf g = LOAD(grad + i, lanes) * scale;
    vf first = LOAD(m + i, lanes) * beta1 + g * (1 - beta1);
    vf second = LOAD(v + i, lanes) * beta2 + g * g * (1 - beta2);
    vf step = first / (vf_sqrt(second) * inverse_root + eps) * rate;
    STORE(m + i, first, lanes);
    STORE(v + i, second, lanes);
    STORE(x + i, LOAD(x + i, lanes) * keep - step, lanes);
  });
}

/* Vector sums of a stretch, then doubles: exact enough for any model. */
double KERNEL(sum_of_squares)(int64_t n, const float *x) {
  double total = 0;
  for (int64_t from = 0; from < n; from += 4096) {
    const float *part = x + from;
    vf sum = {0};
    FOR_VECTORS(i, lanes, n - from < 4096 ? n - from : 4096, {
      vf v = LOAD(part + i, lanes);
      sum += v * v;
    });
    total += vf_sum(sum);
  }
  return total;
}
