/* Shear, shift and rotation with Pillow's bicubic filter, to the bit. */
#ifndef MAE_DATA_AFFINE_H
#define MAE_DATA_AFFINE_H

#include "data/planes.h"

/* fill [chans] is the colour of what comes from outside the image. */

/* Each row moves left by its place times factor. */
void mae_affine_shear_x(mae_planes *planes, double factor, const uint8_t *fill);
/* Each column moves up likewise. */
void mae_affine_shear_y(mae_planes *planes, double factor, const uint8_t *fill);
/* Moves the image left, and up, by so many pixels. */
void mae_affine_shift(mae_planes *planes, double x, double y,
                      const uint8_t *fill);
/* Turns it about its centre, anticlockwise; less than 180 degrees. */
void mae_affine_rotate(mae_planes *planes, double degrees, const uint8_t *fill);

#endif
