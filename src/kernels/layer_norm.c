/* y = (x - mean) / sqrt(var + eps) * w + b over each row, var biased. */
#include <math.h>

#include "kernels/packing.h"

typedef struct layer_norm {
  int64_t rows, width;
  float eps;
  bool add_dx, add_dw, add_db;
  const float *x, *w, *b, *dy;
  float *y, *mean, *rstd, *dx, *dw, *db;
} layer_norm;

/* Rows whose sums over lanes are made together, few enough for the first level
 * of cache to keep them. */
enum { TOGETHER = LANES < 8 ? LANES : 8 };

/* Of each of these rows the average, from the sums of each lane. */
static void averages(const vf *lanes, int64_t width, float avg[LANES]) {
  vf_store(avg, sums_of(lanes) / (float)width);
}

static void forward_some(const layer_norm *p, int64_t first, int64_t rows) {
  const int64_t n = p->width;
  const float *x = p->x + first * n;
  float *y = p->y + first * n, mean[LANES], rstd[LANES];
  vf sum[LANES] = {{0}}, squares[LANES] = {{0}};
  for (int64_t row = 0; row < rows; row++)
    FOR_VECTORS(i, lanes, n, sum[row] += LOAD(x + row * n + i, lanes););
  averages(sum, n, mean);
  for (int64_t row = 0; row < rows; row++)
    FOR_VECTORS(i, lanes, n, {
      const vf d = LOAD(x + row * n + i, lanes) - mean[row];
      const vf inside = vf_first_lanes(d, lanes);
      squares[row] += inside * inside;
    });
  averages(squares, n, rstd);
  for (int i = 0; i < LANES; i++) rstd[i] = 1 / sqrtf(rstd[i] + p->eps);
  for (int64_t row = 0; row < rows; row++)
    FOR_VECTORS(i, lanes, n, {
      const vf h = (LOAD(x + row * n + i, lanes) - mean[row]) * rstd[row];
      STORE(y + row * n + i,
            h * LOAD(p->w + i, lanes) + LOAD(p->b + i, lanes), lanes);
    });
  if (!p->mean) return;
  copy_row(p->mean + first, mean, rows);
  copy_row(p->rstd + first, rstd, rows);
}

/* By several rows at a time. */
static void for_rows(void (*some)(const layer_norm *, int64_t, int64_t),
                     const layer_norm *p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row += TOGETHER)
    some(p, row, end - row < TOGETHER ? end - row : TOGETHER);
}

static void forward_rows(void *arg, int64_t begin, int64_t end,
                         int32_t worker) {
  (void)worker;
  for_rows(forward_some, arg, begin, end);
}

void KERNEL(layer_norm_forward)(mae_pool *pool, int64_t rows, int64_t width,
                                float eps, const float *x, const float *w,
                                const float *b, float *y, float *mean,
                                float *rstd) {
  layer_norm p = {.width = width, .eps = eps, .x = x, .w = w, .b = b,
                  .y = y, .mean = mean, .rstd = rstd};
  mae_pool_for(pool, rows, row_grain(width), forward_rows, &p);
}

/* With g = dy w and h the normalised row:
 * dx = rstd (g - avg(g) - h avg(g h)). */
static void backward_some(const layer_norm *p, int64_t first, int64_t rows) {
  const int64_t n = p->width;
  const float *x = p->x + first * n, *dy = p->dy + first * n;
  const float *mean = p->mean + first, *rstd = p->rstd + first;
  float *dx = p->dx + first * n, avg_g[LANES], avg_gh[LANES];
  vf sum[LANES] = {{0}}, product[LANES] = {{0}};
  for (int64_t row = 0; row < rows; row++)
    FOR_VECTORS(i, lanes, n, {
      const int64_t at = row * n + i;
      const vf g = LOAD(dy + at, lanes) * LOAD(p->w + i, lanes);
      sum[row] += g;
      product[row] += g * ((LOAD(x + at, lanes) - mean[row]) * rstd[row]);
    });
  averages(sum, n, avg_g);
  averages(product, n, avg_gh);
  for (int64_t row = 0; row < rows; row++)
    FOR_VECTORS(i, lanes, n, {
      const int64_t at = row * n + i;
      const vf g = LOAD(dy + at, lanes) * LOAD(p->w + i, lanes);
      const vf h = (LOAD(x + at, lanes) - mean[row]) * rstd[row];
      const vf d = (g - avg_g[row] - h * avg_gh[row]) * rstd[row];
      STORE_ADD(dx + at, d, lanes, p->add_dx);
    });
}

static void backward_rows(void *arg, int64_t begin, int64_t end,
                          int32_t worker) {
  (void)worker;
  for_rows(backward_some, arg, begin, end);
}

/* Vectors of columns that are summed together, as many as lie beside each other
 * in memory worth the way to the next row. */
enum { WIDE = 4 };

/* Columns of dw = sum dy h and db = sum dy. */
INLINE void sum_vectors(const layer_norm *p, int64_t column, const int vectors,
                        const int64_t lanes) {
  vf sum_dw[WIDE] = {{0}}, sum_db[WIDE] = {{0}};
  for (int64_t row = 0; row < p->rows; row++) {
    const float *x = p->x + row * p->width + column;
    const float *dy = p->dy + row * p->width + column;
    const float mean = p->mean[row], rstd = p->rstd[row];
    UNROLL for (int v = 0; v < vectors; v++) {
      const vf d = LOAD(dy + v * LANES, lanes);
      sum_dw[v] += d * ((LOAD(x + v * LANES, lanes) - mean) * rstd);
      sum_db[v] += d;
    }
  }
  UNROLL for (int v = 0; v < vectors; v++) {
    const int64_t at = column + v * LANES;
    if (p->dw) STORE_ADD(p->dw + at, sum_dw[v], lanes, p->add_dw);
    if (p->db) STORE_ADD(p->db + at, sum_db[v], lanes, p->add_db);
  }
}

static void backward_columns(void *arg, int64_t begin, int64_t end,
                             int32_t worker) {
  (void)worker;
  const layer_norm *p = arg;
  for (; end - begin >= WIDE * LANES; begin += WIDE * LANES)
    sum_vectors(p, begin, WIDE, LANES);
  FOR_VECTORS(i, lanes, end - begin, sum_vectors(p, begin + i, 1, lanes););
}

void KERNEL(layer_norm_backward)(mae_pool *pool, int64_t rows, int64_t width,
                                 const float *x, const float *w,
                                 const float *mean, const float *rstd,
                                 const float *dy, float *dx, bool add_dx,
                                 float *dw, bool add_dw, float *db,
                                 bool add_db) {
  layer_norm p = {.rows = rows, .width = width, .x = x, .w = w, .dy = dy,
                  .mean = (float *)mean, .rstd = (float *)rstd, .dx = dx,
                  .add_dx = add_dx, .dw = dw, .add_dw = add_dw, .db = db,
                  .add_db = add_db};
  if (dw || db) mae_pool_for(pool, width, 4 * LANES, backward_columns, &p);
  if (dx) mae_pool_for(pool, rows, row_grain(width), backward_rows, &p);
}
