#include "tool/scene.h"

#include <stdlib.h>

#include "base/memory.h"
#include "tool/drawing.h"

/* Pixels between images; the colour of removed patches. */
enum { GAP = 2, GREY = 128 };

static int64_t values_of(const mae_config *c) {
  return (int64_t)c->in_chans * c->image_height * c->image_width;
}

static int64_t patches_of(const mae_config *c) {
  return (int64_t)(c->image_height / c->patch_size) *
         (c->image_width / c->patch_size);
}

mae_status scene_make(scene *s, size_t most) {
  size_t values = (size_t)values_of(&s->config);
  size_t patches = (size_t)patches_of(&s->config);
  s->images = mae_calloc(most, values * sizeof *s->images);
  s->made = mae_calloc(most, values * sizeof *s->made);
  s->masks = mae_calloc(most, patches * sizeof *s->masks);
  return s->images && s->made && s->masks ? MAE_OK : MAE_ERROR_OUT_OF_MEMORY;
}

void scene_free(scene *s) {
  free(s->images);
  free(s->made);
  free(s->masks);
}

float *scene_image(const scene *s, int64_t i) {
  return s->images + i * values_of(&s->config);
}

static uint8_t sample(float value, float mean, float std) {
  float v = (value * std + mean) * 255 + 0.5f;
  return v >= 255 ? 255 : v > 0 ? (uint8_t)v : 0; /* NaN is black */
}

/* One image with its top left corner at (top, left); where mask is 1, grey. */
static void draw(drawing *d, const scene *s, const float *image,
                 const float *mask, int64_t top, int64_t left) {
  const mae_config *c = &s->config;
  const int64_t h = c->image_height, w = c->image_width, p = c->patch_size;
  for (int64_t k = 0; k < c->in_chans; k++)
    for (int64_t y = 0; y < h; y++)
      for (int64_t x = 0; x < w; x++) {
        uint8_t *to =
            d->samples + ((top + y) * d->width + left + x) * d->channels + k;
        bool removed = mask && mask[y / p * (w / p) + x / p] != 0;
        *to = removed
                  ? GREY
                  : sample(image[(k * h + y) * w + x], s->mean[k], s->std[k]);
      }
}

/* Image i in one of the three kinds. */
static void draw_in_place(drawing *d, const scene *s, const float *image,
                          const float *mask, int64_t i, int64_t kind) {
  int64_t row = s->columns ? kind : i, column = s->columns ? i : kind;
  draw(d, s, image, mask, row * (s->config.image_height + GAP),
       column * (s->config.image_width + GAP));
}

mae_status scene_draw(const scene *s, const char *path) {
  const mae_config *c = &s->config;
  const int64_t down = c->image_height + GAP, across = c->image_width + GAP;
  const int64_t rows = s->columns ? 3 : s->n, columns = s->columns ? s->n : 3;
  drawing d;
  MAE_TRY(drawing_create(rows * down - GAP, columns * across - GAP, c->in_chans,
                         &d));
  for (int64_t i = 0; i < s->n; i++) {
    const float *image = s->images + i * values_of(c);
    draw_in_place(&d, s, image, NULL, i, 0);
    draw_in_place(&d, s, image, s->masks + i * patches_of(c), i, 1);
    draw_in_place(&d, s, s->made + i * values_of(c), NULL, i, 2);
  }
  mae_status status = drawing_write(&d, path);
  drawing_destroy(&d);
  return status;
}
