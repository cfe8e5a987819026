/* LARS (You et al. 2017, "Large Batch Training of Convolutional Networks"), as
 * the official linear probe has it. */
#ifndef MAE_TRAIN_LARS_H
#define MAE_TRAIN_LARS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mae_lars_options {
  double weight_decay, momentum, trust_coefficient;
} mae_lars_options;

/* One step of x by its gradient.  `adapt`, for tensors of more than one
 * dimension: decay, and scale the step to trust_coefficient of x's length;
 * without, momentum alone.  velocity starts as zeros. */
void mae_lars(const mae_lars_options *options, double learning_rate, bool adapt,
              int64_t n, const float *grad, float *velocity, float *x);

#endif
