/* What the image decoders share. */
#ifndef MAE_DATA_IMAGE_H
#define MAE_DATA_IMAGE_H

#include "base/error.h"

/* An encoded image in memory, and what to call it in messages. */
typedef struct mae_encoded {
  const uint8_t *data;
  size_t size;
  const char *name;
} mae_encoded;

/* Check the sizes a header claims and take memory for the pixels, rows side by
 * side.  The memory is not zeroed, so that a false header costs nothing. */
mae_status mae_image_begin(const char *name, int64_t width, int64_t height,
                           int32_t channels, mae_image *image);

/* Each fills in an image begun with the call above, which on failure is freed
 * and zeroed again.  MAE_ERROR_UNSUPPORTED: left out of this build. */
mae_status mae_jpeg_decode(const mae_encoded *in, mae_image *image);
mae_status mae_png_decode(const mae_encoded *in, mae_image *image);
mae_status mae_webp_decode(const mae_encoded *in, mae_image *image);

#endif
