#include "kernels/small_products.h"

/* A tile of the result stays in registers: TALL x WIDE vectors or, when it is
 * less wide, at most TALLEST high, beside a row of b and a number of a. */
#if MAE_VEC_BYTES == 64 || defined __aarch64__
enum { WIDE = 4, TALL = 6, TALLEST = 8 };
#define IF_WIDE(...) __VA_ARGS__
#else
enum { WIDE = 2, TALL = 6, TALLEST = 8 };
#define IF_WIDE(...)
#endif

INLINE void product_tile(const int rows, const int vectors, int64_t depth,
                         factor a, const float *b, int64_t ldb, float *c,
                         int64_t ldc, bool add) {
  vf sum[TALLEST][WIDE] = {{{0}}};
  /* Two pointers and three rows from each: few registers for addresses. */
  const float *upper = a.at, *lower = a.at + 4 * a.row;
  for (int64_t x = 0; x < depth; x++) {
    vf right[WIDE];
    UNROLL for (int j = 0; j < vectors; j++) {
      right[j] = vf_load(b + j * LANES);
    }
    UNROLL for (int i = 0; i < rows; i++) {
      const vf left = vf_set((i < 4 ? upper : lower)[i % 4 * a.row]);
      UNROLL for (int j = 0; j < vectors; j++) { sum[i][j] += left * right[j]; }
    }
    upper += a.column;
    lower += a.column;
    b += ldb;
  }
  UNROLL for (int i = 0; i < rows; i++) {
    UNROLL for (int j = 0; j < vectors; j++) {
      if (add) sum[i][j] += vf_load(c + j * LANES);
      vf_store(c + j * LANES, sum[i][j]);
    }
    c += ldc;
  }
}

static void fetch_some(fetch *f) {
  for (int64_t i = 0; i < f->at_once && f->rows; i++) {
    const float *row = f->from[f->next].row;
    for (int64_t j = 0; j < f->width; j += MAE_ALIGNMENT / 4)
      __builtin_prefetch(row + j, 0, 2);
    f->from[f->next].row += f->from[f->next].stride;
    if (++f->next < f->matrices) continue;
    f->next = 0;
    f->rows--;
  }
}

/* `count` tiles, one below the other. */
typedef void tile_column(int64_t count, int64_t depth, factor a, const float *b,
                         int64_t ldb, float *c, int64_t ldc, bool add,
                         fetch *f);

#define TILE_COLUMN(rows, vectors)                                             \
  static void tiles_##rows##_##vectors(int64_t count, int64_t depth, factor a, \
                                       const float *b, int64_t ldb, float *c,  \
                                       int64_t ldc, bool add, fetch *f) {      \
    for (int64_t i = 0; i < count; i++) {                                      \
      product_tile(rows, vectors, depth, a, b, ldb, c, ldc, add);              \
      fetch_some(f);                                                           \
      a.at += rows * a.row;                                                    \
      c += rows * ldc;                                                         \
    }                                                                          \
  }
#define TILE_COLUMNS(rows) \
  TILE_COLUMN(rows, 1)     \
  TILE_COLUMN(rows, 2)     \
  IF_WIDE(TILE_COLUMN(rows, 3) TILE_COLUMN(rows, 4))
#define TILE_NAMES(rows)               \
  {tiles_##rows##_1, tiles_##rows##_2, \
   IF_WIDE(tiles_##rows##_3, tiles_##rows##_4)},

TILE_COLUMNS(1)
TILE_COLUMNS(2)
TILE_COLUMNS(3)
TILE_COLUMNS(4)
TILE_COLUMNS(5)
TILE_COLUMNS(6)
TILE_COLUMNS(7)
TILE_COLUMNS(8)

static tile_column *const tiles[TALLEST][WIDE] = {
    TILE_NAMES(1) TILE_NAMES(2) TILE_NAMES(3) TILE_NAMES(4) TILE_NAMES(5)
        TILE_NAMES(6) TILE_NAMES(7) TILE_NAMES(8)};

void small_product(int64_t rows, int64_t vectors, int64_t depth, factor a,
                   const float *b, int64_t ldb, float *c, int64_t ldc, bool add,
                   fetch *f) {
  const int64_t across = pieces_of(vectors, WIDE);
  for (int64_t p = 0; p < across; p++) {
    const int64_t width = vectors / across + (p < vectors % across);
    const int64_t down = pieces_of(rows, width == WIDE ? TALL : TALLEST);
    const int64_t height = rows / down, taller = rows % down;
    const int64_t edge = taller * (height + 1); /* the rows of taller tiles */
    if (taller)
      tiles[height][width - 1](taller, depth, a, b, ldb, c, ldc, add, f);
    tiles[height - 1][width - 1](down - taller, depth,
                                 (factor){a.at + edge * a.row, a.row, a.column},
                                 b, ldb, c + edge * ldc, ldc, add, f);
    b += width * LANES;
    c += width * LANES;
  }
}
