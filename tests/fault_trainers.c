/* Faults: trainers, their checkpoints, whole runs; evaluation. */
#include "faults.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ------------------------------------------------------------- trainers --- */

static mae_status make_parts(fault_world *w) {
  MAE_TRY(fault_make_context(w));
  return fault_make_model(w);
}

static mae_status make_classifier_parts(fault_world *w) {
  MAE_TRY(fault_make_context(w));
  return fault_make_classifier(w);
}

static mae_status create(fault_world *w) {
  mae_trainer_options o = fault_trainer_options();
  o.recompute = 1;
  o.precision = MAE_PRECISION_BF16;
  return mae_trainer_create(w->context, w->model, &o, &w->made.trainer);
}

static mae_status create_mixing(fault_world *w) {
  mae_trainer_options o = fault_trainer_options();
  o.mixup = o.cutmix = 1;
  o.drop_path = 0.1;
  o.layer_decay = 0.75;
  o.update_in_backward = 1;
  return mae_trainer_create(w->context, w->model, &o, &w->made.trainer);
}

static mae_status plan_of(fault_world *w, const mae_config *c) {
  const mae_trainer_options o = fault_trainer_options();
  mae_training_plan p = {.struct_size = sizeof p};
  MAE_TRY(mae_trainer_plan(w->context, c, &o, &p));
  w->out[0] = (float)p.total_bytes;
  w->out[1] = (float)p.step_flops;
  return MAE_OK;
}

static mae_status plan(fault_world *w) {
  const mae_config c = fault_config();
  return plan_of(w, &c);
}

static mae_status plan_classifier(fault_world *w) {
  mae_config c = {.struct_size = sizeof c};
  MAE_TRY(mae_model_config(w->model, &c));
  return plan_of(w, &c);
}

static mae_status step(fault_world *w) {
  mae_step_result r = {.struct_size = sizeof r};
  MAE_TRY(mae_trainer_step(w->trainer, w->images, NULL, &r));
  w->out[0] = (float)r.loss;
  return MAE_OK;
}

static mae_status step_labels(fault_world *w) {
  static const int32_t labels[FAULT_BATCH] = {2, 0};
  mae_step_result r = {.struct_size = sizeof r};
  MAE_TRY(
      mae_trainer_step_labels(w->trainer, w->images, labels, NULL, &r));
  w->out[0] = (float)r.loss;
  return MAE_OK;
}

/* --------------------------------------------------------- communicator --- */

/* Another rank that always has the same: its gradients are ours, and so is its
 * row in the table by which ranks agree. */
enum { MOST_SUMS = 16, TABLE = 2 * 16 };
typedef struct twin {
  struct {
    float *data;
    int64_t n;
  } sums[MOST_SUMS];
  int count;
} twin;
static twin the_twin;

static mae_status start_sum(void *arg, float *data, int64_t n) {
  twin *t = arg;
  if (t->count == MOST_SUMS) return MAE_ERROR_STATE;
  t->sums[t->count].data = data;
  t->sums[t->count++].n = n;
  return MAE_OK;
}

static mae_status wait_all(void *arg) {
  twin *t = arg;
  for (; t->count; t->count--) {
    float *data = t->sums[t->count - 1].data;
    const int64_t n = t->sums[t->count - 1].n;
    if (n == TABLE)
      memcpy(data + TABLE / 2, data, TABLE / 2 * sizeof *data);
    else
      for (int64_t i = 0; i < n; i++) data[i] *= 2;
  }
  return MAE_OK;
}

static mae_status set_communicator(fault_world *w) {
  const mae_communicator c = {.struct_size = sizeof c,
                              .ranks = 2,
                              .arg = &the_twin,
                              .start_sum = start_sum,
                              .wait_all = wait_all};
  return mae_trainer_set_communicator(w->trainer, &c);
}

/* Whether it is set shows in a step. */
static uint64_t after_step(fault_world *w) {
  const mae_status status =
      mae_trainer_step(w->trainer, w->images, NULL, NULL);
  const uint64_t seen = mae_trainer_images_seen(w->trainer);
  return fault_hash(fault_hash(0, &status, sizeof status), &seen, sizeof seen);
}

static mae_status make_ranks(fault_world *w) {
  the_twin.count = 0;
  MAE_TRY(fault_make_trainer(w));
  return set_communicator(w);
}

static mae_status make_trainer(fault_world *w) {
  the_twin.count = 0;
  return fault_make_trainer(w);
}

/* ---------------------------------------------------------- checkpoints --- */

/* A classifier's head alone is trained, so that there is little to write, each
 * piece of which takes memory. */
static mae_status make_small(fault_world *w, int32_t accum_steps) {
  mae_trainer_options o = fault_trainer_options();
  o.trainable_blocks = 0;
  o.accum_steps = accum_steps;
  MAE_TRY(fault_make_context(w));
  MAE_TRY(fault_make_classifier(w));
  MAE_TRY(fault_make_images(w));
  return mae_trainer_create(w->context, w->model, &o, &w->trainer);
}

/* A checkpoint in the middle of an update's steps; resuming does not change
 * it. */
static mae_status make_resuming(fault_world *w) {
  MAE_TRY(make_small(w, 2));
  MAE_TRY(step_labels(w));
  fault_path(w, "trainer.safetensors");
  if (access(w->path, F_OK)) MAE_TRY(mae_trainer_save(w->trainer, w->path));
  return step_labels(w);
}

