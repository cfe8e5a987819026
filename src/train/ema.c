#include "train/ema.h"

#include <stdlib.h>
#include <string.h>

/* A view of the model, whose trained parameters get data of their own. */
static mae_status make_model(mae_ema *e, const bool *trains) {
  const mae_model *source = e->source;
  const mae_config *c = &source->config;
  e->data = mae_calloc((size_t)source->n_params, sizeof *e->data);
  if (!e->data) return MAE_ERROR_OUT_OF_MEMORY;
  MAE_TRY(mae_model_view(source, c->image_height, c->image_width, &e->model));
  MAE_TRY(mae_model_shadow(source, trains, e->data, &e->model->data));
  for (int32_t i = 0; i < source->n_params; i++) {
    const mae_tensor *from = &source->params[i].value;
    float **data = &e->model->params[i].value.data;
    *data = e->data[i] ? e->data[i] : from->data;
    if (e->data[i])
      memcpy(*data, from->data, (size_t)mae_tensor_size(from) * sizeof **data);
  }
  free(e->model->resized); /* the view's own position tables */
  e->model->resized = NULL;
  return MAE_OK;
}

mae_status mae_ema_init(mae_ema *e, mae_context *context,
                        const mae_model *model, const bool *trains,
                        double decay) {
  *e = (mae_ema){.context = context, .source = model, .decay = decay};
  mae_status status = make_model(e, trains);
  if (status != MAE_OK) mae_ema_free(e);
  return status;
}

void mae_ema_free(mae_ema *e) {
  mae_model_destroy(e->model);
  free(e->data);
  *e = (mae_ema){0};
}

static void update_param(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  const mae_ema *e = arg;
  float *restrict average = e->data[i];
  if (!average) return;
  const mae_tensor *value = &e->source->params[i].value;
  const float *restrict weight = value->data;
  const float keep = (float)e->decay, take = (float)(1 - e->decay);
  const int64_t n = mae_tensor_size(value);
  for (int64_t k = 0; k < n; k++)
    average[k] = keep * average[k] + take * weight[k];
}

void mae_ema_update(mae_ema *e) {
  if (e->model)
    mae_pool_run(e->context->pool, e->source->n_params, update_param, e);
}
