/* A picture of 8-bit samples, written as PNG. */
#ifndef MAE_TOOL_DRAWING_H
#define MAE_TOOL_DRAWING_H

#include <stdint.h>

#include "libmae/mae.h"

typedef struct drawing {
  int64_t height, width;
  int32_t channels; /* 1 grey, 3 RGB */
  uint8_t *samples; /* row by row, pixel by pixel */
} drawing;

/* White. */
mae_status drawing_create(int64_t height, int64_t width, int32_t channels,
                          drawing *out);
/* Replace path, crash-safe.  MAE_ERROR_UNSUPPORTED: built without libpng. */
mae_status drawing_write(const drawing *d, const char *path);
void drawing_destroy(drawing *d);

#endif
