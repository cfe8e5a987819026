/* Images to patches, all or those of an index, and back. */
#include "kernels/simd.h"

typedef struct patches {
  int64_t chans, height, width, p, count;
  bool chans_last, add_dx;
  const int32_t *index;
  const float *images, *dy;
  float *y, *dx;
} patches;

/* First pixel of the patch that row of [batch, count] names. */
static int64_t patch_corner(const patches *s, int64_t row) {
  const int64_t across = s->width / s->p, image = row / s->count;
  const int64_t patch = s->index ? s->index[row] : row % s->count;
  return image * s->chans * s->height * s->width +
         patch / across * s->p * s->width + patch % across * s->p;
}

static void forward_rows(void *arg, int64_t begin, int64_t end,
                         int32_t worker) {
  (void)worker;
  const patches *s = arg;
  const int64_t p = s->p, chans = s->chans;
  for (int64_t row = begin; row < end; row++) {
    const float *corner = s->images + patch_corner(s, row);
    float *y = s->y + row * chans * p * p;
    for (int64_t c = 0; c < chans; c++)
      for (int64_t i = 0; i < p; i++) {
        const float *x = corner + (c * s->height + i) * s->width;
        if (!s->chans_last)
          copy_row(y + (c * p + i) * p, x, p);
        else
          for (int64_t j = 0; j < p; j++) y[(i * p + j) * chans + c] = x[j];
      }
  }
}

void KERNEL(patchify_forward)(mae_pool *pool, int64_t batch, int64_t chans,
                              int64_t height, int64_t width, int64_t p,
                              bool chans_last, int64_t count,
                              const int32_t *index, const float *images,
                              float *y) {
  patches s = {.chans = chans, .height = height, .width = width, .p = p,
               .chans_last = chans_last, .count = count, .index = index,
               .images = images, .y = y};
  mae_pool_for(pool, batch * count, row_grain(chans * p * p), forward_rows, &s);
}

/* By image, since an index may name a patch twice. */
static void backward_images(void *arg, int64_t begin, int64_t end,
                            int32_t worker) {
  (void)worker;
  const patches *s = arg;
  const int64_t p = s->p, chans = s->chans;
  const int64_t image = chans * s->height * s->width;
  for (int64_t b = begin; b < end; b++) {
    if (!s->add_dx) zero_row(s->dx + b * image, image);
    for (int64_t row = b * s->count; row < (b + 1) * s->count; row++) {
      float *corner = s->dx + patch_corner(s, row);
      const float *dy = s->dy + row * chans * p * p;
      for (int64_t c = 0; c < chans; c++)
        for (int64_t i = 0; i < p; i++) {
          float *dx = corner + (c * s->height + i) * s->width;
          for (int64_t j = 0; j < p; j++)
            dx[j] += s->chans_last ? dy[(i * p + j) * chans + c]
                                   : dy[(c * p + i) * p + j];
        }
    }
  }
}

void KERNEL(patchify_backward)(mae_pool *pool, int64_t batch, int64_t chans,
                               int64_t height, int64_t width, int64_t p,
                               bool chans_last, int64_t count,
                               const int32_t *index, const float *dy, float *dx,
                               bool add_dx) {
  patches s = {.chans = chans, .height = height, .width = width, .p = p,
               .chans_last = chans_last, .count = count, .index = index,
               .dy = dy, .dx = dx, .add_dx = add_dx};
  mae_pool_for(pool, batch, 1, backward_images, &s);
}
