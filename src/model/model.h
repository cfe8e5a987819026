/* The model: its config and its parameters. */
#ifndef MAE_MODEL_MODEL_H
#define MAE_MODEL_MODEL_H

#include "model/config.h"
#include "nn/transformer_block.h"
#include "tensor/tensor.h"

typedef enum mae_init {
  MAE_INIT_ZEROS,
  MAE_INIT_ONES,
  MAE_INIT_XAVIER,    /* uniform, fans of the weight seen as a matrix */
  MAE_INIT_CONV_BIAS, /* uniform within 1 / sqrt(fan in): Conv2d's default */
  MAE_INIT_TOKEN,     /* normal, std 0.02 */
  MAE_INIT_HEAD,      /* normal, std 2e-5 */
  MAE_INIT_POSITIONS  /* the fixed sin-cos table; not trained */
} mae_init;

typedef struct mae_param {
  char name[64];
  mae_tensor value;
  mae_init init;
  bool fixed; /* pretraining leaves it as it is */
} mae_param;

/* Numbers of parameters, in the official order.  From the decoder's first two
 * on they depend on the config, see below. */
enum {
  MAE_PARAM_CLS_TOKEN,
  MAE_PARAM_POS_EMBED,
  MAE_PARAM_MASK_TOKEN, /* this and the next: with a decoder only */
  MAE_PARAM_DECODER_POS_EMBED
};

struct mae_model {
  mae_config config;
  int32_t n_params;
  mae_param *params;
  float *data; /* of all parameters that lie in no mapped file */
  float *resized; /* position tables, once mae_model_resize made new ones */
  char **class_names; /* num_classes of them, the texts behind; or NULL */
  float *normalization; /* mean, then std, of in_chans each; or NULL */
  /* Of a view: the model that tells it these two.  NULL: itself */
  const struct mae_model *original;
  void *mapping; /* of a file, whose end is mae_model_destroy; or NULL */
  size_t mapping_bytes;
};

int32_t mae_param_patch_embed(const mae_config *config); /* weight, bias */
int32_t mae_param_blocks(const mae_config *config);
/* weight, bias of "norm", or with global_pool of "fc_norm" */
int32_t mae_param_norm(const mae_config *config);
int32_t mae_param_head(const mae_config *config); /* weight, bias */
int32_t mae_param_decoder_embed(const mae_config *config); /* weight, bias */
int32_t mae_param_decoder_blocks(const mae_config *config);
int32_t mae_param_decoder_norm(const mae_config *config); /* weight, bias */
int32_t mae_param_decoder_pred(const mae_config *config); /* weight, bias */
/* With encoder_mask_tokens only, and last, so that the others keep their
 * random numbers. */
int32_t mae_param_encoder_mask_token(const mae_config *config);

/* Which model's class names and normalisation count. */
static inline const mae_model *mae_model_original(const mae_model *model) {
  return model->original ? model->original : model;
}

/* in_chans values each, lent by the model; NULL: unknown. */
const float *mae_model_mean(const mae_model *model);
const float *mae_model_std(const mae_model *model);

static inline bool mae_param_trainable(const mae_param *param) {
  return !param->fixed;
}

/* Another view of a model, for images of another size: it shares the weights
 * but for its own position tables, and what the model says, now and later, of
 * its classes and their images.  The model must outlive it. */
mae_status mae_model_view(const mae_model *model, int32_t image_height,
                          int32_t image_width, mae_model **view);

/* A model whose parameters have names and shapes but no data yet. */
mae_status mae_model_describe(const mae_config *config, mae_model **model);
/* Zeros for every parameter that has no data. */
mae_status mae_model_allocate(mae_model *model);
/* The values that parameter i of a new model has; it is zero before. */
void mae_model_initialise(mae_model *model, int32_t i, uint64_t seed);

/* Bytes of the block that mae_model_shadow makes. */
size_t mae_model_shadow_bytes(const mae_model *model, const bool *wanted);

/* One zeroed block of floats with a stretch, 64-byte aligned, for each of the
 * model's parameters that are wanted (NULL: all); the others get none.  Sets
 * data[i]; the caller frees *block, which is NULL when none is wanted. */
mae_status mae_model_shadow(const mae_model *model, const bool *wanted,
                            float **data, float **block);

#endif
