/* c = a b of factors rounded to bf16, sums in f32: by the tiles of AMX, or by
 * AVX512_BF16.
 *
 * As in product.c, but both factors go to scratch, rounded, in tiles of
 * 16 x 32: a's hold rows of 32 terms; b's the transpose of such, which both
 * sorts of instructions want: rows of 16 columns, each two terms. */
#include "kernels/product.h"

#if MAE_VEC_BYTES == 64 && defined(__has_include)
#if __has_include(<amxbf16intrin.h>)
#define HAVE_BF16
#endif
#endif

#ifdef HAVE_BF16

#define USES_AMX __attribute__((target("amx-tile,amx-bf16")))
#define USES_BF16 __attribute__((target("avx512bf16")))

enum {
  SIDE = 16,            /* rows or columns of a tile */
  TERMS = 32,           /* of a tile */
  TILE = SIDE * TERMS,  /* elements */
  BOTH = BF16_TOGETHER, /* two tiles across and two down at a time */
  DEPTH = 512,          /* terms at a time: a panel fits the first cache */
  COLUMNS = 1024,       /* of b in scratch: they fit the second */
  ROWS = 4 * BOTH,      /* of a in scratch, where its terms lie apart */
};

typedef uint16_t bf16;

static int64_t whole(int64_t n, int64_t unit) {
  return (n + unit - 1) / unit * unit;
}

mae_bf16 KERNEL(best_bf16)(void) { return mae_cpu_bf16(); }

static int64_t packed_size(int64_t rows, int64_t k) {
  return whole(rows, BOTH) * whole(k, TERMS);
}

int64_t KERNEL(product_bf16_scratch)(int64_t n, int64_t k) {
  return packed_size(min_of(n, COLUMNS) + ROWS, min_of(k, DEPTH)) / 2;
}

/* ------------------------------------------------------------- packing --- */

/* Sixteen vectors of pairs of terms: of 16 rows each, from memory where terms
 * are beside each other ... */
INLINE USES_BF16 void pairs_along(vf v[SIDE], const float *x, int64_t stride,
                                  int64_t rows, int64_t terms) {
  const int64_t low = min_of(terms, SIDE), high = terms - low;
  UNROLL for (int64_t i = 0; i < SIDE; i++) {
    const float *row = x + i * stride;
    v[i] = (vf){0};
    if (i < rows)
      v[i] = (vf)_mm512_cvtne2ps_pbh((__m512)LOAD(row + SIDE, high),
                                     (__m512)LOAD(row, low));
  }
}

/* ... or where they are `stride` apart, rows beside each other; then vector q
 * has terms 2 q and 2 q + 1 of all rows. */
INLINE USES_BF16 void pairs_across(vf v[SIDE], const float *x, int64_t stride,
                                   int64_t rows, int64_t terms) {
  const __m512i zip = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11,
                                       26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                       5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  UNROLL for (int64_t q = 0; q < SIDE; q++) {
    const float *pair = x + 2 * q * stride;
    const vf even = 2 * q < terms ? LOAD(pair, rows) : (vf){0};
    const vf odd = 2 * q + 1 < terms ? LOAD(pair + stride, rows) : (vf){0};
    v[q] = (vf)_mm512_permutexvar_epi16(
        zip, (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even));
  }
}

/* A tile of `rows` x `terms`, the rest 0; pairs of terms down the tile where
 * it is b's. */
INLINE USES_BF16 void pack_tile(bf16 *to, const float *x, bool terms_adjoin,
                                int64_t stride, int64_t rows, int64_t terms,
                                bool is_b) {
  vf v[SIDE];
  if (terms_adjoin)
    pairs_along(v, x, stride, rows, terms);
  else
    pairs_across(v, x, stride, rows, terms);
  if (terms_adjoin == is_b) transpose(v);
  for (int i = 0; i < SIDE; i++) vf_store((float *)to + i * SIDE, v[i]);
}

static USES_BF16 void pack_any_tile(bf16 *to, const float *x, bool terms_adjoin,
                                    int64_t stride, int64_t rows, int64_t terms,
                                    bool is_b) {
  pack_tile(to, x, terms_adjoin, stride, rows, terms, is_b);
}

#define PACK_WHOLE(name, terms_adjoin, is_b)                             \
  static USES_BF16 void name(bf16 *to, const float *x, int64_t stride) { \
    pack_tile(to, x, terms_adjoin, stride, SIDE, TERMS, is_b);           \
  }
