/* The config.json that transformers keeps beside a model's weights. */
#ifndef MAE_IO_HF_CONFIG_H
#define MAE_IO_HF_CONFIG_H

#include <stdbool.h>

#include "io/atomic_file.h"

typedef struct mae_hf_config {
  bool present;
  bool mae; /* model_type vit_mae, not vit: the decoder_ fields count */
  int32_t image_height, image_width, patch_size, num_channels;
  int32_t hidden_size, num_hidden_layers, num_attention_heads;
  int32_t intermediate_size;
  int32_t decoder_hidden_size, decoder_num_hidden_layers;
  int32_t decoder_num_attention_heads;
  int32_t norm_pix_loss;
  double layer_norm_eps;
} mae_hf_config;

/* What the file leaves out has transformers' default.  No such file: nothing
 * is present.  MAE_ERROR_FORMAT: malformed, or numbers out of range;
 * MAE_ERROR_UNSUPPORTED: not ViT or ViTMAE, an activation other than gelu, or
 * built without JSON. */
mae_status mae_hf_config_read(const char *path, mae_hf_config *config);

/* As ViTMAEConfig writes it: flushed to disk, to be committed. */
mae_status mae_hf_config_begin(const char *path, mae_dtype dtype,
                               const mae_config *config,
                               mae_atomic_file *file);

#endif
