/* Training of classifiers: what is trained and how fast, stochastic depth,
 * mixing, the average of weights, resume, failures; recipes. */
#include <unistd.h>

#include "count_alloc.h"
#include "suites.h"
#include "train/mix.h"
#include "train/trainer.h"
#include "training.h"

enum { BATCH = 4, CLASSES = 3, DEPTH = 3 };

static char path[64];

static void make_path(void) {
  strcpy(path, "/tmp/libmae-finetune-XXXXXX");
  close(mkstemp(path));
}
static void drop_path(void) { unlink(path); }

/* -------------------------------------------------------------- a run --- */

static mae_trainer_options small_options(void) {
  mae_trainer_options o;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = BATCH;
  o.base_lr = 0.064; /* 1e-3 at batch 4 */
  return o;
}

/* Everything there is, at once. */
static mae_trainer_options full_options(void) {
  mae_trainer_options o = small_options();
  o.accum_steps = 2;
  o.clip_grad = 1;
  o.warmup_steps = 2;
  o.total_steps = 40;
  o.seed = 77;
  o.ema_decay = 0.9;
  o.layer_decay = 0.75;
  o.drop_path = 0.3;
  o.label_smoothing = 0.1;
  o.mixup = 0.8;
  o.cutmix = 1;
  o.trainable_blocks = 2;
  return o;
}

/* A head large enough for gradients to reach the encoder. */
static mae_model *small_classifier(int32_t global_pool, uint64_t seed) {
  mae_config c = small_config();
  mae_model *encoder, *model;
  c.depth = DEPTH;
  ASSERT_OK(mae_model_create(&c, seed, &encoder));
  ASSERT_OK(mae_model_classifier(encoder, CLASSES, global_pool, seed, &model));
  mae_model_destroy(encoder);
  mae_tensor *head = mae_model_find(model, "head.weight");
  for (int64_t i = 0; i < mae_tensor_size(head); i++) head->data[i] *= 5000;
  return model;
}

static run start(mae_trainer_options o, int32_t threads, uint64_t seed) {
  return run_of(small_classifier(seed % 2 == 0, seed), o, threads);
}

static void labels_of(uint64_t step, int32_t labels[BATCH]) {
  for (int i = 0; i < BATCH; i++)
    labels[i] = (int32_t)((step * 7 + (uint64_t)i) % CLASSES);
}

static void steps(run *r, int from, int to) {
  for (int i = from; i < to; i++) {
    int32_t labels[BATCH];
    float *images = small_images(BATCH, (uint64_t)i);
    labels_of((uint64_t)i, labels);
    ASSERT_OK(mae_trainer_step_labels(r->trainer, images, labels, NULL, NULL));
    free(images);
  }
}

static bool same_tensor(const mae_tensor *a, const mae_tensor *b) {
  return !memcmp(a->data, b->data, (size_t)mae_tensor_size(a) * sizeof(float));
}

static bool same(const run *a, const run *b) {
  const mae_model *x = mae_trainer_ema_model(a->trainer);
  const mae_model *y = mae_trainer_ema_model(b->trainer);
  return same_weights(a->model, b->model) && !x == !y &&
         (!x || same_weights(x, y)) &&
         mae_trainer_steps(a->trainer) == mae_trainer_steps(b->trainer) &&
         mae_trainer_images_seen(a->trainer) ==
             mae_trainer_images_seen(b->trainer);
}

/* ------------------------------------------------------------ learning --- */

/* Class k is noise brighter in its own row of patches. */
static void draw_batch(uint64_t step, float *images, int32_t *labels) {
  ASSERT_OK(mae_random_normal(5, 0, step * BATCH * SMALL_IMAGE,
                              BATCH * SMALL_IMAGE, images));
  for (int i = 0; i < BATCH; i++) {
    labels[i] = (int32_t)((step + (uint64_t)i) % CLASSES);
    float *row = images + i * SMALL_IMAGE + labels[i] * 4 * 16;
    for (int k = 0; k < 4 * 16; k++) row[k] += 1.5f;
  }
}

/* Case i: pooling. */
START_TEST(learns) {
  mae_trainer_options o = small_options();
  o.base_lr = 0.2;
  run r = start(o, 2, (uint64_t)(1 + _i));
  mae_step_result result = {.struct_size = sizeof result};
  float images[BATCH * SMALL_IMAGE];
  int32_t labels[BATCH];
  double first = 0, last = 0;
  for (int i = 0; i < 200; i++) { /* none of them twice */
    draw_batch((uint64_t)i, images, labels);
    ASSERT_OK(mae_trainer_step_labels(r.trainer, images, labels, NULL,
                                      &result));
    if (i < 10) first += result.loss / 10;
    if (i >= 190) last += result.loss / 10;
  }
  ck_assert_double_gt(first, 0.7);
  ck_assert_double_lt(last, 0.2);
  ck_assert_int_eq(result.step, 200);
  ck_assert_int_eq(result.updated, 1);
  ck_assert_double_gt(result.grad_norm, 0);
  ck_assert_uint_eq(mae_trainer_images_seen(r.trainer), 200 * BATCH);
  stop(&r);
}
END_TEST

