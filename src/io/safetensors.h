/* safetensors files: named tensors and a text-to-text metadata table. */
#ifndef MAE_IO_SAFETENSORS_H
#define MAE_IO_SAFETENSORS_H

#include "io/element.h"
#include "tensor/tensor.h"

/* ---- reading: the header is checked on open, data is read when asked ---- */

/* Any number of threads may read one file at once. */
typedef struct mae_safetensors mae_safetensors;

/* MAE_ERROR_NOT_FOUND, MAE_ERROR_IO (also: not a regular file), or
 * MAE_ERROR_FORMAT with what is wrong: truncation, malformed header, overlap,
 * holes, ranges outside the file, sizes that do not match shape and dtype,
 * duplicate names.  MAE_ERROR_UNSUPPORTED: built without JSON. */
mae_status mae_safetensors_open(const char *path, mae_safetensors **file);
void mae_safetensors_close(mae_safetensors *file);

/* NULL when the metadata has no such key.  Lent by the file. */
const char *mae_safetensors_metadata(const mae_safetensors *file,
                                     const char *key);

/* Names of tensors in alphabetical order, lent by the file. */
int32_t mae_safetensors_count(const mae_safetensors *file);
const char *mae_safetensors_name(const mae_safetensors *file, int32_t i);

/* Any tensor i: what it is made of and where it lies in the file. */
typedef struct mae_safetensors_info {
  mae_element element;
  int64_t ndim, shape[MAE_MAX_DIMS]; /* of a larger ndim, the first of them */
  int64_t offset, bytes;
} mae_safetensors_info;
mae_safetensors_info mae_safetensors_info_at(const mae_safetensors *file,
                                             int32_t i);
/* Some of the file's bytes. */
mae_status mae_safetensors_bytes(const mae_safetensors *file, int64_t offset,
                                 void *into, int64_t size);
/* The whole file in memory, for munmap: pages are read when touched, and
 * copied when written. */
mae_status mae_safetensors_map(const mae_safetensors *file, void **mapping,
                               size_t *bytes);

/* Read tensor name into `into`: MAE_ERROR_MISMATCH when it is missing, not F32
 * or of another shape; a scalar has the shape [1].  MAE_ERROR_IO, or
 * MAE_ERROR_FORMAT when the file has been truncated since it was opened, may
 * leave `into` half read. */
mae_status mae_safetensors_read(const mae_safetensors *file, const char *name,
                                mae_tensor *into);
/* Check what mae_safetensors_read would check, copying nothing. */
mae_status mae_safetensors_check(const mae_safetensors *file, const char *name,
                                 const mae_tensor *shape_of);
/* Shape of an F32 tensor; data is NULL.  MAE_ERROR_MISMATCH when it is missing,
 * not F32, empty or of more than MAE_MAX_DIMS dimensions. */
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

/* Replace path by a file of these tensors (F32) and metadata.  Names and keys
 * are distinct and UTF-8.  On any error the old file is intact and no
 * temporary file is left; MAE_ERROR_NO_SPACE tells a full disk. */
mae_status mae_safetensors_write(const char *path,
                                 const mae_safetensors_entry *entries,
                                 int32_t n_entries,
                                 const mae_safetensors_text *metadata,
                                 int32_t n_metadata);
/* The same, of tensors rounded to this type. */
mae_status mae_safetensors_write_as(const char *path, mae_dtype dtype,
                                    const mae_safetensors_entry *entries,
                                    int32_t n_entries,
                                    const mae_safetensors_text *metadata,
                                    int32_t n_metadata);

#endif
