/* softmax(q k^T / sqrt(head_dim)) for each image and head. */
#include "kernels/attention.h"
#include "kernels/blas.h"

typedef struct attention_weights {
  int64_t tokens, heads, head_dim;
  const float *qkv;
  float *weights;
} attention_weights;

static void softmax_row(float *x, int64_t n) {
  const float max = max_of_row(x, n);
  float sum = 0;
  vf sums = {0};
  FOR_VECTORS(i, lanes, n, {
    vf e = vf_exp(LOAD(x + i, lanes) - max);
    STORE(x + i, e, lanes);
    if (lanes == LANES)
      sums += e;
    else
      for (int64_t j = 0; j < lanes; j++) sum += e[j];
  });
  sum += vf_sum(sums);
  const float inverse = 1 / sum;
  FOR_VECTORS(i, lanes, n, STORE(x + i, LOAD(x + i, lanes) * inverse, lanes););
}

static void weights_head(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  const attention_weights *p = arg;
  const int64_t t = p->tokens;
  const head h = head_at(t, p->heads, p->head_dim, i);
  float *weights = p->weights + i * t * t;
  mae_sgemm(false, true, t, t, h.dim, h.scale, p->qkv + h.q, h.stride,
            p->qkv + h.k, h.stride, 0, weights, t);
  for (int64_t row = 0; row < t; row++) softmax_row(weights + row * t, t);
}

void KERNEL(attention_weights)(mae_pool *pool, int64_t batch, int64_t tokens,
                               int64_t heads, int64_t head_dim,
                               const float *qkv, float *weights) {
  attention_weights p = {tokens, heads, head_dim, qkv, weights};
  mae_pool_run(pool, batch * heads, weights_head, &p);
}
