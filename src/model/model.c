#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/options.h"
#include "nn/position_table.h"

/* --------------------------------------------------------- parameters --- */

int32_t mae_param_patch_embed(const mae_config *c) {
  return mae_config_has_decoder(c) ? MAE_PARAM_DECODER_POS_EMBED + 1
                                   : MAE_PARAM_POS_EMBED + 1;
}

int32_t mae_param_blocks(const mae_config *c) {
  return mae_param_patch_embed(c) + 2;
}

int32_t mae_param_norm(const mae_config *c) {
  return mae_param_blocks(c) + c->depth * MAE_BLOCK_PARAMS;
}

int32_t mae_param_head(const mae_config *c) { return mae_param_norm(c) + 2; }

int32_t mae_param_decoder_embed(const mae_config *c) {
  return mae_param_norm(c) + 2;
}

int32_t mae_param_decoder_blocks(const mae_config *c) {
  return mae_param_decoder_embed(c) + 2;
}

int32_t mae_param_decoder_norm(const mae_config *c) {
  return mae_param_decoder_blocks(c) + c->decoder_depth * MAE_BLOCK_PARAMS;
}

int32_t mae_param_decoder_pred(const mae_config *c) {
  return mae_param_decoder_norm(c) + 2;
}

int32_t mae_param_encoder_mask_token(const mae_config *c) {
  return mae_param_decoder_pred(c) + 2;
}

/* Append a parameter; sizes were bounded by mae_config_check. */
static void add(mae_model *model, mae_init init, const char *prefix,
                const char *name, int32_t ndim, const int64_t *shape) {
  mae_param *p = &model->params[model->n_params++];
  snprintf(p->name, sizeof p->name, "%s%s", prefix, name);
  p->init = init;
  p->fixed = init == MAE_INIT_POSITIONS;
  p->value.ndim = ndim;
  for (int32_t i = 0; i < MAE_MAX_DIMS; i++)
    p->value.shape[i] = i < ndim ? shape[i] : 1;
}

static void add_linear(mae_model *model, const char *prefix, const char *name,
                       int64_t out, int64_t in) {
  char full[48];
  snprintf(full, sizeof full, "%s%s", prefix, name);
  add(model, MAE_INIT_XAVIER, full, ".weight", 2, (int64_t[]){out, in});
  add(model, MAE_INIT_ZEROS, full, ".bias", 1, &out);
}

/* Official main_finetune cuts that normal at 2, which no value reaches. */
static void add_head(mae_model *model, int64_t classes, int64_t width) {
  add(model, MAE_INIT_HEAD, "", "head.weight", 2, (int64_t[]){classes, width});
  add(model, MAE_INIT_ZEROS, "", "head.bias", 1, &classes);
}

static void add_norm(mae_model *model, const char *prefix, const char *name,
                     int64_t width) {
  char full[48];
  snprintf(full, sizeof full, "%s%s", prefix, name);
  add(model, MAE_INIT_ONES, full, ".weight", 1, &width);
  add(model, MAE_INIT_ZEROS, full, ".bias", 1, &width);
}

static void add_blocks(mae_model *model, const char *group, int32_t depth,
                       int64_t width) {
  int64_t hidden = mae_config_mlp_hidden(&model->config, width);
  for (int32_t i = 0; i < depth; i++) {
    char prefix[32];
    snprintf(prefix, sizeof prefix, "%s.%d.", group, i);
    add_norm(model, prefix, "norm1", width);
    add_linear(model, prefix, "attn.qkv", 3 * width, width);
    add_linear(model, prefix, "attn.proj", width, width);
    add_norm(model, prefix, "norm2", width);
    add_linear(model, prefix, "mlp.fc1", hidden, width);
    add_linear(model, prefix, "mlp.fc2", width, hidden);
  }
}

static void add_decoder(mae_model *model) {
  const mae_config *c = &model->config;
  const int64_t width = c->decoder_embed_dim;
  add_linear(model, "", "decoder_embed", width, c->embed_dim);
  add_blocks(model, "decoder_blocks", c->decoder_depth, width);
  add_norm(model, "", "decoder_norm", width);
  add_linear(model, "", "decoder_pred", mae_config_patch_values(c), width);
}

/* The encoder's takes the place of the decoder's, which is not used then. */
static void add_encoder_mask_token(mae_model *model) {
  model->params[MAE_PARAM_MASK_TOKEN].fixed = true;
  add(model, MAE_INIT_TOKEN, "", "encoder_mask_token", 3,
      (int64_t[]){1, 1, model->config.embed_dim});
}

