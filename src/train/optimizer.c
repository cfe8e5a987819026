#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>

mae_status mae_optimizer_init(mae_optimizer *o, mae_context *context,
                              mae_model *model,
                              const mae_adamw_options *options) {
  *o = (mae_optimizer){
      .context = context, .model = model, .options = *options};
  size_t n = (size_t)model->n_params;
  o->grad = mae_calloc(n, sizeof *o->grad);
  o->exp_avg = mae_calloc(n, sizeof *o->exp_avg);
  o->exp_avg_sq = mae_calloc(n, sizeof *o->exp_avg_sq);
  o->squares = mae_calloc(n, sizeof *o->squares);
  mae_status status = MAE_ERROR_OUT_OF_MEMORY;
  if (o->grad && o->exp_avg && o->exp_avg_sq && o->squares)
    status = mae_model_shadow(model, mae_param_trainable, o->grad, &o->grad_block);
  if (status == MAE_OK)
    status = mae_model_shadow(model, mae_param_trainable, o->exp_avg, &o->exp_avg_block);
  if (status == MAE_OK)
    status = mae_model_shadow(model, mae_param_trainable, o->exp_avg_sq, &o->exp_avg_sq_block);
  if (status != MAE_OK) mae_optimizer_free(o);
  return status;
}

void mae_optimizer_free(mae_optimizer *o) {
  free(o->grad);
  free(o->exp_avg);
  free(o->exp_avg_sq);
  free(o->squares);
  free(o->grad_block);
  free(o->exp_avg_block);
  free(o->exp_avg_sq_block);
  *o = (mae_optimizer){0};
}

/* A parameter is one piece of work: models have many, and the sums then do
 * not depend on the number of threads. */
static void square_param(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  mae_optimizer *o = arg;
  o->squares[i] = 0;
  if (o->grad[i])
    o->squares[i] = o->context->kernels->sum_of_squares(
        mae_tensor_size(&o->model->params[i].value), o->grad[i]);
}

static double gradient_norm(mae_optimizer *o) {
  double sum = 0;
  mae_pool_run(o->context->pool, o->model->n_params, square_param, o);
  for (int32_t i = 0; i < o->model->n_params; i++) sum += o->squares[i];
  return sqrt(sum);
}

typedef struct update {
  mae_optimizer *o;
  double learning_rate, scale, bias1, bias2;
} update;

/* Biases and norms, the tensors of one dimension, do not decay (official
 * add_weight_decay). */
static void update_param(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  const update *u = arg;
  mae_optimizer *o = u->o;
  mae_tensor *value = &o->model->params[i].value;
  if (!o->grad[i]) return;
  const mae_adamw_options *p = &o->options;
  double decay = value->ndim > 1 ? p->weight_decay : 0;
  o->context->kernels->adamw(
      mae_tensor_size(value), (float)u->scale, (float)u->learning_rate,
      (float)decay, (float)p->beta1, (float)p->beta2, (float)p->eps,
      (float)u->bias1, (float)u->bias2, o->grad[i], o->exp_avg[i],
      o->exp_avg_sq[i], value->data);
}

mae_status mae_optimizer_update(mae_optimizer *o, double learning_rate,
                                double *norm) {
  const double length = gradient_norm(o), most = o->options.clip_grad;
  if (!isfinite(length))
    return mae_fail(MAE_ERROR_NON_FINITE,
                    "update %lld: the gradient is not finite",
                    (long long)o->step + 1);
  o->step++;
  update u = {.o = o, .learning_rate = learning_rate, .scale = 1};
  u.bias1 = 1 - pow(o->options.beta1, (double)o->step);
  u.bias2 = 1 - pow(o->options.beta2, (double)o->step);
  if (most > 0 && length > most) /* as torch.nn.utils.clip_grad_norm_ */
    u.scale = most / (length + 1e-6);
  mae_pool_run(o->context->pool, o->model->n_params, update_param, &u);
  *norm = length;
  return MAE_OK;
}
