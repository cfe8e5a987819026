/* c = a b of factors in bf16, sums in f32: by the tiles of AMX, or by
 * AVX512_BF16.
 *
 * Both factors are brought into tiles of 16 x 32: a's hold rows of 32 terms;
 * b's the transpose of such, which both sorts of instructions want: rows of 16
 * columns, each two terms.
 *
 * As in product.c a block of b goes to scratch, and a's rows pass by.  Where b
 * is packed beforehand or rows are few it is the other way round: as many rows
 * as the second level of cache holds go to scratch, and b's columns pass by,
 * each of them read from memory once, and c's tiles rarely come back.
 *
 * Factors are rounded to bf16; or, for products in f32, cut into three parts,
 * each the next 8 bits of the 24 there are.  Six of the nine products of parts
 * are summed: what the others would add is less than rounding does. */
#include "kernels/product.h"

#if MAE_VEC_BYTES == 64 && MAE_HAVE_BF16

#define USES_AMX __attribute__((target("amx-tile,amx-bf16")))
#define USES_BF16 __attribute__((target("avx512bf16")))

enum {
  SIDE = 16,            /* rows or columns of a tile */
  TERMS = 32,           /* of a tile */
  TILE = SIDE * TERMS,  /* elements */
  PART = 2 * TILE,      /* elements, from one part of a panel's to the next */
  BOTH = BF16_TOGETHER, /* two tiles across and two down at a time */
  PARTS = 3,            /* of a number in f32 */
  LINE = 64 / 2,        /* elements */
  ROWS = 4 * BOTH,      /* of a in scratch, where its terms lie apart */
  ALL_ROWS = 7 * BOTH,  /* of a in scratch, where b's columns pass by: a
                           picture's 196 patches and its class token */
};

typedef uint16_t bf16;

static int64_t whole(int64_t n, int64_t unit) {
  return parts_of(n, unit) * unit;
}

/* How factors are packed, and how much of them: terms and columns of b, so that
 * these fit the second level of cache; or terms of ALL_ROWS of a that do. */
typedef struct packing {
  int64_t parts, depth, columns, depth_of_all;
} packing;

static packing packing_for(mae_products products) {
  return products == MAE_PRODUCTS_F32_AMX ? (packing){PARTS, 384, 512, 768}
                                          : (packing){1, 512, 1024, 1536};
}

static int64_t packed_size(int64_t parts, int64_t rows, int64_t k) {
  return parts * whole(rows, BOTH) * whole(k, TERMS);
}

int64_t KERNEL(product_bf16_scratch)(mae_products products, int64_t n,
                                     int64_t k) {
  const packing most = packing_for(products);
  const int64_t columns = packed_size(
      most.parts, min_of(n, most.columns) + ROWS, min_of(k, most.depth));
  const int64_t rows =
      packed_size(most.parts, ALL_ROWS + BOTH, min_of(k, most.depth_of_all));
  return max_of(columns, rows) / 2;
}

/* ------------------------------------------------------------- packing --- */

INLINE vf top_of(vf x) {
  return (vf)_mm512_and_si512((__m512i)x, _mm512_set1_epi32(~0xffff));
}

/* A number whose top is the bf16 nearest to x. */
INLINE vf with_rounded_top(vf x) {
  return (vf)_mm512_add_epi32((__m512i)x, _mm512_set1_epi32(0x8000));
}

/* Of both vectors' numbers the tops, turn by turn. */
INLINE vf tops_of_both(vf one, vf other) {
  const __m512i low = _mm512_srli_epi32((__m512i)one, 16);
  return (vf)_mm512_mask_blend_epi16(0xaaaaaaaa, low, (__m512i)other);
}

/* Pairs in bf16: of each number the first 8 bits, of what these leave the next
 * 8, rounded, and the rest, so that none is lost. */
INLINE void to_parts(vf one, vf other, vf part[PARTS]) {
  part[0] = tops_of_both(one, other);
  one -= top_of(one);
  other -= top_of(other);
  const vf next = with_rounded_top(one), other_next = with_rounded_top(other);
  part[1] = tops_of_both(next, other_next);
  part[2] = tops_of_both(one - top_of(next), other - top_of(other_next));
}

