/* Attention's gradients.  The probabilities are computed again, a block of
 * queries and keys at a time, from the logs of the softmax sums. */
#include "kernels/attention.h"

typedef struct attention {
  int64_t tokens, heads, head_dim;
  bool add_dqkv;
  const float *qkv, *y, *log_sum, *dy;
  const uint16_t *kept; /* qkv NULL: in its place */
  float *dqkv, *scratch;
  int64_t scratch_size;
} attention;

/* A worker's scratch.  kt and vt are transposed in blocks of keys; log2_sum and
 * dot = dy . y are of each query. */
typedef struct state {
  float *k, *kt, *vt, *dk, *dv; /* of all tokens */
  float *q, *dy, *dq;           /* of a block of queries */
  float *prob, *dscore;         /* of these and a block of keys */
  float log2_sum[MAE_ATTENTION_QUERIES], dot[MAE_ATTENTION_QUERIES];
  fetch coming; /* the worker's next head */
} state;

static float *take(float **from, int64_t floats) {
  float *taken = *from;
  *from += floats;
  return taken;
}

static void lay_out(state *s, float *scratch, const attention *p) {
  const int64_t width = whole_vectors(p->head_dim);
  const int64_t tokens = whole_vectors(p->tokens) * width;
  const int64_t rows = mae_attention_queries(p->tokens);
  float **all[] = {&s->k, &s->kt, &s->vt, &s->dk, &s->dv};
  for (int i = 0; i < 5; i++) *all[i] = take(&scratch, tokens);
  float **block[] = {&s->q, &s->dy, &s->dq};
  for (int i = 0; i < 3; i++) *block[i] = take(&scratch, rows * width);
  s->prob = take(&scratch, rows * key_block_most(p->tokens));
  s->dscore = scratch;
}

/* Scores become probabilities p, and dp = dy v^T the gradient of the scores:
 * p (dp - sum(p dp)), where sum(p dp) = dy . y. */
static void score_gradients(state *s, const head *h, int64_t rows,
                            int64_t padded) {
  const float scale = h->scale * LOG2_E;
  for (int64_t i = 0; i < rows; i++) {
    float *prob = s->prob + i * padded, *dscore = s->dscore + i * padded;
    for (int64_t j = 0; j < padded; j += LANES) {
      const vf p = vf_exp2(vf_load(prob + j) * scale - s->log2_sum[i]);
      vf_store(prob + j, p);
      vf_store(dscore + j, p * (vf_load(dscore + j) - s->dot[i]));
    }
  }
}

static void backward_block(state *s, const head *h, int64_t rows, key_block b,
                           bool first_queries) {
  const int64_t width = whole_vectors(h->dim), vectors = width / LANES;
  small_product(rows, b.padded / LANES, h->dim, (factor){s->q, width, 1},
                s->kt + b.begin * h->dim, b.padded, s->prob, b.padded, false,
                &s->coming);
  small_product(rows, b.padded / LANES, h->dim, (factor){s->dy, width, 1},
                s->vt + b.begin * h->dim, b.padded, s->dscore, b.padded, false,
                &s->coming);
  score_gradients(s, h, rows, b.padded);
  small_product(rows, vectors, b.keys, (factor){s->dscore, b.padded, 1},
                s->k + b.begin * width, width, s->dq, width, b.begin > 0,
                &s->coming);
  small_product(b.keys, vectors, rows, (factor){s->dscore, 1, b.padded}, s->q,
                width, s->dk + b.begin * width, width, !first_queries,
                &s->coming);
  small_product(b.keys, vectors, rows, (factor){s->prob, 1, b.padded}, s->dy,
                width, s->dv + b.begin * width, width, !first_queries,
                &s->coming);
}

/* What the block's softmax needs of its queries. */
static void prepare_rows(const attention *p, const head *h, state *s,
                         int64_t begin, int64_t rows) {
  const float *y = p->y + h->y + begin * h->width;
  const int64_t width = whole_vectors(h->dim);
  vf dot[MAE_ATTENTION_QUERIES] = {0};
  for (int64_t i = 0; i < rows; i++) {
    s->log2_sum[i] = p->log_sum[h->row + begin + i] * LOG2_E;
    FOR_VECTORS(j, lanes, h->dim,
                dot[i] += LOAD(y + i * h->width + j, lanes) *
                          vf_load(s->dy + i * width + j););
  }
  for (int64_t i = 0; i < rows; i += LANES)
    vf_store(s->dot + i, sums_of(dot + i));
}

