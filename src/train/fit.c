/* A whole run of training over a loader's images. */
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "base/options.h"
#include "data/loader.h"
#include "train/checkpoint_folder.h"

static const mae_fit_options defaults = {.struct_size = sizeof defaults,
                                         .epochs = 800,
                                         .checkpoint_folder = NULL,
                                         .checkpoint_minutes = 10,
                                         .keep_checkpoints = 3,
                                         .save_best = 1};

void mae_fit_options_init(mae_fit_options *options, size_t struct_size) {
  mae_options_write(options, struct_size, &defaults, sizeof defaults);
}

typedef struct fit {
  mae_trainer *trainer;
  mae_loader *loader;
  mae_fit_options options;
  const char *folder;   /* NULL on ranks that do not write */
  uint64_t batch;       /* images of a step, over all ranks */
  int64_t done, last;   /* steps made since the first epoch, and to be made */
  mae_step_result step; /* the latest */
  mae_progress progress;
  double began, saved, stepped; /* seconds */
  double rate;
  int64_t saved_step; /* updates made at the latest checkpoint */
  bool stopping, best; /* asked to end; best.safetensors is to be written */
  double best_loss;
  char event[512];
} fit;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static mae_span begin_span(const fit *f) {
  return mae_span_begin(f->trainer->optimizer.context->profile);
}

static void end_span(const fit *f, mae_span span, const char *what) {
  mae_span_end(f->trainer->optimizer.context->profile, span, "fit", what,
               MAE_PROFILE_NO_PASS, 0);
}

/* ----------------------------------------------------------- progress --- */

/* Images per second, a mean over the last ten seconds or so. */
static void measure(fit *f) {
  const double took = now() - f->stepped, window = 10;
  double weight = f->rate > 0 ? 1 - exp(-took / window) : 1;
  if (took > 0) f->rate += weight * ((double)f->batch / took - f->rate);
}

static void update_progress(fit *f, const char *event) {
  mae_progress *p = &f->progress;
  const mae_fit_state *s = &f->trainer->fit;
  const int64_t at = f->done ? f->done - 1 : 0; /* the latest step's number */
  p->epoch = at / p->batches + 1;
  p->batch = f->done ? at % p->batches + 1 : 0;
  p->images_per_second = f->rate;
  p->seconds = now() - f->began;
  p->seconds_left =
      f->rate > 0 ? (double)(f->last - f->done) * (double)f->batch / f->rate : 0;
  p->epoch_loss = s->batches ? s->loss_sum / (double)s->batches : 0;
  p->skipped = mae_loader_skipped(f->loader);
  p->event = event;
}

static void tell(fit *f, int32_t (*callback)(void *, const mae_progress *),
                 const char *event) {
  if (!callback) return;
  update_progress(f, event);
  if (callback(f->options.arg, &f->progress)) f->stopping = true;
}

/* The latest failure, as an event. */
static void tell_failure(fit *f) {
  snprintf(f->event, sizeof f->event, "%s", mae_last_error());
  tell(f, f->options.on_step, f->event);
}

/* -------------------------------------------------------------- files --- */

static mae_status save(fit *f) {
  f->saved = now();
  if (!f->folder || f->saved_step == f->trainer->optimizer.step) return MAE_OK;
  const mae_span span = begin_span(f);
  mae_status status = mae_checkpoint_folder_save(f->trainer, f->folder,
                                                 f->options.keep_checkpoints);
  end_span(f, span, "files");
  if (status == MAE_OK)
    f->saved_step = f->trainer->optimizer.step;
  else
    tell_failure(f);
  return status;
}

/* The last one, whose failure is that of the whole call. */
static mae_status save_last(fit *f) {
  mae_status status = save(f);
  return status == MAE_OK ? status : mae_fail(status, "%s", f->event);
}

/* The least loss is part of the next checkpoint on all ranks alike. */
static void save_best(fit *f) {
  mae_fit_state *s = &f->trainer->fit;
  const mae_span span = begin_span(f);
  mae_status status =
      f->folder ? mae_checkpoint_folder_save_best(f->trainer, f->folder)
                : MAE_OK;
  if (f->folder) end_span(f, span, "files");
  f->best = false;
  if (status != MAE_OK) {
    tell_failure(f);
    return;
  }
  s->has_best = true;
  s->best_loss = f->best_loss;
}

static void save_if_due(fit *f) {
  double minutes = f->options.checkpoint_minutes;
  if (minutes > 0 && now() - f->saved >= 60 * minutes) save(f);
}

/* ------------------------------------------------------------- epochs --- */

/* Count a step's loss; an epoch's sum begins anew with its first batch, or
 * where steps outside this run came between. */
static void count_loss(fit *f) {
  mae_fit_state *s = &f->trainer->fit;
  uint64_t before = f->trainer->images_seen - f->batch;
  if ((f->done - 1) % f->progress.batches == 0 || s->images != before) {
    s->loss_sum = 0;
    s->batches = 0;
  }
  s->loss_sum += f->step.loss;
  s->batches++;
  s->images = f->trainer->images_seen;
}

/* Only an epoch that was trained whole can be the best. */
static void end_epoch(fit *f) {
  const mae_fit_state *s = &f->trainer->fit;
  const double loss = s->loss_sum / (double)s->batches;
  update_progress(f, NULL);
  if (f->options.save_best && s->batches == f->progress.batch &&
      (!s->has_best || loss < s->best_loss)) {
    f->best = true;
    f->best_loss = loss;
  }
  tell(f, f->options.on_epoch, NULL);
}

/* ------------------------------------------------------------- running --- */