/* Numbers `from` on, up to SIDE of them, of row i of what lies [rows, width] in
 * memory; 0 beyond it. */
INLINE vf load_side(const float *x, int64_t stride, int64_t rows, int64_t width,
                    int64_t i, int64_t from) {
  if (i >= rows || from >= width) return (vf){0};
  return LOAD(x + i * stride + from, min_of(width - from, SIDE));
}

/* A tile from [rows, width] in memory, rows `stride` apart, in which terms
 * adjoin along a row or are rows; the rest 0.  Pairs go along a tile's rows
 * where it is a's, and down the tile where it is b's.  These are of terms 2 i
 * and 2 i + 1. */
INLINE USES_BF16 void pack_rounded(bf16 *to, const float *x, bool terms_adjoin,
                                   int64_t stride, int64_t rows, int64_t width,
                                   bool is_b) {
  const __m512i zip = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11,
                                       26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                       5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  vf v[SIDE];
  UNROLL for (int i = 0; i < SIDE; i++) {
    vf low, high;
    if (terms_adjoin) {
      low = load_side(x, stride, rows, width, i, 0);
      high = load_side(x, stride, rows, width, i, SIDE);
    } else {
      low = load_side(x, stride, rows, width, 2 * i, 0);
      high = load_side(x, stride, rows, width, 2 * i + 1, 0);
    }
    v[i] = (vf)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
    if (!terms_adjoin)
      v[i] = (vf)_mm512_permutexvar_epi16(zip, (__m512i)v[i]);
  }
  if (terms_adjoin == is_b) transpose(v);
  UNROLL for (int i = 0; i < SIDE; i++)
      vf_store((float *)(to + i * TERMS), v[i]);
}

/* These are of terms i and SIDE + i.  Parts follow each other with the panel's
 * other tile between. */
INLINE void pack_parts(bf16 *to, const float *x, bool terms_adjoin,
                       int64_t stride, int64_t rows, int64_t width,
                       bool is_b) {
  vf one[SIDE], other[SIDE];
  UNROLL for (int i = 0; i < SIDE; i++) {
    one[i] = load_side(x, stride, rows, width, i, 0);
    other[i] = terms_adjoin ? load_side(x, stride, rows, width, i, SIDE)
                            : load_side(x, stride, rows, width, SIDE + i, 0);
  }
  if (terms_adjoin == is_b) {
    transpose(one);
    transpose(other);
  }
  UNROLL for (int i = 0; i < SIDE; i++) {
    vf part[PARTS];
    to_parts(one[i], other[i], part);
    UNROLL for (int k = 0; k < PARTS; k++)
        vf_store((float *)(to + k * PART + i * TERMS), part[k]);
  }
}

INLINE USES_BF16 void pack_tile(bf16 *to, const float *x, bool terms_adjoin,
                                int64_t stride, int64_t rows, int64_t terms,
                                bool is_b, int parts) {
  const int64_t high = terms_adjoin ? rows : terms;
  const int64_t width = terms_adjoin ? terms : rows;
  if (parts == PARTS)
    pack_parts(to, x, terms_adjoin, stride, high, width, is_b);
  else
    pack_rounded(to, x, terms_adjoin, stride, high, width, is_b);
}

typedef void pack_function(bf16 *to, const float *x, int64_t stride,
                           int64_t rows, int64_t terms);

/* Whole tiles, whose sizes the compiler knows, and any. */
#define PACK(name, terms_adjoin, is_b, parts)                               \
  static USES_BF16 void name(bf16 *to, const float *x, int64_t stride,      \
                             int64_t rows, int64_t terms) {                 \
    if (rows == SIDE && terms == TERMS)                                     \
      pack_tile(to, x, terms_adjoin, stride, SIDE, TERMS, is_b, parts);     \
    else                                                                    \
      pack_tile(to, x, terms_adjoin, stride, rows, terms, is_b, parts);     \
  }
PACK(pack_a_across, false, false, 1)
PACK(pack_a_along, true, false, 1)
PACK(pack_b_across, false, true, 1)
PACK(pack_b_along, true, true, 1)
PACK(part_a_across, false, false, PARTS)
PACK(part_a_along, true, false, PARTS)
PACK(part_b_across, false, true, PARTS)
PACK(part_b_along, true, true, PARTS)

