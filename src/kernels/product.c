/* c = a b: where our own kernel is faster than CBLAS, by that.
 *
 * Threads take rectangles of c; or where both factors are packed, and terms are
 * many beside c, some of the terms, so that nothing is packed twice, and sums
 * are added up in the end.  In such a piece b goes to scratch block by block,
 * small enough for the second level of cache, in panels as wide as the
 * registers hold; a's rows pass by, and each tile of sums stays in registers
 * for the block's terms.  What follows the product is done while the tile is
 * in the first level of cache.  A thread that is done with its own takes rows
 * from the others', since something may slow one processor and not the next. */
#include "kernels/product.h"

#include "kernels/blas.h"

/* With 512-bit vectors the tile is 6 x 4 registers of 32: for 24 multiply-adds
 * the fewest instructions, which tell where a neighbour shares the core. */
enum {
  OWN = PRODUCT_PACKS,
  TILE_ROWS = OWN ? 6 : 4,
  TILE_VECTORS = 4,
  TILE_COLUMNS = TILE_VECTORS * LANES,
  ROWS = 8 * TILE_ROWS, /* of a that a thread takes at once */
  AHEAD = 32,           /* rows that copies fetch before they need them */
  CHUNK = 16,           /* terms between which something is fetched */
};

/* Are a's rows brought together, where its columns are the rows in memory? */
static bool packs_a(const product *p) { return p->a_step != 1; }

/* How much of b is in scratch: terms and columns.  Many columns where a is
 * packed once for each block of them. */
typedef struct block_shape {
  int64_t depth, columns;
} block_shape;

static block_shape shape_for(bool packs_a) {
  return packs_a ? (block_shape){384, 768} : (block_shape){768, 256};
}

static int64_t block_scratch(bool packs_a, int64_t n, int64_t k) {
  const block_shape most = shape_for(packs_a);
  return (whole_vectors(min_of(n, most.columns)) + (packs_a ? ROWS : 0)) *
         min_of(k, most.depth);
}

static int64_t own_scratch(int64_t n, int64_t k) {
  return max_of(block_scratch(false, n, k), block_scratch(true, n, k));
}

static int64_t worker_scratch(const product *p) {
  if (p->products != MAE_PRODUCTS_F32)
    return KERNEL(product_bf16_scratch)(p->products, p->n, p->k);
  return OWN ? own_scratch(p->n, p->k) : 0;
}

/* ------------------------------------------------------------- packing --- */

/* `columns` columns of b as rows of a panel, each `pitch` >= columns after the
 * last; those that are not there are 0. */
static void copy_rows(float *to, int64_t pitch, const float *b, int64_t b_step,
                      int64_t k, int64_t columns) {
  if (columns == TILE_COLUMNS && pitch == TILE_COLUMNS)
    for (int64_t p = 0; p < k; p++) {
      fetch(b + min_of(p + AHEAD, k - 1) * b_step, TILE_COLUMNS);
      memcpy(to + p * TILE_COLUMNS, b + p * b_step, TILE_COLUMNS * sizeof *b);
    }
  else
    for (int64_t p = 0; p < k; p++) {
      copy_row(to + p * pitch, b + p * b_step, columns);
      zero_row(to + p * pitch + columns, pitch - columns);
    }
}

/* Vectors of the next panel of `columns`.  One of a single vector is slow, so
 * it is not left over. */
static int64_t panel_vectors(int64_t columns) {
  const int64_t vectors = parts_of(columns, LANES);
  if (vectors == TILE_VECTORS + 1) return 2;
  return min_of(vectors, TILE_VECTORS);
}

static void pack_b(float *to, const product *p, int64_t k, int64_t n,
                   const float *b) {
  for (int64_t j = 0; j < n;) {
    const int64_t pitch = panel_vectors(n - j) * LANES;
    const int64_t columns = min_of(pitch, n - j);
    if (p->b_col == 1)
      copy_rows(to, pitch, b + j, p->b_step, k, columns);
    else
      pack_transposed(to, pitch, b + j * p->b_col, p->b_col, columns, k);
    to += pitch * k;
    j += pitch;
  }
}

/* ---------------------------------------------------------------- tile --- */

/* The rows of a that one tile reads. */
typedef struct tile_rows {
  const float *row[TILE_ROWS];
  int64_t count;
} tile_rows;

/* Rows that tiles to come will read.  A few lines of them are asked for
 * between terms: all at once would wait for each other. */
typedef struct ahead {
  const float *row;
  int64_t stride, width, rows; /* rows left */
  int64_t at_once, at;
} ahead;