static mae_status make_saving(fault_world *w) {
  MAE_TRY(make_small(w, 2));
  fault_path(w, "trainer.safetensors");
  MAE_TRY(mae_trainer_save(w->trainer, w->path));
  return step_labels(w);
}

static mae_status save(fault_world *w) {
  return mae_trainer_save(w->trainer, w->path);
}

static mae_status resume(fault_world *w) {
  return mae_trainer_resume(w->trainer, w->path);
}

static mae_fit_options fit_options(void) {
  mae_fit_options o;
  mae_fit_options_init(&o, sizeof o);
  o.epochs = 1;
  o.checkpoint_folder = fault_folder;
  o.checkpoint_minutes = 1e-9; /* after each update */
  o.keep_checkpoints = 2;
  return o;
}

static void remove_checkpoints(fault_world *w) {
  char name[64];
  for (int i = 0; i <= 8; i++) {
    snprintf(name, sizeof name, "checkpoint-%08d.safetensors", i);
    fault_path(w, name);
    unlink(w->path);
  }
  fault_path(w, "best.safetensors");
  unlink(w->path);
}

static mae_status make_fit(fault_world *w) {
  const mae_loader_options o = fault_loader_options();
  MAE_TRY(make_small(w, 1));
  MAE_TRY(fault_make_dataset(w));
  remove_checkpoints(w);
  MAE_TRY(mae_loader_create(w->dataset, &o, &w->loader));
  /* Files cannot be written in every build. */
  fault_path(w, "best.safetensors");
  return mae_model_save(w->model, w->path);
}

static mae_status fit(fault_world *w) {
  const mae_fit_options o = fit_options();
  return mae_trainer_fit(w->trainer, w->loader, &o);
}

static mae_status make_resume_latest(fault_world *w) {
  MAE_TRY(make_small(w, 1));
  for (int i = 1; i <= 2; i++) {
    char name[64];
    MAE_TRY(step_labels(w));
    snprintf(name, sizeof name, "checkpoint-%08d.safetensors", i);
    fault_path(w, name);
    if (access(w->path, F_OK)) MAE_TRY(mae_trainer_save(w->trainer, w->path));
  }
  return step_labels(w);
}

static mae_status resume_latest(fault_world *w) {
  char note[128] = "";
  MAE_TRY(
      mae_trainer_resume_latest(w->trainer, fault_folder, note, sizeof note));
  w->out[1] = (float)strlen(note);
  return MAE_OK;
}

/* ----------------------------------------------------------- evaluation --- */

static mae_status nothing(fault_world *w) {
  (void)w;
  return MAE_OK;
}

static mae_status create_evaluation(fault_world *w) {
  return mae_evaluation_create(FAULT_CLASSES, &w->made.evaluation);
}

enum { ROWS = 12, WIDTH = 16 };
static const int32_t labels[ROWS] = {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2};

static mae_status make_rows(fault_world *w) {
  MAE_TRY(fault_make_context(w));
  MAE_TRY(mae_tensor_create(1, (int64_t[]){ROWS * WIDTH}, &w->rows));
  return mae_random_normal(1, 1, 0, ROWS * WIDTH, mae_tensor_data(w->rows));
}

static mae_status classify(fault_world *w) {
  const float *rows = mae_tensor_data(w->rows);
  return mae_knn_classify(w->context, rows, labels, ROWS, WIDTH, FAULT_CLASSES,
                          rows, 3, 4, 0.07, w->out);
}

static mae_status probe(fault_world *w) {
  mae_probe_options o;
  mae_probe_options_init(&o, sizeof o);
  o.epochs = 2;
  o.warmup_epochs = 0;
  return mae_linear_probe(w->context, mae_tensor_data(w->rows), labels, ROWS,
                          WIDTH, FAULT_CLASSES, &o, w->out + 1, w->out + 100);
}

#define CALL(call, how, make, run) \
  {call, how, MAKES_NOTHING, make, run, NULL, 0, NULL}
const fault_case fault_trainers[] = {
    {"mae_trainer_create", "", MAKES_TRAINER, make_parts, create, NULL, 0,
     NULL},
    {"mae_trainer_create", "classifier", MAKES_TRAINER, make_classifier_parts,
     create_mixing, NULL, 0, NULL},
    CALL("mae_trainer_plan", "", make_parts, plan),
    CALL("mae_trainer_plan", "classifier", make_classifier_parts,
         plan_classifier),
    CALL("mae_trainer_step", "", make_trainer, step),
    CALL("mae_trainer_step", "ranks", make_ranks, step),
    CALL("mae_trainer_step_labels", "", fault_make_classifier_trainer,
         step_labels),
    {"mae_trainer_set_communicator", "", MAKES_NOTHING, make_trainer,
     set_communicator, after_step, 0, NULL},
    CALL("mae_trainer_save", "", make_saving, save),
    CALL("mae_trainer_resume", "", make_resuming, resume),
    {"mae_trainer_resume_latest", "", MAKES_NOTHING, make_resume_latest,
     resume_latest, NULL, FAULT_SKIPS, NULL},
    {"mae_trainer_fit", "", MAKES_NOTHING, make_fit, fit, NULL, FAULT_RUN,
     NULL},
    {"mae_evaluation_create", "", MAKES_EVALUATION, nothing, create_evaluation,
     NULL, 0, NULL},
    {"mae_knn_classify", "", MAKES_NOTHING, make_rows, classify, NULL,
     FAULT_BY_BLAS, NULL},
    {"mae_linear_probe", "", MAKES_NOTHING, make_rows, probe, NULL,
     FAULT_BY_BLAS, NULL},
    {0}};
