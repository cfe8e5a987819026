/* The classifier as a graph (official fine-tuning, models_vit). */
#include "autograd/measure.h"
#include "autograd/part.h"
#include "model/graph_parts.h"

mae_var mae_graph_head(mae_graph *g, mae_var pooled) {
  const mae_config *c = &g->model->config;
  return mae_graph_linear(g, mae_graph_norm(g, pooled, mae_param_norm(c)),
                          mae_param_head(c));
}

mae_var mae_graph_classify(mae_graph *g, mae_var tokens) {
  const mae_config *c = &g->model->config;
  const int64_t patches = g->kept ? g->kept : mae_config_patches(c);
  mae_var x = {MAE_NO_VAR};
  if (c->global_pool)
    mae_tape_mean_tokens(g->tape, tokens, 1, patches, &x);
  else /* the norm is per token, so that of the others need not be computed */
    mae_tape_mean_tokens(g->tape, tokens, 0, 1, &x);
  return mae_graph_head(g, x);
}

static mae_status record_drop_scales(mae_graph *g) {
  const int32_t count = 2 * g->model->config.depth;
  g->drop_scales = mae_calloc((size_t)count, sizeof *g->drop_scales);
  if (!g->drop_scales) return MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t i = 0; i < count; i++)
    mae_tape_input(g->tape, 1, &g->batch, 0, &g->drop_scales[i]);
  return MAE_OK;
}

/* All but the plan. */
static mae_status record(mae_context *context, const mae_model *model,
                         int64_t batch, bool drop_path, mae_graph *g) {
  const mae_config *c = &model->config;
  const int64_t target[] = {batch, c->num_classes};
  if (!c->num_classes)
    return mae_fail(MAE_ERROR_STATE, "the model has no head");
  MAE_TRY(mae_graph_begin(context, model, batch, g));
  mae_tape_input(g->tape, 2, target, 0, &g->target);
  if (drop_path) MAE_TRY(record_drop_scales(g));
  mae_var x = mae_graph_blocks(g, mae_graph_embed(g), mae_param_blocks(c),
                               c->depth, c->num_heads, g->drop_scales);
  g->logits = mae_graph_classify(g, x);
  mae_tape_keep(g->tape, g->logits);
  g->encoder_ops = mae_tape_num_ops(g->tape);
  mae_tape_part(g->tape, "loss");
  mae_tape_softmax_cross_entropy(g->tape, g->logits, g->target, &g->loss);
  return mae_tape_keep(g->tape, g->loss);
}

static void fill_drop_scales(mae_graph *g) {
  for (int32_t i = 0; i < 2 * g->model->config.depth; i++) {
    float *scales = mae_tape_value(g->tape, g->drop_scales[i])->data;
    for (int64_t b = 0; b < g->batch; b++) scales[b] = 1;
  }
}

mae_status mae_graph_classifier(mae_context *context, const mae_model *model,
                                int64_t batch,
                                const mae_graph_options *options,
                                mae_graph *graph) {
  *graph = mae_graph_with(options, false);
  mae_status status = record(context, model, batch, options->drop_path, graph);
  if (status == MAE_OK)
    status = mae_tape_plan(graph->tape, mae_graph_trains(graph)
                                            ? graph->loss
                                            : (mae_var){MAE_NO_VAR});
  if (status != MAE_OK)
    mae_graph_destroy(graph);
  else if (graph->drop_scales)
    fill_drop_scales(graph);
  return status;
}

mae_status mae_graph_measure_classifier(mae_context *context,
                                        const mae_model *model, int64_t batch,
                                        const mae_graph_options *options,
                                        mae_graph_cost *cost) {
  mae_graph g = mae_graph_with(options, true);
  mae_status status = record(context, model, batch, options->drop_path, &g);
  if (status == MAE_OK) status = mae_graph_measure_tape(&g, cost);
  mae_graph_destroy(&g);
  return status;
}
