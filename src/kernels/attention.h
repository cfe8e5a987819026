/* What attention's kernels, forward and backward, have in common: scores exist
 * for a block of queries and a block of keys at a time.  The keys of a head
 * are packed transposed, block after block. */
#ifndef MAE_KERNELS_ATTENTION_H
#define MAE_KERNELS_ATTENTION_H

#include <math.h>

#include "kernels/attention_blocks.h"
#include "kernels/packing.h"
#include "kernels/small_products.h"

#define LOG2_E 1.44269504f

/* Where one head of one image lies. */
typedef struct head {
  int64_t tokens, dim;
  int64_t width, stride; /* of y and of qkv, floats from token to token */
  int64_t q, k, v, y, row;
  float scale;
} head;

static inline head head_at(int64_t tokens, int64_t heads, int64_t head_dim,
                           int64_t i) {
  int64_t image = i / heads, h = i % heads;
  int64_t width = heads * head_dim;
  int64_t q = image * tokens * 3 * width + h * head_dim;
  return (head){.tokens = tokens, .dim = head_dim, .width = width,
                .stride = 3 * width, .q = q, .k = q + width, .v = q + 2 * width,
                .y = image * tokens * width + h * head_dim, .row = i * tokens,
                .scale = 1 / sqrtf((float)head_dim)};
}

/* A block of keys: whole vectors of them, but at the end of the tokens. */
typedef struct key_block {
  int64_t begin, keys, padded;
} key_block;

static inline int64_t key_blocks(int64_t tokens) {
  return pieces_of(whole_vectors(tokens), MAE_ATTENTION_KEYS);
}

static inline key_block key_block_at(int64_t tokens, int64_t i) {
  const int64_t count = key_blocks(tokens);
  const int64_t vectors = whole_vectors(tokens) / LANES;
  const int64_t begin = piece_begin(vectors, count, i) * LANES;
  const int64_t end = piece_begin(vectors, count, i + 1) * LANES;
  return (key_block){begin, (end < tokens ? end : tokens) - begin, end - begin};
}

static inline int64_t key_block_most(int64_t tokens) {
  const int64_t padded = whole_vectors(tokens);
  return padded < MAE_ATTENTION_KEYS ? padded : MAE_ATTENTION_KEYS;
}

/* Keys (or values) x of a head, `stride` apart, each block transposed:
 * [dim, padded], block b at y + b.begin * dim. */
static inline void pack_key_blocks(float *y, const float *x, int64_t stride,
                                   const head *h) {
  for (int64_t i = 0; i < key_blocks(h->tokens); i++) {
    const key_block b = key_block_at(h->tokens, i);
    pack_transposed(y + b.begin * h->dim, b.padded, x + b.begin * stride,
                    stride, b.keys, h->dim);
  }
}

/* For up to `matrices` matrices of a head's size, in the course of `products`
 * products of all queries with all keys. */
static inline fetch fetch_for(const head *h, int64_t matrices,
                              int64_t products) {
  return (fetch){
      .width = h->dim,
      .rows = h->tokens,
      .at_once = pieces_of(8 * matrices, products * key_blocks(h->tokens))};
}

static inline void fetch_qkv(fetch *f, const float *qkv, const head *h) {
  fetch_add(f, qkv + h->q, h->stride);
  fetch_add(f, qkv + h->k, h->stride);
  fetch_add(f, qkv + h->v, h->stride);
}

/* Of numbers half as long: with each row one of another head, too. */
static inline void fetch_kept(fetch *f, const uint16_t *kept, const head *h) {
  const int64_t starts[] = {h->q, h->k, h->v};
  for (int i = 0; i < 3; i++)
    fetch_add(f, (const void *)(kept + starts[i]), h->stride / 2);
}

static inline void store_row(float *y, const float *x, int64_t n, float scale,
                             bool add) {
  FOR_VECTORS(i, lanes, n,
              STORE_ADD(y + i, vf_load(x + i) * scale, lanes, add););
}

#endif
