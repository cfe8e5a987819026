/* original | masked | reconstruction, a row an image, as PNG. */
#ifndef EXAMPLES_GRID_H
#define EXAMPLES_GRID_H

#include <libmae/mae.h>

/* images [n, C, H, W], of which the first channel is drawn; mean and std are
 * those they were normalised by.  Returns what picture_write_png does; a
 * library failure ends the program. */
int grid_write(mae_context *context, const mae_model *model,
               const float *images, int n, float mean, float std,
               const char *path);

#endif