/* A head of zeros knows nothing. */
START_TEST(loss_of_nothing_known) {
  run r = start(small_options(), 1, 1);
  mae_tensor *head = mae_model_find(r.model, "head.weight");
  memset(head->data, 0, (size_t)mae_tensor_size(head) * sizeof(float));
  mae_step_result result = {.struct_size = sizeof result};
  float *images = small_images(BATCH, 1);
  int32_t labels[BATCH];
  labels_of(1, labels);
  ASSERT_OK(mae_trainer_step_labels(r.trainer, images, labels, NULL, &result));
  ck_assert_double_eq_tol(result.loss, log(CLASSES), 1e-6);
  free(images);
  stop(&r);
}
END_TEST

/* Everything, case i with i + 1 threads; with recomputation, too. */
START_TEST(same_bits_again) {
  mae_trainer_options o = full_options();
  run a = start(o, 1 + _i, 1), b = start(o, 1 + _i, 1);
  o.recompute = 1;
  run c = start(o, 1 + _i, 1);
  steps(&a, 0, 6);
  steps(&b, 0, 6);
  steps(&c, 0, 6);
  ck_assert(same(&a, &b));
  ck_assert(same(&a, &c));
  stop(&a);
  stop(&b);
  stop(&c);
}
END_TEST

/* Case i: i + 1 threads; the other kind of pooling and all blocks trained. */
START_TEST(updates_in_backward) {
  mae_trainer_options o = full_options();
  o.accum_steps = 1;
  o.clip_grad = 0;
  if (_i) o.trainable_blocks = -1;
  run a = start(o, 1 + _i, (uint64_t)(1 + _i));
  o.update_in_backward = 1;
  run b = start(o, 1 + _i, (uint64_t)(1 + _i));
  steps(&a, 0, 6);
  steps(&b, 0, 6);
  ck_assert(same(&a, &b));
  stop(&a);
  stop(&b);
}
END_TEST

/* ------------------------------------------------------ what is trained --- */

static int32_t layer_of(const char *name) {
  int32_t block;
  if (sscanf(name, "blocks.%d.", &block) == 1) return block + 1;
  if (strstr(name, "embed") || strstr(name, "token")) return 0;
  return DEPTH + 1;
}

static bool is_trained(const char *name, int32_t trainable_blocks) {
  if (trainable_blocks < 0) return true;
  if (trainable_blocks == 0) return !strncmp(name, "head.", 5);
  return layer_of(name) > DEPTH - trainable_blocks;
}

/* Case i: pooling i % 2, of the blocks i / 2 - 1. */
START_TEST(frozen) {
  mae_trainer_options o = small_options();
  o.trainable_blocks = _i / 2 - 1;
  run r = start(o, 2, (uint64_t)(1 + _i % 2));
  mae_model *before = small_classifier(_i % 2, (uint64_t)(1 + _i % 2));
  size_t trained = 0;
  steps(&r, 0, 3);
  for (int32_t i = 0; i < mae_model_num_tensors(r.model); i++) {
    const char *name = mae_model_tensor_name(r.model, i);
    const mae_tensor *t = mae_model_tensor(r.model, i);
    const bool should = is_trained(name, o.trainable_blocks);
    ck_assert_msg(same_tensor(t, mae_model_tensor(before, i)) != should, "%s",
                  name);
    ck_assert_msg(!mae_trainer_gradient(r.trainer, name) != should, "%s", name);
    ck_assert_msg(!r.trainer->optimizer.exp_avg[i] != should, "%s", name);
    ck_assert_msg(!r.trainer->optimizer.exp_avg_sq[i] != should, "%s", name);
    if (should)
      trained += mae_align((size_t)mae_tensor_size(t) * sizeof(float));
  }
  mae_training_plan p = {.struct_size = sizeof p};
  ASSERT_OK(mae_trainer_plan(r.context, &r.model->config, &o, &p));
  ck_assert_uint_eq((size_t)p.gradient_bytes, trained);
  ck_assert_uint_eq((size_t)p.optimizer_bytes, 2 * trained);
  mae_model_destroy(before);
  stop(&r);
}
END_TEST

/* The first step of Adam is the rate times about 1 wherever there is a
 * gradient. */
static double longest_step(const mae_model *a, const mae_model *b, int32_t i) {
  const mae_tensor *x = mae_model_tensor(a, i), *y = mae_model_tensor(b, i);
  double most = 0;
  for (int64_t k = 0; k < mae_tensor_size(x); k++)
    most = fmax(most, fabs((double)x->data[k] - y->data[k]));
  return most;
}

