#include "grid.h"

#include <stdlib.h>

#include "fashion.h"
#include "picture.h"

enum { SCALE = 4, GAP = 8 };

/* Mid-grey where patches were removed. */
static void hide(float *image, const float *mask, const mae_config *c,
                 float grey) {
  int across = c->image_width / c->patch_size;
  for (int y = 0; y < c->image_height; y++)
    for (int x = 0; x < c->image_width; x++)
      if (mask[y / c->patch_size * across + x / c->patch_size] != 0)
        image[y * c->image_width + x] = grey;
}

int grid_write(mae_context *context, const mae_model *model,
               const float *images, int n, float mean, float std,
               const char *path) {
  mae_config c;
  need(mae_config_init(&c, sizeof c, NULL));
  need(mae_model_config(model, &c));
  int h = c.image_height, w = c.image_width;
  size_t values = (size_t)c.in_chans * (size_t)h * (size_t)w;
  size_t patches = (size_t)mae_model_num_patches(model);
  mae_session *session;
  need(mae_session_create(context, model, NULL, &session));
  float *out = malloc((size_t)n * values * sizeof *out);
  float *mask = malloc((size_t)n * patches * sizeof *mask);
  float *masked = malloc(values * sizeof *masked);
  picture p = picture_create(3 * w * SCALE + 4 * GAP,
                             n * (h * SCALE + GAP) + GAP);
  if (!out || !mask || !masked || !p.pixels) exit(1);
  need(mae_session_reconstruct(session, images, n, NULL, out, mask));
  for (int i = 0; i < n; i++) {
    const float *image = images + (size_t)i * values;
    for (size_t k = 0; k < values; k++) masked[k] = image[k];
    hide(masked, mask + (size_t)i * patches, &c, (0.5f - mean) / std);
    const float *const columns[] = {image, masked, out + (size_t)i * values};
    for (int k = 0; k < 3; k++)
      picture_image(&p, GAP + k * (w * SCALE + GAP),
                    GAP + i * (h * SCALE + GAP), columns[k], h, w, SCALE, mean,
                    std);
  }
  int error = picture_write_png(&p, path);
  picture_destroy(&p);
  free(out);
  free(mask);
  free(masked);
  mae_session_destroy(session);
  return error;
}
