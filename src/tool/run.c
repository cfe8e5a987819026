/* The run: makes the parts, trains, and tells how far it is. */
#include "tool/run.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "tool/chart.h"
#include "tool/context.h"
#include "tool/interrupt.h"
#include "tool/mpi.h"
#include "tool/precision.h"
#include "tool/profile.h"
#include "tool/run_report.h"
#include "tool/say.h"
#include "tool/text_file.h"

/* --------------------------------------------------------- telling it --- */

void run_warn(run *r, const char *what) {
  progress_clear(&r->progress);
  say("%s", what);
  snprintf(r->trouble, sizeof r->trouble, "After update %lld: %s",
           (long long)mae_trainer_steps(r->trainer), what);
}

void run_warn_if_failed(run *r, mae_status status) {
  if (status != MAE_OK && status != MAE_ERROR_UNSUPPORTED)
    run_warn(r, mae_last_error());
}

static void name_skipped(run *r) {
  const char *item;
  while ((item = mae_loader_skipped_item(r->loader, r->named))) {
    progress_clear(&r->progress);
    say("passed over: %s", item);
    r->named++;
  }
}

static void write_report(run *r, const char *status) {
  const run_report report = {
      .folder = &r->folder,
      .settings = &r->settings,
      .metrics = &r->metrics,
      .loader = r->loader,
      .status = status,
      .trouble = *r->trouble ? r->trouble : NULL,
      .epochs_done = r->epochs_done,
      .updates = r->updates,
      .images = mae_dataset_size(r->dataset),
      .parameters = mae_model_parameter_count(r->model, 0),
      .processes = mpi_ranks(),
      .seconds_left = r->seconds_left};
  run_path curve = run_file(&r->folder, "loss.png");
  if (r->metrics.updates.count)
    run_warn_if_failed(r, chart_png(&r->metrics, curve.text));
  run_warn_if_failed(r, run_report_write(&report));
}

/* ---------------------------------------------------------- callbacks --- */

static void write_numbers(const mae_progress *p, char *out, size_t size) {
  char eta[48];
  progress_time(eta, sizeof eta, p->seconds_left);
  snprintf(out, size,
           "epoch %lld/%lld  loss %.4f  lr %.2e  %.0f images/s  ETA %s",
           (long long)p->epoch, (long long)p->epochs, p->epoch_loss,
           p->step->learning_rate, p->images_per_second, eta);
}

static void show(run *r, const mae_progress *p) {
  char numbers[200];
  if (!progress_due(&r->progress)) return;
  write_numbers(p, numbers, sizeof numbers);
  double done = (double)(p->epoch - 1) + (double)p->batch / (double)p->batches;
  progress_show_text(&r->progress, done / (double)p->epochs, numbers);
}

/* A line of metrics for each update, whose loss is the mean of its passes'. */
static void measure(run *r, const mae_progress *p) {
  r->loss_sum += p->step->loss;
  r->passes++;
  r->seconds_left = p->seconds_left;
  if (!p->step->updated) return;
  const metric x = {.step = p->step->step,
                    .epoch = p->epoch,
                    .loss = r->loss_sum / (double)r->passes,
                    .lr = p->step->learning_rate,
                    .grad_norm = p->step->grad_norm,
                    .images_per_second = p->images_per_second,
                    .seconds = r->seconds + p->seconds};
  if (!metrics_add(&r->metrics, &x)) run_warn(r, mae_last_error());
  r->loss_sum = 0;
  r->passes = 0;
}

/* All processes end after the same update. */
static int32_t on_step(void *arg, const mae_progress *p) {
  run *r = arg;
  if (p->event) { /* of one process, or of all alike */
    snprintf(r->trouble, sizeof r->trouble, "%s", p->event);
    if (mpi_rank() == 0) run_warn(r, p->event);
    return 0;
  }
  name_skipped(r);
  if (mpi_rank() == 0) {
    measure(r, p);
    show(r, p);
  }
  return p->step->updated && mpi_any(interrupt_asked() != 0);
}

