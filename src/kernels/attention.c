/* y = softmax(q k^T / sqrt(head_dim)) v for each image and head, with no more
 * than a block of scores at a time: along the keys, a running maximum and sum
 * take the place of those of the whole row. */
#include "kernels/attention.h"

typedef struct attention {
  int64_t tokens, heads, head_dim;
  int64_t pieces; /* of a head's queries, to keep all threads busy */
  const float *qkv;
  float *y, *log_sum, *scratch;
  uint16_t *kept;
  int64_t scratch_size;
} attention;

/* A worker's scratch, and how far the softmax of each query is: y and sum
 * are of 2^(score - max). */
typedef struct state {
  float *k, *v, *y, *scores;
  int64_t pitch; /* of the scores */
  vf lanes[MAE_ATTENTION_QUERIES]; /* of queries: sums or maxima to be */
  float max[MAE_ATTENTION_QUERIES], sum[MAE_ATTENTION_QUERIES];
  float shrink[MAE_ATTENTION_QUERIES];
  fetch coming; /* the worker's next head */
} state;

static void lay_out(state *s, float *scratch, const attention *p) {
  const int64_t width = whole_vectors(p->head_dim);
  s->k = scratch;
  s->v = s->k + whole_vectors(p->tokens) * width;
  s->y = s->v + whole_vectors(p->tokens) * width;
  s->scores = s->y + mae_attention_queries(p->tokens) * width;
  s->pitch = mae_attention_pitch(whole_vectors(p->tokens));
}

/* The last vector of a row of n scores: nothing beyond them may count. */
static vf mask_end(vf x, int64_t n) {
  vi lane = {0};
  for (int i = 0; i < LANES; i++) lane[i] = i;
  return vf_select(lane < (int32_t)((n - 1) % LANES + 1), x, vf_set(-INFINITY));
}

static vf lanewise_top(float *x, int64_t n) {
  const int64_t last = whole_vectors(n) - LANES;
  vf top = mask_end(vf_load(x + last), n);
  vf_store(x + last, top);
  for (int64_t i = 0; i < last; i += LANES) top = vf_max(vf_load(x + i), top);
  return top;
}

/* x = 2^(scale (x - max)); returns the sum. */
static vf lanewise_powers(float *x, int64_t n, float scale, float max) {
  const vf shift = vf_set(scale * max);
  vf sum = {0};
  for (int64_t i = 0; i < n; i += LANES) {
    const vf e = vf_exp2(vf_load(x + i) * scale - shift);
    vf_store(x + i, e);
    sum += e;
  }
  return sum;
}

/* The next `keys` keys' scores become powers, and what is known of the keys
 * before is brought to the same maximum. */
static void join(state *s, const head *h, int64_t rows, int64_t keys,
                 bool first) {
  const int64_t width = whole_vectors(h->dim);
  const float scale = h->scale * LOG2_E;
  for (int64_t i = 0; i < rows; i++)
    s->lanes[i] = lanewise_top(s->scores + i * s->pitch, keys);
  for (int64_t i = 0; i < rows; i += LANES) {
    const vf top = tops_of(s->lanes + i), before = vf_load(s->max + i);
    const vf max = first ? top : vf_max(before, top);
    vf_store(s->shrink + i, vf_exp2((before - max) * scale));
    vf_store(s->max + i, max);
  }
  for (int64_t i = 0; i < rows; i++)
    s->lanes[i] = lanewise_powers(s->scores + i * s->pitch, keys,
                                  scale, s->max[i]);
  for (int64_t i = 0; i < rows; i += LANES) {
    const vf sum = sums_of(s->lanes + i);
    const vf before = vf_load(s->sum + i) * vf_load(s->shrink + i);
    vf_store(s->sum + i, first ? sum : sum + before);
  }
  for (int64_t i = 0; i < rows && !first; i++)
    store_row(s->y + i * width, s->y + i * width, width, s->shrink[i], false);
}

/* The scores of q's rows and key blocks [begin, end); returns the keys. */
static int64_t score(state *s, const head *h, const float *q, int64_t rows,
                     int64_t begin, int64_t end) {
  const int64_t first = key_block_at(h->tokens, begin).begin;
  int64_t keys = 0;
  for (int64_t i = begin; i < end; i++) {
    const key_block b = key_block_at(h->tokens, i);
    small_product(rows, b.padded / LANES, h->dim, (factor){q, h->stride, 1},
                  s->k + b.begin * h->dim, b.padded,
                  s->scores + b.begin - first, s->pitch, false,
                  &s->coming);
    keys += b.keys;
  }
  return keys;
}

/* y (+)= powers v, over key blocks [begin, end). */
static void weigh(state *s, const head *h, int64_t rows, int64_t begin,
                  int64_t end) {
  const int64_t width = whole_vectors(h->dim);
  const int64_t first = key_block_at(h->tokens, begin).begin;
  for (int64_t i = begin; i < end; i++) {
    const key_block b = key_block_at(h->tokens, i);
    const factor powers = {s->scores + b.begin - first, s->pitch, 1};
    small_product(rows, width / LANES, b.keys, powers, s->v + b.begin * width,
                  width, s->y, width, i > 0, &s->coming);
  }
}

