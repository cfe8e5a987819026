#include "model/graph_parts.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/measure.h"
#include "autograd/packed.h"
#include "autograd/part.h"
#include "autograd/passing.h"
#include "nn/masking.h"
#include "nn/patch_embed.h"

static bool is_trained(const mae_graph *g, int32_t i) {
  return g->trains ? g->trains[i] : g->grads && g->grads[i];
}

static void add_param(mae_graph *g, int32_t i, mae_var *var) {
  const mae_tensor *value = &g->model->params[i].value;
  const bool trained = is_trained(g, i);
  if (trained && g->passing) {
    mae_tape_passing_parameter(g->tape, value, var);
  } else if (g->measured) {
    mae_tape_shape(g->tape, value, trained, var);
  } else {
    mae_tensor grad = *value;
    if (trained) grad.data = g->grads[i];
    mae_tape_parameter(g->tape, value, trained ? &grad : NULL, var);
  }
}

/* The parameter on the tape, put there at its first use: what a graph does not
 * use costs it nothing. */
static mae_var param(mae_graph *g, int32_t i) {
  if (g->params[i].id != MAE_NO_VAR) return g->params[i];
  add_param(g, i, &g->params[i]);
  if (g->packed) mae_tape_use_packed(g->tape, g->params[i], g->packed[i]);
  return g->params[i];
}

static float eps(const mae_graph *g) {
  return (float)g->model->config.layer_norm_eps;
}

/* The parameters of block i of those that begin at first_param. */
static void block_params(mae_graph *g, int32_t first_param, int32_t i,
                         mae_var params[MAE_BLOCK_PARAMS]) {
  for (int32_t k = 0; k < MAE_BLOCK_PARAMS; k++)
    params[k] = param(g, first_param + i * MAE_BLOCK_PARAMS + k);
}

mae_var mae_graph_blocks(mae_graph *g, mae_var x, int32_t first_param,
                         int32_t depth, int32_t num_heads,
                         const mae_var *drop_scales) {
  mae_var p[MAE_BLOCK_PARAMS];
  for (int32_t i = 0; i < depth; i++) {
    if (g->recompute) mae_tape_checkpoint(g->tape, 1);
    block_params(g, first_param, i, p);
    x = mae_nn_transformer_block(g->tape, x, p, num_heads, eps(g),
                                 drop_scales ? drop_scales + 2 * i : NULL);
  }
  mae_tape_checkpoint(g->tape, 0);
  return x;
}

mae_var mae_graph_norm(mae_graph *g, mae_var x, int32_t weight) {
  mae_tape_layer_norm(g->tape, x, param(g, weight), param(g, weight + 1),
                      eps(g), &x);
  return x;
}

mae_var mae_graph_linear(mae_graph *g, mae_var x, int32_t weight) {
  mae_tape_linear(g->tape, x, param(g, weight), param(g, weight + 1),
                  MAE_ACTIVATION_NONE, &x);
  return x;
}

/* Does the encoder see all tokens?  A graph of features has no decoder that
 * would want them. */
static bool encodes_mask_tokens(const mae_graph *g) {
  return g->model->config.encoder_mask_tokens && g->restore.id != MAE_NO_VAR;
}

/* Official forward_encoder on the kept patches alone, up to the blocks. */
mae_var mae_graph_embed(mae_graph *g) {
  const mae_config *c = &g->model->config;
  mae_var x = mae_nn_patch_embed(g->tape, g->images, c->patch_size,
                                 param(g, mae_param_patch_embed(c)),
                                 param(g, mae_param_patch_embed(c) + 1),
                                 g->keep);
  mae_index seen = g->keep;
  mae_tape_concat_token(g->tape, param(g, MAE_PARAM_CLS_TOKEN), x, &x);
  if (encodes_mask_tokens(g)) {
    seen.id = MAE_NO_VAR;
    mae_tape_unshuffle_tokens(g->tape, x,
                              param(g, mae_param_encoder_mask_token(c)),
                              g->restore, &x);
  }
  mae_tape_add_position(g->tape, x, param(g, MAE_PARAM_POS_EMBED), seen, &x);
  return x;
}

static mae_var encode(mae_graph *g) {
  const mae_config *c = &g->model->config;
  mae_var x = mae_graph_blocks(g, mae_graph_embed(g), mae_param_blocks(c),
                               c->depth, c->num_heads, NULL);
  return mae_graph_norm(g, x, mae_param_norm(c));
}

