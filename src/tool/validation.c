#include "tool/validation.h"

#include <stdio.h>

#include "tool/classify.h"
#include "tool/say.h"

/* Messages of failures have been said already. */
static int test_model(validation *v, run *r, const mae_model *model,
                      failures *failed, mae_evaluation **e) {
  mae_session_options o;
  mae_session_options_init(&o, sizeof o);
  o.batch_size = r->settings.loader.batch_size;
  o.precision = r->settings.trainer.precision;
  o.mean = r->settings.mean.values;
  o.std = r->settings.std.values;
  passes p = {.context = r->context,
              .model = model,
              .dataset = v->dataset,
              .failed = failed};
  return classify_evaluate(&p, &o, e);
}

/* Once, as it is the same after each epoch. */
static void tell_failed(validation *v, run *r, const failures *failed) {
  char what[1000];
  if (v->told || !failed->count) return;
  v->told = true;
  snprintf(what, sizeof what, "%zu of %lld images to test on cannot be read, "
           "the first: %s", failed->count,
           (long long)mae_dataset_size(v->dataset), failed->lines[0]);
  run_warn(r, what);
}

static void tell_test(const run *r, const metric_test *t) {
  char average[64] = "";
  if (t->has_ema)
    snprintf(average, sizeof average, "  averaged weights %.2f %%",
             100 * t->ema_top1);
  run_tell(r, "test %lld/%d  top-1 %.2f %%  top-5 %.2f %%  loss %.4f%s",
           (long long)t->epoch, (int)r->settings.epochs, 100 * t->top1,
           100 * t->top5, t->loss, average);
}

/* Of both the better is kept. */
static void record(run *r, const metric_test *t) {
  const bool averaged = t->has_ema && t->ema_top1 > t->top1;
  bool best;
  if (!metrics_add_test(&r->metrics, t, &best)) run_warn(r, mae_last_error());
  if (!best) return;
  const mae_model *model =
      averaged ? mae_trainer_ema_model(r->trainer) : r->model;
  run_warn_if_failed(
      r, mae_model_save(model, run_file(&r->folder, "best.safetensors").text));
}

static void take(const mae_evaluation *e, double *top1, double *top5,
                 double *loss) {
  *top1 = mae_evaluation_top1(e);
  *top5 = mae_evaluation_top5(e);
  *loss = mae_evaluation_loss(e);
}

void validation_run(validation *v, run *r, int64_t epoch) {
  const mae_model *average = mae_trainer_ema_model(r->trainer);
  failures failed = {0}, again = {0};
  mae_evaluation *e = NULL, *of_average = NULL;
  metric_test t = {.epoch = epoch, .step = mae_trainer_steps(r->trainer)};
  if (!v->dataset) return;
  progress_clear(&r->progress);
  int status = test_model(v, r, r->model, &failed, &e);
  if (status == TOOL_OK && average)
    status = test_model(v, r, average, &again, &of_average);
  if (status == TOOL_OK && mae_evaluation_count(e)) {
    take(e, &t.top1, &t.top5, &t.loss);
    t.has_ema = average;
    if (average) take(of_average, &t.ema_top1, &t.ema_top5, &t.ema_loss);
    tell_test(r, &t);
    record(r, &t);
  }
  tell_failed(v, r, &failed);
  mae_evaluation_destroy(e);
  mae_evaluation_destroy(of_average);
  failures_free(&failed);
  failures_free(&again);
}
