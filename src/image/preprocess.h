/* Decoded images to the network's input: grey or colour as the model has it,
 * resized, cropped at the centre or in a given box, normalised. */
#ifndef MAE_IMAGE_PREPROCESS_H
#define MAE_IMAGE_PREPROCESS_H

#include <stdbool.h>

#include "base/error.h"

/* The target and scratch memory, which only grows. */
typedef struct mae_preprocess mae_preprocess;

/* crop_ratio, in (0, 1]: side of the crop over that of the resized image; 0:
 * 224/256 for targets up to 224, 1 above.  mean, std: chans values each, of
 * pixels in [0, 1], or NULL for ImageNet's (of 1 channel: their means; of
 * others: 0.5). */
mae_status mae_preprocess_create(int32_t chans, int32_t height, int32_t width,
                                 double crop_ratio, const float *mean,
                                 const float *std, mae_preprocess **out);
void mae_preprocess_destroy(mae_preprocess *p);
/* The chans values in effect, lent by p. */
const float *mae_preprocess_mean(const mae_preprocess *p);
const float *mae_preprocess_std(const mae_preprocess *p);

/* out [chans, height, width].  Splits its work over the context's pool;
 * allocates only when an image needs more scratch than any before.  Not for
 * two threads at once.  Images of 1, 3 or 4 channels fit models of 1 or 3, and
 * any image fits a model of as many channels; else MAE_ERROR_UNSUPPORTED. */
mae_status mae_preprocess_run(mae_preprocess *p, mae_context *context,
                              const mae_image *image, float *out);

/* A part of an image, in pixels; edges may lie within them. */
typedef struct mae_box {
  double left, top, width, height;
} mae_box;

/* The same of a box of the image, resized to the target whatever the aspect,
 * and mirrored if flip: of whole pixels torchvision's resized_crop, then hflip,
 * of a PIL image.  crop_ratio plays no part.  MAE_ERROR_INVALID_ARGUMENT: an
 * empty box, or one not within the image. */
mae_status mae_preprocess_crop(mae_preprocess *p, mae_context *context,
                               const mae_image *image, mae_box box, bool flip,
                               float *out);

#endif
