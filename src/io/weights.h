/* Named tensors in a file: one view of safetensors and PyTorch's files. */
#ifndef MAE_IO_WEIGHTS_H
#define MAE_IO_WEIGHTS_H

#include "io/safetensors.h"

typedef struct mae_weights mae_weights;

typedef struct mae_weight {
  const char *name; /* lent by the file */
  mae_element element;
  int64_t ndim, shape[MAE_MAX_DIMS]; /* of a larger ndim, the first of them */
} mae_weight;

/* The kind is told by the first bytes.  With `map` a safetensors file is mapped
 * into memory; PyTorch's files are read in any case.  Errors as those of
 * mae_safetensors_open and mae_torch_open. */
mae_status mae_weights_open(const char *path, bool map, mae_weights **weights);
void mae_weights_close(mae_weights *weights);

/* "safetensors" or "pytorch". */
const char *mae_weights_format(const mae_weights *weights);
/* NULL for PyTorch's files. */
const mae_safetensors *mae_weights_safetensors(const mae_weights *weights);

/* In alphabetical order. */
int32_t mae_weights_count(const mae_weights *weights);
const mae_weight *mae_weights_at(const mae_weights *weights, int32_t i);
/* NULL when there is no such name. */
const mae_weight *mae_weights_find(const mae_weights *weights,
                                   const char *name);

/* All values of a weight that mae_element_is_real and has at most MAE_MAX_DIMS
 * dimensions, as f32. */
mae_status mae_weights_read(mae_weights *weights, const mae_weight *weight,
                            float *into);
/* Where the values lie in the mapping; NULL when there is none, or when they
 * are not f32 on an address of 4 bytes. */
float *mae_weights_in_place(const mae_weights *weights,
                            const mae_weight *weight);
/* Take the mapping over, for munmap; NULL when there is none. */
void *mae_weights_take_mapping(mae_weights *weights, size_t *bytes);

#endif
