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
  SIDE = 16,           /* rows or columns of a tile */
  TERMS = 32,          /* of a tile */
  TILE = SIDE * TERMS, /* elements */
  BOTH = 2 * SIDE,     /* two tiles across and two down at a time */
  DEPTH = 1024,        /* terms at a time */
  COLUMNS = 512,       /* of b in scratch */
};

typedef uint16_t bf16;

static int64_t whole(int64_t n, int64_t unit) {
  return (n + unit - 1) / unit * unit;
}

mae_bf16 KERNEL(best_bf16)(void) { return mae_cpu_bf16(); }

int64_t KERNEL(product_bf16_scratch)(int64_t n, int64_t k) {
  const int64_t elements =
      (whole(min_of(n, COLUMNS), BOTH) + BOTH) * whole(min_of(k, DEPTH), TERMS);
  return elements / 2;
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

/* Two tiles of rows (of a, or columns of b), k terms: the first and the second
 * turn by turn. */
static void pack_pair(bf16 *to, const float *x, int64_t row, int64_t step,
                      int64_t rows, int64_t k, bool is_b) {
  const bool terms_adjoin = step == 1;
  const int64_t stride = terms_adjoin ? row : step;
  for (int64_t p = 0; p < k; p += TERMS)
    for (int64_t i = 0; i < BOTH; i += SIDE, to += TILE) {
      const int64_t here = min_of(SIDE, rows - i), terms = min_of(TERMS, k - p);
      const float *from = x + (here > 0 ? i * row : 0) + p * step;
      if (here < SIDE || terms < TERMS)
        pack_any_tile(to, from, terms_adjoin, stride, here > 0 ? here : 0,
                      terms, is_b);
      else if (is_b)
        (terms_adjoin ? pack_b_along : pack_b_across)(to, from, stride);
      else
        (terms_adjoin ? pack_a_along : pack_a_across)(to, from, stride);
    }
}

/* ---------------------------------------------------------------- sums --- */

/* gcc does not say of its intrinsics for tiles that they read memory. */
INLINE void will_be_read(const void *x) {
  __asm__ volatile("" : : "r"(x) : "memory");
}

/* sums [BOTH, BOTH] of two tiles of rows and two of columns, over `steps`
 * tiles of terms. */
typedef void sum_function(int64_t steps, const bf16 *a, const bf16 *b,
                          float *sums);

static USES_AMX void sum_by_amx(int64_t steps, const bf16 *a, const bf16 *b,
                                float *sums) {
  enum { ROW = TERMS * sizeof(bf16), SUMS_ROW = BOTH * sizeof(float) };
  will_be_read(a);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t s = 0; s < steps; s++, a += 2 * TILE, b += 2 * TILE) {
    _tile_loadd(4, a, ROW);
    _tile_loadd(6, b, ROW);
    _tile_loadd(5, a + TILE, ROW);
    _tile_loadd(7, b + TILE, ROW);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sums, SUMS_ROW);
  _tile_stored(1, sums + SIDE, SUMS_ROW);
  _tile_stored(2, sums + SIDE * BOTH, SUMS_ROW);
  _tile_stored(3, sums + SIDE * BOTH + SIDE, SUMS_ROW);
}

/* Eight rows at a time, as registers hold. */
static USES_BF16 void sum_by_avx512(int64_t steps, const bf16 *a, const bf16 *b,
                                    float *sums) {
  enum { ROWS = 8 };
  for (int64_t first = 0; first < BOTH; first += ROWS) {
    __m512 sum[ROWS][2];
    UNROLL for (int i = 0; i < ROWS; i++) sum[i][0] = sum[i][1] = (__m512){0};
    for (int64_t s = 0; s < steps; s++) {
      const bf16 *rows =
          a + (2 * s + first / SIDE) * TILE + first % SIDE * TERMS;
      const bf16 *columns = b + 2 * s * TILE;
      for (int64_t q = 0; q < TERMS / 2; q++) {
        const __m512bh one =
            (__m512bh)vf_load((const float *)columns + q * SIDE);
        const __m512bh two =
            (__m512bh)vf_load((const float *)(columns + TILE) + q * SIDE);
        UNROLL for (int i = 0; i < ROWS; i++) {
          int32_t pair;
          memcpy(&pair, rows + i * TERMS + 2 * q, sizeof pair);
          const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
          sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, one);
          sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, two);
        }
      }
    }
    UNROLL for (int i = 0; i < ROWS; i++) {
      vf_store(sums + (first + i) * BOTH, (vf)sum[i][0]);
      vf_store(sums + (first + i) * BOTH + SIDE, (vf)sum[i][1]);
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

/* --------------------------------------------------------------- blocks --- */

/* A thread's block, of whose rows others may take some. */
typedef struct shared_block {
  const grid *grid;
  const product *p;
  const block *t;
  const bf16 *packed_b;
} shared_block;

static int64_t panel_size(const block *t) {
  return whole(t->k, TERMS) * BOTH;
}

static void multiply_shared(void *arg, int64_t part, int32_t worker) {
  const shared_block *s = arg;
  const product *p = s->p;
  const block *t = s->t;
  _Alignas(64) float sums[BOTH * BOTH];
  bf16 *packed_a = (bf16 *)scratch_of(s->grid, worker);
  const float *a = p->a + t->begin * p->a_step;
  const int64_t i = part * BOTH, steps = whole(t->k, TERMS) / TERMS;
  const bool amx = p->bf16 == MAE_BF16_AMX;
  pack_pair(packed_a, a + i * p->a_row, p->a_row, p->a_step, p->m - i, t->k,
            false);
  if (amx) begin_amx();
  for (int64_t j = 0; j < t->n; j += BOTH) {
    const bf16 *b = s->packed_b + j / BOTH * panel_size(t);
    (amx ? sum_by_amx : sum_by_avx512)(steps, packed_a, b, sums);
    for (int64_t row = 0; row < min_of(BOTH, p->m - i); row++)
      finish_row(p, t, i + row, t->first + j, min_of(BOTH, t->n - j),
                 sums + row * BOTH);
  }
  if (amx) end_amx();
}

static void multiply_block(const grid *g, const product *p, const block *t,
                           int32_t worker) {
  const int64_t panel = panel_size(t);
  bf16 *packed_b = (bf16 *)scratch_of(g, worker) + panel;
  const float *b = p->b + t->begin * p->b_step + t->first * p->b_col;
  for (int64_t j = 0; j < t->n; j += BOTH)
    pack_pair(packed_b + j / BOTH * panel, b + j * p->b_col, p->b_col,
              p->b_step, t->n - j, t->k, true);
  share_rows(g, worker, (p->m + BOTH - 1) / BOTH, multiply_shared,
             &(shared_block){g, p, t, packed_b});
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
int64_t KERNEL(product_bf16_scratch)(int64_t n, int64_t k) {
  (void)n, (void)k;
  return 0;
}

#endif
