#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "train/classifier_batch.h"
#include "train/schedule.h"

size_t mae_trainer_noise_values(const mae_config *c,
                                const mae_trainer_options *o) {
  if (mae_is_classifier(c)) return 0;
  return (size_t)(o->batch_size * mae_config_patches(c));
}

static mae_status record_autoencoder(mae_trainer *t, mae_context *context) {
  const mae_trainer_options *o = &t->options;
  const mae_config *c = &t->model->config;
  int64_t kept;
  MAE_TRY(mae_config_kept(c, o->mask_ratio, true, &kept));
  t->noise = mae_calloc(mae_trainer_noise_values(c, o), sizeof *t->noise);
  if (!t->noise) return MAE_ERROR_OUT_OF_MEMORY;
  const mae_graph_options graph =
      mae_trainer_graph_options(o, t->optimizer.grad, t->optimizer.rules.trains);
  return mae_graph_autoencoder(context, t->model, o->batch_size, kept, &graph,
                               &t->graph);
}

static mae_status record_classifier(mae_trainer *t, mae_context *context) {
  const mae_trainer_options *o = &t->options;
  const mae_graph_options graph =
      mae_trainer_graph_options(o, t->optimizer.grad, t->optimizer.rules.trains);
  return mae_graph_classifier(context, t->model, o->batch_size, &graph,
                              &t->graph);
}

static mae_status record(mae_trainer *t, mae_context *context) {
  return mae_is_classifier(&t->model->config) ? record_classifier(t, context)
                                              : record_autoencoder(t, context);
}

/* ------------------------------------------------- update in backward --- */

static void update_final(void *arg, mae_var var) {
  mae_trainer *t = arg;
  for (int32_t i = 0; i < t->model->n_params; i++)
    if (t->graph.params[i].id == var.id)
      mae_optimizer_update_param(&t->optimizer, i);
}

/* The optimizer reads the gradients where the graph, once recorded, has them,
 * each as soon as it is final. */
static void update_in_backward(mae_trainer *t) {
  const mae_tape_watcher watcher = {.final = update_final, .arg = t};
  for (int32_t i = 0; i < t->model->n_params; i++) {
    const mae_tensor *grad = mae_tape_grad(t->graph.tape, t->graph.params[i]);
    if (grad) t->optimizer.grad[i] = grad->data;
  }
  mae_tape_watch(t->graph.tape, &watcher);
}

/* Fill a zeroed trainer whose options and model are set. */
static mae_status set_up(mae_trainer *t, mae_context *context) {
  const mae_trainer_options *o = &t->options;
  mae_model *model = t->model;
  MAE_TRY(mae_trainer_options_suit(o, &model->config));
  MAE_TRY(mae_optimizer_init(&t->optimizer, context, model, o));
  t->grads = mae_calloc((size_t)model->n_params, sizeof *t->grads);
  if (!t->grads) return MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t i = 0; i < model->n_params; i++) {
    t->grads[i] = model->params[i].value;
    t->grads[i].data = t->optimizer.grad[i];
  }
  if (o->ema_decay > 0)
    MAE_TRY(mae_ema_init(&t->ema, context, model, t->optimizer.rules.trains,
                         o->ema_decay));
  MAE_TRY(record(t, context));
  if (o->update_in_backward) update_in_backward(t);
  return MAE_OK;
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
  mae_ema_free(&trainer->ema);
  free(trainer->grads);
  free(trainer->noise);
  free(trainer);
}

/* ----------------------------------------------------------- profile --- */

static mae_profile *profile_of(const mae_trainer *t) {
  return t->optimizer.context->profile;
}

static mae_span begin_span(const mae_trainer *t) {
  return mae_span_begin(profile_of(t));
}

static void end_span(const mae_trainer *t, mae_span span, const char *what) {
  mae_span_end(profile_of(t), span, "trainer", what, MAE_PROFILE_NO_PASS, 0);
}

/* -------------------------------------------------------------- steps --- */

/* Rate of the update being gathered for. */
static double learning_rate(const mae_trainer *t) {
  const mae_trainer_options *o = &t->options;
  double images = (double)o->batch_size * o->accum_steps * t->sum.comm.ranks;
  return mae_schedule(t->optimizer.step, o->warmup_steps, o->total_steps,
                      o->base_lr * images / 256, o->min_lr);
}

uint64_t mae_trainer_next_image(const mae_trainer *t) {
  return t->images_seen +
         (uint64_t)t->sum.comm.rank * (uint64_t)t->options.batch_size;
}

/* What a call brings; the rest NULL. */
typedef struct batch {
  const float *images, *noise;
  const int32_t *labels;
  const float *targets;
} batch;

/* Masks that are a function of the images' numbers over all ranks. */
static const float *draw_noise(mae_trainer *t) {
  const uint64_t patches = (uint64_t)mae_config_patches(&t->model->config);
  const uint64_t images = (uint64_t)t->graph.batch;
  const mae_span span = begin_span(t);
  mae_random_uniform(t->options.seed, 0, mae_trainer_next_image(t) * patches,
                     images * patches, t->noise);
  end_span(t, span, "noise");
  return t->noise;
}

