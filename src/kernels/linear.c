/* y = act(x w^T + b) + residual. */
#include "kernels/product.h"

int64_t KERNEL(linear_scratch)(int64_t in, int64_t out) {
  return KERNEL(product_scratch)(out, in);
}

int64_t KERNEL(linear_backward_scratch)(int64_t rows, int64_t in,
                                        int64_t out) {
  return KERNEL(product_scratch)(in, rows > out ? rows : out);
}

void KERNEL(linear_forward)(mae_pool *pool, int64_t rows, int64_t in,
                            int64_t out, bool gelu, const float *x,
                            const float *w, const float *b,
                            const float *residual, float *pre, float *y,
                            float *scratch) {
  const product p = {.m = rows, .n = out, .k = in, .a = x, .a_row = in,
                     .a_step = 1, .b = w, .b_step = 1, .b_col = in,
                     .c = gelu && pre ? pre : y, .ldc = out, .bias = b,
                     .residual = residual, .y = gelu ? y : NULL};
  KERNEL(product)(pool, &p, scratch);
}

typedef struct gelu_gradient {
  float *dy;
  const float *pre;
} gelu_gradient;

/* d/dx x Phi(x) = Phi(x) + x phi(x) */
static void gelu_backward(void *arg, int64_t begin, int64_t end,
                          int32_t worker) {
  (void)worker;
  const gelu_gradient *p = arg;
  float *dy = p->dy + begin;
  const float *x = p->pre + begin;
  FOR_VECTORS(i, lanes, end - begin, {
    vf v = LOAD(x + i, lanes), density;
    vf phi = vf_normal(v, &density);
    STORE(dy + i, LOAD(dy + i, lanes) * (phi + v * density), lanes);
  });
}

void KERNEL(linear_backward)(mae_pool *pool, int64_t rows, int64_t in,
                             int64_t out, bool gelu, const float *x,
                             const float *w, const float *pre, float *dy,
                             float *dx, bool add_dx, float *dw, bool add_dw,
                             float *db, bool add_db, float *scratch) {
  if (gelu)
    mae_pool_for(pool, rows * out, GRAIN, gelu_backward,
                 &(gelu_gradient){dy, pre});
  if (dx) { /* dy w */
    const product p = {.m = rows, .n = in, .k = out, .a = dy, .a_row = out,
                       .a_step = 1, .b = w, .b_step = in, .b_col = 1, .c = dx,
                       .ldc = in, .add = add_dx};
    KERNEL(product)(pool, &p, scratch);
  }
  if (dw) { /* dy^T x */
    const product p = {.m = out, .n = in, .k = rows, .a = dy, .a_row = 1,
                       .a_step = out, .b = x, .b_step = in, .b_col = 1,
                       .c = dw, .ldc = in, .add = add_dw, .sums = db,
                       .add_sums = add_db};
    KERNEL(product)(pool, &p, scratch);
  } else if (db) {
    sum_rows(db, dy, rows, out, out, add_db);
  }
}