PACK_WHOLE(pack_a_along, true, false)
PACK_WHOLE(pack_a_across, false, false)
PACK_WHOLE(pack_b_along, true, true)
PACK_WHOLE(pack_b_across, false, true)

/* A factor's element (row, term), b's columns being its rows, is
 * x[row * row_step + term * term_step]; one of the steps is 1. */
typedef struct factor {
  const float *x;
  int64_t row_step, term_step, rows, terms;
  bool is_b;
} factor;

static void pack_tile_at(bf16 *to, const factor *f, int64_t row, int64_t term) {
  const bool terms_adjoin = f->term_step == 1;
  const int64_t stride = terms_adjoin ? f->row_step : f->term_step;
  const int64_t rows = min_of(SIDE, f->rows - row);
  const int64_t terms = min_of(TERMS, f->terms - term);
  const float *x = f->x + row * f->row_step + term * f->term_step;
  if (rows <= 0)
    memset(to, 0, TILE * sizeof *to);
  else if (rows < SIDE || terms < TERMS)
    pack_any_tile(to, x, terms_adjoin, stride, rows, terms, f->is_b);
  else if (f->is_b)
    (terms_adjoin ? pack_b_along : pack_b_across)(to, x, stride);
  else
    (terms_adjoin ? pack_a_along : pack_a_across)(to, x, stride);
}

/* Panels of two tiles of rows and all terms: the first tile and the second
 * turn by turn.  Memory is read in its order as far as tiles allow. */
static void pack(bf16 *to, const factor *f) {
  const int64_t panel = packed_size(BOTH, f->terms);
  const int64_t rows = whole(f->rows, BOTH);
  const int64_t together = f->term_step == 1 ? BOTH : rows;
  for (int64_t first = 0; first < rows; first += together)
    for (int64_t term = 0; term < f->terms; term += TERMS)
      for (int64_t row = first; row < first + together; row += SIDE)
        pack_tile_at(
            to + row / BOTH * panel + term * BOTH + row / SIDE % 2 * TILE, f,
            row, term);
}

/* [out, in] */
typedef struct weight {
  const float *w;
  int64_t in, out;
  float *packed;
} weight;

int64_t KERNEL(packed_weight)(int64_t in, int64_t out) {
  return packed_size(out, in) / 2;
}

static void pack_panel(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  const weight *p = arg;
  const int64_t first = i * BOTH;
  pack((bf16 *)(p->packed + KERNEL(packed_weight)(p->in, first)),
       &(factor){p->w + first * p->in, p->in, 1, min_of(BOTH, p->out - first),
                 p->in, true});
}

void KERNEL(pack_weight)(mae_pool *pool, int64_t in, int64_t out,
                         const float *w, float *packed) {
  weight p = {w, in, out, packed};
  mae_pool_run(pool, (out + BOTH - 1) / BOTH, pack_panel, &p);
}

/* ---------------------------------------------------------------- sums --- */

/* gcc does not say of its intrinsics for tiles that they read memory. */
INLINE void will_be_read(const void *x) {
  __asm__ volatile("" : : "r"(x) : "memory");
}

/* c [BOTH, BOTH] = what it begins with, NULL: 0, + a panel of a times one of b,
 * over `steps` tiles of terms.  half: the first SIDE rows alone. */
typedef struct sums {
  int64_t steps;
  const bf16 *a, *b;
  const float *begin;
  int64_t pitch; /* from row to row of that; 0: all rows are one */
  float *c;
  int64_t ldc;
  bool half;
} sums;

typedef void sum_function(const sums *s);

/* b's tiles pass by the first level of cache, where a's stay. */
INLINE USES_AMX void sum_tiles(const sums *s, bool half) {
  enum { ROW = TERMS * sizeof(bf16) };
  const bf16 *a = s->a, *b = s->b;
  if (s->begin) {
    const int64_t row = s->pitch * (int64_t)sizeof *s->begin;
    _tile_loadd(0, s->begin, row);
    _tile_loadd(1, s->begin + SIDE, row);
    if (!half) _tile_loadd(2, s->begin + SIDE * s->pitch, row);
    if (!half) _tile_loadd(3, s->begin + SIDE * s->pitch + SIDE, row);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t i = 0; i < s->steps; i++, a += 2 * TILE, b += 2 * TILE) {
    _tile_loadd(4, a, ROW);
    _tile_stream_loadd(6, b, ROW);
    if (!half) _tile_loadd(5, a + TILE, ROW);
    _tile_stream_loadd(7, b + TILE, ROW);
    _tile_dpbf16ps(0, 4, 6);
    if (!half) _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (!half) _tile_dpbf16ps(3, 5, 7);
  }
  const int64_t row = s->ldc * (int64_t)sizeof *s->c;
  _tile_stored(0, s->c, row);
  _tile_stored(1, s->c + SIDE, row);
  if (!half) _tile_stored(2, s->c + SIDE * s->ldc, row);
  if (!half) _tile_stored(3, s->c + SIDE * s->ldc + SIDE, row);
}