/* Rows of q, k or v, which start there. */
static void take_rows(float *y, const attention *p, const head *h,
                      int64_t start, int64_t rows) {
  if (p->qkv)
    pack_rows(y, p->qkv + start, h->stride, rows, h->dim);
  else
    pack_bf16_rows(y, p->kept + start, h->stride, rows, h->dim);
}

/* The queries from `begin` on. */
static void backward_queries(const attention *p, const head *h, state *s,
                             int64_t begin, int64_t rows) {
  const int64_t width = whole_vectors(h->dim), blocks = key_blocks(h->tokens);
  const int64_t q = h->q + begin * h->stride;
  take_rows(s->q, p, h, q, rows);
  pack_rows(s->dy, p->dy + h->y + begin * h->width, h->width, rows, h->dim);
  prepare_rows(p, h, s, begin, rows);
  for (int64_t i = 0; i < blocks; i++)
    backward_block(s, h, rows, key_block_at(h->tokens, i), begin == 0);
  for (int64_t i = 0; i < rows; i++)
    store_row(p->dqkv + q + i * h->stride, s->dq + i * width, h->dim, h->scale,
              p->add_dqkv);
}

static void backward_head(const attention *p, const head *h, state *s) {
  const int64_t width = whole_vectors(h->dim);
  const int64_t blocks = pieces_of(h->tokens, MAE_ATTENTION_QUERIES);
  take_rows(s->dv, p, h, h->v, h->tokens); /* it is free until then */
  pack_key_blocks(s->vt, s->dv, width, h);
  take_rows(s->k, p, h, h->k, h->tokens);
  pack_key_blocks(s->kt, s->k, width, h);
  for (int64_t b = 0; b < blocks; b++) {
    const int64_t begin = piece_begin(h->tokens, blocks, b);
    backward_queries(p, h, s, begin,
                     piece_begin(h->tokens, blocks, b + 1) - begin);
  }
  for (int64_t j = 0; j < h->tokens; j++) {
    store_row(p->dqkv + h->k + j * h->stride, s->dk + j * width, h->dim,
              h->scale, p->add_dqkv);
    store_row(p->dqkv + h->v + j * h->stride, s->dv + j * width, h->dim, 1,
              p->add_dqkv);
  }
}

/* What the next head's gradient is made of, and where this one's goes. */
static void expect_next(const attention *p, state *s, const head *h,
                        const head *next) {
  s->coming = fetch_for(h, 8, 5);
  fetch_qkv(&s->coming, p->dqkv, h);
  if (!next) return;
  if (p->qkv)
    fetch_qkv(&s->coming, p->qkv, next);
  else
    fetch_kept(&s->coming, p->kept, next);
  fetch_add(&s->coming, p->y + next->y, h->width);
  fetch_add(&s->coming, p->dy + next->y, h->width);
}

static void backward_heads(void *arg, int64_t begin, int64_t end,
                           int32_t worker) {
  const attention *p = arg;
  state s;
  lay_out(&s, p->scratch + worker * p->scratch_size, p);
  for (int64_t i = begin; i < end; i++) {
    const head h = head_at(p->tokens, p->heads, p->head_dim, i);
    const head next = head_at(p->tokens, p->heads, p->head_dim, i + 1);
    expect_next(p, &s, &h, i + 1 < end ? &next : NULL);
    backward_head(p, &h, &s);
  }
}

void KERNEL(attention_backward)(mae_pool *pool, int64_t batch, int64_t tokens,
                                int64_t heads, int64_t head_dim,
                                const float *qkv, const uint16_t *kept,
                                const float *y, const float *log_sum,
                                const float *dy, float *dqkv, bool add_dqkv,
                                float *scratch) {
  attention p = {.tokens = tokens, .heads = heads, .head_dim = head_dim,
                 .add_dqkv = add_dqkv, .qkv = qkv, .y = y, .log_sum = log_sum,
                 .dy = dy, .kept = kept, .dqkv = dqkv, .scratch = scratch};
  mae_attention_scratch(tokens, head_dim, true, &p.scratch_size);
  mae_pool_for(pool, batch * heads, 1, backward_heads, &p);
}
