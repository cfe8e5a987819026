/* The features of labelled images, computed once and kept. */
#ifndef MAE_TOOL_CACHED_FEATURES_H
#define MAE_TOOL_CACHED_FEATURES_H

#include "tool/passes.h"

typedef struct cached_features {
  float *rows;     /* [n, width] */
  int32_t *labels; /* [n] */
  int64_t n, width;
} cached_features;

/* Of all images of a dataset that can be read: context, model, options,
 * dataset, progress and failed of p are set; the session is made for it.
 * Returns a tool status.  Free them, also when this fails. */
int cached_features_make(passes *p, cached_features *features);
void cached_features_free(cached_features *features);

#endif
