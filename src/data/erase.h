/* Random erasing (Zhong et al. 2017) as timm's RandomErasing of one box in mode
 * "pixel": the box is filled with normal noise. */
#ifndef MAE_DATA_ERASE_H
#define MAE_DATA_ERASE_H

#include "base/error.h"

typedef struct mae_erase_box {
  int32_t left, top, width, height; /* empty: nothing is erased */
} mae_erase_box;

/* The box for image `number` of this size: with this probability one of 2 to 33
 * percent of the area and an aspect of 3/10 to 10/3, smaller than the image
 * either way.  A pure function of its arguments. */
mae_erase_box mae_erase_draw(double probability, int32_t height, int32_t width,
                             uint64_t seed, uint64_t number);

/* The box of a normalised image [chans, height, width].  Noise is a function of
 * (seed, number) and the place in the image. */
void mae_erase_fill(mae_erase_box box, int32_t chans, int32_t height,
                    int32_t width, uint64_t seed, uint64_t number,
                    float *image);

#endif
