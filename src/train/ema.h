/* An exponential moving average of a model's weights, as timm's ModelEmaV2. */
#ifndef MAE_TRAIN_EMA_H
#define MAE_TRAIN_EMA_H

#include "kernels/context.h"
#include "model/model.h"

typedef struct mae_ema {
  mae_context *context;
  const mae_model *source;
  mae_model *model; /* the average; NULL: there is none */
  float **data;     /* per parameter, of the model; NULL where shared */
  double decay;
} mae_ema;

/* An average that begins with the weights as they are.  Parameters that are
 * not trained are shared with the model.  On failure nothing is left. */
mae_status mae_ema_init(mae_ema *ema, mae_context *context,
                        const mae_model *model, const bool *trains,
                        double decay);
/* Fine on a zeroed one. */
void mae_ema_free(mae_ema *ema);

/* After an update of the weights; does nothing when there is no average. */
void mae_ema_update(mae_ema *ema);

#endif
