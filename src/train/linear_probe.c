/* mae_linear_probe: epochs of LARS steps on a probe's head. */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/options.h"
#include "kernels/blas.h"
#include "kernels/context.h"
#include "train/labelled_rows.h"
#include "train/lars.h"
#include "train/probe_head.h"
#include "train/schedule.h"

/* The permutation of epoch e is that of stream ORDER + e. */
static const uint64_t ORDER = 0x70726f6265000000;    /* "probe" */
static const uint64_t WEIGHT = 0x70726f626577;       /* "probew" */
static const double WEIGHT_STD = 0.01;               /* official */

static const mae_probe_options defaults = {.struct_size = sizeof defaults,
                                           .batch_size = 16384,
                                           .epochs = 90,
                                           .warmup_epochs = 10,
                                           .base_lr = 0.1,
                                           .weight_decay = 0,
                                           .momentum = 0.9,
                                           .trust_coefficient = 0.001,
                                           .batch_norm_eps = 1e-6,
                                           .batch_norm_momentum = 0.1};

void mae_probe_options_init(mae_probe_options *options, size_t struct_size) {
  mae_options_write(options, struct_size, &defaults, sizeof defaults);
}

static mae_status check_number(const char *what, double value, double least,
                               double most) {
  if (value >= least && value <= most) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "%s is %g, not %g to %g", what,
                  value, least, most);
}

static mae_status check_options(const mae_probe_options *o) {
  MAE_TRY(check_number("batch_size", (double)o->batch_size, 2, 1e15));
  MAE_TRY(check_number("epochs", (double)o->epochs, 1, 1e6));
  MAE_TRY(check_number("warmup_epochs", (double)o->warmup_epochs, 0,
                       (double)o->epochs));
  MAE_TRY(check_number("base_lr", o->base_lr, 0, 1e6));
  MAE_TRY(check_number("weight_decay", o->weight_decay, 0, 1e6));
  MAE_TRY(check_number("momentum", o->momentum, 0, 1));
  MAE_TRY(check_number("trust_coefficient", o->trust_coefficient, 0, 1e6));
  MAE_TRY(check_number("batch_norm_eps", o->batch_norm_eps, 1e-30, 1e6));
  return check_number("batch_norm_momentum", o->batch_norm_momentum, 0, 1);
}

/* ------------------------------------------------------------- training --- */

typedef struct training {
  mae_probe_options options;
  const float *features;
  const int32_t *labels;
  int64_t n, batch, batches, step;
  mae_probe_head head;
  float *velocity; /* of the weight, then of the bias */
  uint32_t *order;
} training;

static void update(training *t) {
  const mae_probe_options *o = &t->options;
  const mae_lars_options lars = {o->weight_decay, o->momentum,
                                 o->trust_coefficient};
  mae_probe_head *h = &t->head;
  const int64_t n = h->width * h->classes;
  const double rate =
      mae_schedule(t->step++, o->warmup_epochs * t->batches,
                   o->epochs * t->batches,
                   o->base_lr * (double)t->batch / 256, 0);
  mae_lars(&lars, rate, true, n, h->dweight, t->velocity, h->weight);
  mae_lars(&lars, rate, false, h->classes, h->dbias, t->velocity + n, h->bias);
}

static mae_status run_epoch(training *t, int64_t epoch, double *loss) {
  double sum = 0;
  MAE_TRY(mae_random_permutation(t->options.seed, ORDER + (uint64_t)epoch,
                                 (size_t)t->n, t->order));
  for (int64_t i = 0; i < t->batches; i++) {
    sum += mae_probe_head_gradient(&t->head, t->features, t->labels,
                                   t->order + i * t->batch, t->batch);
    update(t);
  }
  if (!isfinite(sum))
    return mae_fail(MAE_ERROR_NON_FINITE, "epoch %lld: the loss is %g",
                    (long long)epoch + 1, sum / (double)t->batches);
  *loss = sum / (double)t->batches;
  return MAE_OK;
}

static mae_status run_epochs(training *t) {
  const mae_probe_options *o = &t->options;
  for (int64_t epoch = 0; epoch < o->epochs; epoch++) {
    double loss = 0;
    mae_blas_enter();
    mae_status status = run_epoch(t, epoch, &loss);
    mae_blas_leave();
    if (status != MAE_OK) return status;
    if (o->on_epoch && o->on_epoch(o->arg, epoch + 1, o->epochs, loss)) break;
  }
  return MAE_OK;
}

/* ------------------------------------------------------------- the call --- */

static mae_status check_features(const training *t, mae_pool *pool,
                                 int64_t width) {
  double *lengths = mae_calloc((size_t)t->n, sizeof *lengths);
  if (!lengths) return MAE_ERROR_OUT_OF_MEMORY;
  mae_status status = mae_rows_lengths(pool, "features", t->features, t->n,
                                       width, lengths);
  free(lengths);
  return status;
}

/* Make all parts; what is made is the caller's to free also on failure. */
static mae_status set_up(training *t, mae_pool *pool, int64_t width,
                         int32_t classes) {
  const mae_probe_options *o = &t->options;
  t->batch = o->batch_size < t->n ? o->batch_size : t->n;
  t->batches = t->n / t->batch;
  MAE_TRY(check_features(t, pool, width));
  MAE_TRY(mae_probe_head_init(&t->head, pool, width, classes, t->batch,
                              o->batch_norm_eps, o->batch_norm_momentum));
  const size_t values = (size_t)(width * classes);
  t->velocity = mae_calloc(values + (size_t)classes, sizeof *t->velocity);
  t->order = mae_calloc((size_t)t->n, sizeof *t->order);
  if (!t->velocity || !t->order) return MAE_ERROR_OUT_OF_MEMORY;
  MAE_TRY(mae_random_normal(o->seed, WEIGHT, 0, values, t->head.weight));
  for (size_t i = 0; i < values; i++)
    t->head.weight[i] = (float)(WEIGHT_STD * t->head.weight[i]);
  return MAE_OK;
}

mae_status mae_linear_probe(mae_context *context, const float *features,
                            const int32_t *labels, int64_t n, int64_t width,
                            int32_t num_classes,
                            const mae_probe_options *options, float *weight,
                            float *bias) {
  MAE_REQUIRE(context);
  MAE_REQUIRE(features);
  MAE_REQUIRE(labels);
  MAE_REQUIRE(weight);
  MAE_REQUIRE(bias);
  training t = {.options = defaults, .features = features, .labels = labels,
                .n = n};
  if (options)
    MAE_TRY(mae_options_read("mae_probe_options", &t.options,
                             sizeof t.options, options));
  MAE_TRY(check_options(&t.options));
  MAE_TRY(mae_rows_check_sizes(n, width, num_classes));
  if (n < 2)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "one row has no variance for the batch norm");
  MAE_TRY(mae_rows_check_labels(labels, n, num_classes));
  mae_status status = set_up(&t, context->pool, width, num_classes);
  if (status == MAE_OK) status = run_epochs(&t);
  if (status == MAE_OK)
    mae_batch_norm_fold(&t.head.norm, num_classes, t.head.weight, t.head.bias,
                        weight, bias);
  mae_probe_head_free(&t.head);
  free(t.velocity);
  free(t.order);
  return status;
}