static void add_all(mae_model *model) {
  const mae_config *c = &model->config;
  const int64_t tokens = 1 + mae_config_patches(c), p = c->patch_size;
  const int64_t width = c->embed_dim, decoder = c->decoder_embed_dim;
  add(model, MAE_INIT_TOKEN, "", "cls_token", 3, (int64_t[]){1, 1, width});
  add(model, MAE_INIT_POSITIONS, "", "pos_embed", 3,
      (int64_t[]){1, tokens, width});
  if (mae_config_has_decoder(c)) {
    add(model, MAE_INIT_TOKEN, "", "mask_token", 3, (int64_t[]){1, 1, decoder});
    add(model, MAE_INIT_POSITIONS, "", "decoder_pos_embed", 3,
        (int64_t[]){1, tokens, decoder});
  }
  add(model, MAE_INIT_XAVIER, "", "patch_embed.proj.weight", 4,
      (int64_t[]){width, c->in_chans, p, p});
  add(model, MAE_INIT_CONV_BIAS, "", "patch_embed.proj.bias", 1, &width);
  add_blocks(model, "blocks", c->depth, width);
  add_norm(model, "", c->global_pool ? "fc_norm" : "norm", width);
  if (mae_config_has_decoder(c)) add_decoder(model);
  if (c->num_classes) add_head(model, c->num_classes, width);
  if (c->encoder_mask_tokens) add_encoder_mask_token(model);
}

/* ----------------------------------------------------------- creation --- */

mae_status mae_model_describe(const mae_config *config, mae_model **out) {
  mae_model *model = mae_calloc(1, sizeof *model);
  if (!model) return MAE_ERROR_OUT_OF_MEMORY;
  model->config = *config;
  /* Room for a decoder, and for a head in its place. */
  size_t count = (size_t)mae_param_encoder_mask_token(config) + 1;
  model->params = mae_calloc(count, sizeof *model->params);
  if (!model->params) {
    free(model);
    return MAE_ERROR_OUT_OF_MEMORY;
  }
  add_all(model);
  *out = model;
  return MAE_OK;
}

static size_t stretch(const mae_param *param) {
  return mae_align((size_t)mae_tensor_size(&param->value) * sizeof(float));
}

size_t mae_model_shadow_bytes(const mae_model *model, const bool *wanted) {
  size_t total = 0;
  for (int32_t i = 0; i < model->n_params; i++)
    if (!wanted || wanted[i]) total += stretch(&model->params[i]);
  return total;
}

mae_status mae_model_shadow(const mae_model *model, const bool *wanted,
                            float **data, float **block) {
  const size_t total = mae_model_shadow_bytes(model, wanted);
  *block = total ? mae_calloc(1, total) : NULL;
  if (total && !*block) return MAE_ERROR_OUT_OF_MEMORY;
  float *at = *block;
  for (int32_t i = 0; i < model->n_params; i++) {
    if (wanted && !wanted[i]) continue;
    data[i] = at;
    at += stretch(&model->params[i]) / sizeof(float);
  }
  return MAE_OK;
}

mae_status mae_model_allocate(mae_model *model) {
  const size_t n = (size_t)model->n_params;
  float **data = mae_calloc(n, sizeof *data);
  bool *lacking = mae_calloc(n, sizeof *lacking);
  mae_status status = MAE_ERROR_OUT_OF_MEMORY;
  if (data && lacking) {
    for (size_t i = 0; i < n; i++) lacking[i] = !model->params[i].value.data;
    status = mae_model_shadow(model, lacking, data, &model->data);
  }
  for (size_t i = 0; i < n && status == MAE_OK; i++)
    if (data[i]) model->params[i].value.data = data[i];
  free(data);
  free(lacking);
  return status;
}

void mae_model_destroy(mae_model *model) {
  if (!model) return;
  if (model->mapping) munmap(model->mapping, model->mapping_bytes);
  free(model->data);
  free(model->resized);
  free(model->params);
  free(model->class_names);
  free(model->normalization);
  free(model);
}

/* ----------------------------------------------------- initialisation --- */

static void fill_uniform(mae_tensor *t, uint64_t seed, uint64_t stream,
                         double bound) {
  int64_t n = mae_tensor_size(t);
  mae_random_uniform(seed, stream, 0, (size_t)n, t->data);
  for (int64_t i = 0; i < n; i++)
    t->data[i] = (float)((2.0 * t->data[i] - 1) * bound);
}

static void fill_normal(mae_tensor *t, uint64_t seed, uint64_t stream,
                        float std) {
  int64_t n = mae_tensor_size(t);
  mae_random_normal(seed, stream, 0, (size_t)n, t->data);
  for (int64_t i = 0; i < n; i++) t->data[i] *= std;
}

/* Parameter i draws from stream i, so no two share numbers. */
void mae_model_initialise(mae_model *model, int32_t i, uint64_t seed) {
  const mae_config *c = &model->config;
  mae_param *p = &model->params[i];
  mae_tensor *t = &p->value;
  const double fan_out = (double)t->shape[0];
  const double fan_in = (double)mae_tensor_size(t) / fan_out;
  switch (p->init) {
    case MAE_INIT_ZEROS: break;
    case MAE_INIT_ONES:
      for (int64_t k = 0; k < mae_tensor_size(t); k++) t->data[k] = 1;
      break;
    case MAE_INIT_XAVIER:
      fill_uniform(t, seed, (uint64_t)i, sqrt(6 / (fan_in + fan_out)));
      break;
    case MAE_INIT_CONV_BIAS:
      fill_uniform(t, seed, (uint64_t)i,
                   1 / sqrt((double)mae_config_patch_values(c)));
      break;
    case MAE_INIT_TOKEN: fill_normal(t, seed, (uint64_t)i, 0.02f); break;
    case MAE_INIT_HEAD: fill_normal(t, seed, (uint64_t)i, 2e-5f); break;
    case MAE_INIT_POSITIONS:
      mae_position_table(c->image_height / c->patch_size,
                         c->image_width / c->patch_size, t->shape[2], t->data);
      break;
  }
}