/* What goes into the decoder's blocks: seen tokens [B, 1+K, D] and, unless they
 * are there already, for each place a mask token [1, 1+L, D].  All have their
 * positions. */
typedef struct decoder_tokens {
  mae_var seen, masks;
} decoder_tokens;

static mae_var unshuffle(mae_graph *g, decoder_tokens t) {
  if (t.masks.id != MAE_NO_VAR)
    mae_tape_unshuffle_tokens(g->tape, t.seen, t.masks, g->restore, &t.seen);
  return t.seen;
}

static decoder_tokens embed_for_decoder(mae_graph *g, mae_var latent) {
  const mae_config *c = &g->model->config;
  const mae_index all = {MAE_NO_VAR};
  const mae_var positions = param(g, MAE_PARAM_DECODER_POS_EMBED);
  decoder_tokens t = {.masks = {MAE_NO_VAR}};
  t.seen = mae_graph_linear(g, latent, mae_param_decoder_embed(c));
  mae_tape_add_position(g->tape, t.seen, positions,
                        encodes_mask_tokens(g) ? all : g->keep, &t.seen);
  if (encodes_mask_tokens(g)) return t;
  mae_tape_gather_tokens(g->tape, param(g, MAE_PARAM_MASK_TOKEN), g->firsts,
                         &t.masks);
  mae_tape_add_position(g->tape, t.masks, positions, all, &t.masks);
  return t;
}

/* Mask tokens differ by their places alone, so all images of a batch share what
 * is made of them before the first attention.  Is that less than for each? */
static bool shares_mask_tokens(const mae_graph *g) {
  const int64_t patches = mae_config_patches(&g->model->config);
  return !encodes_mask_tokens(g) &&
         g->batch * (patches - g->kept) > 1 + patches;
}

static mae_var shared_qkv(mae_graph *g, decoder_tokens t, const mae_var *p) {
  t.seen = mae_nn_qkv(g->tape, t.seen, p, eps(g));
  t.masks = mae_nn_qkv(g->tape, t.masks, p, eps(g));
  return unshuffle(g, t);
}

/* Official forward_decoder, which drops the class token at the end and leaves
 * other patches than removed ones out of the loss.  What comes after the last
 * attention is per token, so they are left out there already. */
static mae_var decode(mae_graph *g, mae_var latent) {
  const mae_config *c = &g->model->config;
  const decoder_tokens t = embed_for_decoder(g, latent);
  const mae_index all = {MAE_NO_VAR};
  mae_var x = unshuffle(g, t), p[MAE_BLOCK_PARAMS];
  for (int32_t i = 0; i < c->decoder_depth; i++) {
    if (g->recompute) mae_tape_checkpoint(g->tape, 1);
    block_params(g, mae_param_decoder_blocks(c), i, p);
    const mae_var qkv = i == 0 && shares_mask_tokens(g)
                            ? shared_qkv(g, t, p)
                            : mae_nn_qkv(g->tape, x, p, eps(g));
    x = mae_nn_block_of_qkv(g->tape, x, qkv, p, c->decoder_num_heads, eps(g),
                            i < c->decoder_depth - 1 ? all : g->predicted);
  }
  mae_tape_checkpoint(g->tape, 0);
  x = mae_graph_norm(g, x, mae_param_decoder_norm(c));
  return mae_graph_linear(g, x, mae_param_decoder_pred(c));
}

static size_t keys_bytes(const mae_config *c) {
  return (size_t)mae_config_patches(c) * sizeof(uint64_t);
}

mae_status mae_graph_begin(mae_context *context, const mae_model *model,
                           int64_t batch, mae_graph *g) {
  const mae_config *c = &model->config;
  const int64_t image[] = {batch, c->in_chans, c->image_height, c->image_width};
  g->model = model;
  g->batch = batch;
  g->keep.id = g->restore.id = g->removed.id = MAE_NO_VAR;
  g->params = mae_calloc((size_t)model->n_params, sizeof *g->params);
  if (!g->params) return MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t i = 0; i < model->n_params; i++)
    g->params[i].id = MAE_NO_VAR;
  MAE_TRY(mae_tape_create(context, &g->tape));
  mae_tape_set_precision(g->tape, g->precision);
  mae_tape_part(g->tape, "encoder");
  mae_tape_passing_input(g->tape, 4, image, &g->images);
  return MAE_OK;
}

