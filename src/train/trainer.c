#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "train/schedule.h"

static const mae_trainer_options defaults = {.struct_size = sizeof defaults,
                                             .batch_size = 64,
                                             .accum_steps = 1,
                                             .mask_ratio = 0.75,
                                             .base_lr = 1.5e-4,
                                             .min_lr = 0,
                                             .weight_decay = 0.05,
                                             .beta1 = 0.9,
                                             .beta2 = 0.95,
                                             .eps = 1e-8,
                                             .clip_grad = 0,
                                             .warmup_steps = 0,
                                             .total_steps = 0,
                                             .seed = 0};

void mae_trainer_options_init(mae_trainer_options *options,
                              size_t struct_size) {
  mae_options_write(options, struct_size, &defaults, sizeof defaults);
}

static mae_status check_number(const char *what, double value, double least,
                               double below) {
  if (value >= least && value < below) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "%s is %g, not in [%g, %g)", what,
                  value, least, below);
}

static mae_status check(const mae_trainer_options *o) {
  MAE_TRY(check_number("recompute", o->recompute, 0, 2));
  MAE_TRY(check_number("batch_size", o->batch_size, 1, 65537));
  MAE_TRY(check_number("accum_steps", o->accum_steps, 1, 1e6));
  MAE_TRY(check_number("base_lr", o->base_lr, 0, 1e6));
  MAE_TRY(check_number("min_lr", o->min_lr, 0, 1e6));
  MAE_TRY(check_number("weight_decay", o->weight_decay, 0, 1e6));
  MAE_TRY(check_number("beta1", o->beta1, 0, 1));
  MAE_TRY(check_number("beta2", o->beta2, 0, 1));
  MAE_TRY(check_number("eps", o->eps, 0, 1e6));
  MAE_TRY(check_number("clip_grad", o->clip_grad, 0, 1e30));
  MAE_TRY(check_number("warmup_steps", (double)o->warmup_steps, 0, 1e15));
  return check_number("total_steps", (double)o->total_steps, 0, 1e15);
}

mae_status mae_trainer_options_read(const mae_trainer_options *theirs,
                                    mae_trainer_options *ours) {
  mae_trainer_options o = defaults;
  if (theirs)
    MAE_TRY(mae_options_read("mae_trainer_options", &o, sizeof o, theirs));
  MAE_TRY(check(&o));
  *ours = o;
  return MAE_OK;
}

size_t mae_trainer_noise_values(const mae_config *c,
                                const mae_trainer_options *o) {
  return (size_t)(o->batch_size * mae_config_patches(c));
}

/* Fill a zeroed trainer whose options and model are set. */
static mae_status set_up(mae_trainer *t, mae_context *context) {
  const mae_trainer_options *o = &t->options;
  mae_model *model = t->model;
  int64_t kept;
  MAE_TRY(mae_config_kept(&model->config, o->mask_ratio, true, &kept));
  const mae_adamw_options adamw = {o->beta1, o->beta2, o->eps, o->weight_decay,
                                   o->clip_grad};
  MAE_TRY(mae_optimizer_init(&t->optimizer, context, model, &adamw));
  t->grads = mae_calloc((size_t)model->n_params, sizeof *t->grads);
  t->noise = mae_calloc(mae_trainer_noise_values(&model->config, o),
                        sizeof *t->noise);
  if (!t->grads || !t->noise) return MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t i = 0; i < model->n_params; i++) {
    t->grads[i] = model->params[i].value;
    t->grads[i].data = t->optimizer.grad[i];
  }
  return mae_graph_autoencoder(context, model, o->batch_size, kept,
                               t->optimizer.grad, o->recompute, &t->graph);
}

mae_status mae_trainer_create(mae_context *context, mae_model *model,
                              const mae_trainer_options *options,
                              mae_trainer **out) {
  MAE_REQUIRE(context);
  MAE_REQUIRE(model);
  MAE_REQUIRE(out);
  mae_trainer_options o;
  MAE_TRY(mae_trainer_options_read(options, &o));
  mae_trainer *trainer = mae_calloc(1, sizeof *trainer);
  if (!trainer) return MAE_ERROR_OUT_OF_MEMORY;
  trainer->options = o;
  trainer->model = model;
  trainer->sum = mae_gradient_sum_alone;
  mae_status status = set_up(trainer, context);
  if (status != MAE_OK) {
    mae_trainer_destroy(trainer);
    return status;
  }
  *out = trainer;
  return MAE_OK;
}

