/* safetensors files: named tensors and a text-to-text metadata table. */
#ifndef MAE_IO_SAFETENSORS_H
#define MAE_IO_SAFETENSORS_H

#include "tensor/tensor.h"

/* ---- reading: the file is mapped and every offset checked on open ---- */

typedef struct mae_safetensors mae_safetensors;

/* MAE_ERROR_NOT_FOUND, MAE_ERROR_IO, or MAE_ERROR_FORMAT with what is wrong:
 * truncation, malformed header, overlap, holes, ranges outside the file, sizes
 * that do not match shape and dtype, duplicate names. */
mae_status mae_safetensors_open(const char *path, mae_safetensors **file);
void mae_safetensors_close(mae_safetensors *file);

/* NULL when the metadata has no such key.  Lent by the file. */
const char *mae_safetensors_metadata(const mae_safetensors *file,
                                     const char *key);

int32_t mae_safetensors_count(const mae_safetensors *file);
const char *mae_safetensors_name(const mae_safetensors *file, int32_t i);

/* Copy tensor name into `into`: MAE_ERROR_MISMATCH when it is missing, not
 * F32 or of another shape. */
mae_status mae_safetensors_read(const mae_safetensors *file, const char *name,
                                mae_tensor *into);
/* Check what mae_safetensors_read would check, copying nothing. */
mae_status mae_safetensors_check(const mae_safetensors *file, const char *name,
                                 const mae_tensor *shape_of);
/* Shape of an F32 tensor; data stays NULL. */
mae_status mae_safetensors_shape(const mae_safetensors *file, const char *name,
                                 mae_tensor *shape);

/* ---- writing: all at once, crash-safe ---- */

typedef struct mae_safetensors_entry {
  const char *name;
  const mae_tensor *tensor;
} mae_safetensors_entry;

typedef struct mae_safetensors_text {
  const char *key, *value;
} mae_safetensors_text;

/* Replace path by a file of these tensors (F32) and metadata.  On any error
 * the old file is intact and no temporary file is left. */
mae_status mae_safetensors_write(const char *path,
                                 const mae_safetensors_entry *entries,
                                 int32_t n_entries,
                                 const mae_safetensors_text *metadata,
                                 int32_t n_metadata);

#endif
