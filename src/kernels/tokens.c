/* Moving tokens: gather (shuffle), unshuffle, the class token, positions.
 * Forward passes cut by token; backward passes that sum into shared rows cut
 * by image or by column, so the order of sums never depends on threads. */
#include "kernels/simd.h"

typedef struct tokens {
  int64_t batch, in, out, width; /* in, out: tokens per image */
  const float *x, *token, *table, *dy;
  const int32_t *index;
  float *y, *dx, *dtoken;
  int64_t token_step; /* from its row for one token of an image to the next's */
  bool add_dx, add_dtoken;
} tokens;

/* ------------------------------------------------------------- gather --- */

static void gather_rows(void *arg, int64_t begin, int64_t end,
                        int32_t worker) {
  (void)worker;
  const tokens *p = arg;
  for (int64_t row = begin; row < end; row++) {
    int64_t from = row / p->out * p->in + p->index[row];
    copy_row(p->y + row * p->width, p->x + from * p->width, p->width);
  }
}

void KERNEL(gather_forward)(mae_pool *pool, int64_t batch, int64_t in,
                            int64_t count, int64_t width, const float *x,
                            const int32_t *index, float *y) {
  tokens p = {.in = in, .out = count, .width = width, .x = x, .index = index,
              .y = y};
  mae_pool_for(pool, batch * count, row_grain(width), gather_rows, &p);
}

static void gather_backward_images(void *arg, int64_t begin, int64_t end,
                                   int32_t worker) {
  (void)worker;
  const tokens *p = arg;
  for (int64_t b = begin; b < end; b++) {
    float *dx = p->dx + b * p->in * p->width;
    if (!p->add_dx) zero_row(dx, p->in * p->width);
    for (int64_t i = 0; i < p->out; i++) {
      int64_t row = b * p->out + i;
      add_row(dx + p->index[row] * p->width, p->dy + row * p->width, p->width,
              true);
    }
  }
}

void KERNEL(gather_backward)(mae_pool *pool, int64_t batch, int64_t in,
                             int64_t count, int64_t width, const int32_t *index,
                             const float *dy, float *dx, bool add_dx) {
  tokens p = {.in = in, .out = count, .width = width, .index = index, .dy = dy,
              .dx = dx, .add_dx = add_dx};
  mae_pool_for(pool, batch, 1, gather_backward_images, &p);
}

/* ---------------------------------------------------------- unshuffle --- */

/* in = 1 + kept, out = 1 + patches.  Row of x for token i of an image, or -1
 * for the mask token. */
static int64_t unshuffle_source(const tokens *p, int64_t image, int64_t i) {
  if (i == 0) return image * p->in;
  int64_t visible = p->index[image * (p->out - 1) + i - 1];
  return visible < p->in - 1 ? image * p->in + 1 + visible : -1;
}

static void unshuffle_rows(void *arg, int64_t begin, int64_t end,
                           int32_t worker) {
  (void)worker;
  const tokens *p = arg;
  for (int64_t row = begin; row < end; row++) {
    int64_t i = row % p->out, from = unshuffle_source(p, row / p->out, i);
    copy_row(p->y + row * p->width,
             from < 0 ? p->token + i * p->token_step : p->x + from * p->width,
             p->width);
  }
}

void KERNEL(unshuffle_forward)(mae_pool *pool, int64_t batch, int64_t kept,
                               int64_t patches, int64_t width, const float *x,
                               const float *token, bool each,
                               const int32_t *restore, float *y) {
  tokens p = {.in = 1 + kept, .out = 1 + patches, .width = width, .x = x,
              .token = token, .token_step = each ? width : 0, .index = restore,
              .y = y};
  mae_pool_for(pool, batch * p.out, row_grain(width), unshuffle_rows, &p);
}

/* By image, since nothing stops restore from naming a token twice. */
static void unshuffle_backward_images(void *arg, int64_t begin, int64_t end,
                                      int32_t worker) {
  (void)worker;
  const tokens *p = arg;
  const int64_t n = p->in * p->width;
  for (int64_t b = begin; b < end; b++) {
    if (!p->add_dx) zero_row(p->dx + b * n, n);
    for (int64_t i = 0; i < p->out; i++) {
      int64_t to = unshuffle_source(p, b, i);
      if (to >= 0)
        add_row(p->dx + to * p->width, p->dy + (b * p->out + i) * p->width,
                p->width, true);
    }
  }
}

static void unshuffle_token_columns(void *arg, int64_t begin, int64_t end,
                                    int32_t worker) {
  (void)worker;
  const tokens *p = arg;
  const int64_t n = end - begin, rows = p->token_step ? p->out : 1;
  float *dtoken = p->dtoken + begin;
  for (int64_t i = 0; i < rows && !p->add_dtoken; i++)
    zero_row(dtoken + i * p->width, n);
  for (int64_t row = 0; row < p->batch * p->out; row++) {
    int64_t i = row % p->out;
    if (unshuffle_source(p, row / p->out, i) < 0)
      add_row(dtoken + i * p->token_step, p->dy + row * p->width + begin, n,
              true);
  }
}