static int32_t on_epoch(void *arg, const mae_progress *p) {
  run *r = arg;
  r->epochs_done = p->epoch;
  if (mpi_rank()) return 0;
  char numbers[200];
  metrics_end_epoch(&r->metrics);
  write_numbers(p, numbers, sizeof numbers);
  progress_line(&r->progress, numbers);
  r->task->end_epoch(r, p->epoch);
  write_report(r, "running");
  return 0;
}

/* ---------------------------------------------------------- beginning --- */

/* Threads that were not asked for: the processes of a machine share it. */
static int32_t share_of_cpus(int32_t asked) {
  if (asked || mpi_ranks_here() == 1) return asked;
  int32_t share = mae_cpu_count() / mpi_ranks_here();
  return share > 1 ? share : 1;
}

static mae_status make_loader(run *r) {
  mae_loader_options o = r->settings.loader;
  o.threads = share_of_cpus(o.threads);
  MAE_TRY(mae_loader_create(r->dataset, &o, &r->loader));
  r->batches = mae_loader_epoch_batches(r->loader);
  return MAE_OK;
}

/* The schedule goes by updates, the settings by epochs. */
static mae_status make_trainer(run *r) {
  run_settings *s = &r->settings;
  mae_trainer_options o = s->trainer;
  const double an_epoch = (double)r->batches / o.accum_steps;
  o.batch_size = s->loader.batch_size;
  o.warmup_steps = (int64_t)(s->warmup_epochs * an_epoch + 0.5);
  o.total_steps = r->updates = s->epochs * r->batches / o.accum_steps;
  MAE_TRY(open_context(share_of_cpus(s->threads), &r->context));
  MAE_TRY(mae_trainer_create(r->context, r->model, &o, &r->trainer));
  return mae_trainer_set_communicator(r->trainer, mpi_communicator());
}

static int resume(run *r) {
  char note[1024];
  mae_status status = mae_trainer_resume_latest(
      r->trainer, r->folder.path, note, sizeof note);
  if (status == MAE_ERROR_NOT_FOUND) {
    if (mpi_rank() == 0) say("%s: from the beginning", mae_last_error());
    return TOOL_OK;
  }
  if (status != MAE_OK) return fail_library();
  if (mpi_rank()) return TOOL_OK;
  if (*note) run_warn(r, note);
  run_tell(r, "resumed after update %lld of %lld",
      (long long)mae_trainer_steps(r->trainer), (long long)r->updates);
  return TOOL_OK;
}

/* A run that is resumed has one already. */
static int write_config(run *r) {
  text t = {NULL, 0, 0, false};
  settings_write(&r->settings, &t);
  mae_status status = text_write(run_file(&r->folder, "config.txt").text, &t);
  text_free(&t);
  if (!r->resume) return status == MAE_OK ? TOOL_OK : fail_library();
  run_warn_if_failed(r, status);
  return TOOL_OK;
}

run_size run_size_of(const run *r) {
  const mae_trainer_options *o = &r->settings.trainer;
  run_size size;
  snprintf(size.text, sizeof size.text,
           "%lld images; an epoch is %lld passes of %d, an update %d of them; "
           "%lld updates",
           (long long)mae_dataset_size(r->dataset), (long long)r->batches,
           (int)o->batch_size, (int)o->accum_steps, (long long)r->updates);
  return size;
}

/* From here on the folder has this run in it. */
static int begin_folder(run *r) {
  const run_folder *folder = &r->folder;
  int status = r->force ? run_folder_clear(folder) : TOOL_OK;
  if (status == TOOL_OK) status = write_config(r);
  if (status == TOOL_OK)
    status = metrics_open(&r->metrics, run_file(folder, "metrics.jsonl").text,
                          mae_trainer_steps(r->trainer), r->epochs_done);
  if (status != TOOL_OK) return status;
  r->seconds = r->metrics.latest.seconds;
  status = r->task->begin(r);
  if (status == TOOL_OK && !r->quiet)
    precision_tell(r->context, r->settings.trainer.precision);
  if (status == TOOL_OK && r->settings.warmup_epochs >= r->settings.epochs)
    say("the warm-up of %g epochs is no shorter than the run of %d",
        r->settings.warmup_epochs, (int)r->settings.epochs);
  if (status == TOOL_OK && r->settings.trainer.accum_steps > r->batches)
    say("an update takes more than an epoch: a smaller --effective-batch than "
        "%d makes more of them", (int)r->settings.effective_batch);
  return status;
}