START_TEST(layer_decay) {
  mae_trainer_options o = small_options();
  o.weight_decay = 0;
  o.layer_decay = 0.5;
  run r = start(o, 1, (uint64_t)(1 + _i));
  mae_model *before = small_classifier(_i, (uint64_t)(1 + _i));
  const double peak = o.base_lr * BATCH / 256;
  steps(&r, 0, 1);
  for (int32_t i = 0; i < mae_model_num_tensors(r.model); i++) {
    const char *name = mae_model_tensor_name(r.model, i);
    const double rate = peak * pow(0.5, DEPTH + 1 - layer_of(name));
    ck_assert_msg(fabs(longest_step(r.model, before, i) - rate) < 0.02 * rate,
                  "%s: %g, not %g", name, longest_step(r.model, before, i),
                  rate);
  }
  mae_model_destroy(before);
  stop(&r);
}
END_TEST

/* Two runs apart in weight decay differ after a step in what decays. */
START_TEST(what_decays) {
  mae_trainer_options o = small_options();
  o.weight_decay = 0;
  run a = start(o, 1, 1);
  o.weight_decay = 20;
  run b = start(o, 1, 1);
  mae_model *before = small_classifier(0, 1);
  const double factor = 1e-3 * 20;
  steps(&a, 0, 1);
  steps(&b, 0, 1);
  for (int32_t i = 0; i < mae_model_num_tensors(a.model); i++) {
    const char *name = mae_model_tensor_name(a.model, i);
    const mae_tensor *x = mae_model_tensor(a.model, i);
    const mae_tensor *y = mae_model_tensor(b.model, i);
    const mae_tensor *was = mae_model_tensor(before, i);
    const bool decays = x->ndim > 1 && strcmp(name, "cls_token") &&
                        strcmp(name, "pos_embed");
    ck_assert_msg(same_tensor(x, y) != decays, "%s", name);
    for (int64_t k = 0; decays && k < mae_tensor_size(x); k++)
      ck_assert_double_eq_tol((double)x->data[k] - y->data[k],
                              factor * was->data[k], 1e-6);
  }
  mae_model_destroy(before);
  stop(&a);
  stop(&b);
}
END_TEST

/* --------------------------------------------------------- stochastic depth */

static const float *drop_scales(const run *r, int32_t branch) {
  const mae_graph *g = &r->trainer->graph;
  return mae_tape_value(g->tape, g->drop_scales[branch])->data;
}

/* Each image of each branch is left out as often as it should, and by its
 * number alone: batches of 4 and of 2 see the same. */
START_TEST(drop_path_draws) {
  enum { STEPS = 300 };
  mae_trainer_options o = small_options(), halves;
  o.drop_path = 0.4;
  o.trainable_blocks = 0;
  halves = o, halves.batch_size = BATCH / 2;
  run a = start(o, 1, 1), b = start(halves, 1, 1);
  int dropped[2 * DEPTH] = {0};
  for (int i = 0; i < STEPS; i++) {
    steps(&a, i, i + 1);
    for (int half = 0; half < 2; half++) {
      steps(&b, i, i + 1);
      for (int32_t k = 0; k < 2 * DEPTH; k++)
        ck_assert_mem_eq(drop_scales(&b, k), drop_scales(&a, k) + half * 2,
                         2 * sizeof(float));
    }
    for (int32_t k = 0; k < 2 * DEPTH; k++)
      for (int j = 0; j < BATCH; j++) {
        const float scale = drop_scales(&a, k)[j];
        const double kept = 1 - 0.4 * (k / 2) / (DEPTH - 1);
        ck_assert(scale == 0 || scale == (float)(1 / kept));
        dropped[k] += scale == 0;
      }
  }
  for (int32_t k = 0; k < 2 * DEPTH; k++) {
    const double n = STEPS * BATCH, rate = 0.4 * (k / 2) / (DEPTH - 1);
    ck_assert_double_le(fabs(dropped[k] - n * rate),
                        4 * sqrt(n * rate * (1 - rate)));
  }
  stop(&a);
  stop(&b);
}
END_TEST

START_TEST(drop_path_changes_things) {
  mae_trainer_options o = small_options();
  run a = start(o, 1, 1);
  o.drop_path = 0.5;
  run b = start(o, 1, 1);
  o.seed = 1;
  run c = start(o, 1, 1);
  steps(&a, 0, 3);
  steps(&b, 0, 3);
  steps(&c, 0, 3);
  ck_assert(!same(&a, &b));
  ck_assert(!same(&b, &c));
  ck_assert_ptr_null(a.trainer->graph.drop_scales);
  stop(&a);
  stop(&b);
  stop(&c);
}
END_TEST

/* ------------------------------------------------------ targets, mixing --- */

static const float *wanted(const run *r) {
  const mae_graph *g = &r->trainer->graph;
  return mae_tape_value(g->tape, g->target)->data;
}

