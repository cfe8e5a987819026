/* The sum of gradients over ranks, under way while the backward pass runs. */
#ifndef MAE_TRAIN_GRADIENT_SUM_H
#define MAE_TRAIN_GRADIENT_SUM_H

#include "autograd/tape.h"
#include "model/graph.h"
#include "train/optimizer.h"

/* Neighbours in the optimizer's gradient block, summed by one call. */
typedef struct mae_bucket {
  float *data;
  int64_t n;
  int32_t params;  /* whose gradients the backward pass writes */
  int32_t waiting; /* of these, not final in this pass */
} mae_bucket;

typedef struct mae_gradient_sum {
  mae_communicator comm;
  mae_bucket *buckets; /* in the order in which backward fills them */
  int32_t count, next; /* next: the first not begun in this pass */
  int32_t *bucket_of;  /* per variable of the tape, -1 for none */
  bool last;           /* this pass ends with an update */
  float loss[2];       /* the rank's, and 1 when it is not finite */
  mae_status status;   /* the pass's first failure; its text has been set */
} mae_gradient_sum;

/* Of one rank: the calls below do nothing. */
extern const mae_gradient_sum mae_gradient_sum_alone;

/* Sum over these ranks from now on the gradients of this graph, whose tape is
 * watched, in this optimizer's block; sum stays where it is.  On failure
 * nothing has changed. */
mae_status mae_gradient_sum_set(mae_gradient_sum *sum,
                                const mae_communicator *comm,
                                const mae_graph *graph,
                                const mae_optimizer *optimizer);
void mae_gradient_sum_free(mae_gradient_sum *sum);

/* Around a backward pass, on every rank.  *loss becomes the mean over ranks;
 * MAE_ERROR_NON_FINITE, on all of them, when it is not finite on one.  No sum
 * is under way afterwards, whatever the outcome. */
void mae_gradient_sum_begin(mae_gradient_sum *sum, double loss, bool last);
mae_status mae_gradient_sum_end(mae_gradient_sum *sum, double *loss);

/* Sum data[n] over the ranks and wait. */
mae_status mae_gradient_sum_now(mae_gradient_sum *sum, float *data, int64_t n);

#endif