static USES_AMX void sum_by_amx(const sums *s) {
  will_be_read(s);
  if (s->half)
    sum_tiles(s, true);
  else
    sum_tiles(s, false);
}

/* Eight rows at a time, as registers hold. */
static USES_BF16 void sum_by_avx512(const sums *s) {
  enum { ROWS_AT_ONCE = 8 };
  for (int64_t first = 0; first < (s->half ? SIDE : BOTH);
       first += ROWS_AT_ONCE) {
    __m512 sum[ROWS_AT_ONCE][2];
    UNROLL for (int i = 0; i < ROWS_AT_ONCE; i++) {
      sum[i][0] = sum[i][1] = (__m512){0};
      if (!s->begin) continue;
      const float *begin = s->begin + (first + i) * s->pitch;
      sum[i][0] = (__m512)vf_load(begin);
      sum[i][1] = (__m512)vf_load(begin + SIDE);
    }
    for (int64_t p = 0; p < s->steps; p++) {
      const bf16 *rows =
          s->a + (2 * p + first / SIDE) * TILE + first % SIDE * TERMS;
      const bf16 *columns = s->b + 2 * p * TILE;
      for (int64_t q = 0; q < TERMS / 2; q++) {
        const __m512bh one =
            (__m512bh)vf_load((const float *)columns + q * SIDE);
        const __m512bh two =
            (__m512bh)vf_load((const float *)(columns + TILE) + q * SIDE);
        UNROLL for (int i = 0; i < ROWS_AT_ONCE; i++) {
          int32_t pair;
          memcpy(&pair, rows + i * TERMS + 2 * q, sizeof pair);
          const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
          sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, one);
          sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, two);
        }
      }
    }
    UNROLL for (int i = 0; i < ROWS_AT_ONCE; i++) {
      float *c = s->c + (first + i) * s->ldc;
      vf_store(c, (vf)sum[i][0]);
      vf_store(c + SIDE, (vf)sum[i][1]);
    }
  }
}

/* The shapes of all eight tiles, for this thread. */
static USES_AMX void begin_amx(void) {
  struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } shapes = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    shapes.row_bytes[i] = TERMS * sizeof(bf16);
    shapes.rows[i] = SIDE;
  }
  will_be_read(&shapes);
  _tile_loadconfig(&shapes);
}

static USES_AMX void end_amx(void) { _tile_release(); }

/* -------------------------------------------------------------- blocks --- */

/* A thread's block, of whose rows others may take some. */
typedef struct shared_block {
  const grid *grid;
  const product *p;
  const block *t;
  const bf16 *b; /* its panels, */
  int64_t panel; /* from each to the next */
} shared_block;

/* Rows of a that are packed together. */
static int64_t rows_at_once(const product *p) {
  return p->a_step == 1 ? BOTH : ROWS;
}

/* The sums of rows i on and columns j on, where whole tiles would reach beyond
 * c or begin with more than one thing: first apart, then to c. */
static void sum_apart(const product *p, const block *t, sums *s, int64_t i,
                      int64_t rows, int64_t j, int64_t columns,
                      sum_function *sum) {
  _Alignas(64) float apart[BOTH * BOTH];
  s->c = apart;
  s->ldc = BOTH;
  s->half = rows <= SIDE;
  sum(s);
  if (columns == BOTH) /* a number known beforehand: no loop */
    finish_rows(p, t, i, rows, j, BOTH, apart, BOTH);
  else
    finish_rows(p, t, i, rows, j, columns, apart, BOTH);
}

/* Else straight to c. */
static void sum_in_place(const product *p, const block *t, sums *s, int64_t i,
                         int64_t j, sum_function *sum) {
  s->c = p->c + i * p->ldc + j;
  s->ldc = p->ldc;
  if (p->add || t->begin) {
    s->begin = s->c;
    s->pitch = p->ldc;
  } else if (p->bias) {
    s->begin = p->bias + j;
    s->pitch = 0;
  }
  for (int64_t row = 0; row < BOTH; row++) fetch(s->c + row * p->ldc, BOTH);
  sum(s);
  if (p->y && t->begin + t->k == p->k)
    for (int64_t row = 0; row < BOTH; row++)
      gelu_row(p->y + (i + row) * p->ldc + j, s->c + row * p->ldc, BOTH);
}

