/* Between an image (factor 1) and a poorer one made of it (factor 0), and on
 * beyond the image, as Pillow's ImageEnhance, to the bit. */
#ifndef MAE_DATA_BLEND_H
#define MAE_DATA_BLEND_H

#include "data/planes.h"

/* The arithmetic of one value, in f32, rounded down. */
static inline uint8_t mae_blend(uint8_t poor, uint8_t image, float factor) {
  const float v = (float)poor + factor * (float)(image - poor);
  return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)(int)v;
}

/* From grey to colour; a grey image stays as it is. */
void mae_blend_colour(mae_planes *planes, double factor);

/* From smoothed to sharp.  The outermost pixels stay as they are. */
void mae_blend_sharpness(mae_planes *planes, double factor);

#endif
