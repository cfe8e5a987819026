/* The weights of the encoder's blocks as products want them, for many graphs at
 * once. */
#ifndef MAE_MODEL_PACKED_WEIGHTS_H
#define MAE_MODEL_PACKED_WEIGHTS_H

#include "kernels/context.h"
#include "model/model.h"

typedef struct mae_packed_weights {
  float **of; /* one for each parameter, NULL where there is none */
  float *data;
} mae_packed_weights;

/* As the model's weights are now, for products of that precision.  Nothing is
 * packed, and `of` stays NULL, where these read weights as they are. */
mae_status mae_packed_weights_init(mae_packed_weights *packed,
                                   mae_context *context,
                                   const mae_model *model,
                                   mae_precision precision);
/* Fine on a zeroed one. */
void mae_packed_weights_free(mae_packed_weights *packed);

#endif
