/* A classifier made of an encoder. */
#include <string.h>

#include "model/model.h"

/* What the encoder has under the same name, or NULL.  A head is never kept. */
static const mae_tensor *known(const mae_model *encoder, const mae_model *model,
                               int32_t i) {
  if (i >= mae_param_head(&model->config)) return NULL;
  return mae_model_find(encoder, model->params[i].name);
}

static void fill(const mae_model *encoder, mae_model *model, uint64_t seed) {
  for (int32_t i = 0; i < model->n_params; i++) {
    mae_tensor *to = &model->params[i].value;
    const mae_tensor *from = known(encoder, model, i);
    if (from)
      memcpy(to->data, from->data, (size_t)mae_tensor_size(to) * sizeof(float));
    else
      mae_model_initialise(model, i, seed);
  }
}

mae_status mae_model_classifier(const mae_model *encoder, int32_t num_classes,
                                int32_t global_pool, uint64_t seed,
                                mae_model **out) {
  MAE_REQUIRE(encoder);
  MAE_REQUIRE(out);
  mae_config c = encoder->config;
  c.decoder_embed_dim = c.decoder_depth = c.decoder_num_heads = 0;
  c.encoder_mask_tokens = 0;
  c.num_classes = num_classes;
  c.global_pool = global_pool;
  if (num_classes < 1)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "num_classes is %d",
                    num_classes);
  MAE_TRY(mae_config_check(&c));
  mae_model *model;
  MAE_TRY(mae_model_describe(&c, &model));
  mae_status status = mae_model_allocate(model);
  if (status == MAE_OK)
    status = mae_model_set_normalization(model, mae_model_mean(encoder),
                                         mae_model_std(encoder));
  if (status != MAE_OK) {
    mae_model_destroy(model);
    return status;
  }
  fill(encoder, model, seed);
  *out = model;
  return MAE_OK;
}
