/* The linear probe's head: batch norm, a linear layer, softmax cross-entropy;
 * its loss and gradient over a batch of a features' rows. */
#ifndef MAE_TRAIN_PROBE_HEAD_H
#define MAE_TRAIN_PROBE_HEAD_H

#include "base/pool.h"
#include "train/batch_norm.h"

/* The working memory of one share of a batch. */
typedef struct mae_probe_share mae_probe_share;

typedef struct mae_probe_head {
  mae_pool *pool;
  mae_batch_norm norm;
  int64_t width;
  int32_t classes;
  float *weight, *bias;   /* [classes, width], [classes] */
  float *dweight, *dbias; /* of the mean loss, as the latest batch left them */
  mae_probe_share *shares;
  int64_t n_shares;
} mae_probe_head;

/* With zeros as weight and bias; batches of `batch` rows will come. */
mae_status mae_probe_head_init(mae_probe_head *head, mae_pool *pool,
                               int64_t width, int32_t classes, int64_t batch,
                               double eps, double momentum);
void mae_probe_head_free(mae_probe_head *head);

/* Rows index[0 ... n - 1], n >= 2, of features [.., width]: updates the norm,
 * fills in dweight and dbias, and returns the mean loss.  Call it between
 * mae_blas_enter and mae_blas_leave. */
double mae_probe_head_gradient(mae_probe_head *head, const float *features,
                               const int32_t *labels, const uint32_t *index,
                               int64_t n);

#endif
