/* Operations that map each value of a channel to another, by a table: those of
 * Pillow's ImageOps and ImageEnhance, to the bit. */
#ifndef MAE_DATA_TONE_H
#define MAE_DATA_TONE_H

#include "data/planes.h"

/* Each channel's values spread out so that its least is 0, its most 255. */
void mae_tone_auto_contrast(mae_planes *planes);
/* Each channel's histogram made as even as a table can. */
void mae_tone_equalize(mae_planes *planes);
void mae_tone_invert(mae_planes *planes);
/* Keeps the upper bits, 0 to 8 of them; with 0 all is black. */
void mae_tone_posterize(mae_planes *planes, int32_t bits);
/* Inverts values of threshold (0 to 256) and above. */
void mae_tone_solarize(mae_planes *planes, int32_t threshold);
/* Adds to values below 128, up to 255. */
void mae_tone_solarize_add(mae_planes *planes, int32_t add);
/* From black to the image and beyond; 1: the image. */
void mae_tone_brightness(mae_planes *planes, double factor);
/* Likewise from its mean grey. */
void mae_tone_contrast(mae_planes *planes, double factor);

#endif
