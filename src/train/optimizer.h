/* AdamW over a model's trainable parameters. */
#ifndef MAE_TRAIN_OPTIMIZER_H
#define MAE_TRAIN_OPTIMIZER_H

#include "kernels/context.h"
#include "train/param_rules.h"

/* A stretch of a parameter, a piece of work for one thread. */
typedef struct mae_stretch {
  int32_t param;
  int64_t from, n;
  double squares; /* sum over the gradient */
} mae_stretch;

/* The numbers of one update. */
typedef struct mae_update {
  double learning_rate, scale, bias1, bias2;
} mae_update;

typedef struct mae_optimizer {
  mae_context *context;
  mae_model *model;
  mae_trainer_options options; /* the numbers of AdamW among them */
  mae_param_rules rules;
  int64_t step; /* updates made */
  /* Per parameter, NULL for those not trained; each group in one block.  With
   * update_in_backward the gradients are those of the graph, see
   * mae_optimizer_update_param. */
  float **grad, **exp_avg, **exp_avg_sq;
  float *grad_block, *exp_avg_block, *exp_avg_sq_block;
  mae_stretch *stretches;
  int32_t *first_stretch; /* per parameter, and one more */
  mae_update update;      /* the latest */
  bool *updated, failed;  /* in it; updated is per parameter */
} mae_optimizer;

mae_status mae_optimizer_init(mae_optimizer *optimizer, mae_context *context,
                              mae_model *model,
                              const mae_trainer_options *options);
/* Fine on a zeroed one. */
void mae_optimizer_free(mae_optimizer *optimizer);

/* One update from grad.  MAE_ERROR_NON_FINITE leaves everything as it was.
 * *norm is that of the whole gradient, before clipping. */
mae_status mae_optimizer_update(mae_optimizer *optimizer, double learning_rate,
                                double *norm);

/* The same parameter by parameter, each as soon as its gradient is there,
 * which is not read again; without clipping.  What has not been updated when
 * it ends is updated then.  MAE_ERROR_NON_FINITE: from the first gradient on
 * that is not finite nothing more was changed, before it all was. */
void mae_optimizer_begin(mae_optimizer *optimizer, double learning_rate);
void mae_optimizer_update_param(mae_optimizer *optimizer, int32_t param);
mae_status mae_optimizer_end(mae_optimizer *optimizer, double *norm);

#endif
