#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* 256 KiB of each array: in the processor's cache from the sum of squares to
 * the update, and enough of them to keep all threads at work. */
enum { STRETCH = 1 << 16 };

/* Of what is trained; the sums of squares then do not depend on the number of
 * threads. */
static mae_status cut(mae_optimizer *o) {
  const int32_t n = o->model->n_params;
  const mae_param *params = o->model->params;
  size_t count = 0;
  for (int32_t i = 0; i < n; i++)
    count += (size_t)(mae_tensor_size(&params[i].value) / STRETCH + 1);
  o->stretches = mae_calloc(count, sizeof *o->stretches);
  o->first_stretch = mae_calloc((size_t)n + 1, sizeof *o->first_stretch);
  if (!o->stretches || !o->first_stretch) return MAE_ERROR_OUT_OF_MEMORY;
  mae_stretch *s = o->stretches;
  for (int32_t i = 0; i < n; i++) {
    const int64_t size = mae_tensor_size(&params[i].value);
    for (int64_t at = 0; o->rules.trains[i] && at < size; at += STRETCH)
      *s++ = (mae_stretch){
          .param = i,
          .from = at,
          .n = size - at < STRETCH ? size - at : STRETCH};
    o->first_stretch[i + 1] = (int32_t)(s - o->stretches);
  }
  return MAE_OK;
}

/* Gradients and moments, of what is trained alone. */
static mae_status allocate(mae_optimizer *o) {
  const size_t n = (size_t)o->model->n_params;
  const bool *trains = o->rules.trains;
  o->grad = mae_calloc(n, sizeof *o->grad);
  o->exp_avg = mae_calloc(n, sizeof *o->exp_avg);
  o->exp_avg_sq = mae_calloc(n, sizeof *o->exp_avg_sq);
  o->updated = mae_calloc(n, sizeof *o->updated);
  if (!o->grad || !o->exp_avg || !o->exp_avg_sq || !o->updated)
    return MAE_ERROR_OUT_OF_MEMORY;
  MAE_TRY(cut(o));
  if (!o->options.update_in_backward)
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
  free(o->updated);
  free(o->stretches);
  free(o->first_stretch);
  free(o->grad_block);
  free(o->exp_avg_block);
  free(o->exp_avg_sq_block);
  *o = (mae_optimizer){0};
}

/* A task over the stretches from this one on. */
typedef struct job {
  mae_optimizer *o;
  int32_t first;
} job;

static void square(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  const job *j = arg;
  mae_stretch *s = &j->o->stretches[j->first + i];
  s->squares = j->o->context->kernels->sum_of_squares(
      s->n, j->o->grad[s->param] + s->from);
}

static void update(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  const job *j = arg;
  mae_optimizer *o = j->o;
  const mae_stretch *s = &o->stretches[j->first + i];
  const int32_t k = s->param;
  const mae_trainer_options *p = &o->options;
  const mae_update *u = &o->update;
  o->context->kernels->adamw(
      s->n, (float)u->scale, (float)(u->learning_rate * o->rules.rate[k]),
      (float)(o->rules.decays[k] ? p->weight_decay : 0), (float)p->beta1,
      (float)p->beta2, (float)p->eps, (float)u->bias1, (float)u->bias2,
      o->grad[k] + s->from, o->exp_avg[k] + s->from, o->exp_avg_sq[k] + s->from,
      o->model->params[k].value.data + s->from);
}

/* Over all stretches of parameters first to end - 1. */
static void run(mae_optimizer *o, int32_t first, int32_t end,
                mae_pool_task task, const char *name) {
  mae_profile *profile = o->context->profile;
  const mae_span span = mae_span_begin(profile);
  job j = {o, o->first_stretch[first]};
  mae_pool_run(o->context->pool, o->first_stretch[end] - j.first, task, &j);
  mae_span_end(profile, span, "trainer", name, MAE_PROFILE_NO_PASS, 0);
}

static double sum_of_squares(const mae_optimizer *o, int32_t first,
                             int32_t end) {
  double sum = 0;
  for (int32_t i = o->first_stretch[first]; i < o->first_stretch[end]; i++)
    sum += o->stretches[i].squares;
  return sum;
}

static double measure(mae_optimizer *o, int32_t first, int32_t end) {
  run(o, first, end, square, "grad_norm");
  return sum_of_squares(o, first, end);
}

static mae_status fail_not_finite(const mae_optimizer *o) {
  return mae_fail(MAE_ERROR_NON_FINITE,
                  "update %lld: the gradient is not finite",
                  (long long)o->step + 1);
}

mae_status mae_optimizer_update(mae_optimizer *o, double learning_rate,
                                double *norm) {
  const int32_t n = o->model->n_params;
  const double length = sqrt(measure(o, 0, n)), most = o->options.clip_grad;
  if (!isfinite(length)) return fail_not_finite(o);
  mae_optimizer_begin(o, learning_rate);
  if (most > 0 && length > most) /* as torch.nn.utils.clip_grad_norm_ */
    o->update.scale = most / (length + 1e-6);
  run(o, 0, n, update, "adamw");
  o->step++;
  *norm = length;
  return MAE_OK;
}

/* ---------------------------------------------- parameter by parameter --- */

void mae_optimizer_begin(mae_optimizer *o, double learning_rate) {
  const double step = (double)(o->step + 1);
  o->update = (mae_update){.learning_rate = learning_rate, .scale = 1};
  o->update.bias1 = 1 - pow(o->options.beta1, step);
  o->update.bias2 = 1 - pow(o->options.beta2, step);
  o->failed = false;
  memset(o->updated, 0, (size_t)o->model->n_params * sizeof *o->updated);
}

void mae_optimizer_update_param(mae_optimizer *o, int32_t i) {
  if (o->failed) return;
  o->failed = !isfinite(measure(o, i, i + 1));
  if (o->failed) return;
  run(o, i, i + 1, update, "adamw");
  o->updated[i] = true;
}

mae_status mae_optimizer_end(mae_optimizer *o, double *norm) {
  const int32_t n = o->model->n_params;
  for (int32_t i = 0; i < n; i++)
    if (o->grad[i] && !o->updated[i]) mae_optimizer_update_param(o, i);
  if (o->failed) return fail_not_finite(o);
  o->step++;
  *norm = sqrt(sum_of_squares(o, 0, n));
  return MAE_OK;
}