/* The queries from `begin` on. */
static void attend(const attention *p, const head *h, state *s, int64_t begin,
                   int64_t rows) {
  const int64_t width = whole_vectors(h->dim), blocks = key_blocks(h->tokens);
  const float *q = p->qkv + h->q + begin * h->stride;
  for (int64_t i = 0; i < blocks; i += MAE_ATTENTION_SPAN) {
    const int64_t left = blocks - i;
    const int64_t end =
        i + (left < MAE_ATTENTION_SPAN ? left : MAE_ATTENTION_SPAN);
    const int64_t keys = score(s, h, q, rows, i, end);
    join(s, h, rows, keys, i == 0);
    weigh(s, h, rows, i, end);
  }
  for (int64_t i = 0; i < rows; i++) {
    store_row(p->y + h->y + (begin + i) * h->width, s->y + i * width, h->dim,
              1 / s->sum[i], false);
    if (p->log_sum)
      p->log_sum[h->row + begin + i] = s->max[i] * h->scale + logf(s->sum[i]);
  }
}

/* Rows of q, k or v, which start there. */
static void keep(const attention *p, const head *h, int64_t start,
                 int64_t rows) {
  for (int64_t i = 0; i < rows; i++, start += h->stride)
    store_bf16_row(p->kept + start, p->qkv + start, h->dim);
}

static void forward_piece(const attention *p, state *s, int64_t i) {
  const head h = head_at(p->tokens, p->heads, p->head_dim, i / p->pieces);
  const int64_t begin = piece_begin(h.tokens, p->pieces, i % p->pieces);
  const int64_t end = piece_begin(h.tokens, p->pieces, i % p->pieces + 1);
  const int64_t blocks = pieces_of(end - begin, MAE_ATTENTION_QUERIES);
  pack_key_blocks(s->k, p->qkv + h.k, h.stride, &h);
  pack_rows(s->v, p->qkv + h.v, h.stride, h.tokens, h.dim);
  if (p->kept) { /* and of each piece's queries their k and v */
    const int64_t offset = begin * h.stride;
    keep(p, &h, h.q + offset, end - begin);
    keep(p, &h, h.k + offset, end - begin);
    keep(p, &h, h.v + offset, end - begin);
  }
  for (int64_t b = 0; b < blocks; b++) {
    const int64_t from = begin + piece_begin(end - begin, blocks, b);
    const int64_t to = begin + piece_begin(end - begin, blocks, b + 1);
    attend(p, &h, s, from, to - from);
  }
}

/* The next head's q, k and v, where y goes, and where these are kept. */
static void expect_next(const attention *p, state *s, int64_t i, bool more) {
  const head h = head_at(p->tokens, p->heads, p->head_dim, i / p->pieces);
  const head next =
      head_at(p->tokens, p->heads, p->head_dim, (i + more) / p->pieces);
  s->coming = fetch_for(&h, p->kept ? 7 : 4, 2);
  fetch_add(&s->coming, p->y + h.y, h.width);
  if (!more) return;
  fetch_qkv(&s->coming, p->qkv, &next);
  if (p->kept) fetch_kept(&s->coming, p->kept, &next);
}

static void forward_pieces(void *arg, int64_t begin, int64_t end,
                           int32_t worker) {
  const attention *p = arg;
  state s = {0};
  lay_out(&s, p->scratch + worker * p->scratch_size, p);
  for (int64_t i = begin; i < end; i++) {
    expect_next(p, &s, i, i + 1 < end);
    forward_piece(p, &s, i);
  }
}

/* Pieces of a head when heads alone would leave threads idle. */
static int64_t pieces_of_head(const mae_pool *pool, int64_t heads,
                              int64_t tokens) {
  const int64_t threads = mae_pool_threads(pool);
  if (threads == 1 || heads >= 4 * threads) return 1;
  const int64_t wanted = pieces_of(4 * threads, heads);
  const int64_t most = pieces_of(tokens, MAE_ATTENTION_QUERIES);
  return wanted < most ? wanted : most;
}

void KERNEL(attention_forward)(mae_pool *pool, int64_t batch, int64_t tokens,
                               int64_t heads, int64_t head_dim,
                               const float *qkv, float *y, float *log_sum,
                               uint16_t *kept, float *scratch) {
  attention p = {.tokens = tokens, .heads = heads, .head_dim = head_dim,
                 .pieces = pieces_of_head(pool, batch * heads, tokens),
                 .qkv = qkv, .y = y, .log_sum = log_sum, .scratch = scratch,
                 .kept = kept};
  /* It was not too much when the caller asked. */
  mae_attention_scratch(tokens, head_dim, false, &p.scratch_size);
  mae_pool_for(pool, batch * heads * p.pieces, 1, forward_pieces, &p);
}