static mae_status step(fit *f, const float *images) {
  mae_trainer *t = f->trainer;
  if (mae_is_classifier(&t->model->config))
    return mae_trainer_step_labels(t, images, mae_loader_labels(f->loader),
                                   NULL, &f->step);
  return mae_trainer_step(t, images, NULL, &f->step);
}

static mae_status train(fit *f) {
  const float *images;
  f->stepped = now(); /* callbacks and files do not count */
  mae_span span = begin_span(f);
  MAE_TRY(mae_loader_next(f->loader, &images));
  end_span(f, span, "loader");
  mae_status status = step(f, images);
  if (status == MAE_ERROR_NON_FINITE) {
    tell_failure(f); /* whose callback may fail in its own ways */
    return mae_fail(status, "%s", f->event);
  }
  MAE_TRY(status);
  f->done++;
  count_loss(f);
  measure(f);
  return MAE_OK;
}

static mae_status run(fit *f) {
  while (f->done < f->last) {
    MAE_TRY(train(f));
    tell(f, f->options.on_step, NULL);
    if (f->done % f->progress.batches == 0 || f->done == f->last) end_epoch(f);
    if (!f->step.updated) continue; /* files are written between updates */
    if (f->best) save_best(f);
    if (f->stopping) break;
    save_if_due(f);
  }
  return save_last(f);
}

/* The steps after which whole updates end within the epochs. */
static mae_status find_last(fit *f) {
  const int64_t accum = f->trainer->options.accum_steps;
  int64_t all, begun = f->done - f->trainer->gathered;
  if (__builtin_mul_overflow(f->options.epochs, f->progress.batches, &all))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "epochs: too many");
  if (all < accum)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "all epochs have %lld batches, less than the %lld of an "
                    "update",
                    (long long)all, (long long)accum);
  f->last = all < begun ? f->done : begun + (all - begun) / accum * accum;
  if (f->last < f->done) f->last = f->done;
  return MAE_OK;
}

static mae_status check_number(const char *what, int64_t loader,
                               int64_t trainer) {
  if (loader == trainer) return MAE_OK;
  return mae_fail(MAE_ERROR_MISMATCH, "%s is %lld for the loader, %lld for the "
                  "trainer", what, (long long)loader, (long long)trainer);
}

static mae_status check_labels(const mae_loader *loader,
                               const mae_config *config) {
  const int32_t classes =
      mae_dataset_num_classes(mae_loader_dataset_of(loader));
  if (!mae_is_classifier(config) || classes == config->num_classes)
    return MAE_OK;
  return mae_fail(MAE_ERROR_MISMATCH,
                  "the loader's dataset has labels of %d classes, the model "
                  "%d", classes, config->num_classes);
}

static mae_status check_loader(const mae_loader *loader, const mae_trainer *t) {
  const mae_loader_options *o = mae_loader_options_of(loader);
  const mae_config *c = &t->model->config;
  MAE_TRY(check_number("batch_size", o->batch_size, t->options.batch_size));
  MAE_TRY(check_number("image_height", o->image_height, c->image_height));
  MAE_TRY(check_number("image_width", o->image_width, c->image_width));
  MAE_TRY(check_number("in_chans", o->in_chans, c->in_chans));
  MAE_TRY(check_labels(loader, c));
  MAE_TRY(check_number("rank", o->rank, t->sum.comm.rank));
  return check_number("ranks", o->ranks, t->sum.comm.ranks);
}

static mae_status set_up(fit *f) {
  mae_trainer *t = f->trainer;
  MAE_TRY(check_loader(f->loader, t));
  f->batch = (uint64_t)t->options.batch_size * (uint64_t)t->sum.comm.ranks;
  f->done = (int64_t)(t->images_seen / f->batch);
  f->progress.batches = mae_loader_epoch_batches(f->loader);
  f->progress.epochs = f->options.epochs;
  MAE_TRY(find_last(f));
  MAE_TRY(mae_loader_seek(f->loader, t->images_seen));
  f->folder = t->sum.comm.rank == 0 ? f->options.checkpoint_folder : NULL;
  if (f->folder) MAE_TRY(mae_checkpoint_folder_begin(f->folder));
  f->saved_step = t->optimizer.step; /* nothing new to save yet */
  f->began = f->saved = f->stepped = now();
  return MAE_OK;
}

static mae_status check(const mae_fit_options *o) {
  if (o->epochs < 1)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "epochs is %lld",
                    (long long)o->epochs);
  if (!(o->checkpoint_minutes >= 0 && o->checkpoint_minutes < 1e9))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "checkpoint_minutes is %g",
                    o->checkpoint_minutes);
  if (o->save_best < 0 || o->save_best > 1)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "save_best is %d",
                    o->save_best);
  if (o->keep_checkpoints < 1)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "keep_checkpoints is %d",
                    o->keep_checkpoints);
  return MAE_OK;
}

mae_status mae_trainer_fit(mae_trainer *trainer, mae_loader *loader,
                           const mae_fit_options *options) {
  MAE_REQUIRE(trainer);
  MAE_REQUIRE(loader);
  fit f = {.trainer = trainer, .loader = loader, .options = defaults};
  if (options)
    MAE_TRY(mae_options_read("mae_fit_options", &f.options, sizeof f.options,
                             options));
  MAE_TRY(check(&f.options));
  f.step = (mae_step_result){.struct_size = sizeof f.step,
                             .step = trainer->optimizer.step};
  f.progress = (mae_progress){.struct_size = sizeof f.progress,
                              .step = &f.step};
  MAE_TRY(set_up(&f));
  return run(&f);
}
