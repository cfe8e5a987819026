/* AdamW over a model's trainable parameters. */
#ifndef MAE_TRAIN_OPTIMIZER_H
#define MAE_TRAIN_OPTIMIZER_H

#include "kernels/context.h"
#include "train/param_rules.h"

typedef struct mae_optimizer {
  mae_context *context;
  mae_model *model;
  mae_trainer_options options; /* the numbers of AdamW among them */
  mae_param_rules rules;
  int64_t step; /* updates made */
  /* Per parameter, NULL for those not trained; each group in one block. */
  float **grad, **exp_avg, **exp_avg_sq;
  float *grad_block, *exp_avg_block, *exp_avg_sq_block;
  double *squares; /* per parameter, of the gradient */
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

#endif
