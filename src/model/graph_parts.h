/* Inside the graphs: the parts that several of them record.  Failures mark the
 * tape and are reported by its plan, so most give variables alone. */
#ifndef MAE_MODEL_GRAPH_PARTS_H
#define MAE_MODEL_GRAPH_PARTS_H

#include "model/graph.h"

/* One yet to be recorded. */
static inline mae_graph mae_graph_with(const mae_graph_options *options,
                                       bool measured) {
  return (mae_graph){.grads = options->grads,
                     .trains = options->trains,
                     .passing = options->passing,
                     .recompute = options->recompute,
                     .precision = options->precision,
                     .measured = measured};
}

/* Or does it run forward only? */
static inline bool mae_graph_trains(const mae_graph *g) {
  return g->grads || g->trains;
}

/* The tape, and on it the images.  What the caller has set of the graph
 * stays. */
mae_status mae_graph_begin(mae_context *context, const mae_model *model,
                           int64_t batch, mae_graph *g);

/* Images to tokens [B, 1+n, D] with their positions: the patches that g->keep
 * names, or all of them in order when it is no index.  In a whole autoencoder
 * with encoder_mask_tokens, mask tokens stand for the others. */
mae_var mae_graph_embed(mae_graph *g);

/* Blocks whose parameters begin there; drop_scales: two variables for each
 * block, or NULL. */
mae_var mae_graph_blocks(mae_graph *g, mae_var x, int32_t first_param,
                         int32_t depth, int32_t num_heads,
                         const mae_var *drop_scales);

/* The norm, or the linear layer, whose weight is parameter `weight`. */
mae_var mae_graph_norm(mae_graph *g, mae_var x, int32_t weight);
mae_var mae_graph_linear(mae_graph *g, mae_var x, int32_t weight);

/* What the blocks gave, [B, 1+n, D], pooled, normed and through the head:
 * [B, num_classes]. */
mae_var mae_graph_classify(mae_graph *g, mae_var tokens);
/* The last part of that, from the pooled [B, D]. */
mae_var mae_graph_head(mae_graph *g, mae_var pooled);

/* The cost of a graph that was recorded as `measured`. */
mae_status mae_graph_measure_tape(mae_graph *g, mae_graph_cost *cost);

#endif