/* A graph that sees `kept` patches of each image, by mae_graph_mask. */
static mae_status begin(mae_context *context, const mae_model *model,
                        int64_t batch, int64_t kept, mae_graph *g) {
  MAE_TRY(mae_graph_begin(context, model, batch, g));
  g->kept = kept;
  g->keys = mae_calloc(1, keys_bytes(&model->config));
  if (!g->keys) return MAE_ERROR_OUT_OF_MEMORY;
  mae_tape_index(g->tape, batch, kept, &g->keep);
  return MAE_OK;
}

static bool is_wanted(const mae_graph_outputs *o, int32_t block) {
  for (int32_t k = 0; k < o->count; k++)
    if (o->blocks[k] == block) return true;
  return false;
}

/* Block i turns x into the next x.  What is wanted of it goes to the list; of
 * the deepest no more is computed. */
static mae_var block_outputs(mae_graph *g, const mae_graph_outputs *o,
                             mae_var x, int32_t i, bool deepest) {
  const mae_config *c = &g->model->config;
  const int32_t first = mae_param_blocks(c), heads = c->num_heads;
  const bool class_token = deepest && o->class_token;
  mae_var next = x, p[MAE_BLOCK_PARAMS];
  block_params(g, first, i, p);
  if (class_token)
    next = mae_nn_class_token_block(g->tape, x, p, heads, eps(g));
  else if (!deepest || !o->attention)
    next = mae_nn_transformer_block(g->tape, x, p, heads, eps(g), NULL);
  if (!is_wanted(o, i)) return next;
  mae_var wanted = next;
  if (o->attention)
    wanted = mae_nn_attention_weights(g->tape, x, p, heads, eps(g));
  else if (o->logits)
    wanted = class_token ? mae_graph_head(g, next) : mae_graph_classify(g, next);
  else if (o->final_norm && !c->global_pool)
    wanted = mae_graph_norm(g, next, mae_param_norm(c));
  mae_tape_keep(g->tape, wanted);
  for (int32_t k = 0; k < o->count; k++)
    if (o->blocks[k] == i) g->features[k] = wanted;
  return next;
}

static mae_status record_features(mae_context *context, const mae_model *model,
                                  int64_t batch, int64_t kept,
                                  const mae_graph_outputs *o, mae_graph *g) {
  MAE_TRY(begin(context, model, batch, kept, g));
  g->features = mae_calloc((size_t)o->count, sizeof *g->features);
  if (!g->features) return MAE_ERROR_OUT_OF_MEMORY;
  int32_t deepest = 0;
  for (int32_t k = 0; k < o->count; k++)
    if (o->blocks[k] > deepest) deepest = o->blocks[k];
  mae_var x = mae_graph_embed(g);
  for (int32_t i = 0; i <= deepest; i++) 
    x = block_outputs(g, o, x, i, i == deepest);
  return mae_tape_plan(g->tape, (mae_var){MAE_NO_VAR});
}

/* All but the plan. */
static mae_status record_loss(mae_context *context, const mae_model *model,
                              int64_t batch, int64_t kept, mae_graph *g) {
  const mae_config *c = &model->config;
  const int64_t patches = mae_config_patches(c);
  const int64_t predicted = mae_graph_trains(g) ? patches - kept : patches;
  const int64_t mask[] = {batch, predicted};
  mae_var target = {MAE_NO_VAR};
  if (!mae_config_has_decoder(c))
    return mae_fail(MAE_ERROR_STATE, "the model has no decoder");
  MAE_TRY(begin(context, model, batch, kept, g));
  mae_tape_index(g->tape, batch, patches, &g->restore);
  mae_tape_index(g->tape, batch, predicted, &g->predicted);
  if (mae_graph_trains(g))
    mae_tape_index(g->tape, batch, predicted, &g->removed);
  mae_tape_index(g->tape, 1, 1 + patches, &g->firsts);
  mae_tape_input(g->tape, 2, mask, 0, &g->mask);
  mae_var latent = encode(g);
  g->encoder_ops = mae_tape_num_ops(g->tape);
  mae_tape_part(g->tape, "decoder");
  g->pred = decode(g, latent);
  mae_tape_part(g->tape, "loss");
  mae_tape_patchify(g->tape, g->images, c->patch_size, MAE_PATCH_PQC,
                    g->removed, &target);
  mae_tape_masked_mse(g->tape, g->pred, target, g->mask, c->norm_pix_loss,
                      &g->loss);
  return mae_tape_keep(g->tape, g->loss);
}

