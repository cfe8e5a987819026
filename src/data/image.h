/* Image files and the decoders of each format. */
#ifndef MAE_DATA_IMAGE_H
#define MAE_DATA_IMAGE_H

#include "base/error.h"

/* An encoded image in memory, and what to call it in messages. */
typedef struct mae_encoded {
  const uint8_t *data;
  size_t size;
  const char *name;
} mae_encoded;

/* A whole file in memory; free() it.  Refused: more than 1 GiB, or not a
 * regular file. */
mae_status mae_image_read_file(const char *path, uint8_t **data, size_t *size);

/* The size in the header of an encoded image.  What fails here fails in the
 * same way when decoded, but not the other way round. */
mae_status mae_image_size(const mae_encoded *in, int32_t *width,
                          int32_t *height);

/* As mae_image_decode, at 1 / shrink of the size (1, 2, 4, 8; sides rounded up)
 * where the format can, a JPEG: much faster.  Others come in full size. */
mae_status mae_image_decode_shrunk(const mae_encoded *in, int32_t shrink,
                                   mae_image *image);

/* The largest shrink at which a box of this size is still at least as large as
 * the target; 1 when it never is. */
int32_t mae_image_best_shrink(int32_t box_width, int32_t box_height,
                              int32_t width, int32_t height);

/* ----------------------------------------------------- for the decoders --- */

/* MAE_ERROR_FORMAT for sizes that no header may claim. */
mae_status mae_image_check(const char *name, int64_t width, int64_t height);

/* Check the sizes and take memory for the pixels, rows side by side.  It is not
 * zeroed, so that a false header costs nothing. */
mae_status mae_image_begin(const char *name, int64_t width, int64_t height,
                           int32_t channels, mae_image *image);

/* decode fills in an image begun with the call above, which on failure is freed
 * and zeroed again.  MAE_ERROR_UNSUPPORTED: left out of this build. */
typedef struct mae_image_format {
  mae_status (*size)(const mae_encoded *in, int32_t *width, int32_t *height);
  mae_status (*decode)(const mae_encoded *in, int32_t shrink,
                       mae_image *image);
} mae_image_format;

extern const mae_image_format mae_jpeg, mae_png, mae_webp;

#endif
