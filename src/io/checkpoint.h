/* Models in safetensors files: official names, the config in the metadata. */
#ifndef MAE_IO_CHECKPOINT_H
#define MAE_IO_CHECKPOINT_H

#include "io/safetensors.h"
#include "model/model.h"

/* Write the model's tensors and config, then these others. */
mae_status mae_checkpoint_write(const char *path, const mae_model *model,
                                const mae_safetensors_entry *entries,
                                int32_t n_entries,
                                const mae_safetensors_text *metadata,
                                int32_t n_metadata);

/* These tensors rounded to this type, and in the metadata the model's config,
 * its class names and normalisation, and these texts. */
mae_status mae_checkpoint_write_as(const char *path, mae_dtype dtype,
                                   const mae_model *model,
                                   const mae_safetensors_entry *entries,
                                   int32_t n_entries,
                                   const mae_safetensors_text *metadata,
                                   int32_t n_metadata);

/* The checked config in the metadata. */
mae_status mae_checkpoint_config(const mae_safetensors *file,
                                 mae_config *config);

/* A number in the metadata, 0 to most: MAE_ERROR_FORMAT when it is missing,
 * malformed or larger. */
mae_status mae_checkpoint_integer(const mae_safetensors *file, const char *key,
                                  uint64_t most, uint64_t *value);

#endif