/* Rows i on of c, as many as a panel of a has. */
static void multiply_panel(const shared_block *s, const bf16 *a, int64_t i) {
  const product *p = s->p;
  const block *t = s->t;
  const int64_t steps = whole(t->k, TERMS) / TERMS;
  const int64_t rows = min_of(BOTH, p->m - i);
  const bool several =
      t->begin == 0 && (p->residual || (p->add && p->bias));
  sum_function *sum = p->bf16 == MAE_BF16_AMX ? sum_by_amx : sum_by_avx512;
  const bf16 *b = s->b;
  for (int64_t j = 0; j < t->n; j += BOTH, b += s->panel) {
    const int64_t columns = min_of(BOTH, t->n - j);
    sums these = {.steps = steps, .a = a, .b = b};
    if (several || rows < BOTH || columns < BOTH)
      sum_apart(p, t, &these, i, rows, t->first + j, columns, sum);
    else
      sum_in_place(p, t, &these, i, t->first + j, sum);
  }
}

static void multiply_shared(void *arg, int64_t part, int32_t worker) {
  const shared_block *s = arg;
  const product *p = s->p;
  const block *t = s->t;
  const int64_t first = part * rows_at_once(p);
  const int64_t rows = min_of(rows_at_once(p), p->m - first);
  bf16 *packed_a = (bf16 *)scratch_of(s->grid, worker);
  pack(packed_a, &(factor){p->a + first * p->a_row + t->begin * p->a_step,
                           p->a_row, p->a_step, rows, t->k, false});
  if (p->bf16 == MAE_BF16_AMX) begin_amx();
  for (int64_t i = 0; i < rows; i += BOTH)
    multiply_panel(s, packed_a + packed_size(i, t->k), first + i);
  if (p->bf16 == MAE_BF16_AMX) end_amx();
}

/* The block's part of b from memory to scratch. */
static const bf16 *pack_block(const grid *g, const product *p, const block *t,
                              int32_t worker) {
  bf16 *packed = (bf16 *)scratch_of(g, worker) + packed_size(ROWS, t->k);
  pack(packed, &(factor){p->b + t->begin * p->b_step + t->first * p->b_col,
                         p->b_col, p->b_step, t->n, t->k, true});
  return packed;
}

static void multiply_block(const grid *g, const product *p, const block *t,
                           int32_t worker) {
  shared_block s = {.grid = g, .p = p, .t = t};
  if (p->packed_b) {
    s.panel = packed_size(BOTH, p->k);
    s.b = (const bf16 *)p->packed_b + packed_size(t->first, p->k) +
          t->begin * BOTH;
  } else {
    s.panel = packed_size(BOTH, t->k);
    s.b = pack_block(g, p, t, worker);
  }
  const int64_t at_once = rows_at_once(p);
  share_rows(g, worker, (p->m + at_once - 1) / at_once, multiply_shared, &s);
}

void KERNEL(product_bf16)(const grid *g, const product *p, int32_t worker) {
  const int64_t width = part_size(p->n, COLUMNS, BOTH);
  const int64_t depth = part_size(p->k, DEPTH, TERMS);
  for (int64_t j = 0; j < p->n; j += width)
    for (int64_t s = 0; s < p->k; s += depth) {
      const block t = {j, min_of(width, p->n - j), s, min_of(depth, p->k - s)};
      multiply_block(g, p, &t, worker);
    }
}

#else

mae_bf16 KERNEL(best_bf16)(void) { return MAE_BF16_NONE; }

/* Never called. */
void KERNEL(product_bf16)(const grid *g, const product *p, int32_t worker) {
  (void)g, (void)p, (void)worker;
}
void KERNEL(pack_weight)(mae_pool *pool, int64_t in, int64_t out,
                         const float *w, float *packed) {
  (void)pool, (void)in, (void)out, (void)w, (void)packed;
}
int64_t KERNEL(packed_weight)(int64_t in, int64_t out) {
  (void)in, (void)out;
  return 0;
}
int64_t KERNEL(product_bf16_scratch)(int64_t n, int64_t k) {
  (void)n, (void)k;
  return 0;
}

#endif
