/* y = act(x w^T + b) + residual. */
#include "kernels/product.h"

/* Where no instructions are made for products of bf16, factors are rounded to
 * copies in f32: their products are exact, and only the sums are rounded, as by
 * those instructions. */
static bool rounds(mae_products products) {
  return products == MAE_PRODUCTS_BF16_EMULATED;
}

static mae_products after_rounding(mae_products products) {
  return rounds(products) ? MAE_PRODUCTS_F32 : products;
}

/* x w^T, dy w and dy^T x: their sizes, and how the factors lie. */
static product x_w(mae_products products, int64_t rows, int64_t in,
                   int64_t out) {
  return (product){.products = after_rounding(products), .m = rows, .n = out,
                   .k = in, .a_row = in, .a_step = 1, .b_step = 1,
                   .b_col = in, .ldc = out};
}

static product dy_w(mae_products products, int64_t rows, int64_t in,
                    int64_t out) {
  return (product){.products = after_rounding(products), .m = rows, .n = in,
                   .k = out, .a_row = out, .a_step = 1, .b_step = in,
                   .b_col = 1, .ldc = in};
}

static product dy_x(mae_products products, int64_t rows, int64_t in,
                    int64_t out) {
  return (product){.products = after_rounding(products), .m = out, .n = in,
                   .k = rows, .a_row = 1, .a_step = out, .b_step = in,
                   .b_col = 1, .ldc = in};
}

/* Of the products; the copies come after. */
static int64_t product_scratch(const mae_pool *pool, mae_products products,
                               bool backward, int64_t rows, int64_t in,
                               int64_t out) {
  const product y = x_w(products, rows, in, out);
  const product dx = dy_w(products, rows, in, out);
  const product dw = dy_x(products, rows, in, out);
  if (!backward) return KERNEL(product_scratch)(pool, &y);
  return max_of(KERNEL(product_scratch)(pool, &dx),
                KERNEL(product_scratch)(pool, &dw));
}

int64_t KERNEL(linear_scratch)(const mae_pool *pool, mae_products products,
                               bool backward, int64_t rows, int64_t in,
                               int64_t out) {
  const int64_t floats =
      product_scratch(pool, products, backward, rows, in, out);
  if (!rounds(products)) return floats;
  return floats + (rows + out) * in + (backward ? rows * out : 0);
}

typedef struct rounding {
  const float *x;
  float *y;
} rounding;

static void round_range(void *arg, int64_t begin, int64_t end, int32_t worker) {
  (void)worker;
  const rounding *p = arg;
  round_bf16_row(p->y + begin, p->x + begin, end - begin);
}

static const float *rounded(mae_pool *pool, const float *x, int64_t n,
                            float *y) {
  rounding p = {x, y};
  mae_pool_for(pool, n, GRAIN, round_range, &p);
  return y;
}

void KERNEL(linear_forward)(mae_pool *pool, mae_products products,
                            int64_t rows, int64_t in, int64_t out, bool gelu,
                            const float *x, const float *w,
                            const float *packed, const float *b,
                            const float *residual, void *pre, float *y,
                            float *scratch) {
  if (rounds(products)) {
    float *copy =
        scratch + product_scratch(pool, products, false, rows, in, out);
    x = rounded(pool, x, rows * in, copy);
    w = rounded(pool, w, out * in, copy + rows * in);
  }
  const bool narrow = mae_products_in_bf16(products);
  product p = x_w(products, rows, in, out);
  p.a = x;
  p.b = w;
  p.c = pre && !narrow ? pre : y;
  p.bias = b;
  p.residual = residual;
  p.y = gelu ? y : NULL;
  p.rounds = narrow;
  p.kept = narrow ? pre : NULL;
  p.packed_b = packed;
  KERNEL(product)(pool, &p, scratch);
}

/* A pre-activation as it was kept, and what is made of it. */
typedef struct activation {
  const void *pre;
  bool narrow; /* in bf16 */
  float *y;
} activation;

INLINE vf load_pre(const activation *p, int64_t at, int64_t lanes) {
  return p->narrow ? vf_load_bf16((const uint16_t *)p->pre + at, lanes)
                   : LOAD((const float *)p->pre + at, lanes);
}

