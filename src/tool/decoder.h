/* Threads that read, decode and preprocess images ahead of the one that uses
 * them, which gets them in their order. */
#ifndef MAE_TOOL_DECODER_H
#define MAE_TOOL_DECODER_H

#include <stdbool.h>
#include <stddef.h>

#include "libmae/mae.h"

typedef struct decoder decoder;

typedef struct decoder_options {
  const mae_model *model;
  const mae_session_options *look; /* image size, crop, mean, std */
  const char *const *paths;   /* files, or else */
  const mae_dataset *dataset; /* its images */
  size_t count;
  size_t image_values; /* C H W */
  int32_t threads;
  size_t ahead; /* images ready at most, beside those being worked on */
} decoder_options;

typedef struct decoded {
  size_t number;
  const char *path;
  const float *pixels; /* [C, H, W]; NULL when the image cannot be read */
  const char *problem; /* then why */
} decoded;

/* What options point to must outlive the decoder. */
mae_status decoder_start(const decoder_options *options, decoder **out);
/* false at the end.  What it lends is good until the next call. */
bool decoder_next(decoder *d, decoded *out);
void decoder_stop(decoder *d); /* NULL does nothing */

#endif