void mae_trainer_destroy(mae_trainer *trainer) {
  if (!trainer) return;
  mae_gradient_sum_free(&trainer->sum);
  mae_graph_destroy(&trainer->graph);
  mae_optimizer_free(&trainer->optimizer);
  free(trainer->grads);
  free(trainer->noise);
  free(trainer);
}

/* Rate of the update being gathered for. */
static double learning_rate(const mae_trainer *t) {
  const mae_trainer_options *o = &t->options;
  double images = (double)o->batch_size * o->accum_steps * t->sum.comm.ranks;
  return mae_schedule(t->optimizer.step, o->warmup_steps, o->total_steps,
                      o->base_lr * images / 256, o->min_lr);
}

/* Masks that are a function of the images' numbers over all ranks. */
static const float *draw_noise(mae_trainer *t) {
  const uint64_t patches = (uint64_t)mae_config_patches(&t->model->config);
  const uint64_t batch = (uint64_t)t->graph.batch;
  const uint64_t image = t->images_seen + (uint64_t)t->sum.comm.rank * batch;
  mae_random_uniform(t->options.seed, 0, image * patches, batch * patches,
                     t->noise);
  return t->noise;
}

/* Forward and backward, adding to the gradients gathered so far; the last
 * step of an update leaves the mean over all ranks there. */
static mae_status gather_gradient(mae_trainer *t, const float *images,
                                  const float *noise, bool last,
                                  double *loss) {
  mae_graph *g = &t->graph;
  const int32_t ranks = t->sum.comm.ranks;
  mae_graph_fill(g, images, noise ? noise : draw_noise(t));
  MAE_TRY(mae_tape_forward(g->tape));
  *loss = *mae_tape_value(g->tape, g->loss)->data;
  if (ranks == 1 && !isfinite(*loss))
    return mae_fail(MAE_ERROR_NON_FINITE, "the loss is %g", *loss);
  mae_gradient_sum_begin(&t->sum, *loss, last);
  mae_status status = mae_tape_backward(
      g->tape, 1 / ((float)t->options.accum_steps * (float)ranks),
      t->gathered > 0);
  mae_status summed = mae_gradient_sum_end(&t->sum, loss);
  return status == MAE_OK ? summed : status;
}

mae_status mae_trainer_step(mae_trainer *trainer, const float *images,
                            const float *noise, mae_step_result *result) {
  MAE_REQUIRE(trainer);
  MAE_REQUIRE(images);
  mae_step_result r = {.struct_size = sizeof r};
  if (result && result->struct_size < 2 * sizeof(size_t))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "mae_step_result: struct_size is %zu", result->struct_size);
  r.learning_rate = learning_rate(trainer);
  r.updated = trainer->gathered + 1 == trainer->options.accum_steps;
  MAE_TRY(mae_trainer_agree(trainer));
  mae_status status =
      gather_gradient(trainer, images, noise, r.updated, &r.loss);
  if (status == MAE_OK && r.updated)
    status = mae_optimizer_update(&trainer->optimizer, r.learning_rate,
                                  &r.grad_norm);
  if (status != MAE_OK) {
    trainer->gathered = 0;
    return status;
  }
  trainer->gathered = r.updated ? 0 : trainer->gathered + 1;
  trainer->images_seen +=
      (uint64_t)trainer->options.batch_size * (uint64_t)trainer->sum.comm.ranks;
  r.step = trainer->optimizer.step;
  if (result) mae_options_write(result, result->struct_size, &r, sizeof r);
  return MAE_OK;
}

mae_tensor *mae_trainer_gradient(const mae_trainer *trainer, const char *name) {
  if (!trainer || !name) return NULL;
  for (int32_t i = 0; i < trainer->model->n_params; i++)
    if (!strcmp(trainer->model->params[i].name, name))
      return trainer->grads[i].data ? &trainer->grads[i] : NULL;
  return NULL;
}

int64_t mae_trainer_steps(const mae_trainer *trainer) {
  return trainer ? trainer->optimizer.step : 0;
}

uint64_t mae_trainer_images_seen(const mae_trainer *trainer) {
  return trainer ? trainer->images_seen : 0;
}
