/* y = act(x w^T + b) + residual. */
#include "kernels/blas.h"
#include "kernels/simd.h"

/* A product is cut along its longer side into one block per thread; blocks
 * much smaller than this many rows would spend their time on packing. */
enum { BLOCK_ROWS = 32 };

typedef struct block {
  int64_t begin, end;
} block;

static int64_t block_count(const mae_pool *pool, int64_t n) {
  int64_t blocks = mae_pool_threads(pool), most = n / BLOCK_ROWS;
  return blocks < most ? blocks : most > 0 ? most : 1;
}

/* Cut at multiples of the vector width, where the BLAS kernels are whole. */
static block block_at(int64_t n, int64_t blocks, int64_t i) {
  int64_t step = (n + blocks - 1) / blocks;
  step = (step + LANES - 1) / LANES * LANES;
  int64_t begin = i * step < n ? i * step : n;
  return (block){begin, begin + step < n ? begin + step : n};
}

typedef struct linear {
  int64_t rows, in, out, blocks;
  bool gelu, by_rows, add_dx, add_dw, add_db;
  const float *x, *w, *b, *residual;
  const float *saved;
  float *pre, *y, *dy, *dx, *dw, *db;
} linear;

static void gelu_row(float *y, const float *x, int64_t n) {
  FOR_VECTORS(i, lanes, n, {
    vf v = LOAD(x + i, lanes), density;
    STORE(y + i, v * vf_normal(v, &density), lanes);
  });
}

/* d/dx x Phi(x) = Phi(x) + x phi(x) */
static void gelu_backward_row(float *dy, const float *x, int64_t n) {
  FOR_VECTORS(i, lanes, n, {
    vf v = LOAD(x + i, lanes), density;
    vf phi = vf_normal(v, &density);
    STORE(dy + i, LOAD(dy + i, lanes) * (phi + v * density), lanes);
  });
}

static void linear_block(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  const linear *p = arg;
  block r = {0, p->rows}, c = {0, p->out};
  if (p->by_rows)
    r = block_at(p->rows, p->blocks, i);
  else
    c = block_at(p->out, p->blocks, i);
  if (r.begin == r.end || c.begin == c.end) return;
  int64_t width = c.end - c.begin;
  float *pre = p->gelu && p->pre ? p->pre : p->y;
  for (int64_t row = r.begin; row < r.end; row++) {
    int64_t at = row * p->out + c.begin;
    copy_row(pre + at, p->b + c.begin, width);
    if (p->residual) add_row(pre + at, p->residual + at, width, true);
  }
  mae_sgemm(false, true, r.end - r.begin, width, p->in, 1,
            p->x + r.begin * p->in, p->in, p->w + c.begin * p->in, p->in, 1,
            pre + r.begin * p->out + c.begin, p->out);
  if (!p->gelu) return;
  for (int64_t row = r.begin; row < r.end; row++) {
    int64_t at = row * p->out + c.begin;
    gelu_row(p->y + at, pre + at, width);
  }
}

void KERNEL(linear_forward)(mae_pool *pool, int64_t rows, int64_t in,
                            int64_t out, bool gelu, const float *x,
                            const float *w, const float *b,
                            const float *residual, float *pre, float *y) {
  linear p = {.rows = rows, .in = in, .out = out, .gelu = gelu, .x = x,
              .w = w, .b = b, .residual = residual, .pre = pre, .y = y};
  p.by_rows = rows >= out || rows >= mae_pool_threads(pool) * BLOCK_ROWS;
  p.blocks = block_count(pool, p.by_rows ? rows : out);
  mae_pool_run(pool, p.blocks, linear_block, &p);
}

/* Rows of dy through the activation, then of dx = dy w. */
static void linear_dx_block(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  const linear *p = arg;
  block r = block_at(p->rows, p->blocks, i);
  if (r.begin == r.end) return;
  float *dy = p->dy + r.begin * p->out;
  if (p->gelu)
    gelu_backward_row(dy, p->saved + r.begin * p->out,
                      (r.end - r.begin) * p->out);
  if (p->dx)
    mae_sgemm(false, false, r.end - r.begin, p->in, p->out, 1, dy, p->out, p->w,
              p->in, p->add_dx, p->dx + r.begin * p->in, p->in);
}

/* Rows of dw = dy^T x, and their part of db. */
static void linear_dw_block(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  const linear *p = arg;
  block c = block_at(p->out, p->blocks, i);
  if (c.begin == c.end) return;
  const float *dy = p->dy + c.begin;
  if (p->dw)
    mae_sgemm(true, false, c.end - c.begin, p->in, p->rows, 1, dy, p->out, p->x,
              p->in, p->add_dw, p->dw + c.begin * p->in, p->in);
  if (p->db)
    sum_rows(p->db + c.begin, dy, p->rows, p->out, c.end - c.begin, p->add_db);
}

void KERNEL(linear_backward)(mae_pool *pool, int64_t rows, int64_t in,
                             int64_t out, bool gelu, const float *x,
                             const float *w, const float *pre, float *dy,
                             float *dx, bool add_dx, float *dw, bool add_dw,
                             float *db, bool add_db) {
  linear p = {.rows = rows, .in = in, .out = out, .gelu = gelu, .x = x,
              .w = w, .saved = pre, .dy = dy, .dx = dx, .add_dx = add_dx,
              .dw = dw, .add_dw = add_dw, .db = db, .add_db = add_db};
  if (dx || gelu) {
    p.blocks = block_count(pool, rows);
    mae_pool_run(pool, p.blocks, linear_dx_block, &p);
  }
  if (dw || db) {
    p.blocks = block_count(pool, out);
    mae_pool_run(pool, p.blocks, linear_dw_block, &p);
  }
}