/* What tiles to come will read of a and of b. */
typedef struct coming {
  ahead a, b;
} coming;

INLINE void fetch_ahead(ahead *f) {
  for (int64_t i = 0; i < f->at_once && f->rows; i++) {
    __builtin_prefetch(f->row + f->at, 0, 2);
    f->at += 64 / (int64_t)sizeof *f->row;
    if (f->at < f->width) continue;
    f->at = 0;
    f->row += f->stride;
    f->rows--;
  }
}

INLINE void add_term(vf sum[TILE_ROWS][TILE_VECTORS], const float *const *row,
                     int64_t p, const float *b, const int vectors) {
  vf column[TILE_VECTORS];
  UNROLL for (int j = 0; j < vectors; j++) column[j] = vf_load(b + j * LANES);
  UNROLL for (int i = 0; i < TILE_ROWS; i++) {
    const vf x = vf_set(row[i][p]);
    UNROLL for (int j = 0; j < vectors; j++) sum[i][j] += x * column[j];
  }
}

/* sums [TILE_ROWS, vectors * LANES] = the product of k terms, `step` apart in
 * a's rows.  Meanwhile the rows of c, where the sums go next, are fetched one
 * by one. */
INLINE void sum_tile(int64_t k, const tile_rows *a, const int step,
                     const float *b, const int vectors, const float *c,
                     int64_t ldc, coming *next, float *sums) {
  const float *row[TILE_ROWS];
  vf sum[TILE_ROWS][TILE_VECTORS];
  UNROLL for (int i = 0; i < TILE_ROWS; i++) {
    row[i] = a->row[i];
    UNROLL for (int j = 0; j < vectors; j++) sum[i][j] = (vf){0};
  }
  int64_t p = 0;
  for (int64_t chunk = 0; p + CHUNK <= k; chunk++) {
    if (chunk < TILE_ROWS) fetch_to_write(c + chunk * ldc, vectors * LANES);
    fetch_ahead(&next->a);
    fetch_ahead(&next->b);
    UNROLL_BY_4 for (int i = 0; i < CHUNK; i++, p++, b += vectors * LANES)
        add_term(sum, row, p * step, b, vectors);
  }
  for (; p < k; p++, b += vectors * LANES)
    add_term(sum, row, p * step, b, vectors);
  UNROLL for (int i = 0; i < TILE_ROWS; i++)
      UNROLL for (int j = 0; j < vectors; j++)
          vf_store(sums + (i * vectors + j) * LANES, sum[i][j]);
}

typedef void sum_function(int64_t k, const tile_rows *a, const float *b,
                          const float *c, int64_t ldc, coming *next,
                          float *sums);

/* Indexed by whether a is packed, and by vectors less one. */
#define SUM(name, step, vectors)                                    \
  static void name(int64_t k, const tile_rows *a, const float *b,   \
                   const float *c, int64_t ldc, coming *next,       \
                   float *sums) {                                   \
    sum_tile(k, a, step, b, vectors, c, ldc, next, sums);           \
  }
SUM(sum_1, 1, 1)
SUM(sum_2, 1, 2)
SUM(sum_3, 1, 3)
SUM(sum_4, 1, 4)
SUM(sum_packed_1, TILE_ROWS, 1)
SUM(sum_packed_2, TILE_ROWS, 2)
SUM(sum_packed_3, TILE_ROWS, 3)
SUM(sum_packed_4, TILE_ROWS, 4)
static sum_function *const sum_functions[2][TILE_VECTORS] = {
    {sum_1, sum_2, sum_3, sum_4},
    {sum_packed_1, sum_packed_2, sum_packed_3, sum_packed_4}};

/* `rows` columns of a, tile by tile; sums += theirs, if not NULL. */
static void pack_a(float *to, const float *a, int64_t a_step, int64_t k,
                   int64_t rows, float *sums) {
  for (int64_t s = 0; s < k; s++) {
    fetch(a + min_of(s + AHEAD, k - 1) * a_step, rows);
    if (sums) add_row(sums, a + s * a_step, rows, true);
    int64_t i = 0;
    for (; i + TILE_ROWS <= rows; i += TILE_ROWS)
      memcpy(to + i * k + s * TILE_ROWS, a + s * a_step + i,
             TILE_ROWS * sizeof *a);
    copy_row(to + i * k + s * TILE_ROWS, a + s * a_step + i, rows - i);
  }
}

/* Beyond the last row it stands again. */
static tile_rows rows_at(const float *a, int64_t a_row, int64_t rows) {
  tile_rows tile = {.count = min_of(TILE_ROWS, rows)};
  for (int i = 0; i < TILE_ROWS; i++)
    tile.row[i] = a + min_of(i, tile.count - 1) * a_row;
  return tile;
}