/* ------------------------------------------------------------- the run --- */

static const char *signal_name(int signal_number) {
  switch (signal_number) {
    case SIGINT: return "SIGINT";
    case SIGHUP: return "SIGHUP";
    case SIGTERM: return "SIGTERM";
    default: return "a signal to another process";
  }
}

/* After the training: its status is told, and in the report. */
static int end(run *r, mae_status status) {
  char why[600], state[700] = "finished";
  const int signal_number = interrupt_asked();
  const bool stopped =
      status == MAE_OK && mae_trainer_steps(r->trainer) < r->updates;
  snprintf(why, sizeof why, "%s", mae_last_error());
  progress_clear(&r->progress);
  if (status != MAE_OK)
    snprintf(state, sizeof state, "failed: %s", why);
  else if (stopped)
    snprintf(state, sizeof state, "stopped by %s", signal_name(signal_number));
  if (mpi_rank() == 0) write_report(r, state);
  if (status != MAE_OK && !strstr(r->trouble, why)) say("%s", why);
  if (status != MAE_OK) return TOOL_FAILED;
  if (!stopped) return TOOL_OK;
  if (mpi_rank() == 0)
    say("%s after update %lld of %lld; --resume goes on", state,
        (long long)mae_trainer_steps(r->trainer), (long long)r->updates);
  return 128 + (signal_number ? signal_number : SIGTERM);
}

static int finish(run *r) {
  run_path path = run_file(&r->folder, "model.safetensors");
  if (mae_model_save(r->model, path.text) != MAE_OK) return fail_library();
  int status = r->task->finish(r);
  if (status != TOOL_OK) return status;
  run_tell(r, "finished: %s", path.text);
  return TOOL_OK;
}

static int train(run *r) {
  mae_fit_options o = r->settings.fit;
  o.checkpoint_folder = r->folder.path;
  o.on_step = on_step;
  o.on_epoch = on_epoch;
  o.arg = r;
  r->progress = progress_begin(1, r->quiet || mpi_rank());
  interrupt_ask();
  mae_status trained = mae_trainer_fit(r->trainer, r->loader, &o);
  int status = end(r, trained);
  /* The other processes wait for this one, unless they failed alike. */
  if (mpi_ranks() > 1 && trained != MAE_OK && trained != MAE_ERROR_NON_FINITE)
    mpi_abort(status);
  return status == TOOL_OK && mpi_rank() == 0 ? finish(r) : status;
}

static int run_parts(run *r) {
  int status = r->task->prepare(r);
  if (status == TOOL_OK &&
      (make_loader(r) != MAE_OK || make_trainer(r) != MAE_OK))
    status = fail_library();
  /* All read the checkpoint before one of them writes. */
  if (status == TOOL_OK && r->resume) status = resume(r);
  if (mpi_any(status != TOOL_OK)) return status ? status : TOOL_FAILED;
  r->epochs_done = (int64_t)mae_trainer_images_seen(r->trainer) /
                   (r->batches * r->settings.trainer.batch_size);
  if (mpi_rank() == 0) status = begin_folder(r);
  if (mpi_any(status != TOOL_OK)) return status ? status : TOOL_FAILED;
  return train(r);
}

int run_train(run *r) {
  metrics_init(&r->metrics);
  int status = run_parts(r);
  if (mpi_rank() == 0) profile_print(r->context, stderr);
  r->task->destroy(r);
  metrics_close(&r->metrics);
  mae_loader_destroy(r->loader);
  mae_trainer_destroy(r->trainer);
  mae_dataset_destroy(r->dataset);
  mae_model_destroy(r->model);
  mae_context_destroy(r->context);
  return status;
}
