/* mae finetune: a classifier, of a pretrained encoder or from scratch. */
#include <stdlib.h>

#include "base/memory.h"
#include "tool/class_names.h"
#include "tool/commands.h"
#include "tool/mpi.h"
#include "tool/run.h"
#include "tool/say.h"
#include "tool/settle.h"
#include "tool/validation.h"
#include "tool/weights.h"

static const char help[] =
    "Usage: mae finetune --data PATH --val PATH --model FILE --out RUN "
    "[OPTION]...\n"
    "       mae finetune --data PATH --recipe scratch --out RUN [OPTION]...\n"
    "       mae finetune --out RUN --resume [OPTION]...\n"
    "\n"
    "Train a classifier on images whose classes are known, from the weights "
    "of\n"
    "mae pretrain or others', as the paper's authors fine-tune.  The folder "
    "RUN\n"
    "gets checkpoint-NNNNNNNN.safetensors, best.safetensors (of the best "
    "top-1\n"
    "on the test images; without them, of the least mean loss of an epoch), "
    "at\n"
    "the end model.safetensors (and model-ema.safetensors with --ema-decay);\n"
    "metrics.jsonl, loss.png, report.html and config.txt.\n"
    "\n"
    "  -m FILE                   short for --model\n";

/* ----------------------------------------------------------- the model --- */

/* What others' weights do not say comes from the settings. */
static int load_weights(const run_settings *s, mae_model **weights) {
  weights_options w;
  weights_options_init(&w);
  w.load.num_heads = s->config.num_heads;
  w.load.decoder_num_heads = s->decoder_heads;
  w.load.grid_height = s->grid[0];
  w.load.grid_width = s->grid[1];
  w.load.layer_norm_eps = s->config.layer_norm_eps;
  return weights_load_to_use(&w, s->model, weights);
}

static mae_status name_classes(run *r) {
  class_names names;
  MAE_TRY(class_names_of_dataset(r->dataset, &names));
  mae_status status = mae_model_set_class_names(r->model, names.list);
  class_names_free(&names);
  if (status != MAE_OK) return status;
  return mae_model_set_normalization(r->model, r->settings.mean.values,
                                     r->settings.std.values);
}

static mae_status make_model(run *r, mae_model *weights) {
  const run_settings *s = &r->settings;
  mae_config c = s->config;
  c.num_classes = mae_dataset_num_classes(r->dataset);
  if (!weights) {
    MAE_TRY(mae_model_create(&c, s->trainer.seed, &r->model));
    return name_classes(r);
  }
  MAE_TRY(mae_model_resize(weights, c.image_height, c.image_width));
  MAE_TRY(mae_model_classifier(weights, c.num_classes, c.global_pool,
                               s->trainer.seed, &r->model));
  return name_classes(r);
}

/* ------------------------------------------------------------- the data --- */

static mae_status open_data(run *r) {
  const run_settings *s = &r->settings;
  validation *v = r->own;
  class_names names;
  MAE_TRY(mae_dataset_open_labelled(s->data, NULL, 0, &r->dataset));
  if (!*s->val) return MAE_OK;
  MAE_TRY(class_names_of_dataset(r->dataset, &names));
  mae_status status = class_names_open(s->val, &names, &v->dataset);
  class_names_free(&names);
  return status;
}

static int prepare_with(run *r, mae_model *weights) {
  int status =
      settle_finetuning(&r->settings, weights, mpi_rank(), mpi_ranks());
  say_nothing(false); /* other failures may be those of one rank */
  if (status != TOOL_OK) return status;
  if (open_data(r) != MAE_OK || make_model(r, weights) != MAE_OK)
    return fail_library();
  r->settings.fit.save_best = !*r->settings.val;
  return TOOL_OK;
}

static int prepare(run *r) {
  mae_model *weights = NULL;
  r->own = mae_calloc(1, sizeof(validation));
  if (!r->own) return fail_library();
  int status = settle_sources(&r->settings);
  /* A checkpoint has them all. */
  const bool needs_weights =
      !settle_is_scratch(&r->settings) &&
      !(r->resume && run_folder_has_checkpoint(&r->folder));
  if (status == TOOL_OK && needs_weights)
    status = load_weights(&r->settings, &weights);
  if (status == TOOL_OK) status = prepare_with(r, weights);
  mae_model_destroy(weights);
  return status;
}

/* -------------------------------------------------------------- the run --- */

/* A run that was killed between the end of an epoch and its test. */
static void catch_up(run *r) {
  const int64_t whole = r->batches * r->settings.trainer.batch_size;
  if (r->epochs_done > r->metrics.latest_test.epoch &&
      mae_trainer_images_seen(r->trainer) % (uint64_t)whole == 0)
    validation_run(r->own, r, r->epochs_done);
}

static int begin(run *r) {
  run_tell(r, "%s, %.1f million parameters, %d classes; %s", r->settings.model,
           (double)mae_model_parameter_count(r->model, 0) / 1e6,
           (int)mae_dataset_num_classes(r->dataset), run_size_of(r).text);
  catch_up(r);
  return TOOL_OK;
}

static void end_epoch(run *r, int64_t epoch) {
  validation_run(r->own, r, epoch);
}

static int finish(run *r) {
  const mae_model *average = mae_trainer_ema_model(r->trainer);
  run_path path = run_file(&r->folder, "model-ema.safetensors");
  if (average && mae_model_save(average, path.text) != MAE_OK)
    return fail_library();
  return TOOL_OK;
}

static void destroy(run *r) {
  validation *v = r->own;
  if (v) mae_dataset_destroy(v->dataset);
  free(v);
}

static const run_task task = {.kind = RUN_FINETUNE,
                              .command = "finetune",
                              .help = help,
                              .prepare = prepare,
                              .begin = begin,
                              .end_epoch = end_epoch,
                              .finish = finish,
                              .destroy = destroy};

int command_finetune(int argc, char **argv) {
  return run_command(&task, argc, argv);
}