/* Forward and backward of the graph, whose inputs are filled in, adding to the
 * gradients gathered so far; the last step of an update leaves the mean over
 * all ranks there. */
static mae_status gather_gradient(mae_trainer *t, bool last, double *loss) {
  mae_graph *g = &t->graph;
  const int32_t ranks = t->sum.comm.ranks;
  MAE_TRY(mae_tape_forward(g->tape));
  *loss = *mae_tape_value(g->tape, g->loss)->data;
  if (ranks == 1 && !isfinite(*loss))
    return mae_fail(MAE_ERROR_NON_FINITE, "the loss is %g", *loss);
  mae_gradient_sum_begin(&t->sum, *loss, last);
  if (t->options.update_in_backward)
    mae_optimizer_begin(&t->optimizer, learning_rate(t));
  mae_status status = mae_tape_backward(
      g->tape, 1 / ((float)t->options.accum_steps * (float)ranks),
      t->gathered > 0);
  const mae_span span = begin_span(t);
  mae_status summed = mae_gradient_sum_end(&t->sum, loss);
  if (ranks > 1) end_span(t, span, "ranks");
  return status == MAE_OK ? summed : status;
}

static mae_status update(mae_trainer *t, mae_step_result *r) {
  mae_optimizer *o = &t->optimizer;
  MAE_TRY(t->options.update_in_backward
              ? mae_optimizer_end(o, &r->grad_norm)
              : mae_optimizer_update(o, r->learning_rate, &r->grad_norm));
  const mae_span span = begin_span(t);
  mae_ema_update(&t->ema);
  if (t->ema.model) end_span(t, span, "ema");
  return MAE_OK;
}

/* The ranks are compared, and the inputs of the graph filled in. */
static mae_status prepare(mae_trainer *t, const batch *b) {
  const bool classifier = mae_is_classifier(&t->model->config);
  MAE_TRY(mae_trainer_agree(t));
  const float *noise =
      classifier || b->noise ? b->noise : draw_noise(t);
  const mae_span span = begin_span(t);
  if (classifier)
    mae_classifier_batch_fill(t, b->images, b->labels, b->targets);
  else
    mae_graph_fill(&t->graph, b->images, noise);
  end_span(t, span, "inputs");
  return MAE_OK;
}

/* A step on the inputs of the graph. */
static mae_status step(mae_trainer *t, mae_step_result *result) {
  mae_step_result r = {.struct_size = sizeof r};
  r.learning_rate = learning_rate(t);
  r.updated = t->gathered + 1 == t->options.accum_steps;
  mae_status status = gather_gradient(t, r.updated, &r.loss);
  if (status == MAE_OK && r.updated) status = update(t, &r);
  if (status != MAE_OK) {
    t->gathered = 0;
    return status;
  }
  t->gathered = r.updated ? 0 : t->gathered + 1;
  t->images_seen +=
      (uint64_t)t->options.batch_size * (uint64_t)t->sum.comm.ranks;
  r.step = t->optimizer.step;
  if (result) mae_options_write(result, result->struct_size, &r, sizeof r);
  return MAE_OK;
}

static mae_status step_on(mae_trainer *t, const batch *b,
                          mae_step_result *result) {
  const mae_span span = begin_span(t);
  mae_status status = prepare(t, b);
  if (status == MAE_OK) status = step(t, result);
  end_span(t, span, "other");
  return status;
}

static mae_status check_result(const mae_step_result *result) {
  if (!result || result->struct_size >= 2 * sizeof(size_t)) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                  "mae_step_result: struct_size is %zu", result->struct_size);
}

mae_status mae_trainer_step(mae_trainer *trainer, const float *images,
                            const float *noise, mae_step_result *result) {
  MAE_REQUIRE(trainer);
  MAE_REQUIRE(images);
  MAE_TRY(check_result(result));
  if (mae_is_classifier(&trainer->model->config))
    return mae_fail(MAE_ERROR_STATE,
                    "a classifier is trained by mae_trainer_step_labels");
  return step_on(trainer, &(batch){.images = images, .noise = noise}, result);
}

mae_status mae_trainer_step_labels(mae_trainer *trainer, const float *images,
                                   const int32_t *labels,
                                   const float *targets,
                                   mae_step_result *result) {
  MAE_REQUIRE(trainer);
  MAE_REQUIRE(images);
  MAE_TRY(check_result(result));
  if (!mae_is_classifier(&trainer->model->config))
    return mae_fail(MAE_ERROR_STATE, "a model without a head is trained by "
                    "mae_trainer_step");
  MAE_TRY(mae_classifier_batch_check(trainer, labels, targets));
  return step_on(
      trainer,
      &(batch){.images = images, .labels = labels, .targets = targets}, result);
}

const mae_model *mae_trainer_ema_model(const mae_trainer *trainer) {
  return trainer ? trainer->ema.model : NULL;
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
