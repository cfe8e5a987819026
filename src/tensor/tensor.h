/* The tensor: a dense f32 array, owned or borrowed. */
#ifndef MAE_TENSOR_TENSOR_H
#define MAE_TENSOR_TENSOR_H

#include <stdbool.h>

#include "base/memory.h"

struct mae_tensor {
  float *data;
  int32_t ndim;
  int64_t shape[MAE_MAX_DIMS]; /* 1 beyond ndim */
  bool owned;
};

/* Check ndim and shape and fill in everything but the data, which is NULL. */
mae_status mae_tensor_init(mae_tensor *tensor, int32_t ndim,
                           const int64_t *shape);

/* The same dimensions? */
bool mae_tensor_same_shape(const mae_tensor *a, const mae_tensor *b);

/* "[2, 3, 4]" for messages. */
typedef struct mae_shape_text {
  char text[96];
} mae_shape_text;
mae_shape_text mae_tensor_shape_text(const mae_tensor *tensor);

#endif