/* Indexed by whether it is in parts, is b, and whether terms adjoin. */
static pack_function *const pack_functions[2][2][2] = {
    {{pack_a_across, pack_a_along}, {pack_b_across, pack_b_along}},
    {{part_a_across, part_a_along}, {part_b_across, part_b_along}}};

/* A factor's element (row, term), b's columns being its rows, is
 * x[row * row_step + term * term_step]; one of the steps is 1. */
typedef struct factor {
  const float *x;
  int64_t row_step, term_step, rows, terms;
  bool is_b;
  int64_t parts;
  float *sums; /* += of each row its terms, if row_step is 1; NULL: nowhere */
} factor;

static void pack_tile_at(bf16 *to, const factor *f, int64_t row, int64_t term) {
  const bool terms_adjoin = f->term_step == 1;
  const int64_t stride = terms_adjoin ? f->row_step : f->term_step;
  const int64_t rows = min_of(SIDE, f->rows - row);
  const int64_t terms = min_of(TERMS, f->terms - term);
  const float *x = f->x + row * f->row_step + term * f->term_step;
  if (rows > 0) {
    pack_functions[f->parts == PARTS][f->is_b][terms_adjoin](to, x, stride,
                                                             rows, terms);
    if (f->sums) sum_rows(f->sums + row, x, terms, stride, rows, true);
  } else {
    for (int64_t part = 0; part < f->parts; part++)
      memset(to + part * PART, 0, TILE * sizeof *to);
  }
}

/* Panels of two tiles of rows and all terms: the first tile and the second
 * turn by turn, of each part.  Memory is read in its order as far as tiles
 * allow. */
static void pack(bf16 *to, const factor *f) {
  const int64_t panel = packed_size(f->parts, BOTH, f->terms);
  const int64_t rows = whole(f->rows, BOTH);
  const int64_t together = f->term_step == 1 ? BOTH : rows;
  for (int64_t first = 0; first < rows; first += together)
    for (int64_t term = 0; term < f->terms; term += TERMS)
      for (int64_t row = first; row < first + together; row += SIDE)
        pack_tile_at(to + row / BOTH * panel + f->parts * term * BOTH +
                         row / SIDE % 2 * TILE,
                     f, row, term);
}

/* [out, in] */
typedef struct weight {
  const float *w;
  int64_t in, out, parts;
  float *packed;
} weight;

int64_t KERNEL(packed_weight)(mae_products products, int64_t in, int64_t out) {
  if (products == MAE_PRODUCTS_F32 || products == MAE_PRODUCTS_BF16_EMULATED)
    return 0;
  return packed_size(packing_for(products).parts, out, in) / 2;
}

static void pack_panel(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  const weight *p = arg;
  const int64_t first = i * BOTH;
  pack((bf16 *)p->packed + packed_size(p->parts, first, p->in),
       &(factor){p->w + first * p->in, p->in, 1, min_of(BOTH, p->out - first),
                 p->in, true, p->parts, NULL});
}

void KERNEL(pack_weight)(mae_pool *pool, mae_products products, int64_t in,
                         int64_t out, const float *w, float *packed) {
  weight p = {w, in, out, packing_for(products).parts, packed};
  mae_pool_run(pool, parts_of(out, BOTH), pack_panel, &p);
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
  const float *next; /* rows of c that will be wanted soon */
  int64_t next_row;
  const bf16 *ahead; /* `elements` of b that will be wanted after them */
  int64_t elements;
  const bf16 *a_after, *b_after; /* what the next sums are made of */
} sums;

typedef void sum_function(const sums *s);

/* A step's share of what will be wanted soon: all at once would wait for each
 * other. */
INLINE void fetch_next(const sums *s, int64_t step) {
  const int64_t end = (step + 1) * BOTH / s->steps;
  for (int64_t row = step * BOTH / s->steps; row < end; row++)
    fetch_to_write(s->next + row * s->next_row, BOTH);
  const int64_t last = (step + 1) * s->elements / s->steps;
  for (int64_t i = step * s->elements / s->steps; i < last; i += LINE)
    __builtin_prefetch(s->ahead + i, 0, 2);
}

enum { TILE_ROW = TERMS * sizeof(bf16) };