/* A copy on the stack: what is stored cannot change it, so that the compiler
 * asks once whether it is narrow. */
static void gelu_range(void *arg, int64_t begin, int64_t end, int32_t worker) {
  (void)worker;
  const activation p = *(const activation *)arg;
  float *y = p.y + begin;
  FOR_VECTORS(i, lanes, end - begin, {
    const vf x = load_pre(&p, begin + i, lanes);
    STORE(y + i, p.narrow ? vf_gelu_bf16(x) : vf_gelu(x), lanes);
  });
}

void KERNEL(gelu_forward)(mae_pool *pool, mae_products products, int64_t n,
                          const void *pre, float *y) {
  mae_pool_for(pool, n, GRAIN, gelu_range,
               &(activation){pre, mae_products_in_bf16(products), y});
}

/* dy becomes the gradient of the pre-activation. */
static void gelu_backward(void *arg, int64_t begin, int64_t end,
                          int32_t worker) {
  (void)worker;
  const activation p = *(const activation *)arg;
  float *dy = p.y + begin;
  FOR_VECTORS(i, lanes, end - begin, {
    const vf x = load_pre(&p, begin + i, lanes);
    const vf slope = p.narrow ? vf_gelu_slope_bf16(x) : vf_gelu_slope(x);
    STORE(dy + i, LOAD(dy + i, lanes) * slope, lanes);
  });
}

typedef struct column_sums {
  int64_t rows, width;
  const float *x;
  float *y;
  bool add;
} column_sums;

static void sum_columns_range(void *arg, int64_t begin, int64_t end,
                              int32_t worker) {
  (void)worker;
  const column_sums *p = arg;
  sum_rows(p->y + begin, p->x + begin, p->rows, p->width, end - begin, p->add);
}

/* y [width] (+)= the sum of the rows of x. */
static void sum_columns(mae_pool *pool, int64_t rows, int64_t width,
                        const float *x, float *y, bool add) {
  column_sums p = {rows, width, x, y, add};
  mae_pool_for(pool, width, row_grain(rows), sum_columns_range, &p);
}

void KERNEL(linear_backward)(mae_pool *pool, mae_products products,
                             int64_t rows, int64_t in, int64_t out, bool gelu,
                             const float *x, const float *w, const void *pre,
                             float *dy, float *dx, bool add_dx, float *dw,
                             bool add_dw, float *db, bool add_db,
                             float *scratch) {
  if (gelu)
    mae_pool_for(pool, rows * out, GRAIN, gelu_backward,
                 &(activation){pre, mae_products_in_bf16(products), dy});
  /* A product that packs dy sums it as well, while it is in cache. */
  const bool packs = PRODUCT_PACKS && dw && out > 1 && !rounds(products);
  if (db && !packs) sum_columns(pool, rows, out, dy, db, add_db);
  if (db && packs && !add_db) zero_row(db, out);
  const float *factor = dy;
  const bool in_place = dx == x;
  if (rounds(products)) {
    float *copy =
        scratch + product_scratch(pool, products, true, rows, in, out);
    if (dw) x = rounded(pool, x, rows * in, copy);
    if (dx) w = rounded(pool, w, out * in, copy + rows * in);
    factor = rounded(pool, dy, rows * out, copy + (rows + out) * in);
  }
  product to_dx = dy_w(products, rows, in, out);
  to_dx.a = factor;
  to_dx.b = w;
  to_dx.c = dx;
  to_dx.add = add_dx;
  product to_dw = dy_x(products, rows, in, out);
  to_dw.a = factor;
  to_dw.b = x;
  to_dw.c = dw;
  to_dw.add = add_dw;
  to_dw.a_sums = packs ? db : NULL;
  /* dx before dw, which adds to it where x is its own weight; but over x after
   * it. */
  if (dx && !in_place) KERNEL(product)(pool, &to_dx, scratch);
  if (dw) KERNEL(product)(pool, &to_dw, scratch);
  if (dx && in_place) KERNEL(product)(pool, &to_dx, scratch);
}