START_TEST(smoothed_targets) {
  mae_trainer_options o = small_options();
  o.label_smoothing = 0.3;
  run a = start(o, 1, 1), b = start(o, 1, 1);
  o.label_smoothing = 0;
  run c = start(o, 1, 1);
  float *images = small_images(BATCH, 0), hot[BATCH * CLASSES] = {0};
  float soft[BATCH * CLASSES];
  int32_t labels[BATCH];
  labels_of(0, labels);
  for (int i = 0; i < BATCH; i++) hot[i * CLASSES + labels[i]] = 1;
  for (int i = 0; i < BATCH * CLASSES; i++) soft[i] = hot[i] > 0 ? 0.8f : 0.1f;
  ASSERT_OK(mae_trainer_step_labels(a.trainer, images, labels, NULL, NULL));
  ASSERT_OK(mae_trainer_step_labels(b.trainer, images, NULL, hot, NULL));
  ASSERT_OK(mae_trainer_step_labels(c.trainer, images, NULL, soft, NULL));
  for (int i = 0; i < BATCH * CLASSES; i++) {
    ck_assert_float_eq_tol(wanted(&a)[i], soft[i], 1e-7f);
    ck_assert_float_eq(wanted(&c)[i], soft[i]);
  }
  ck_assert(same(&a, &b));
  free(images);
  stop(&a);
  stop(&b);
  stop(&c);
}
END_TEST

/* Case 0: mixup, 1: cutmix.  As if the caller gave what mix.h makes of the
 * batch that begins at this image; the caller's images stay. */
START_TEST(mixing) {
  mae_trainer_options o = small_options();
  o.seed = 9;
  o.label_smoothing = 0;
  run given = start(o, 1, 1);
  o.label_smoothing = 0.1;
  if (_i) o.cutmix = 1;
  else o.mixup = 0.8;
  run r = start(o, 1, 1);
  int mixed = 0;
  for (int step = 0; step < 4; step++) {
    float *images = small_images(BATCH, (uint64_t)step);
    float *same_images = small_images(BATCH, (uint64_t)step);
    float targets[BATCH * CLASSES];
    int32_t labels[BATCH];
    labels_of((uint64_t)step, labels);
    ASSERT_OK(mae_trainer_step_labels(r.trainer, images, labels, NULL, NULL));
    ck_assert_mem_eq(images, same_images, BATCH * SMALL_IMAGE * sizeof(float));
    const mae_mix m = mae_mix_draw(o.mixup, o.cutmix, 1, 0.5, 16, 16, o.seed,
                                   (uint64_t)(step * BATCH));
    for (int i = 0; i < BATCH * CLASSES; i++)
      targets[i] = labels[i / CLASSES] == i % CLASSES
                       ? (float)(1 - 0.1 + 0.1 / CLASSES)
                       : (float)(0.1 / CLASSES);
    mae_mix_images(&m, images, BATCH, 1, 16, 16);
    mae_mix_targets(&m, targets, BATCH, CLASSES);
    ck_assert_mem_eq(wanted(&r), targets, sizeof targets);
    ASSERT_OK(
        mae_trainer_step_labels(given.trainer, images, NULL, targets, NULL));
    ck_assert(same(&r, &given));
    mixed += !!memcmp(images, same_images, BATCH * SMALL_IMAGE * sizeof(float));
    free(images);
    free(same_images);
  }
  ck_assert_int_ge(mixed, 3);
  stop(&given);
  stop(&r);
}
END_TEST

START_TEST(mix_prob_of_zero) {
  mae_trainer_options o = small_options();
  run a = start(o, 1, 1);
  o.mixup = 0.8, o.cutmix = 1, o.mix_prob = 0;
  run b = start(o, 1, 1);
  o.mix_prob = 1;
  run c = start(o, 1, 1);
  steps(&a, 0, 3);
  steps(&b, 0, 3);
  steps(&c, 0, 3);
  ck_assert(same(&a, &b));
  ck_assert(!same(&a, &c));
  stop(&a);
  stop(&b);
  stop(&c);
}
END_TEST

/* ---------------------------------------------------- average of weights -- */

static void average(mae_model *average, const mae_model *weights,
                    double decay) {
  for (int32_t i = 0; i < mae_model_num_tensors(weights); i++) {
    mae_tensor *x = mae_model_tensor(average, i);
    const mae_tensor *w = mae_model_tensor(weights, i);
    for (int64_t k = 0; k < mae_tensor_size(x); k++)
      x->data[k] = (float)(decay * x->data[k] + (1 - decay) * w->data[k]);
  }
}

