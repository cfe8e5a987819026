/* Random crops and mirroring of training images, as torchvision defines them:
 * drawn as boxes, for mae_preprocess_crop to apply. */
#ifndef MAE_DATA_AUGMENT_H
#define MAE_DATA_AUGMENT_H

#include <stdbool.h>

#include "image/preprocess.h"

/* A box of a source image, and whether it is mirrored. */
typedef struct mae_crop {
  int32_t left, top, width, height;
  bool flip;
} mae_crop;

typedef struct mae_augment {
  double scale_min, scale_max; /* the box's area over the image's */
  double ratio_min, ratio_max; /* the box's width over its height */
  double flip;                 /* probability */
} mae_augment;

/* MAE_ERROR_INVALID_ARGUMENT unless 0 < scale_min <= scale_max <= 1,
 * 0 <= flip <= 1, and 1/65536 <= ratio_min <= ratio_max <= 65536. */
mae_status mae_augment_check(const mae_augment *augment);

/* torchvision's RandomResizedCrop.get_params and RandomHorizontalFlip for an
 * image of this size: a pure function of its arguments.  The box is within the
 * image and not empty. */
mae_crop mae_augment_draw(const mae_augment *augment, int32_t width,
                          int32_t height, uint64_t seed, uint64_t number);

/* That box of an image of this size as mae_image_decode_shrunk decoded it:
 * the same part of the picture, so edges may lie within the coarser pixels. */
mae_box mae_crop_box(const mae_crop *crop, int32_t width, int32_t height,
                     const mae_image *decoded);

#endif