INLINE USES_AMX void load_a(const bf16 *a, bool half) {
  _tile_loadd(4, a, TILE_ROW);
  if (!half) _tile_loadd(5, a + TILE, TILE_ROW);
}

INLINE USES_AMX void load_b(const bf16 *b) {
  _tile_loadd(6, b, TILE_ROW);
  _tile_loadd(7, b + TILE, TILE_ROW);
}

/* Tiles of terms that are multiplied, those of the step after it, and how many
 * multiplications have fetched their share of the latter. */
typedef struct step {
  const bf16 *a, *b, *a_after, *b_after;
  int64_t parts, fetched;
} step;

/* Tiles are slow to load from the second level of cache, the more where a
 * neighbour shares the core. */
INLINE void fetch_share(step *s) {
  const int64_t multiplications = s->parts == PARTS ? 24 : 4;
  const int64_t share = s->parts * PART / multiplications;
  UNROLL for (int64_t i = 0; i < share; i += LINE) {
    __builtin_prefetch(s->a_after + s->fetched * share + i);
    __builtin_prefetch(s->b_after + s->fetched * share + i);
  }
  s->fetched++;
}

INLINE USES_AMX void multiply_tiles(step *s, bool half) {
  _tile_dpbf16ps(0, 4, 6);
  fetch_share(s);
  if (!half) _tile_dpbf16ps(2, 5, 6);
  fetch_share(s);
  _tile_dpbf16ps(1, 4, 7);
  fetch_share(s);
  if (!half) _tile_dpbf16ps(3, 5, 7);
  fetch_share(s);
}

INLINE USES_AMX void multiply_whole(step *s, bool half) {
  load_a(s->a, half);
  load_b(s->b);
  multiply_tiles(s, half);
}

/* The first part of a with all three of b, the second with two, the third with
 * one; in an order that loads little more than once. */
INLINE USES_AMX void multiply_parts(step *s, bool half) {
  load_a(s->a, half);
  load_b(s->b + 2 * PART);
  multiply_tiles(s, half);
  load_b(s->b + PART);
  multiply_tiles(s, half);
  load_a(s->a + PART, half);
  multiply_tiles(s, half);
  load_b(s->b);
  multiply_tiles(s, half);
  load_a(s->a + 2 * PART, half);
  multiply_tiles(s, half);
  load_a(s->a, half);
  multiply_tiles(s, half);
}

INLINE USES_AMX void sum_tiles(const sums *s, int64_t parts, bool half) {
  const int64_t size = parts * PART;
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
  for (int64_t i = 0; i < s->steps; i++) {
    fetch_next(s, i);
    const bf16 *a = s->a + i * size, *b = s->b + i * size;
    const bool last = i + 1 == s->steps;
    step now = {.a = a, .b = b, .parts = parts,
                .a_after = last ? s->a_after : a + size,
                .b_after = last ? s->b_after : b + size};
    if (parts == PARTS)
      multiply_parts(&now, half);
    else
      multiply_whole(&now, half);
  }
  const int64_t row = s->ldc * (int64_t)sizeof *s->c;
  _tile_stored(0, s->c, row);
  _tile_stored(1, s->c + SIDE, row);
  if (!half) _tile_stored(2, s->c + SIDE * s->ldc, row);
  if (!half) _tile_stored(3, s->c + SIDE * s->ldc + SIDE, row);
}

#define SUM_BY_AMX(name, parts)                \
  static USES_AMX void name(const sums *s) {   \
    will_be_read(s);                           \
    if (s->half)                               \
      sum_tiles(s, parts, true);               \
    else                                       \
      sum_tiles(s, parts, false);              \
  }
SUM_BY_AMX(sum_by_amx, 1)
SUM_BY_AMX(sum_parts_by_amx, PARTS)

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
      if (first == 0) fetch_next(s, p);
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

/* The shapes of all eight tiles, for this thread: of c and a as many rows as
 * there are. */
static USES_AMX void begin_amx(int64_t rows) {
  const int64_t first = min_of(rows, SIDE);
  const int64_t second = rows > SIDE ? rows - SIDE : SIDE;
  const int64_t all[] = {first, first, second, second,
                         first, second, SIDE, SIDE};
  struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } shapes = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    shapes.row_bytes[i] = TERMS * sizeof(bf16);
    shapes.rows[i] = (uint8_t)all[i];
  }
  will_be_read(&shapes);
  _tile_loadconfig(&shapes);
}

