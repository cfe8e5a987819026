/* Models on a tape, for one batch size: the MAE with encoder, decoder and loss,
 * and the classifier. */
#ifndef MAE_MODEL_GRAPH_H
#define MAE_MODEL_GRAPH_H

#include "model/model.h"

typedef struct mae_graph {
  mae_tape *tape;
  const mae_model *model;
  int64_t batch, kept;
  mae_var *params; /* on the tape once used; id MAE_NO_VAR before */
  float *const *grads;
  const bool *trains; /* this and the next as in mae_graph_options */
  bool passing;
  mae_var images;          /* [B, C, H, W] */
  mae_index keep, restore; /* [B, K], [B, L] */
  mae_index removed;       /* [B, L-K] in training, where only these patches are
                            * predicted; else MAE_NO_VAR: all are, P = L */
  mae_index predicted;     /* [B, P]: their tokens, after the class token */
  mae_index firsts;        /* [1, 1+L]: one token as many times */
  mae_var mask;            /* [B, P]: 1 for those of them that are removed */
  mae_var *features;       /* one for each block asked for */
  mae_var pred;            /* [B, P, p*p*C] */
  mae_var loss;            /* [1] */
  mae_var logits, target;  /* of a classifier: [B, num_classes] each */
  mae_var *drop_scales;    /* of a classifier, see its options; or NULL */
  uint64_t *keys; /* scratch for the masks */
  bool recompute;       /* each block is a segment, mae_tape_checkpoint */
  mae_precision precision; /* of the linear layers */
  float *const *packed; /* the parameters packed, see packed_weights.h; NULL:
                           none is */
  bool measured;        /* the parameters have no data */
  int32_t encoder_ops; /* operations of the encoder come first */
} mae_graph;

typedef struct mae_graph_outputs {
  const int32_t *blocks; /* counted from 0, in any order */
  int32_t count;
  bool final_norm; /* tokens through the encoder's last norm, if it has one */
  bool attention;  /* the blocks' attention weights, not their tokens */
  bool logits; /* the last block's tokens pooled and through the head */
  bool class_token; /* of the tokens no other is needed */
  mae_precision precision;
  float *const *packed; /* as the graph's */
} mae_graph_outputs;

/* The encoder as deep as is needed: graph->features[i], after block i of the
 * list, is [B, 1+K, D], or [B, num_heads, 1+K, 1+K], or [B, num_classes]; of
 * class tokens [B, D] for the deepest block. */
mae_status mae_graph_features(mae_context *context, const mae_model *model,
                              int64_t batch, int64_t kept,
                              const mae_graph_outputs *outputs,
                              mae_graph *graph);

typedef struct mae_graph_options {
  /* One array per parameter, where its gradient goes, or NULL: fixed, frozen;
   * they must outlive the graph.  Blocks before the first trained one run
   * forward alone.  grads NULL: nothing is trained, the graph runs forward
   * only. */
  float *const *grads;
  const bool *trains; /* which are trained; NULL: those that grads says */
  bool passing; /* in grads' place, gradients as autograd/passing.h says */
  bool recompute; /* keep only what goes into each block */
  mae_precision precision; /* of the linear layers */
  bool drop_path; /* a classifier: record drop_scales: 2 * depth inputs [B], for
                     each block that of its attention and that of its MLP, which
                     the branches are scaled by.  Ones until the caller writes */
} mae_graph_options;

/* Encoder, decoder and loss: graph->loss and, without gradients, whose backward
 * pass takes its memory, graph->pred. */
mae_status mae_graph_autoencoder(mae_context *context, const mae_model *model,
                                 int64_t batch, int64_t kept,
                                 const mae_graph_options *options,
                                 mae_graph *graph);

typedef struct mae_graph_cost {
  size_t bytes; /* of the tape and of the masks' scratch */
  double encoder_flops, decoder_flops; /* forward */
  double step_flops; /* forward, again and backward */
} mae_graph_cost;

/* What mae_graph_autoencoder would take; of options->grads or trains, one of
 * which must not be NULL, only what is trained counts.  The model may be one of
 * mae_model_describe: no data is touched. */
mae_status mae_graph_measure(mae_context *context, const mae_model *model,
                             int64_t batch, int64_t kept,
                             const mae_graph_options *options,
                             mae_graph_cost *cost);

/* All patches in order, the encoder, pooling, norm and head, and the mean
 * cross-entropy to graph->target, [B, num_classes] rows of probabilities that
 * the caller fills in: graph->logits and graph->loss, both kept.  The images
 * go to mae_graph_images.  MAE_ERROR_STATE: the model has no head. */
mae_status mae_graph_classifier(mae_context *context, const mae_model *model,
                                int64_t batch,
                                const mae_graph_options *options,
                                mae_graph *graph);
/* The same of that.  The head's operations are among the encoder's. */
mae_status mae_graph_measure_classifier(mae_context *context,
                                        const mae_model *model, int64_t batch,
                                        const mae_graph_options *options,
                                        mae_graph_cost *cost);

/* Fine on a zeroed graph. */
void mae_graph_destroy(mae_graph *graph);

/* Set the inputs of a masked graph: images [B, C, H, W], noise [B, L]. */
void mae_graph_fill(mae_graph *graph, const float *images, const float *noise);
/* Its halves: where the images go, and the masks. */
float *mae_graph_images(mae_graph *graph);
void mae_graph_mask(mae_graph *graph, const float *noise);

#endif