/* Updates count, not steps. */
START_TEST(ema_by_hand) {
  mae_trainer_options o = small_options();
  o.ema_decay = 0.8;
  o.accum_steps = 2;
  run r = start(o, 2, 1);
  mae_model *hand = small_classifier(0, 1);
  const mae_model *ema = mae_trainer_ema_model(r.trainer);
  ck_assert(same_weights(ema, r.model));
  for (int i = 0; i < 6; i++) {
    steps(&r, i, i + 1);
    if (i % 2) average(hand, r.model, 0.8);
  }
  for (int32_t i = 0; i < mae_model_num_tensors(hand); i++) {
    const mae_tensor *want = mae_model_tensor(hand, i);
    ck_assert_double_le(
        relative_error(mae_model_tensor(ema, i)->data, want->data,
                       mae_tensor_size(want)),
        1e-6);
    ck_assert(!same_tensor(want, mae_model_tensor(r.model, i)));
  }
  static const char *const names[] = {"ape", "bee", "cat"};
  mae_model *read; /* and it is a model, with its classes' names */
  ASSERT_OK(mae_model_set_class_names(r.model, names));
  ASSERT_OK(mae_model_save(ema, path));
  ASSERT_OK(mae_model_load(path, &read));
  ck_assert(same_weights(read, ema));
  ck_assert_str_eq(mae_model_class_name(read, 1), "bee");
  mae_model_destroy(read);
  mae_model_destroy(hand);
  stop(&r);
}
END_TEST

START_TEST(ema_of_frozen_and_of_none) {
  mae_trainer_options o = small_options();
  run none = start(o, 1, 1);
  ck_assert_ptr_null(mae_trainer_ema_model(none.trainer));
  ck_assert_ptr_null(mae_trainer_ema_model(NULL));
  o.ema_decay = 0.5;
  o.trainable_blocks = 0;
  run r = start(o, 1, 1);
  steps(&r, 0, 3);
  steps(&none, 0, 3);
  const mae_model *ema = mae_trainer_ema_model(r.trainer);
  for (int32_t i = 0; i < mae_model_num_tensors(ema); i++)
    ck_assert((mae_model_tensor(ema, i)->data !=
               mae_model_tensor(r.model, i)->data) ==
              is_trained(mae_model_tensor_name(ema, i), 0));
  stop(&r);
  stop(&none);
}
END_TEST

/* Pretraining, too. */
START_TEST(ema_of_an_autoencoder) {
  mae_trainer_options o = small_options();
  o.ema_decay = 0.8;
  run r = {.context = make_context(1, MAE_ISA_AUTO), .model = small_model(1)};
  ASSERT_OK(mae_trainer_create(r.context, r.model, &o, &r.trainer));
  mae_model *hand = small_model(1);
  float *images = small_images(BATCH, 1);
  for (int i = 0; i < 3; i++) {
    ASSERT_OK(mae_trainer_step(r.trainer, images, NULL, NULL));
    average(hand, r.model, 0.8);
  }
  const mae_tensor *want = mae_model_find(hand, "decoder_pred.weight");
  const mae_tensor *got = mae_model_find(mae_trainer_ema_model(r.trainer),
                                         "decoder_pred.weight");
  ck_assert_double_le(
      relative_error(got->data, want->data, mae_tensor_size(want)), 1e-6);
  free(images);
  mae_model_destroy(hand);
  stop(&r);
}
END_TEST

/* --------------------------------------------------------------- resume --- */

/* Case i: saved after i + 1 steps of accum_steps 2, so also between updates. */
START_TEST(resume_bit_exact) {
  mae_trainer_options o = full_options();
  run whole = start(o, 2, 1), first = start(o, 2, 1);
  steps(&whole, 0, 9);
  steps(&first, 0, 1 + _i);
  ASSERT_OK(mae_trainer_save(first.trainer, path));
  o.seed = 1; /* the checkpoint's seed counts */
  run second = start(o, 2, 55);
  ASSERT_OK(mae_trainer_resume(second.trainer, path));
  ck_assert(same(&first, &second));
  steps(&second, 1 + _i, 9);
  ck_assert(same(&whole, &second));
  mae_model *model; /* the same file is a classifier's */
  ASSERT_OK(mae_model_load(path, &model));
  ck_assert(same_weights(model, first.model));
  mae_model_destroy(model);
  stop(&whole);
  stop(&first);
  stop(&second);
}
END_TEST

/* Case i: the checkpoint lacks the average, or moments of what is trained. */
START_TEST(resume_refusals) {
  mae_trainer_options o = full_options(), other = o;
  if (_i) o.trainable_blocks = 1;
  else o.ema_decay = 0;
  run a = start(o, 1, 1), b = start(other, 1, 3), c = start(other, 1, 3);
  steps(&a, 0, 4);
  steps(&b, 0, 2);
  steps(&c, 0, 2);
  ASSERT_OK(mae_trainer_save(a.trainer, path));
  ASSERT_FAILS(mae_trainer_resume(b.trainer, path), MAE_ERROR_MISMATCH,
               _i ? "optim.exp_avg.blocks.1" : "optim.ema.");
  ck_assert(same(&b, &c));
  steps(&b, 2, 4);
  steps(&c, 2, 4);
  ck_assert(same(&b, &c));
  stop(&a);
  stop(&b);
  stop(&c);
}
END_TEST

/* ------------------------------------------------------------ failures --- */

