/* Images, what is masked of them, and what a model makes of them. */
#ifndef MAE_TOOL_SCENE_H
#define MAE_TOOL_SCENE_H

#include <stdbool.h>
#include <stddef.h>

#include "libmae/mae.h"

typedef struct scene {
  mae_config config; /* of the size that images are looked at */
  const float *mean, *std;
  float *images, *made; /* [n, C, H, W] */
  float *masks;         /* [n, L] */
  int64_t n;
  bool columns; /* drawn a column an image, not a row */
} scene;

/* Room for `most` images of the config's size; n stays 0.  Free it, also when
 * this fails. */
mae_status scene_make(scene *s, size_t most);
void scene_free(scene *s);
/* Where image i goes. */
float *scene_image(const scene *s, int64_t i);
/* A PNG of a row (or column) an image: original | masked | reconstruction. */
mae_status scene_draw(const scene *s, const char *path);

#endif
