/* y = (x - mean) / sqrt(var + eps) * w + b over each row, var biased. */
#include <math.h>

#include "kernels/simd.h"

typedef struct layer_norm {
  int64_t rows, width;
  float eps;
  bool add_dx, add_dw, add_db;
  const float *x, *w, *b, *dy;
  float *y, *mean, *rstd, *dx, *dw, *db;
} layer_norm;

static void forward_rows(void *arg, int64_t begin, int64_t end,
                         int32_t worker) {
  (void)worker;
  const layer_norm *p = arg;
  const int64_t n = p->width;
  for (int64_t row = begin; row < end; row++) {
    const float *x = p->x + row * n;
    vf sum = {0}, squares = {0};
    FOR_VECTORS(i, lanes, n, sum += LOAD(x + i, lanes););
    const float mean = vf_sum(sum) / (float)n;
    FOR_VECTORS(i, lanes, n, {
      vf d = vf_first_lanes(LOAD(x + i, lanes) - mean, lanes);
      squares += d * d;
    });
    const float rstd = 1 / sqrtf(vf_sum(squares) / (float)n + p->eps);
    FOR_VECTORS(i, lanes, n, {
      vf v = (LOAD(x + i, lanes) - mean) * rstd;
      STORE(p->y + row * n + i,
            v * LOAD(p->w + i, lanes) + LOAD(p->b + i, lanes), lanes);
    });
    if (p->mean) {
      p->mean[row] = mean;
      p->rstd[row] = rstd;
    }
  }
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
static void backward_rows(void *arg, int64_t begin, int64_t end,
                          int32_t worker) {
  (void)worker;
  const layer_norm *p = arg;
  const int64_t n = p->width;
  for (int64_t row = begin; row < end; row++) {
    const float *x = p->x + row * n, *dy = p->dy + row * n;
    float *dx = p->dx + row * n;
    const float mean = p->mean[row], rstd = p->rstd[row];
    vf sum = {0}, product = {0};
    FOR_VECTORS(i, lanes, n, {
      vf g = LOAD(dy + i, lanes) * LOAD(p->w + i, lanes);
      sum += g;
      product += g * ((LOAD(x + i, lanes) - mean) * rstd);
    });
    const float avg_g = vf_sum(sum) / (float)n;
    const float avg_gh = vf_sum(product) / (float)n;
    FOR_VECTORS(i, lanes, n, {
      vf g = LOAD(dy + i, lanes) * LOAD(p->w + i, lanes);
      vf h = (LOAD(x + i, lanes) - mean) * rstd;
      vf d = (g - avg_g - h * avg_gh) * rstd;
      STORE_ADD(dx + i, d, lanes, p->add_dx);
    });
  }
}

/* Columns of dw = sum dy h and db = sum dy. */
static void backward_columns(void *arg, int64_t begin, int64_t end,
                             int32_t worker) {
  (void)worker;
  const layer_norm *p = arg;
  const int64_t n = p->width;
  FOR_VECTORS(j, lanes, end - begin, {
    vf sum_dw = {0};
    vf sum_db = {0};
    for (int64_t row = 0; row < p->rows; row++) {
      vf dy = LOAD(p->dy + row * n + begin + j, lanes);
      vf x = LOAD(p->x + row * n + begin + j, lanes);
      sum_dw += dy * ((x - p->mean[row]) * p->rstd[row]);
      sum_db += dy;
    }
    if (p->dw) STORE_ADD(p->dw + begin + j, sum_dw, lanes, p->add_dw);
    if (p->db) STORE_ADD(p->db + begin + j, sum_db, lanes, p->add_db);
  });
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
