#include "study_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "study_judge.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

const char *study_model_path(const study_bench *bench, const study_cell *cell) {
  static _Thread_local char path[1024];
  snprintf(path, sizeof path, "%s/%s-%d.safetensors", bench->models,
           cell->variant->name, cell->seed);
  return path;
}

static mae_config config_of(const study_bench *bench, const study_cell *cell) {
  const study_settings *s = bench->settings;
  const study_variant *v = cell->variant;
  mae_config c;
  need(mae_config_init(&c, sizeof c, NULL));
  c.image_height = c.image_width = STUDY_SIDE;
  c.in_chans = 1;
  c.patch_size = s->patch;
  c.embed_dim = s->width;
  c.depth = s->depth;
  c.num_heads = s->heads;
  c.decoder_embed_dim = s->decoder_width;
  c.decoder_num_heads = s->decoder_heads;
  c.decoder_depth = v->decoder_depth;
  c.norm_pix_loss = v->norm_pix_loss;
  c.encoder_mask_tokens = v->encoder_mask_tokens;
  return c;
}

/* ------------------------------------------------------------ training --- */

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* All steps of a trainer, with labels or without. */
static void train(mae_trainer *trainer, study_batches *batches, bool labels,
                  int64_t steps, double *values) {
  double *times = study_memory((size_t)steps, sizeof *times), loss = 0;
  const int64_t tail = (steps + 9) / 10;
  for (int64_t i = 0; i < steps; i++) {
    mae_step_result r = {.struct_size = sizeof r};
    study_batches_next(batches);
    const double start = now();
    need(labels ? mae_trainer_step_labels(trainer, batches->images,
                                          batches->labels, NULL, &r)
                : mae_trainer_step(trainer, batches->images, NULL, &r));
    times[i] = now() - start;
    if (i >= steps - tail) loss += r.loss / (double)tail;
  }
  qsort(times, (size_t)steps, sizeof *times, by_value);
  values[STUDY_LOSS] = loss;
  values[STUDY_STEP_MS] = 1e3 * times[steps / 2];
  values[STUDY_STEPS] = (double)steps;
  free(times);
}

static void pretrain(const study_bench *bench, const study_cell *cell,
                     double *values) {
  const study_settings *s = bench->settings;
  const mae_config config = config_of(bench, cell);
  const uint64_t seed = (uint64_t)cell->seed;
  study_batches batches =
      study_batches_make(&bench->data->train, s->pretrain_batch, seed);
  const int64_t steps = batches.per_epoch * s->pretrain_epochs;
  mae_training_plan plan = {.struct_size = sizeof plan};
  mae_trainer_options o;
  mae_trainer *trainer;
  mae_model *model;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = s->pretrain_batch;
  o.mask_ratio = cell->variant->mask_ratio;
  o.base_lr = s->pretrain_rate;
  o.total_steps = steps;
  o.warmup_steps = steps / 20;
  o.seed = seed;
  need(mae_trainer_plan(bench->context, &config, &o, &plan));
  need(mae_model_create(&config, seed, &model));
  need(mae_trainer_create(bench->context, model, &o, &trainer));
  train(trainer, &batches, false, steps, values);
  values[STUDY_STEP_FLOPS] = plan.step_flops;
  need(mae_model_save(model, study_model_path(bench, cell)));
  mae_trainer_destroy(trainer);
  mae_model_destroy(model);
  study_batches_free(&batches);
}

/* The recipes, but for what a model and a set as small as these ask for: rate
 * and length, and in fine-tuning no mixing of images, which needs long runs. */
static mae_trainer_options label_options(const study_bench *bench,
                                         const study_cell *cell,
                                         int64_t epoch_steps) {
  const study_settings *s = bench->settings;
  const study_protocol *p = cell->protocol;
  const mae_config config = config_of(bench, cell);
  mae_trainer_options o;
  mae_trainer_options_init(&o, sizeof o);
  if (p->kind == STUDY_FINETUNE) {
    need(mae_trainer_options_recipe(&o, sizeof o, MAE_RECIPE_FINETUNE, &config,
                                    NULL, NULL));
    o.mixup = o.cutmix = 0;
    o.trainable_blocks = p->blocks;
    o.base_lr = s->finetune_rate;
    o.total_steps = epoch_steps * s->finetune_epochs;
  } else {
    if (p->recipe)
      need(mae_trainer_options_recipe(&o, sizeof o, MAE_RECIPE_SCRATCH, &config,
                                      NULL, NULL));
    o.base_lr = s->scratch_rate;
    o.total_steps = epoch_steps * s->scratch_epochs;
    if (p->recipe) o.ema_decay = 0.99; /* of these few steps */
  }
  o.batch_size = s->batch;
  o.warmup_steps = o.total_steps / 10;
  o.seed = (uint64_t)cell->seed;
  return o;
}

/* The encoder that a cell starts from. */
static mae_model *start_of(const study_bench *bench, const study_cell *cell,
                           bool trained) {
  const mae_config config = config_of(bench, cell);
  mae_model *model;
  if (trained)
    need(mae_model_load(study_model_path(bench, cell), &model));
  else
    need(mae_model_create(&config, (uint64_t)cell->seed, &model));
  return model;
}

static void train_labels(const study_bench *bench, const study_cell *cell,
                         const fashion *labelled, double *values) {
  mae_model *encoder =
      start_of(bench, cell, cell->protocol->kind == STUDY_FINETUNE);
  const uint64_t seed = (uint64_t)cell->seed;
  study_batches batches =
      study_batches_make(labelled, bench->settings->batch, seed);
  mae_trainer_options o = label_options(bench, cell, batches.per_epoch);
  mae_model *model;
  mae_trainer *trainer;
  need(mae_model_classifier(encoder, FASHION_CLASSES, 1, seed, &model));
  need(mae_trainer_create(bench->context, model, &o, &trainer));
  train(trainer, &batches, true, o.total_steps, values);
  const mae_model *judged = mae_trainer_ema_model(trainer);
  study_judge_model(bench, judged ? judged : model, values);
  mae_trainer_destroy(trainer);
  mae_model_destroy(model);
  mae_model_destroy(encoder);
  study_batches_free(&batches);
}

/* -------------------------------------------------------------- frozen --- */

static void frozen(const study_bench *bench, const study_cell *cell,
                   const fashion *labelled, bool trained, double *values) {
  mae_model *encoder = start_of(bench, cell, trained);
  if (cell->protocol->kind == STUDY_KNN)
    study_judge_knn(bench, encoder, labelled, values);
  else
    study_judge_linear(bench, encoder, labelled, (uint64_t)cell->seed, values);
  mae_model_destroy(encoder);
}

study_result study_run(const study_bench *bench, const study_cell *cell) {
  const study_kind kind = cell->protocol->kind;
  const double start = now();
  study_result result = {.cell = *cell};
  for (int f = 0; f < STUDY_FIELDS; f++) result.values[f] = NAN;
  if (kind == STUDY_PRETRAIN) {
    pretrain(bench, cell, result.values);
  } else {
    fashion labelled = study_labelled(
        &bench->data->train, bench->settings->labels, (uint64_t)cell->seed);
    if (kind == STUDY_LINEAR || kind == STUDY_KNN)
      frozen(bench, cell, &labelled, !cell->protocol->untrained, result.values);
    else
      train_labels(bench, cell, &labelled, result.values);
    fashion_free(&labelled);
  }
  result.values[STUDY_SECONDS] = now() - start;
  return result;
}
