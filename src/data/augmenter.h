/* What training does to an image: crop, mirror, RandAugment, normalise, erase.
 * One for each thread. */
#ifndef MAE_DATA_AUGMENTER_H
#define MAE_DATA_AUGMENTER_H

#include "data/augment.h"

typedef struct mae_augmenter mae_augmenter;

/* MAE_ERROR_INVALID_ARGUMENT: what the options say of these is out of range,
 * or RandAugment of images that are neither grey nor RGB. */
mae_status mae_augmenter_check(const mae_loader_options *options);

/* Keeps what it needs of the options, mean and std too. */
mae_status mae_augmenter_create(const mae_loader_options *options,
                                mae_augmenter **augmenter);
void mae_augmenter_destroy(mae_augmenter *augmenter);

/* A box of an image, mirrored if flip, to out [in_chans, image_height,
 * image_width].  The rest is drawn by (seed, number).  Allocates only as
 * mae_preprocess_crop does. */
mae_status mae_augmenter_run(mae_augmenter *augmenter, mae_context *context,
                             const mae_image *image, mae_box box, bool flip,
                             uint64_t number, float *out);

#endif
