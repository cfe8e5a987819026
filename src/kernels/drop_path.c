/* y = residual + scale x, with a scale for each image (stochastic depth). */
#include "kernels/simd.h"

typedef struct drop_path {
  int64_t size; /* elements of an image */
  bool add_dx;
  const float *x, *scale, *residual;
  float *y;
} drop_path;

/* End of the part of [at, end) that lies in one image. */
static int64_t image_end(const drop_path *p, int64_t at, int64_t end) {
  int64_t next = (at / p->size + 1) * p->size;
  return next < end ? next : end;
}

static void forward_range(void *arg, int64_t begin, int64_t end,
                          int32_t worker) {
  (void)worker;
  const drop_path *p = arg;
  for (int64_t at = begin, stop; at < end; at = stop) {
    stop = image_end(p, at, end);
    const float scale = p->scale[at / p->size];
    const float *x = p->x + at, *residual = p->residual + at;
    float *y = p->y + at;
    FOR_VECTORS(i, lanes, stop - at,
                STORE(y + i,
                      LOAD(residual + i, lanes) + LOAD(x + i, lanes) * scale,
                      lanes););
  }
}

void KERNEL(drop_path_forward)(mae_pool *pool, int64_t batch, int64_t size,
                               const float *x, const float *scale,
                               const float *residual, float *y) {
  drop_path p = {.size = size, .x = x, .scale = scale, .residual = residual,
                 .y = y};
  mae_pool_for(pool, batch * size, GRAIN, forward_range, &p);
}

static void backward_range(void *arg, int64_t begin, int64_t end,
                           int32_t worker) {
  (void)worker;
  const drop_path *p = arg;
  for (int64_t at = begin, stop; at < end; at = stop) {
    stop = image_end(p, at, end);
    const float scale = p->scale[at / p->size];
    const float *dy = p->x + at;
    float *dx = p->y + at;
    FOR_VECTORS(i, lanes, stop - at,
                STORE_ADD(dx + i, LOAD(dy + i, lanes) * scale, lanes,
                          p->add_dx););
  }
}

void KERNEL(drop_path_backward)(mae_pool *pool, int64_t batch, int64_t size,
                                const float *scale, const float *dy, float *dx,
                                bool add_dx) {
  drop_path p = {.size = size, .x = dy, .scale = scale, .y = dx,
                 .add_dx = add_dx};
  mae_pool_for(pool, batch * size, GRAIN, backward_range, &p);
}