static USES_AMX void end_amx(void) { _tile_release(); }

/* --------------------------------------------------------- tiles of c --- */

/* A tile of c: rows i on, columns j on. */
typedef struct place {
  int64_t i, rows, j, columns;
} place;

/* Sums begin with one thing; if there are more, the others are added to them in
 * the end, so that no bit depends on how many terms a block has. */
static bool adds_in_the_end(const product *p) {
  return p->residual || (p->add && p->bias);
}

static void begin_sums(const product *p, const block *t, const place *at,
                       sums *s) {
  if (p->add || t->begin) {
    s->begin = p->c + at->i * p->ldc + at->j;
    s->pitch = p->ldc;
  } else if (p->bias && !adds_in_the_end(p)) {
    s->begin = p->bias + at->j;
    s->pitch = 0;
  }
}

/* activate_tile by the instruction that rounds. */
static USES_BF16 void activate_rounded(const product *p, const place *at) {
  for (int64_t i = at->i; i < at->i + at->rows; i++)
    UNROLL for (int64_t v = 0; v < BOTH; v += LANES) {
      const int64_t first = i * p->ldc + at->j + v;
      const vf c = vf_load(p->c + first);
      const __m256i x = (__m256i)_mm512_cvtneps_pbh((__m512)c);
      if (p->kept) memcpy(p->kept + first, &x, sizeof x);
      const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16);
      vf_store(p->y + first, vf_gelu_bf16((vf)wide));
    }
}

static void finish_sums(const product *p, const block *t, const place *at) {
  if (t->begin + t->k < p->k) return;
  const bool adds = adds_in_the_end(p);
  for (int64_t i = at->i; i < at->i + at->rows && adds; i++) {
    const int64_t first = i * p->ldc + at->j;
    if (p->bias) add_row(p->c + first, p->bias + at->j, at->columns, true);
    if (p->residual)
      add_row(p->c + first, p->residual + first, at->columns, true);
  }
  if (!p->y) return;
  if (p->rounds && at->columns == BOTH)
    activate_rounded(p, at);
  else
    activate_tile(p, at->i, at->rows, at->j, at->columns);
}

/* Where whole tiles would reach beyond c. */
static void sum_at_edge(const product *p, const place *at, sums *s,
                        sum_function *sum) {
  _Alignas(64) float apart[BOTH * BOTH] = {0};
  if (s->begin) {
    for (int64_t i = 0; i < at->rows; i++)
      copy_row(apart + i * BOTH, s->begin + i * s->pitch, at->columns);
    s->begin = apart;
    s->pitch = BOTH;
  }
  s->c = apart;
  s->ldc = BOTH;
  sum(s);
  for (int64_t i = 0; i < at->rows; i++)
    copy_row(p->c + (at->i + i) * p->ldc + at->j, apart + i * BOTH,
             at->columns);
}

static bool by_amx(const product *p) {
  return p->products != MAE_PRODUCTS_BF16_AVX512;
}

static sum_function *sum_function_for(mae_products products) {
  switch (products) {
    case MAE_PRODUCTS_F32_AMX: return sum_parts_by_amx;
    case MAE_PRODUCTS_BF16_AMX: return sum_by_amx;
    default: return sum_by_avx512;
  }
}

/* Tiles of AMX have the rows there are. */
static void sum_tile(const product *p, const block *t, const place *at,
                     sums *s) {
  sum_function *sum = sum_function_for(p->products);
  const bool whole_rows = by_amx(p) || at->rows == BOTH;
  s->steps = whole(t->k, TERMS) / TERMS;
  s->half = at->rows <= SIDE;
  s->next_row = p->ldc;
  begin_sums(p, t, at, s);
  if (whole_rows && at->columns == BOTH) {
    s->c = p->c + at->i * p->ldc + at->j;
    s->ldc = p->ldc;
    sum(s);
  } else {
    sum_at_edge(p, at, s, sum);
  }
  finish_sums(p, t, at);
}

/* ------------------------------------------------- where a's rows pass by --- */

