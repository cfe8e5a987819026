/* Batch norm without affine over columns of features that take no gradient, as
 * torch.nn.BatchNorm1d(affine=False). */
#ifndef MAE_TRAIN_BATCH_NORM_H
#define MAE_TRAIN_BATCH_NORM_H

#include "base/error.h"

typedef struct mae_batch_norm {
  int64_t width;
  double eps, momentum;
  float *mean, *rstd;                  /* of the latest batch */
  double *running_mean, *running_var;  /* begin as 0 and 1 */
} mae_batch_norm;

mae_status mae_batch_norm_init(mae_batch_norm *norm, int64_t width, double eps,
                               double momentum);
void mae_batch_norm_free(mae_batch_norm *norm);

/* sums [2, width] = for each column the sum of x - shift, and of its square,
 * over rows index[0 ... n - 1] of x. */
void mae_batch_norm_sums(const float *x, int64_t width, const uint32_t *index,
                         int64_t n, const float *shift, double *sums);

/* From the sums over a batch of `rows` >= 2: its mean and biased variance to
 * normalise it, and the unbiased one into the running variance. */
void mae_batch_norm_update(mae_batch_norm *norm, const float *shift,
                           const double *sums, int64_t rows);

/* y [n, width] = those rows by the batch's mean and variance. */
void mae_batch_norm_apply(const mae_batch_norm *norm, const float *x,
                          const uint32_t *index, int64_t n, float *y);

/* A linear layer [out, width] behind the norm with its running statistics, as
 * one without norm. */
void mae_batch_norm_fold(const mae_batch_norm *norm, int64_t out,
                         const float *weight, const float *bias,
                         float *folded_weight, float *folded_bias);

#endif