/* --------------------------------------------------------------- piece --- */

/* `columns` sums of row i from column j on, to where they belong. */
static inline void finish_row(const product *p, const block *t, int64_t i,
                              int64_t j, int64_t columns, const float *sums) {
  const bool begins = t->begin == 0;
  float *c = p->c + i * p->ldc + j;
  const bool add = p->add || !begins;
  const float *bias = begins && p->bias ? p->bias + j : NULL;
  const float *residual =
      begins && p->residual ? p->residual + i * p->ldc + j : NULL;
  FOR_VECTORS(v, lanes, columns, {
    vf sum = LOAD(sums + v, lanes);
    if (add) sum += LOAD(c + v, lanes);
    if (bias) sum += LOAD(bias + v, lanes);
    if (residual) sum += LOAD(residual + v, lanes);
    STORE(c + v, sum, lanes);
  });
}

/* The same of several rows, whose sums are `pitch` apart. */
INLINE void finish_rows(const product *p, const block *t, int64_t i,
                        int64_t rows, int64_t j, int64_t columns,
                        const float *sums, int64_t pitch) {
  for (int64_t row = 0; row < rows; row++)
    finish_row(p, t, i + row, j, columns, sums + row * pitch);
  const bool ends = t->begin + t->k == p->k;
  if (ends && p->y) activate_tile(p, i, rows, j, columns);
}

/* Rows i and on of c, as many as a tile has. */
static void multiply_rows(const product *p, const block *t, int64_t i,
                          const tile_rows *a, const float *b, coming *next) {
  _Alignas(MAE_VEC_BYTES) float sums[TILE_ROWS * TILE_COLUMNS];
  for (int64_t j = 0; j < t->n;) {
    const int64_t vectors = panel_vectors(t->n - j), width = vectors * LANES;
    const int64_t columns = min_of(width, t->n - j);
    sum_functions[packs_a(p)][vectors - 1](
        t->k, a, b, p->c + i * p->ldc + t->first + j, p->ldc, next, sums);
    if (columns == TILE_COLUMNS) /* a number known beforehand: no loop */
      finish_rows(p, t, i, a->count, t->first + j, TILE_COLUMNS, sums, width);
    else
      finish_rows(p, t, i, a->count, t->first + j, columns, sums, width);
    b += width * t->k;
    j += width;
  }
}

/* Up to `rows` rows of a from i on for block t, or beyond the last the first
 * ones for the block after it: to be fetched while those before them are at
 * work. */
static ahead rows_of_a(const product *p, const block *t, const block *after,
                       int64_t i, int64_t rows) {
  const int64_t at_once = parts_of(TILE_ROWS * TILE_COLUMNS, t->n);
  if (i >= p->m) {
    if (!after) return (ahead){0};
    t = after;
    i = 0;
  }
  const float *a = p->a + i * p->a_row + t->begin * p->a_step;
  rows = min_of(rows, p->m - i);
  return packs_a(p) ? (ahead){a, p->a_step, rows, t->k, at_once, 0}
                    : (ahead){a, p->a_row, t->k, rows, at_once, 0};
}

/* What block t has of b, to be fetched while a's rows pass by. */
static ahead block_of_b(const product *p, const block *t) {
  const int64_t at_once = parts_of(TILE_ROWS * TILE_COLUMNS, p->m);
  const float *b = p->b + t->begin * p->b_step + t->first * p->b_col;
  return p->b_col == 1 ? (ahead){b, p->b_step, t->n, t->k, at_once, 0}
                       : (ahead){b, p->b_col, t->k, t->n, at_once, 0};
}

/* A thread's block, of whose rows others may take some. */
typedef struct shared_block {
  const grid *grid;
  const product *p;
  const block *t, *after; /* the block that comes next, or NULL */
  const float *packed_b;
  int32_t owner;
  ahead b; /* of the block that comes next */
} shared_block;

static void multiply_shared(void *arg, int64_t i, int32_t worker) {
  shared_block *s = arg;
  const product *p = s->p;
  const int64_t begin = i * ROWS, end = min_of(begin + ROWS, p->m);
  const float *a = p->a + s->t->begin * p->a_step;
  float *packed_a = scratch_of(s->grid, worker);
  coming next = {.b = worker == s->owner ? s->b : (ahead){0}};
  if (packs_a(p)) {
    pack_a(packed_a, a + begin * p->a_row, p->a_step, s->t->k, end - begin,
           sums_of_block(p, s->t, begin));
    next.a = rows_of_a(p, s->t, s->after, end, ROWS);
  }
  for (int64_t row = begin; row < end; row += TILE_ROWS) {
    tile_rows rows;
    if (packs_a(p)) {
      rows = rows_at(packed_a + (row - begin) * s->t->k, 1, end - row);
    } else {
      rows = rows_at(a + row * p->a_row, p->a_row, end - row);
      next.a = rows_of_a(p, s->t, s->after, row + TILE_ROWS, TILE_ROWS);
    }
    multiply_rows(p, s->t, row, &rows, s->packed_b, &next);
  }
  if (worker == s->owner) s->b = next.b;
}