/* A thread's block, of whose rows others may take some. */
typedef struct shared_block {
  const grid *grid;
  const product *p;
  const block *t;
  const bf16 *b; /* its panels */
} shared_block;

/* Rows of a from memory to scratch, of block t's terms. */
static void pack_rows_of_a(bf16 *to, const product *p, const block *t,
                           int64_t first, int64_t rows) {
  pack(to, &(factor){p->a + first * p->a_row + t->begin * p->a_step, p->a_row,
                     p->a_step, rows, t->k, false,
                     packing_for(p->products).parts,
                     sums_of_block(p, t, first)});
}

/* Rows of a that are packed together. */
static int64_t rows_at_once(const product *p) {
  return p->a_step == 1 ? BOTH : ROWS;
}

/* Rows i on of c, as many as a panel of a has. */
static void multiply_panel(const shared_block *s, const bf16 *a, int64_t i) {
  const product *p = s->p;
  const block *t = s->t;
  const int64_t panel = packed_size(packing_for(p->products).parts, BOTH, t->k);
  place at = {.i = i, .rows = min_of(BOTH, p->m - i), .j = t->first};
  const bf16 *b = s->b;
  const float *c = p->c + i * p->ldc;
  if (by_amx(p)) begin_amx(at.rows);
  for (int64_t left = t->n; left > 0; left -= BOTH, b += panel) {
    at.columns = min_of(BOTH, left);
    sum_tile(p, t, &at,
             &(sums){.a = a, .b = b, .a_after = a,
                     .b_after = left > BOTH ? b + panel : s->b,
                     .next = left > BOTH ? c + at.j + BOTH
                                         : c + BOTH * p->ldc + t->first});
    at.j += BOTH;
  }
  if (by_amx(p)) end_amx();
}

static void multiply_shared(void *arg, int64_t part, int32_t worker) {
  const shared_block *s = arg;
  const product *p = s->p;
  const block *t = s->t;
  const int64_t first = part * rows_at_once(p);
  const int64_t rows = min_of(rows_at_once(p), p->m - first);
  const int64_t parts = packing_for(p->products).parts;
  bf16 *packed_a = (bf16 *)scratch_of(s->grid, worker);
  pack_rows_of_a(packed_a, p, t, first, rows);
  for (int64_t i = 0; i < rows; i += BOTH)
    multiply_panel(s, packed_a + packed_size(parts, i, t->k), first + i);
}

/* A part of b from memory to scratch. */
static void pack_columns_of_b(bf16 *to, const product *p, const block *t) {
  pack(to, &(factor){p->b + t->begin * p->b_step + t->first * p->b_col,
                     p->b_col, p->b_step, t->n, t->k, true,
                     packing_for(p->products).parts, NULL});
}

static void multiply_block(const grid *g, const product *p, const block *t,
                           const block *after, int32_t worker) {
  (void)after;
  const int64_t parts = packing_for(p->products).parts;
  bf16 *b = (bf16 *)scratch_of(g, worker) + packed_size(parts, ROWS, t->k);
  pack_columns_of_b(b, p, t);
  const int64_t at_once = rows_at_once(p);
  share_rows(g, worker, parts_of(p->m, at_once), multiply_shared,
             &(shared_block){g, p, t, b});
}

/* ---------------------------------------------- where b's columns pass by --- */

/* Rows of a, packed, of whose columns of c others may take some. */
typedef struct shared_rows {
  const grid *grid;
  const product *p;
  int64_t first, rows;
  block terms; /* of no column yet */
  const bf16 *a;
} shared_rows;

/* A panel of b for these terms, where all of it is packed. */
static const bf16 *packed_at(const product *p, int64_t first, int64_t begin) {
  const int64_t parts = packing_for(p->products).parts;
  return (const bf16 *)p->packed_b + packed_size(parts, first, p->k) +
         packed_size(parts, BOTH, begin);
}

static const bf16 *panel_of_b(const shared_rows *s, const block *t,
                              int32_t worker) {
  if (s->p->packed_b) return packed_at(s->p, t->first, t->begin);
  const int64_t parts = packing_for(s->p->products).parts;
  bf16 *b = (bf16 *)scratch_of(s->grid, worker) +
            packed_size(parts, ALL_ROWS, t->k);
  pack_columns_of_b(b, s->p, t);
  return b;
}