mae_status mae_model_create(const mae_config *config, uint64_t seed,
                            mae_model **out) {
  MAE_REQUIRE(config);
  MAE_REQUIRE(out);
  mae_config c;
  MAE_TRY(mae_config_read(&c, config));
  mae_model *model;
  MAE_TRY(mae_model_describe(&c, &model));
  mae_status status = mae_model_allocate(model);
  if (status != MAE_OK) {
    mae_model_destroy(model);
    return status;
  }
  for (int32_t i = 0; i < model->n_params; i++)
    mae_model_initialise(model, i, seed);
  *out = model;
  return MAE_OK;
}

/* --------------------------------------------------------- image size --- */

/* The position tables, last ones first. */
static int32_t next_table(const mae_model *model, int32_t i) {
  while (--i >= 0)
    if (model->params[i].init == MAE_INIT_POSITIONS) break;
  return i;
}

mae_status mae_model_resize(mae_model *model, int32_t image_height,
                            int32_t image_width) {
  MAE_REQUIRE(model);
  const mae_config *c = &model->config;
  mae_config sized = *c;
  sized.image_height = image_height;
  sized.image_width = image_width;
  MAE_TRY(mae_config_check(&sized));
  const int32_t p = c->patch_size, rows = image_height / p;
  const int32_t columns = image_width / p;
  const int64_t tokens = 1 + mae_config_patches(&sized);
  float *tables =
      mae_calloc((size_t)tokens,
                 (size_t)(c->embed_dim + c->decoder_embed_dim) * sizeof *tables);
  if (!tables) return MAE_ERROR_OUT_OF_MEMORY;
  float *at = tables;
  for (int32_t i = model->n_params; (i = next_table(model, i)) >= 0;) {
    mae_tensor *t = &model->params[i].value;
    mae_position_interpolate(c->image_height / p, c->image_width / p,
                             t->shape[2], t->data, rows, columns, at);
    t->data = at;
    t->shape[1] = tokens;
    at += mae_tensor_size(t);
  }
  free(model->resized);
  model->resized = tables;
  model->config = sized;
  return MAE_OK;
}

mae_status mae_model_view(const mae_model *model, int32_t image_height,
                          int32_t image_width, mae_model **out) {
  mae_model *view = mae_calloc(1, sizeof *view);
  if (!view) return MAE_ERROR_OUT_OF_MEMORY;
  *view = (mae_model){.config = model->config,
                       .n_params = model->n_params,
                       .original = mae_model_original(model)};
  const size_t n = (size_t)model->n_params;
  mae_status status = MAE_ERROR_OUT_OF_MEMORY;
  view->params = mae_calloc(n, sizeof *view->params);
  if (view->params) {
    memcpy(view->params, model->params, n * sizeof *view->params);
    status = mae_model_resize(view, image_height, image_width);
  }
  if (status != MAE_OK) {
    mae_model_destroy(view);
    return status;
  }
  *out = view;
  return MAE_OK;
}

/* ------------------------------------------------------------- access --- */

mae_status mae_model_config(const mae_model *model, mae_config *config) {
  MAE_REQUIRE(model);
  MAE_REQUIRE(config);
  if (config->struct_size < 2 * sizeof(size_t))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "mae_config: struct_size is %zu; call mae_config_init",
                    config->struct_size);
  mae_options_write(config, config->struct_size, &model->config,
                    sizeof model->config);
  return MAE_OK;
}

int64_t mae_model_num_patches(const mae_model *model) {
  return model ? mae_config_patches(&model->config) : 0;
}

int64_t mae_model_parameter_count(const mae_model *model,
                                  int32_t trainable_only) {
  int64_t count = 0;
  for (int32_t i = 0; i < mae_model_num_tensors(model); i++)
    if (!trainable_only || mae_param_trainable(&model->params[i]))
      count += mae_tensor_size(&model->params[i].value);
  return count;
}

int32_t mae_model_num_tensors(const mae_model *model) {
  return model ? model->n_params : 0;
}

const char *mae_model_tensor_name(const mae_model *model, int32_t i) {
  return model && i >= 0 && i < model->n_params ? model->params[i].name : NULL;
}

mae_tensor *mae_model_tensor(const mae_model *model, int32_t i) {
  return model && i >= 0 && i < model->n_params ? &model->params[i].value
                                                : NULL;
}

mae_tensor *mae_model_find(const mae_model *model, const char *name) {
  if (!name) return NULL;
  for (int32_t i = 0; i < mae_model_num_tensors(model); i++)
    if (!strcmp(model->params[i].name, name)) return &model->params[i].value;
  return NULL;
}