static mae_status record_autoencoder(mae_context *context,
                                     const mae_model *model, int64_t batch,
                                     int64_t kept, mae_graph *g) {
  const int64_t patches = mae_config_patches(&model->config);
  MAE_TRY(record_loss(context, model, batch, kept, g));
  if (!mae_graph_trains(g)) mae_tape_keep(g->tape, g->pred);
  MAE_TRY(mae_tape_plan(
      g->tape, mae_graph_trains(g) ? g->loss : (mae_var){MAE_NO_VAR}));
  const mae_tensor *mask = mae_tape_value(g->tape, g->mask);
  int32_t *predicted = mae_tape_index_data(g->tape, g->predicted);
  for (int64_t i = 0; i < mae_tensor_size(mask); i++)
    if (mae_graph_trains(g))
      mask->data[i] = 1;
    else
      predicted[i] = 1 + (int32_t)(i % patches);
  memset(mae_tape_index_data(g->tape, g->firsts), 0,
         (size_t)(1 + patches) * sizeof(int32_t));
  return MAE_OK;
}

mae_status mae_graph_features(mae_context *context, const mae_model *model,
                              int64_t batch, int64_t kept,
                              const mae_graph_outputs *outputs,
                              mae_graph *graph) {
  *graph = (mae_graph){.precision = outputs->precision,
                       .packed = outputs->packed};
  mae_status status =
      record_features(context, model, batch, kept, outputs, graph);
  if (status != MAE_OK) mae_graph_destroy(graph);
  return status;
}

mae_status mae_graph_autoencoder(mae_context *context, const mae_model *model,
                                 int64_t batch, int64_t kept,
                                 const mae_graph_options *options,
                                 mae_graph *graph) {
  *graph = mae_graph_with(options, false);
  mae_status status = record_autoencoder(context, model, batch, kept, graph);
  if (status != MAE_OK) mae_graph_destroy(graph);
  return status;
}

mae_status mae_graph_measure_tape(mae_graph *g, mae_graph_cost *cost) {
  mae_graph_cost c = {.bytes = 0};
  MAE_TRY(mae_tape_measure(g->tape, g->loss, &c.bytes));
  if (g->keys) c.bytes += mae_align(keys_bytes(&g->model->config));
  c.encoder_flops = mae_tape_forward_flops(g->tape, 0, g->encoder_ops);
  c.decoder_flops = mae_tape_forward_flops(g->tape, g->encoder_ops,
                                           mae_tape_num_ops(g->tape));
  c.step_flops = mae_tape_step_flops(g->tape);
  *cost = c;
  return MAE_OK;
}

mae_status mae_graph_measure(mae_context *context, const mae_model *model,
                             int64_t batch, int64_t kept,
                             const mae_graph_options *options,
                             mae_graph_cost *cost) {
  mae_graph g = mae_graph_with(options, true);
  mae_status status = record_loss(context, model, batch, kept, &g);
  if (status == MAE_OK) status = mae_graph_measure_tape(&g, cost);
  mae_graph_destroy(&g);
  return status;
}

void mae_graph_destroy(mae_graph *graph) {
  mae_tape_destroy(graph->tape);
  free(graph->params);
  free(graph->keys);
  free(graph->features);
  free(graph->drop_scales);
  *graph = (mae_graph){0};
}

void mae_graph_fill(mae_graph *g, const float *images, const float *noise) {
  const mae_tensor *in = mae_tape_value(g->tape, g->images);
  memcpy(in->data, images, (size_t)mae_tensor_size(in) * sizeof(float));
  mae_graph_mask(g, noise);
}

float *mae_graph_images(mae_graph *g) {
  return mae_tape_value(g->tape, g->images)->data;
}

void mae_graph_mask(mae_graph *g, const float *noise) {
  const int64_t patches = mae_config_patches(&g->model->config);
  int32_t *removed = mae_tape_index_data(g->tape, g->removed);
  bool fills_mask = g->restore.id != MAE_NO_VAR && !removed;
  mae_masking(g->batch, patches, g->kept, noise, g->keys,
              mae_tape_index_data(g->tape, g->keep),
              mae_tape_index_data(g->tape, g->restore),
              fills_mask ? mae_tape_value(g->tape, g->mask)->data : NULL,
              removed);
  int32_t *predicted = mae_tape_index_data(g->tape, g->predicted);
  for (int64_t i = 0; removed && i < g->batch * (patches - g->kept); i++)
    predicted[i] = 1 + removed[i];
}