void KERNEL(unshuffle_backward)(mae_pool *pool, int64_t batch, int64_t kept,
                                int64_t patches, int64_t width,
                                const int32_t *restore, const float *dy,
                                float *dx, bool add_dx, float *dtoken,
                                bool each, bool add_dtoken) {
  tokens p = {.batch = batch, .in = 1 + kept, .out = 1 + patches,
              .width = width, .index = restore, .dy = dy, .dx = dx,
              .add_dx = add_dx, .dtoken = dtoken,
              .token_step = each ? width : 0, .add_dtoken = add_dtoken};
  if (dx) mae_pool_for(pool, batch, 1, unshuffle_backward_images, &p);
  if (dtoken)
    mae_pool_for(pool, width, 4 * LANES, unshuffle_token_columns, &p);
}

/* -------------------------------------------------------- class token --- */

static void concat_images(void *arg, int64_t begin, int64_t end,
                          int32_t worker) {
  (void)worker;
  const tokens *p = arg;
  const int64_t in = p->in * p->width, out = p->out * p->width;
  for (int64_t b = begin; b < end; b++) {
    copy_row(p->y + b * out, p->token, p->width);
    copy_row(p->y + b * out + p->width, p->x + b * in, in);
  }
}

void KERNEL(concat_forward)(mae_pool *pool, int64_t batch, int64_t in,
                            int64_t width, const float *token, const float *x,
                            float *y) {
  tokens p = {.in = in, .out = 1 + in, .width = width, .x = x, .token = token,
              .y = y};
  mae_pool_for(pool, batch, 1, concat_images, &p);
}

static void concat_backward_images(void *arg, int64_t begin, int64_t end,
                                   int32_t worker) {
  (void)worker;
  const tokens *p = arg;
  const int64_t in = p->in * p->width, out = p->out * p->width;
  for (int64_t b = begin; b < end; b++)
    add_row(p->dx + b * in, p->dy + b * out + p->width, in, p->add_dx);
}

void KERNEL(concat_backward)(mae_pool *pool, int64_t batch, int64_t in,
                             int64_t width, const float *dy, float *dtoken,
                             bool add_dtoken, float *dx, bool add_dx) {
  tokens p = {.in = in, .out = 1 + in, .width = width, .dy = dy, .dx = dx,
              .add_dx = add_dx};
  if (dx) mae_pool_for(pool, batch, 1, concat_backward_images, &p);
  if (dtoken)
    sum_rows(dtoken, dy, batch, (1 + in) * width, width, add_dtoken);
}

/* ---------------------------------------------------------- positions --- */

/* Row of the table for token i of an image; out = 1 + count. */
static int64_t position_row(const tokens *p, int64_t image, int64_t i) {
  if (i == 0 || !p->index) return i;
  return 1 + p->index[image * (p->out - 1) + i - 1];
}

static void position_rows(void *arg, int64_t begin, int64_t end,
                          int32_t worker) {
  (void)worker;
  const tokens *p = arg;
  for (int64_t row = begin; row < end; row++) {
    const float *x = p->x + row * p->width;
    const float *at =
        p->table + position_row(p, row / p->out, row % p->out) * p->width;
    float *y = p->y + row * p->width;
    FOR_VECTORS(i, lanes, p->width,
                STORE(y + i, LOAD(x + i, lanes) + LOAD(at + i, lanes), lanes););
  }
}

void KERNEL(position_forward)(mae_pool *pool, int64_t batch, int64_t count,
                              int64_t width, const float *x, const float *table,
                              const int32_t *index, float *y) {
  tokens p = {.out = 1 + count, .width = width, .x = x, .table = table,
              .index = index, .y = y};
  mae_pool_for(pool, batch * p.out, row_grain(width), position_rows, &p);
}

/* in = rows of the table. */
static void position_columns(void *arg, int64_t begin, int64_t end,
                             int32_t worker) {
  (void)worker;
  const tokens *p = arg;
  const int64_t n = end - begin;
  if (!p->add_dx)
    for (int64_t row = 0; row < p->in; row++)
      zero_row(p->dx + row * p->width + begin, n);
  for (int64_t row = 0; row < p->batch * p->out; row++) {
    int64_t to = position_row(p, row / p->out, row % p->out);
    add_row(p->dx + to * p->width + begin, p->dy + row * p->width + begin, n,
            true);
  }
}

void KERNEL(position_backward)(mae_pool *pool, int64_t batch, int64_t count,
                               int64_t table_rows, int64_t width,
                               const int32_t *index, const float *dy,
                               float *dtable, bool add_dtable) {
  tokens p = {.batch = batch, .in = table_rows, .out = 1 + count,
              .width = width, .index = index, .dy = dy, .dx = dtable,
              .add_dx = add_dtable};
  mae_pool_for(pool, width, 4 * LANES, position_columns, &p);
}