/* While a panel's tiles are summed, its share of the next one is fetched. */
static void multiply_columns(void *arg, int64_t part, int32_t worker) {
  const shared_rows *s = arg;
  const product *p = s->p;
  const int64_t parts = packing_for(p->products).parts;
  block t = s->terms;
  t.first = part * BOTH;
  t.n = min_of(BOTH, p->n - t.first);
  const bf16 *b = panel_of_b(s, &t, worker);
  const bool more = p->packed_b && t.first + BOTH < p->n;
  const bf16 *ahead = more ? packed_at(p, t.first + BOTH, t.begin) : NULL;
  const int64_t elements = more ? packed_size(parts, BOTH, t.k) : 0;
  const int64_t panels = parts_of(s->rows, BOTH);
  const int64_t share = whole(parts_of(elements, panels), LINE);
  for (int64_t i = 0; i < s->rows; i += BOTH) {
    const place at = {.i = s->first + i, .rows = min_of(BOTH, s->rows - i),
                      .j = t.first, .columns = t.n};
    const int64_t done = min_of(i / BOTH * share, elements);
    const bf16 *a = s->a + packed_size(parts, i, t.k);
    const bf16 *a_after = a + packed_size(parts, BOTH, t.k);
    if (by_amx(p) && (i == 0 || at.rows < BOTH)) begin_amx(at.rows);
    sum_tile(p, &t, &at,
             &(sums){.a = a, .b = b, .b_after = b,
                     .a_after = i + BOTH < s->rows ? a_after : s->a,
                     .next = p->c + (at.i + BOTH) * p->ldc + at.j,
                     .ahead = ahead + done,
                     .elements = min_of(share, elements - done)});
  }
  if (by_amx(p)) end_amx();
}

/* All terms of some rows. */
static void multiply_rows(const grid *g, const product *p, int64_t first,
                          int64_t rows, int32_t worker) {
  const int64_t depth =
      part_size(p->k, packing_for(p->products).depth_of_all, TERMS);
  bf16 *a = (bf16 *)scratch_of(g, worker);
  for (int64_t begin = 0; begin < p->k; begin += depth) {
    const block terms = {.begin = begin, .k = min_of(depth, p->k - begin)};
    shared_rows s = {g, p, first, rows, terms, a};
    pack_rows_of_a(a, p, &terms, first, rows);
    share_rows(g, worker, parts_of(p->n, BOTH), multiply_columns, &s);
  }
}

/* Whether a's rows stay while b's columns pass by. */
static bool keeps_rows(const product *p) {
  return p->packed_b || p->m <= ALL_ROWS;
}

int64_t KERNEL(product_bf16_columns)(const product *p) {
  return keeps_rows(p) ? p->n : packing_for(p->products).columns;
}

void KERNEL(product_bf16)(const grid *g, const product *p, int32_t worker) {
  const packing most = packing_for(p->products);
  if (keeps_rows(p)) {
    const int64_t rows = part_size(p->m, ALL_ROWS, BOTH);
    for (int64_t i = 0; i < p->m; i += rows)
      multiply_rows(g, p, i, min_of(rows, p->m - i), worker);
    return;
  }
  const block size = {.n = part_size(p->n, most.columns, BOTH),
                      .k = part_size(p->k, most.depth, TERMS)};
  for_blocks(g, p, worker, &size, multiply_block);
}

#else

/* Never called. */
void KERNEL(product_bf16)(const grid *g, const product *p, int32_t worker) {
  (void)g, (void)p, (void)worker;
}
void KERNEL(pack_weight)(mae_pool *pool, mae_products products, int64_t in,
                         int64_t out, const float *w, float *packed) {
  (void)pool, (void)products, (void)in, (void)out, (void)w, (void)packed;
}

int64_t KERNEL(packed_weight)(mae_products products, int64_t in, int64_t out) {
  (void)products, (void)in, (void)out;
  return 0;
}
int64_t KERNEL(product_bf16_scratch)(mae_products products, int64_t n,
                                     int64_t k) {
  (void)products, (void)n, (void)k;
  return 0;
}
int64_t KERNEL(product_bf16_columns)(const product *p) { return p->n; }

#endif