/* Case i: in the first or the last step of an update. */
START_TEST(non_finite) {
  mae_trainer_options o = full_options();
  run a = start(o, 2, 1), b = start(o, 2, 1);
  steps(&a, 0, 4 + _i);
  steps(&b, 0, 4);
  float *bad = small_images(BATCH, 3);
  int32_t labels[BATCH];
  labels_of(3, labels);
  for (int i = 0; i < BATCH * SMALL_IMAGE; i++) bad[i] = NAN;
  mae_step_result r = {.struct_size = sizeof r, .step = 77};
  ASSERT_FAILS(mae_trainer_step_labels(a.trainer, bad, labels, NULL, &r),
               MAE_ERROR_NON_FINITE, "loss");
  ck_assert_int_eq(r.step, 77);
  ck_assert(same_weights(a.model, b.model));
  ck_assert(same_weights(mae_trainer_ema_model(a.trainer),
                       mae_trainer_ema_model(b.trainer)));
  if (!_i) { /* and it goes on as if nothing had been */
    steps(&a, 4, 8);
    steps(&b, 4, 8);
    ck_assert(same(&a, &b));
  }
  free(bad);
  stop(&a);
  stop(&b);
}
END_TEST

static void refuse_batch(run *r, const int32_t *labels, const float *targets,
                         const char *word) {
  float *images = small_images(BATCH, 3);
  ASSERT_FAILS(
      mae_trainer_step_labels(r->trainer, images, labels, targets, NULL),
      MAE_ERROR_INVALID_ARGUMENT, word);
  free(images);
}

/* In the middle of an update, and it goes on. */
START_TEST(wrong_labels) {
  run a = start(full_options(), 1, 1), b = start(full_options(), 1, 1);
  steps(&a, 0, 3);
  steps(&b, 0, 3);
  int32_t labels[BATCH] = {0, 1, 2, 0};
  float targets[BATCH * CLASSES] = {1, 0, 0, 0, 1, 0, 0, 0, 1, 0.5f, 0.5f, 0};
  refuse_batch(&a, NULL, NULL, "neither");
  refuse_batch(&a, labels, targets, "not both");
  labels[3] = CLASSES;
  refuse_batch(&a, labels, NULL, "label 3 is 3");
  labels[3] = -1;
  refuse_batch(&a, labels, NULL, "label 3 is -1");
  static const float wrong[] = {NAN, INFINITY, -0.25f, 1.25f};
  for (int i = 0; i < 4; i++) {
    targets[BATCH * CLASSES - 1] = wrong[i];
    refuse_batch(&a, NULL, targets, "image 3, class 2");
  }
  ck_assert(same(&a, &b));
  steps(&a, 3, 6);
  steps(&b, 3, 6);
  ck_assert(same(&a, &b));
  stop(&a);
  stop(&b);
}
END_TEST

