/* What mae reconstruct draws, against the library. */
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helper.h"

enum { GAP = 2, GREY = 128, WHITE = 255 };

typedef struct picture {
  int width, height, channels;
  unsigned char *samples;
} picture;

static picture read_png(const char *path) {
  png_image image;
  memset(&image, 0, sizeof image);
  image.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_file(&image, path))
    die("%s: %s", path, image.message);
  picture p = {(int)image.width, (int)image.height,
               image.format & PNG_FORMAT_FLAG_COLOR ? 3 : 1, NULL};
  if (image.format & ~(png_uint_32)PNG_FORMAT_FLAG_COLOR)
    die("%s: format %u", path, (unsigned)image.format);
  p.samples = need_memory(PNG_IMAGE_SIZE(image));
  if (!png_image_finish_read(&image, NULL, p.samples, 0, NULL))
    die("%s: %s", path, image.message);
  return p;
}

static int at(const picture *p, int y, int x, int k) {
  return p->samples[(y * p->width + x) * p->channels + k];
}

typedef struct scene {
  mae_config c;
  float *image, *made, *mask; /* of one image */
} scene;

/* A normalised value as the picture shows it, with ImageNet's mean and std. */
static int shown(const scene *s, const float *image, int y, int x, int k) {
  static const double mean[] = {0.485, 0.456, 0.406};
  static const double std[] = {0.229, 0.224, 0.225};
  double m = s->c.in_chans == 3 ? mean[k] : 0.449;
  double d = s->c.in_chans == 3 ? std[k] : 0.226;
  const mae_config *c = &s->c;
  double v = image[(k * c->image_height + y) * c->image_width + x] * d + m;
  return v <= 0 ? 0 : v >= 1 ? 255 : (int)(v * 255 + 0.5);
}

static int near(int a, int b) { return a - b <= 1 && b - a <= 1; }

/* Row `row` of the picture; returns the samples where the reconstruction is
 * not the image. */
static int check_row(const picture *p, const scene *s, int row) {
  const int h = s->c.image_height, w = s->c.image_width, side = s->c.patch_size;
  int top = row * (h + GAP), differ = 0;
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++)
      for (int k = 0; k < s->c.in_chans; k++) {
        int removed = s->mask[y / side * (w / side) + x / side] != 0;
        int original = shown(s, s->image, y, x, k);
        int made = shown(s, s->made, y, x, k);
        int masked = at(p, top + y, w + GAP + x, k);
        if (!near(at(p, top + y, x, k), original)) die("original %d %d", y, x);
        if (removed ? masked != GREY : !near(masked, original))
          die("masked %d %d", y, x);
        if (!near(at(p, top + y, 2 * (w + GAP) + x, k), made))
          die("reconstruction %d %d", y, x);
        if (!removed && made != original) die("a visible patch is changed");
        differ += made != original;
      }
  for (int x = w; x < w + GAP; x++)
    if (at(p, top, x, 0) != WHITE) die("the gap is not white");
  return differ;
}

static void look(mae_session *session, const char *path, float *out) {
  mae_image image;
  need(mae_image_load(path, &image));
  need(mae_session_preprocess(session, &image, out));
  mae_image_free(&image);
}

/* FILE.png MODEL SEED RATIO IMAGE... */
void check_picture(int n, char **arguments) {
  mae_context *context;
  mae_model *model;
  mae_session *session;
  mae_session_options o;
  scene s;
  int count = n - 4;
  need(mae_context_create(NULL, &context));
  need(mae_model_load(arguments[1], &model));
  need(mae_config_init(&s.c, sizeof s.c, NULL));
  need(mae_model_config(model, &s.c));
  mae_session_options_init(&o, sizeof o);
  o.seed = strtoull(arguments[2], NULL, 10);
  o.mask_ratio = atof(arguments[3]);
  need(mae_session_create(context, model, &o, &session));
  picture p = read_png(arguments[0]);
  const int h = s.c.image_height, w = s.c.image_width;
  if (p.channels != s.c.in_chans || p.width != 3 * w + 2 * GAP ||
      p.height != count * (h + GAP) - GAP)
    die("%d x %d of %d channels", p.width, p.height, p.channels);
  size_t values = (size_t)(s.c.in_chans * h * w);
  size_t patches = (size_t)mae_model_num_patches(model);
  size_t all = (size_t)count;
  float *images = need_memory(all * values * sizeof *images);
  float *made = need_memory(all * values * sizeof *made);
  float *masks = need_memory(all * patches * sizeof *masks);
  for (size_t i = 0; i < all; i++)
    look(session, arguments[4 + i], images + i * values);
  need(mae_session_reconstruct(session, images, count, NULL, made, masks));
  for (size_t i = 0; i < all; i++) {
    s.image = images + i * values;
    s.made = made + i * values;
    s.mask = masks + i * patches;
    if (!check_row(&p, &s, (int)i)) die("nothing is reconstructed");
  }
  free(images);
  free(made);
  free(masks);
  free(p.samples);
  mae_session_destroy(session);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
