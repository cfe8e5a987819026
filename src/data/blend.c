#include "data/blend.h"

#include <string.h>

void mae_blend_colour(mae_planes *planes, double factor) {
  const int64_t n = mae_planes_area(planes);
  const float f = (float)factor;
  if (planes->chans != 3) return;
  uint8_t *red = planes->data, *green = red + n, *blue = green + n;
  for (int64_t i = 0; i < n; i++) {
    const uint8_t grey = mae_luma(red[i], green[i], blue[i]);
    red[i] = mae_blend(grey, red[i], f);
    green[i] = mae_blend(grey, green[i], f);
    blue[i] = mae_blend(grey, blue[i], f);
  }
}

/* Weights 1 around 5, of 13.  Pillow adds up in f32 and rounds to the nearest;
 * a sum over 13 is never half way, so whole numbers give the same. */
static inline uint8_t smooth(const uint8_t *x, int64_t width) {
  const uint8_t *above = x - width, *below = x + width;
  const int sum = above[-1] + above[0] + above[1] + x[-1] + 5 * x[0] + x[1] +
                  below[-1] + below[0] + below[1];
  return (uint8_t)((2 * sum + 13) / 26);
}

static void sharpen_row(const uint8_t *restrict x, int64_t width, float factor,
                        uint8_t *restrict y) {
  y[0] = x[0];
  for (int64_t i = 1; i < width - 1; i++)
    y[i] = mae_blend(smooth(x + i, width), x[i], factor);
  y[width - 1] = x[width - 1];
}

void mae_blend_sharpness(mae_planes *planes, double factor) {
  const int64_t width = planes->width, height = planes->height;
  if (width < 3 || height < 3) return; /* nothing but borders */
  for (int64_t row = 0; row < planes->chans * height; row++) {
    const uint8_t *x = planes->data + row * width;
    uint8_t *y = planes->spare + row * width;
    const int64_t at = row % height;
    if (at == 0 || at == height - 1)
      memcpy(y, x, (size_t)width);
    else
      sharpen_row(x, width, (float)factor, y);
  }
  mae_planes_swap(planes);
}