static void multiply_block(const grid *g, const product *p, const block *t,
                           const block *after, int32_t worker) {
  float *packed_b = scratch_of(g, worker) + (packs_a(p) ? ROWS * t->k : 0);
  pack_b(packed_b, p, t->k, t->n,
         p->b + t->begin * p->b_step + t->first * p->b_col);
  shared_block s = {g, p, t, after, packed_b, worker, {0}};
  if (!packs_a(p) && after) s.b = block_of_b(p, after);
  share_rows(g, worker, parts_of(p->m, ROWS), multiply_shared, &s);
}

static void multiply(const grid *g, const product *p, int32_t worker) {
  const block_shape most = shape_for(packs_a(p));
  const block size = {.n = part_size(p->n, most.columns, LANES),
                      .k = part_size(p->k, most.depth, 1)};
  for_blocks(g, p, worker, &size, multiply_block);
}

static void multiply_by_blas(const product *p) {
  const bool begun = p->bias || p->residual;
  for (int64_t i = 0; i < p->m && begun; i++) {
    float *c = p->c + i * p->ldc;
    if (p->bias) add_row(c, p->bias, p->n, p->add);
    if (p->residual)
      add_row(c, p->residual + i * p->ldc, p->n, p->add || p->bias);
  }
  const bool a_across = p->a_step != 1, b_across = p->b_col != 1;
  /* Of one row or column the distance to the next may be anything. */
  const int64_t lda = a_across ? p->a_step : max_of(p->a_row, p->k);
  const int64_t ldb = b_across ? p->b_col : max_of(p->b_step, p->n);
  mae_sgemm(a_across, b_across, p->m, p->n, p->k, 1, p->a, lda, p->b, ldb,
            begun || p->add, p->c, p->ldc);
  if (p->y) activate_tile(p, 0, p->m, 0, p->n);
}

/* ------------------------------------------------------------- threads --- */

/* A product worth sharing out has this many multiply-adds per thread. */
enum { WORTHWHILE = 1 << 16 };

static int64_t size_apart(const product *p) { return p->m * (p->n + 1); }

/* Some of the whole's terms: the first ones' sums go to c, others apart. */
static product terms_of(const grid *g, int64_t part) {
  product p = *g->whole;
  const int64_t begin = part * g->depth;
  p.k = min_of(g->depth, p.k - begin);
  p.a += begin * p.a_step;
  p.b += begin * p.b_step;
  if (part == 0) return p;
  p.c = g->apart + (part - 1) * size_apart(&p);
  p.ldc = p.n;
  p.add = false;
  if (p.a_sums) p.a_sums = p.c + p.m * p.n;
  return p;
}

static void multiply_piece(void *arg, int64_t i, int32_t worker) {
  const grid *g = arg;
  const int64_t part = i / (g->across * g->down);
  const int64_t row = i / g->across % g->down * g->height;
  const int64_t column = i % g->across * g->width;
  product p = terms_of(g, part);
  p.m = min_of(g->height, p.m - row);
  p.n = min_of(g->width, p.n - column);
  p.a += row * p.a_row;
  p.b += column * p.b_col;
  if (p.packed_b)
    p.packed_b += KERNEL(packed_weight)(p.products, p.k, column);
  p.c += row * p.ldc + column;
  if (p.bias) p.bias += column;
  if (p.residual) p.residual += row * p.ldc + column;
  if (p.y) p.y += row * p.ldc + column;
  if (p.kept) p.kept += row * p.ldc + column;
  if (p.a_sums) p.a_sums = column ? NULL : p.a_sums + row;
  if (p.a_sums && part > 0) zero_row(p.a_sums, p.m);
  if (p.products != MAE_PRODUCTS_F32)
    KERNEL(product_bf16)(g, &p, worker);
  else if (OWN)
    multiply(g, &p, worker);
  else
    multiply_by_blas(&p);
}

