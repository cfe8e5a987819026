/* The weights of the encoder's blocks as products in bf16 want them, for many
 * graphs at once. */
#ifndef MAE_MODEL_PACKED_WEIGHTS_H
#define MAE_MODEL_PACKED_WEIGHTS_H

#include "kernels/context.h"
#include "model/model.h"

typedef struct mae_packed_weights {
  float **of; /* one for each parameter, NULL where there is none */
  float *data;
} mae_packed_weights;

/* As the model's weights are now.  Nothing is packed, and `of` stays NULL,
 * where products in bf16 are emulated. */
mae_status mae_packed_weights_init(mae_packed_weights *packed,
                                   mae_context *context,
                                   const mae_model *model);
/* Fine on a zeroed one. */
void mae_packed_weights_free(mae_packed_weights *packed);

#endif
