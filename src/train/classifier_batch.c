#include "train/classifier_batch.h"

#include <string.h>

#include "train/labelled_rows.h"
#include "train/mix.h"

/* Streams of the trainer's seed: masks have 0, mixing has one of its own. */
enum { DROP_PATH_STREAM = 0x64726f70 };

/* -------------------------------------------------------------- checks --- */

static mae_status check_targets(const float *targets, int64_t n,
                                int32_t classes) {
  for (int64_t i = 0; i < n * classes; i++)
    if (!(targets[i] >= 0 && targets[i] <= 1))
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                      "the target of image %lld, class %lld is %g",
                      (long long)(i / classes), (long long)(i % classes),
                      targets[i]);
  return MAE_OK;
}

mae_status mae_classifier_batch_check(const mae_trainer *t,
                                      const int32_t *labels,
                                      const float *targets) {
  const int32_t classes = t->model->config.num_classes;
  if (!labels == !targets)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "either labels or targets must be given, %s",
                    labels ? "not both" : "neither was");
  return labels ? mae_rows_check_labels(labels, t->graph.batch, classes)
                : check_targets(targets, t->graph.batch, classes);
}

/* ------------------------------------------------------------- targets --- */

/* As timm rounds them: each number once, from doubles. */
static void fill_targets(const mae_trainer *t, const int32_t *labels,
                         const float *targets, float *out) {
  const int64_t n = t->graph.batch, classes = t->model->config.num_classes;
  const double smoothing = t->options.label_smoothing;
  const double off = smoothing / (double)classes;
  for (int64_t i = 0; i < n * classes; i++)
    out[i] = (float)(targets ? targets[i] * (1 - smoothing) + off : off);
  for (int64_t i = 0; labels && i < n; i++)
    out[i * classes + labels[i]] = (float)(1 - smoothing + off);
}

/* ----------------------------------------------------------- drop path --- */

/* A branch of image i of the batch, scaled by what keeps its mean. */
static float drop_scale(const mae_trainer *t, int32_t branch, int64_t i) {
  const int32_t depth = t->model->config.depth;
  const double last = t->options.drop_path;
  const int32_t block = branch / 2;
  const double rate = depth > 1 ? last * block / (depth - 1) : 0;
  const uint64_t number = mae_trainer_next_image(t) + (uint64_t)i;
  float u;
  mae_random_uniform(t->options.seed, DROP_PATH_STREAM,
                     number * 2 * (uint64_t)depth + (uint64_t)branch, 1, &u);
  return u < rate ? 0 : (float)(1 / (1 - rate));
}

static void fill_drop_scales(mae_trainer *t) {
  mae_graph *g = &t->graph;
  if (!g->drop_scales) return;
  for (int32_t k = 0; k < 2 * t->model->config.depth; k++) {
    float *scales = mae_tape_value(g->tape, g->drop_scales[k])->data;
    for (int64_t i = 0; i < g->batch; i++) scales[i] = drop_scale(t, k, i);
  }
}

/* -------------------------------------------------------------- mixing --- */

static void mix(mae_trainer *t, float *images, float *targets) {
  const mae_trainer_options *o = &t->options;
  const mae_config *c = &t->model->config;
  if (o->mixup == 0 && o->cutmix == 0) return;
  const mae_mix m =
      mae_mix_draw(o->mixup, o->cutmix, o->mix_prob, o->mix_switch_prob,
                   c->image_height, c->image_width, o->seed,
                   mae_trainer_next_image(t));
  mae_mix_images(&m, images, t->graph.batch, c->in_chans, c->image_height,
                 c->image_width);
  mae_mix_targets(&m, targets, t->graph.batch, c->num_classes);
}

void mae_classifier_batch_fill(mae_trainer *t, const float *images,
                               const int32_t *labels, const float *targets) {
  mae_graph *g = &t->graph;
  const mae_tensor *in = mae_tape_value(g->tape, g->images);
  float *wanted = mae_tape_value(g->tape, g->target)->data;
  memcpy(in->data, images, (size_t)mae_tensor_size(in) * sizeof(float));
  fill_targets(t, labels, targets, wanted);
  mix(t, in->data, wanted);
  fill_drop_scales(t);
}
