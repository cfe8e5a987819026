#include "model/packed_weights.h"

#include <stdlib.h>

#include "base/memory.h"

/* Floats that parameter i takes; 0: it is not the weight of a linear layer of
 * a block. */
static int64_t size_of(const mae_context *context, mae_products products,
                       const mae_model *model, int32_t i) {
  const mae_config *c = &model->config;
  const int32_t first = mae_param_blocks(c);
  const mae_tensor *w = &model->params[i].value;
  if (i < first || i >= first + c->depth * MAE_BLOCK_PARAMS || w->ndim != 2)
    return 0;
  return context->kernels->packed_weight(products, w->shape[1], w->shape[0]);
}

mae_status mae_packed_weights_init(mae_packed_weights *packed,
                                   mae_context *context,
                                   const mae_model *model,
                                   mae_precision precision) {
  const mae_products products = context->products[precision];
  int64_t size = 0;
  for (int32_t i = 0; i < model->n_params; i++)
    size += size_of(context, products, model, i);
  if (!size) return MAE_OK;
  packed->of = mae_calloc((size_t)model->n_params, sizeof *packed->of);
  packed->data = mae_calloc((size_t)size, sizeof *packed->data);
  if (!packed->of || !packed->data) return MAE_ERROR_OUT_OF_MEMORY;
  float *next = packed->data;
  for (int32_t i = 0; i < model->n_params; i++) {
    const mae_tensor *w = &model->params[i].value;
    const int64_t floats = size_of(context, products, model, i);
    if (!floats) continue;
    packed->of[i] = next;
    next += floats;
    context->kernels->pack_weight(context->pool, products, w->shape[1],
                                  w->shape[0], w->data, packed->of[i]);
  }
  return MAE_OK;
}

void mae_packed_weights_free(mae_packed_weights *packed) {
  free(packed->of);
  free(packed->data);
}
