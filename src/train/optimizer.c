#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>

/* Gradients and moments, of what is trained alone. */
static mae_status allocate(mae_optimizer *o) {
  const size_t n = (size_t)o->model->n_params;
  const bool *trains = o->rules.trains;
  o->grad = mae_calloc(n, sizeof *o->grad);
  o->exp_avg = mae_calloc(n, sizeof *o->exp_avg);
  o->exp_avg_sq = mae_calloc(n, sizeof *o->exp_avg_sq);
  o->squares = mae_calloc(n, sizeof *o->squares);
  if (!o->grad || !o->exp_avg || !o->exp_avg_sq || !o->squares)
    return MAE_ERROR_OUT_OF_MEMORY;
  MAE_TRY(mae_model_shadow(o->model, trains, o->grad, &o->grad_block));
  MAE_TRY(mae_model_shadow(o->model, trains, o->exp_avg, &o->exp_avg_block));
  return mae_model_shadow(o->model, trains, o->exp_avg_sq,
                          &o->exp_avg_sq_block);
}

mae_status mae_optimizer_init(mae_optimizer *o, mae_context *context,
                              mae_model *model,
                              const mae_trainer_options *options) {
  *o = (mae_optimizer){
      .context = context, .model = model, .options = *options};
  mae_status status = mae_param_rules_make(model, options, &o->rules);
  if (status == MAE_OK) status = allocate(o);
  if (status != MAE_OK) mae_optimizer_free(o);
  return status;
}

void mae_optimizer_free(mae_optimizer *o) {
  mae_param_rules_free(&o->rules);
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

static void update_param(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  const update *u = arg;
  mae_optimizer *o = u->o;
  mae_tensor *value = &o->model->params[i].value;
  if (!o->grad[i]) return;
  const mae_trainer_options *p = &o->options;
  const double learning_rate = u->learning_rate * o->rules.rate[i];
  const double decay = o->rules.decays[i] ? p->weight_decay : 0;
  o->context->kernels->adamw(
      mae_tensor_size(value), (float)u->scale, (float)learning_rate,
      (float)decay, (float)p->beta1, (float)p->beta2, (float)p->eps,
      (float)u->bias1, (float)u->bias2, o->grad[i], o->exp_avg[i],
      o->exp_avg_sq[i], value->data);
}

mae_status mae_optimizer_update(mae_optimizer *o, double learning_rate,
                                double *norm) {
  mae_profile *profile = o->context->profile;
  mae_span span = mae_span_begin(profile);
  const double length = gradient_norm(o), most = o->options.clip_grad;
  mae_span_end(profile, span, "trainer", "grad_norm", MAE_PROFILE_NO_PASS, 0);
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
  span = mae_span_begin(profile);
  mae_pool_run(o->context->pool, o->model->n_params, update_param, &u);
  mae_span_end(profile, span, "trainer", "adamw", MAE_PROFILE_NO_PASS, 0);
  *norm = length;
  return MAE_OK;
}
