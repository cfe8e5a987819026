/* Random masking (paper, section 3, "Masking"; official random_masking). */
#ifndef MAE_NN_MASKING_H
#define MAE_NN_MASKING_H

#include "base/error.h"

/* Patches kept of `patches`: int(patches * (1 - ratio)). */
int64_t mae_masking_kept(int64_t patches, double ratio);

/* For each of `batch` rows of noise [patches]: the `kept` patches with the
 * least noise, in that order, go to keep [kept]; restore [patches] says where
 * each patch went in the shuffled order; mask [patches] is 1 for removed ones;
 * removed [patches - kept] are their numbers, in the order of noise.  Equal
 * noise is ordered by patch.  restore, mask and removed may be NULL.  keys is
 * scratch for `patches` numbers. */
void mae_masking(int64_t batch, int64_t patches, int64_t kept,
                 const float *noise, uint64_t *keys, int32_t *keep,
                 int32_t *restore, float *mask, int32_t *removed);

#endif
