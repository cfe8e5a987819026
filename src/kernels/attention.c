/* y = softmax(q k^T / sqrt(head_dim)) v for each image and head. */
#include <math.h>

#include "kernels/blas.h"
#include "kernels/simd.h"

typedef struct attention {
  int64_t tokens, heads, head_dim;
  bool add_dqkv;
  const float *qkv, *y, *log_sum, *dy;
  float *out, *out_log_sum, *dqkv, *scratch;
} attention;

/* Where one head of one image lies. */
typedef struct head {
  int64_t width, stride; /* of y and of qkv, floats from token to token */
  int64_t q, k, v, y, row;
  float scale;
} head;

static head head_at(const attention *p, int64_t i) {
  int64_t image = i / p->heads, h = i % p->heads;
  int64_t width = p->heads * p->head_dim;
  int64_t q = image * p->tokens * 3 * width + h * p->head_dim;
  return (head){.width = width, .stride = 3 * width, .q = q, .k = q + width,
                .v = q + 2 * width,
                .y = image * p->tokens * width + h * p->head_dim,
                .row = i * p->tokens, .scale = 1 / sqrtf((float)p->head_dim)};
}

/* Turn a row of scores into probabilities; returns log(sum(exp(scores))). */
static float softmax_row(float *x, int64_t n) {
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
  FOR_VECTORS(i, lanes, n,
              STORE(x + i, LOAD(x + i, lanes) * inverse, lanes););
  return max + logf(sum);
}

/* softmax(q k^T / sqrt(head_dim)) of one head, [tokens, tokens]. */
static void head_weights(const attention *p, const head *h, float *weights) {
  const int64_t t = p->tokens;
  mae_sgemm(false, true, t, t, p->head_dim, h->scale, p->qkv + h->q, h->stride,
            p->qkv + h->k, h->stride, 0, weights, t);
  for (int64_t row = 0; row < t; row++) {
    float log_sum = softmax_row(weights + row * t, t);
    if (p->out_log_sum) p->out_log_sum[h->row + row] = log_sum;
  }
}

static void forward_head(void *arg, int64_t i, int32_t worker) {
  const attention *p = arg;
  const head h = head_at(p, i);
  const int64_t t = p->tokens, d = p->head_dim;
  float *scores = p->scratch + worker * t * t;
  head_weights(p, &h, scores);
  mae_sgemm(false, false, t, d, t, 1, scores, t, p->qkv + h.v, h.stride, 0,
            p->out + h.y, h.width);
}

void KERNEL(attention_forward)(mae_pool *pool, int64_t batch, int64_t tokens,
                               int64_t heads, int64_t head_dim,
                               const float *qkv, float *y, float *log_sum,
                               float *scratch) {
  attention p = {.tokens = tokens, .heads = heads, .head_dim = head_dim,
                 .qkv = qkv, .out = y, .out_log_sum = log_sum,
                 .scratch = scratch};
  mae_pool_run(pool, batch * heads, forward_head, &p);
}

static void weights_head(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  const attention *p = arg;
  const head h = head_at(p, i);
  head_weights(p, &h, p->out + i * p->tokens * p->tokens);
}

void KERNEL(attention_weights)(mae_pool *pool, int64_t batch, int64_t tokens,
                               int64_t heads, int64_t head_dim,
                               const float *qkv, float *weights) {
  attention p = {.tokens = tokens, .heads = heads, .head_dim = head_dim,
                 .qkv = qkv, .out = weights};
  mae_pool_run(pool, batch * heads, weights_head, &p);
}

/* Overwrite rows of scores by probabilities, and of dprob (the gradient of
 * the probabilities) by that of the scaled scores: p (dp - sum(p dp)), where
 * sum(p dp) = dy . y. */
static void backward_rows(const attention *p, const head *h, float *prob,
                          float *dprob) {
  const int64_t t = p->tokens;
  for (int64_t row = 0; row < t; row++) {
    const float *y = p->y + h->y + row * h->width;
    const float *dy = p->dy + h->y + row * h->width;
    vf product = {0};
    FOR_VECTORS(i, lanes, p->head_dim,
                product += LOAD(y + i, lanes) * LOAD(dy + i, lanes););
    const float dot = vf_sum(product), log_sum = p->log_sum[h->row + row];
    FOR_VECTORS(i, lanes, t, {
      vf e = vf_exp(LOAD(prob + row * t + i, lanes) - log_sum);
      vf d = e * (LOAD(dprob + row * t + i, lanes) - dot) * h->scale;
      STORE(prob + row * t + i, e, lanes);
      STORE(dprob + row * t + i, d, lanes);
    });
  }
}

static void backward_head(void *arg, int64_t i, int32_t worker) {
  const attention *p = arg;
  const head h = head_at(p, i);
  const int64_t t = p->tokens, d = p->head_dim;
  const float beta = p->add_dqkv;
  float *prob = p->scratch + worker * 2 * t * t, *dprob = prob + t * t;
  const float *q = p->qkv + h.q, *k = p->qkv + h.k, *v = p->qkv + h.v;
  const float *dy = p->dy + h.y;
  mae_sgemm(false, true, t, t, d, h.scale, q, h.stride, k, h.stride, 0, prob,
            t);
  mae_sgemm(false, true, t, t, d, 1, dy, h.width, v, h.stride, 0, dprob, t);
  backward_rows(p, &h, prob, dprob);
  mae_sgemm(true, false, t, d, t, 1, prob, t, dy, h.width, beta,
            p->dqkv + h.v, h.stride);
  mae_sgemm(false, false, t, d, t, 1, dprob, t, k, h.stride, beta,
            p->dqkv + h.q, h.stride);
  mae_sgemm(true, false, t, d, t, 1, dprob, t, q, h.stride, beta,
            p->dqkv + h.k, h.stride);
}

void KERNEL(attention_backward)(mae_pool *pool, int64_t batch, int64_t tokens,
                                int64_t heads, int64_t head_dim,
                                const float *qkv, const float *y,
                                const float *log_sum, const float *dy,
                                float *dqkv, bool add_dqkv, float *scratch) {
  attention p = {.tokens = tokens, .heads = heads, .head_dim = head_dim,
                 .qkv = qkv, .y = y, .log_sum = log_sum, .dy = dy,
                 .dqkv = dqkv, .add_dqkv = add_dqkv, .scratch = scratch};
  mae_pool_run(pool, batch * heads, backward_head, &p);
}