START_TEST(the_wrong_call) {
  run r = start(small_options(), 1, 1);
  float *images = small_images(BATCH, 1);
  int32_t labels[BATCH] = {0};
  mae_step_result unset = {0};
  ASSERT_FAILS(mae_trainer_step(r.trainer, images, NULL, NULL),
               MAE_ERROR_STATE, "mae_trainer_step_labels");
  ASSERT_FAILS(mae_trainer_step_labels(NULL, images, labels, NULL, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "trainer");
  ASSERT_FAILS(mae_trainer_step_labels(r.trainer, NULL, labels, NULL, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "images");
  ASSERT_FAILS(mae_trainer_step_labels(r.trainer, images, labels, NULL, &unset),
               MAE_ERROR_INVALID_ARGUMENT, "struct_size");
  mae_model *autoencoder = small_model(1), *bare;
  mae_trainer_options o = small_options();
  mae_trainer *t = NULL;
  ASSERT_OK(mae_trainer_create(r.context, autoencoder, &o, &t));
  ASSERT_FAILS(mae_trainer_step_labels(t, images, labels, NULL, NULL),
               MAE_ERROR_STATE, "mae_trainer_step");
  mae_trainer_destroy(t);
  t = NULL;
  mae_config c = small_config();
  c.decoder_embed_dim = c.decoder_depth = c.decoder_num_heads = 0;
  ASSERT_OK(mae_model_create(&c, 1, &bare));
  ASSERT_FAILS(mae_trainer_create(r.context, bare, &o, &t), MAE_ERROR_STATE,
               "decoder");
  ck_assert_ptr_null(t);
  mae_model_destroy(bare);
  mae_model_destroy(autoencoder);
  free(images);
  stop(&r);
}
END_TEST

static void refuse(mae_trainer_options o, bool classifier, const char *word) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_model *model = classifier ? small_classifier(0, 1) : small_model(1);
  mae_training_plan p = {.struct_size = sizeof p};
  mae_trainer *t = NULL;
  ASSERT_FAILS(mae_trainer_create(context, model, &o, &t),
               MAE_ERROR_INVALID_ARGUMENT, word);
  ASSERT_FAILS(mae_trainer_plan(context, &model->config, &o, &p),
               MAE_ERROR_INVALID_ARGUMENT, word);
  ck_assert_ptr_null(t);
  mae_model_destroy(model);
  mae_context_destroy(context);
}

START_TEST(bad_options) {
  mae_trainer_options good = small_options(), o;
  for (int classifier = 0; classifier < 2; classifier++) {
    o = good, o.ema_decay = 1;
    refuse(o, classifier, "ema_decay");
    o = good, o.ema_decay = NAN;
    refuse(o, classifier, "ema_decay");
    o = good, o.layer_decay = 0;
    refuse(o, classifier, "layer_decay");
    o = good, o.layer_decay = 1.5;
    refuse(o, classifier, "layer_decay");
    o = good, o.drop_path = 1;
    refuse(o, classifier, "drop_path");
    o = good, o.label_smoothing = 1;
    refuse(o, classifier, "label_smoothing");
    o = good, o.mixup = -1;
    refuse(o, classifier, "mixup");
    o = good, o.cutmix = 1e-9;
    refuse(o, classifier, "cutmix");
    o = good, o.mix_prob = 1.1;
    refuse(o, classifier, "mix_prob");
    o = good, o.mix_switch_prob = -0.1;
    refuse(o, classifier, "mix_switch_prob");
    o = good, o.trainable_blocks = -2;
    refuse(o, classifier, "trainable_blocks");
  }
  o = good, o.trainable_blocks = DEPTH + 1;
  refuse(o, true, "trainable_blocks is 4; the model has 3");
  o = good, o.trainable_blocks = 0;
  refuse(o, false, "trainable_blocks is of classifiers");
  o = good, o.layer_decay = 0.9;
  refuse(o, false, "layer_decay is of classifiers");
  o = good, o.drop_path = 0.1;
  refuse(o, false, "drop_path is of classifiers");
  o = good, o.label_smoothing = 0.1;
  refuse(o, false, "label_smoothing is of classifiers");
  o = good, o.mixup = 0.8;
  refuse(o, false, "mixup is of classifiers");
  o = good, o.cutmix = 1;
  refuse(o, false, "cutmix is of classifiers");
}
END_TEST

START_TEST(steady_step_allocates_nothing) {
  if (count_alloc_calls() < 0) return; /* another allocator: not countable */
  run r = start(full_options(), 2, 1);
  float *images = small_images(BATCH, 1);
  int32_t labels[BATCH];
  labels_of(1, labels);
  for (int i = 0; i < 4; i++)
    ASSERT_OK(mae_trainer_step_labels(r.trainer, images, labels, NULL, NULL));
  long before = count_alloc_calls();
  int failed = 0; /* Check's own assertions allocate */
  for (int i = 0; i < 10; i++)
    failed |= mae_trainer_step_labels(r.trainer, images, labels, NULL, NULL);
  long after = count_alloc_calls();
  ck_assert_int_eq(failed, 0);
  ck_assert_int_eq(after - before, 0);
  free(images);
  stop(&r);
}
END_TEST

/* -------------------------------------------------------------- recipes --- */

typedef struct expected {
  mae_recipe recipe;
  int32_t depth;
  double base_lr, layer_decay, drop_path, weight_decay, beta2, ema_decay;
  int64_t epochs, warmup_epochs;
} expected;

static const expected recipes[] = {
    {MAE_RECIPE_PRETRAIN, 12, 1.5e-4, 1, 0, 0.05, 0.95, 0, 800, 40},
    {MAE_RECIPE_FINETUNE, 4, 5e-4, 0.65, 0.1, 0.05, 0.999, 0, 100, 5},
    {MAE_RECIPE_FINETUNE, 12, 5e-4, 0.65, 0.1, 0.05, 0.999, 0, 100, 5},
    {MAE_RECIPE_FINETUNE, 24, 1e-3, 0.75, 0.2, 0.05, 0.999, 0, 50, 5},
    {MAE_RECIPE_FINETUNE, 32, 1e-3, 0.75, 0.3, 0.05, 0.999, 0, 50, 5},
    {MAE_RECIPE_SCRATCH, 12, 1e-4, 1, 0.1, 0.3, 0.95, 0.9999, 300, 20},
    {MAE_RECIPE_SCRATCH, 24, 1e-4, 1, 0.2, 0.3, 0.95, 0.9999, 200, 20},
    {MAE_RECIPE_SCRATCH, 32, 1e-4, 1, 0.2, 0.3, 0.95, 0.9999, 200, 20}};
enum { RECIPES = sizeof recipes / sizeof *recipes };

START_TEST(recipe) {
  const expected *e = &recipes[_i];
  const bool mixes = e->recipe != MAE_RECIPE_PRETRAIN;
  mae_trainer_options o, plain;
  mae_config c = small_config();
  int64_t epochs, warmup;
  c.depth = e->depth;
  mae_trainer_options_init(&plain, sizeof plain);
  ASSERT_OK(mae_trainer_options_recipe(&o, sizeof o, e->recipe, &c, &epochs,
                                       &warmup));
  ck_assert_int_eq(epochs, e->epochs);
  ck_assert_int_eq(warmup, e->warmup_epochs);
  ck_assert_double_eq(o.base_lr, e->base_lr);
  ck_assert_double_eq(o.layer_decay, e->layer_decay);
  ck_assert_double_eq(o.drop_path, e->drop_path);
  ck_assert_double_eq(o.weight_decay, e->weight_decay);
  ck_assert_double_eq(o.beta1, 0.9);
  ck_assert_double_eq(o.beta2, e->beta2);
  ck_assert_double_eq(o.ema_decay, e->ema_decay);
  ck_assert_double_eq(o.min_lr, e->recipe == MAE_RECIPE_FINETUNE ? 1e-6 : 0);
  ck_assert_double_eq(o.label_smoothing, mixes ? 0.1 : 0);
  ck_assert_double_eq(o.mixup, mixes ? 0.8 : 0);
  ck_assert_double_eq(o.cutmix, mixes ? 1 : 0);
  ck_assert_double_eq(o.mix_prob, 1);
  ck_assert_double_eq(o.mix_switch_prob, 0.5);
  ck_assert_int_eq(o.trainable_blocks, -1);
  ck_assert_int_eq(o.batch_size, plain.batch_size);
  ck_assert_int_eq(o.accum_steps, plain.accum_steps);
  ck_assert_uint_eq(o.struct_size, sizeof o);
  ASSERT_OK(mae_trainer_options_recipe(&o, sizeof o, e->recipe, &c, NULL,
                                       NULL));
}
END_TEST

START_TEST(recipe_refusals) {
  const mae_status bad = MAE_ERROR_INVALID_ARGUMENT;
  mae_trainer_options o = {.batch_size = 77};
  mae_config c = small_config();
  int64_t epochs = 77, warmup = 77;
  const size_t size = sizeof o;
  ASSERT_FAILS(mae_trainer_options_recipe(NULL, size, 0, &c, &epochs, &warmup),
               bad, "options");
  ASSERT_FAILS(mae_trainer_options_recipe(&o, size, 0, NULL, &epochs, &warmup),
               bad, "config");
  ASSERT_FAILS(mae_trainer_options_recipe(&o, size, (mae_recipe)3, &c, &epochs,
                                          &warmup),
               bad, "recipe 3");
  ck_assert_int_eq(o.batch_size, 77);
  ck_assert_int_eq(epochs, 77);
  ck_assert_int_eq(warmup, 77);
  /* The struct of an older header. */
  const size_t old = offsetof(mae_trainer_options, ema_decay);
  o.ema_decay = 77;
  ASSERT_OK(mae_trainer_options_recipe(&o, old, MAE_RECIPE_SCRATCH, &c, NULL,
                                       NULL));
  ck_assert_uint_eq(o.struct_size, old);
  ck_assert_double_eq(o.ema_decay, 77);
  ck_assert_double_eq(o.weight_decay, 0.3);
}
END_TEST

Suite *finetune_suite(void) {
  Suite *suite = suite_create("finetune");
  TCase *tc = tcase_create("finetune");
  tcase_set_timeout(tc, 120);
  tcase_add_checked_fixture(tc, make_path, drop_path);
  tcase_add_loop_test(tc, learns, 0, 2);
  tcase_add_test(tc, loss_of_nothing_known);
  tcase_add_loop_test(tc, updates_in_backward, 0, 2);
  tcase_add_loop_test(tc, same_bits_again, 0, 3);
  tcase_add_loop_test(tc, frozen, 0, 2 * (DEPTH + 2));
  tcase_add_loop_test(tc, layer_decay, 0, 2);
  tcase_add_test(tc, what_decays);
  tcase_add_test(tc, drop_path_draws);
  tcase_add_test(tc, drop_path_changes_things);
  tcase_add_test(tc, smoothed_targets);
  tcase_add_loop_test(tc, mixing, 0, 2);
  tcase_add_test(tc, mix_prob_of_zero);
  tcase_add_test(tc, ema_by_hand);
  tcase_add_test(tc, ema_of_frozen_and_of_none);
  tcase_add_test(tc, ema_of_an_autoencoder);
  tcase_add_loop_test(tc, resume_bit_exact, 0, 4);
  tcase_add_loop_test(tc, resume_refusals, 0, 2);
  tcase_add_loop_test(tc, non_finite, 0, 2);
  tcase_add_test(tc, wrong_labels);
  tcase_add_test(tc, the_wrong_call);
  tcase_add_test(tc, bad_options);
  tcase_add_test(tc, steady_step_allocates_nothing);
  tcase_add_loop_test(tc, recipe, 0, RECIPES);
  tcase_add_test(tc, recipe_refusals);
  suite_add_tcase(suite, tc);
  return suite;
}