/* What pieces behind the first have put apart joins c, in order. */
static void add_rows_apart(void *arg, int64_t begin, int64_t end,
                           int32_t worker) {
  (void)worker;
  const grid *g = arg;
  const product *p = g->whole;
  for (int64_t part = 1; part < g->deep; part++) {
    const product q = terms_of(g, part);
    for (int64_t i = begin; i < end; i++)
      add_row(p->c + i * p->ldc, q.c + i * q.ldc, p->n, true);
    if (p->a_sums)
      add_row(p->a_sums + begin, q.a_sums + begin, end - begin, true);
  }
}

/* As weight gradients: what else goes with a product needs all its terms, and
 * so does the place of a packed panel. */
static bool may_cut_terms(const product *p) {
  return packs_a(p) && !p->packed_b && !p->bias && !p->residual && !p->y;
}

/* Each thread packs for itself: columns of b once, rows of a once for every
 * `block_columns` of these.  What is put apart costs about as much for each
 * number twice: to store it and to add it.  Pieces for which that is least. */
static void cut_for_packing(grid *g, int64_t pieces, int64_t rows,
                            int64_t columns, int64_t block_columns) {
  const int64_t m = g->whole->m, n = g->whole->n, k = g->whole->k;
  int64_t least = INT64_MAX;
  for (int64_t deep = may_cut_terms(g->whole) ? pieces : 1; deep > 0; deep--)
    for (int64_t across = 1; across <= pieces / deep; across++) {
      if (pieces % (deep * across)) continue;
      const int64_t down = pieces / (deep * across);
      const int64_t width = parts_of(n, across);
      const int64_t blocks = parts_of(width, block_columns);
      const int64_t packed = (m / down * blocks + width) * (k / deep);
      const int64_t cost = packed + 2 * (deep - 1) * m * n / pieces;
      if (cost > least) continue;
      least = cost;
      g->height = part_size(m, parts_of(m, down), rows);
      g->width = part_size(n, width, columns);
      g->depth = part_size(k, parts_of(k, deep), BF16_TOGETHER);
    }
}

/* Where a's rows are read in place, narrow rectangles cost nothing. */
static void cut_columns(grid *g, int64_t pieces) {
  const int64_t m = g->whole->m, n = g->whole->n;
  g->width = part_size(n, max_of(n / pieces, TILE_COLUMNS), TILE_COLUMNS);
  const int64_t across = parts_of(n, g->width);
  const int64_t down = parts_of(pieces, across);
  g->height = part_size(m, parts_of(m, down), TILE_ROWS);
  g->depth = g->whole->k;
}

/* To make parts of factors takes longer than a few sums of them. */
static bool is_thin(const product *p) {
  return min_of(min_of(p->m, p->n), p->k) < BF16_TOGETHER;
}

/* By the kernel that will be used. */
static product as_made(const product *p) {
  product made = *p;
  if (p->products == MAE_PRODUCTS_F32_AMX && is_thin(p))
    made.products = MAE_PRODUCTS_F32;
  return made;
}

static grid cut(const mae_pool *pool, const product *p) {
  grid g = {.whole = p, .scratch_size = worker_scratch(p)};
  int64_t pieces = mae_pool_threads(pool);
  while (pieces > 1 && p->m * p->n / pieces * p->k < WORTHWHILE) pieces--;
  if (p->products != MAE_PRODUCTS_F32)
    cut_for_packing(&g, pieces, BF16_TOGETHER, BF16_TOGETHER,
                    KERNEL(product_bf16_columns)(p));
  else if (OWN && !packs_a(p))
    cut_columns(&g, pieces);
  else
    cut_for_packing(&g, pieces, TILE_ROWS, LANES,
                    OWN ? shape_for(true).columns : p->n);
  g.down = parts_of(p->m, g.height);
  g.across = parts_of(p->n, g.width);
  g.deep = parts_of(p->k, g.depth);
  return g;
}

int64_t KERNEL(product_scratch)(const mae_pool *pool, const product *p) {
  const product made = as_made(p);
  const grid g = cut(pool, &made);
  return mae_pool_threads(pool) * g.scratch_size +
         (g.deep - 1) * size_apart(p);
}

void KERNEL(product)(mae_pool *pool, const product *p, float *scratch) {
  const product made = as_made(p);
  grid g = cut(pool, &made);
  g.scratch = scratch;
  g.apart = scratch + mae_pool_threads(pool) * g.scratch_size;
  const int64_t pieces = g.down * g.across * g.deep;
  if (pieces > 1) g.pool = pool;
  mae_pool_run(pool, pieces, multiply_piece, &g);
  if (g.deep > 1)
    mae_pool_for(pool, p->m, row_grain(p->n), add_rows_apart, &g);
}
