/* y = a + b. */
#include "kernels/simd.h"

typedef struct sum {
  const float *a, *b;
  float *y;
  bool add;
} sum;

static void forward_range(void *arg, int64_t begin, int64_t end,
                          int32_t worker) {
  (void)worker;
  const sum *p = arg;
  const float *a = p->a + begin, *b = p->b + begin;
  float *y = p->y + begin;
  FOR_VECTORS(i, lanes, end - begin,
              STORE(y + i, LOAD(a + i, lanes) + LOAD(b + i, lanes), lanes););
}

void KERNEL(add_forward)(mae_pool *pool, int64_t n, const float *a,
                         const float *b, float *y) {
  sum p = {.a = a, .b = b, .y = y};
  mae_pool_for(pool, n, GRAIN, forward_range, &p);
}

static void backward_range(void *arg, int64_t begin, int64_t end,
                           int32_t worker) {
  (void)worker;
  const sum *p = arg;
  add_row(p->y + begin, p->a + begin, end - begin, p->add);
}

void KERNEL(add_backward)(mae_pool *pool, int64_t n, const float *dy, float *dx,
                          bool add_dx) {
  sum p = {.a = dy, .y = dx, .add = add_dx};
  mae_pool_for(pool, n, GRAIN, backward_range, &p);
}
