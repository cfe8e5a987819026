/* The mean of some consecutive tokens of each image. */
#include "kernels/simd.h"

typedef struct mean_tokens {
  int64_t tokens, width, first, count;
  bool add_dx;
  const float *x, *dy;
  float *y, *dx;
} mean_tokens;

static void forward_images(void *arg, int64_t begin, int64_t end,
                           int32_t worker) {
  (void)worker;
  const mean_tokens *p = arg;
  const int64_t n = p->width;
  const float count = (float)p->count;
  for (int64_t b = begin; b < end; b++) {
    float *y = p->y + b * n;
    sum_rows(y, p->x + (b * p->tokens + p->first) * n, p->count, n, n, false);
    FOR_VECTORS(i, lanes, n, STORE(y + i, LOAD(y + i, lanes) / count, lanes););
  }
}

void KERNEL(mean_tokens_forward)(mae_pool *pool, int64_t batch, int64_t tokens,
                                 int64_t width, int64_t first, int64_t count,
                                 const float *x, float *y) {
  mean_tokens p = {.tokens = tokens, .width = width, .first = first,
                   .count = count, .x = x, .y = y};
  mae_pool_for(pool, batch, row_grain(count * width), forward_images, &p);
}

/* Tokens outside the mean have no gradient from it. */
static void backward_images(void *arg, int64_t begin, int64_t end,
                            int32_t worker) {
  (void)worker;
  const mean_tokens *p = arg;
  const int64_t n = p->width;
  const float count = (float)p->count;
  for (int64_t b = begin; b < end; b++) {
    float *dx = p->dx + b * p->tokens * n;
    if (!p->add_dx) zero_row(dx, p->tokens * n);
    dx += p->first * n;
    for (int64_t t = 0; t < p->count; t++, dx += n)
      FOR_VECTORS(i, lanes, n,
                  STORE_ADD(dx + i, LOAD(p->dy + b * n + i, lanes) / count,
                            lanes, p->add_dx););
  }
}

void KERNEL(mean_tokens_backward)(mae_pool *pool, int64_t batch,
                                  int64_t tokens, int64_t width, int64_t first,
                                  int64_t count, const float *dy, float *dx,
                                  bool add_dx) {
  mean_tokens p = {.tokens = tokens, .width = width, .first = first,
                   .count = count, .dy = dy, .dx = dx, .add_dx = add_dx};
  mae_pool_for(pool, batch, row_grain(tokens * width), backward_images, &p);
}
