/* Patch embedding: a linear map of each patch. */
#ifndef MAE_NN_PATCH_EMBED_H
#define MAE_NN_PATCH_EMBED_H

#include "libmae/mae.h"

/* images [B, C, H, W], weight [D, C, p, p] -> [B, K, D] of the patches that
 * keep names, so that the others cost nothing.  A failure marks the tape. */
mae_var mae_nn_patch_embed(mae_tape *tape, mae_var images, int32_t patch_size,
                           mae_var weight, mae_var bias, mae_index keep);

#endif
