/* Matrix products with what goes before and after them, blocked in cache. */
#ifndef MAE_KERNELS_PRODUCT_H
#define MAE_KERNELS_PRODUCT_H

#include "kernels/packing.h"

/* c [m, n] (+)= a [m, k] b [k, n] + bias + residual, then y = gelu(c).
 * Element (i, p) of a is a[i * a_row + p * a_step], (p, j) of b is
 * b[p * b_step + j * b_col]; one of each two strides is 1. */
typedef struct product {
  mae_products products; /* but BF16_EMULATED */
  int64_t m, n, k;
  const float *a, *b;
  int64_t a_row, a_step, b_step, b_col;
  float *c;
  int64_t ldc; /* from row to row of c, residual and y */
  bool add;
  const float *bias, *residual; /* [n], [m, n]; NULL: none */
  float *y;                     /* NULL: none; may be c */
  bool rounds;    /* y = gelu(c rounded to bf16), good enough for bf16 */
  uint16_t *kept; /* which is put here; NULL: nowhere */
  float *a_sums; /* [m] += of each row of a its terms, where a_step > 1 and
                    PRODUCT_PACKS; NULL: nowhere */
  const float *packed_b; /* what pack_weight made of b, or NULL; not read where
                            F32_AMX falls back to F32, as with few rows */
} product;

/* Whether factors are packed, or CBLAS may be called. */
enum { PRODUCT_PACKS = MAE_VEC_BYTES == 64 };

/* Over the pool, with product_scratch floats: with pointers that are NULL no
 * fewer than with others. */
void KERNEL(product)(mae_pool *pool, const product *p, float *scratch);
int64_t KERNEL(product_scratch)(const mae_pool *pool, const product *p);

/* The pieces that a product is cut into: rectangles of c, of all terms or of
 * some. */
typedef struct grid {
  const product *whole;
  mae_pool *pool;               /* NULL: one piece, on this thread */
  int64_t height, width, depth; /* of each: rows and columns of c, terms */
  int64_t down, across, deep;   /* pieces below, beside, behind each other */
  float *scratch;
  int64_t scratch_size; /* of each worker */
  float *apart; /* what pieces behind the first sum: c's size, then a_sums' */
} grid;

/* product_bf16.c: rows of a and columns of b that go together. */
enum { BF16_TOGETHER = 32 };
/* The piece p, as this worker. */
void KERNEL(product_bf16)(const grid *g, const product *p, int32_t worker);
int64_t KERNEL(product_bf16_scratch)(mae_products products, int64_t n,
                                     int64_t k);
/* Columns of b for which rows of a are packed once. */
int64_t KERNEL(product_bf16_columns)(const product *p);

/* ------------------------------------------------- what both sorts share ---
 */

static inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }

/* How many parts n has, each of them `size` but the last. */
static inline int64_t parts_of(int64_t n, int64_t size) {
  return (n + size - 1) / size;
}

/* The parts of n, in multiples of `unit`, no larger than `most`. */
static inline int64_t part_size(int64_t n, int64_t most, int64_t unit) {
  return parts_of(parts_of(n, parts_of(n, most)), unit) * unit;
}

static inline float *scratch_of(const grid *g, int32_t worker) {
  return g->scratch + worker * g->scratch_size;
}

/* Parts of a piece's rows, some of them by other workers. */
static inline void share_rows(const grid *g, int32_t worker, int64_t parts,
                              mae_pool_task part, void *arg) {
  if (g->pool)
    mae_pool_share(g->pool, worker, parts, part, arg);
  else
    for (int64_t i = 0; i < parts; i++) part(arg, i, worker);
}

/* Columns first ... first + n - 1 of c, terms begin ... begin + k - 1. */
typedef struct block {
  int64_t first, n, begin, k;
} block;

/* One block of this worker's; after: the one that comes next, NULL: none. */
typedef void block_function(const grid *g, const product *p, const block *t,
                            const block *after, int32_t worker);

/* From a block, or first {0}, to the next of at most that size, terms before
 * columns; after the last its n is 0. */
static inline void next_block(const product *p, const block *size, block *t) {
  t->begin += t->k;
  if (t->begin == p->k) {
    t->begin = 0;
    t->first += t->n;
  }
  t->n = min_of(size->n, p->n - t->first);
  t->k = min_of(size->k, p->k - t->begin);
}

static inline void for_blocks(const grid *g, const product *p, int32_t worker,
                              const block *size, block_function *multiply) {
  block t = {0};
  next_block(p, size, &t);
  while (t.n) {
    block after = t;
    next_block(p, size, &after);
    multiply(g, p, &t, after.n ? &after : NULL, worker);
    t = after;
  }
}

/* Where sums of a's rows go, i on, when they pass by block t: they pass by each
 * block of columns. */
static inline float *sums_of_block(const product *p, const block *t,
                                   int64_t i) {
  return p->a_sums && t->first == 0 ? p->a_sums + i : NULL;
}

/* y's part of a tile of c, once all terms are summed. */
static inline void activate_tile(const product *p, int64_t i, int64_t rows,
                                 int64_t j, int64_t columns) {
  const int64_t first = i * p->ldc + j, ldc = p->ldc;
  uint16_t *kept = p->kept;
  const bool rounds = p->rounds;
  for (int64_t at = first; at < first + rows * ldc; at += ldc)
    FOR_VECTORS(v, lanes, columns, {
      vf x = LOAD(p->c + at + v, lanes);
      if (rounds) x = vf_round_bf16(x);
      if (kept) vf_store_rounded(kept + at + v, x, lanes);
      STORE(p->y + at + v, rounds ? vf_gelu_bf16(x) : vf_gelu(x), lanes);
    });
}

/* Processors foresee steps within a page of memory only. */
static inline void fetch(const float *x, int64_t n) {
  for (int64_t i = 0; i < n; i += 64 / (int64_t)sizeof *x)
    __builtin_prefetch(x + i);
}

/* What will be written: another processor's copies are given up at once, not at
 * the first store. */
static inline void fetch_to_write(const float *x, int64_t n) {
  for (int64_t i = 0; i < n; i += 64 / (int64_t)sizeof *x)
    __builtin_prefetch(x + i, 1);
}

#endif
