/* Rows of features with labels, as a caller hands them over. */
#ifndef MAE_TRAIN_LABELLED_ROWS_H
#define MAE_TRAIN_LABELLED_ROWS_H

#include "base/pool.h"

/* Sizes that are positive, fit BLAS and whose products do not overflow. */
mae_status mae_rows_check_sizes(int64_t n, int64_t width, int32_t num_classes);

/* Labels in 0 ... num_classes - 1. */
mae_status mae_rows_check_labels(const int32_t *labels, int64_t n,
                                 int32_t num_classes);

/* lengths[i] of the rows x [n, width]; MAE_ERROR_NON_FINITE names one that has
 * none, `what` telling what rows these are. */
mae_status mae_rows_lengths(mae_pool *pool, const char *what, const float *x,
                            int64_t n, int64_t width, double *lengths);

#endif
