/* Classifiers: made of encoders, and their graph. */
#include "base/half.h"
#include "golden.h"
#include "model/graph.h"
#include "suites.h"

enum { CLASSES = 5, BATCH = 3 };

static int32_t index_of(const mae_model *m, const char *name) {
  for (int32_t i = 0; i < mae_model_num_tensors(m); i++)
    if (!strcmp(mae_model_tensor_name(m, i), name)) return i;
  ck_abort_msg("no %s", name);
}

static bool same_bits(const mae_tensor *a, const mae_tensor *b) {
  return mae_tensor_size(a) == mae_tensor_size(b) &&
         !memcmp(a->data, b->data, (size_t)mae_tensor_size(a) * sizeof(float));
}

static bool all_are(const mae_tensor *t, float value) {
  for (int64_t i = 0; i < mae_tensor_size(t); i++)
    if (t->data[i] != value) return false;
  return true;
}

/* ------------------------------------------------------------- making --- */

/* A model of which no parameter is left at a special value. */
static void shake(mae_model *m, uint64_t seed) {
  for (int32_t i = 0; i < mae_model_num_tensors(m); i++) {
    mae_tensor *t = mae_model_tensor(m, i);
    const int64_t n = mae_tensor_size(t);
    float *noise = malloc((size_t)n * sizeof *noise);
    ASSERT_OK(mae_random_normal(seed, (uint64_t)i, 0, (size_t)n, noise));
    for (int64_t k = 0; k < n; k++) t->data[k] += 0.1f * noise[k];
    free(noise);
  }
}

static void check_encoder_copied(const mae_model *from, const mae_model *to) {
  for (int32_t i = 0; i < mae_model_num_tensors(to); i++) {
    const char *name = mae_model_tensor_name(to, i);
    const mae_tensor *t = mae_model_find(from, name);
    if (strncmp(name, "head.", 5) && strncmp(name, "fc_norm.", 8))
      ck_assert_msg(t && same_bits(t, mae_model_tensor(to, i)), "%s", name);
  }
}

static void check_new_head(const mae_model *m, int32_t classes) {
  const mae_tensor *weight = mae_model_find(m, "head.weight");
  ck_assert_int_eq(mae_tensor_dim(weight, 0), classes);
  ck_assert(all_are(mae_model_find(m, "head.bias"), 0));
  double squares = 0;
  const int64_t n = mae_tensor_size(weight);
  for (int64_t i = 0; i < n; i++)
    squares += (double)weight->data[i] * weight->data[i];
  ck_assert_double_eq_tol(sqrt(squares / (double)n), 2e-5, 3e-6);
}

START_TEST(of_an_autoencoder) {
  mae_model *encoder = small_model(1), *made, *again, *other;
  shake(encoder, 2);
  ASSERT_OK(mae_model_classifier(encoder, CLASSES, _i, 7, &made));
  mae_config c, was = small_config();
  ASSERT_OK(mae_config_init(&c, sizeof c, NULL));
  ASSERT_OK(mae_model_config(made, &c));
  ck_assert_int_eq(c.num_classes, CLASSES);
  ck_assert_int_eq(c.global_pool, _i);
  ck_assert_int_eq(c.decoder_embed_dim, 0);
  ck_assert_int_eq(c.depth, was.depth);
  check_encoder_copied(encoder, made);
  check_new_head(made, CLASSES);
  if (_i) {
    ck_assert(all_are(mae_model_find(made, "fc_norm.weight"), 1));
    ck_assert(all_are(mae_model_find(made, "fc_norm.bias"), 0));
  }
  ASSERT_OK(mae_model_classifier(encoder, CLASSES, _i, 7, &again));
  ASSERT_OK(mae_model_classifier(encoder, CLASSES, _i, 8, &other));
  const char *head = "head.weight";
  ck_assert(same_bits(mae_model_find(made, head), mae_model_find(again, head)));
  ck_assert(
      !same_bits(mae_model_find(made, head), mae_model_find(other, head)));
  mae_model_destroy(encoder);
  mae_model_destroy(made);
  mae_model_destroy(again);
  mae_model_destroy(other);
}
END_TEST

/* Another number of classes, and the norm of the pooled tokens is kept. */
START_TEST(of_a_classifier) {
  mae_model *encoder = small_model(1), *first, *second, *plain;
  ASSERT_OK(mae_model_classifier(encoder, CLASSES, 1, 7, &first));
  shake(first, 3);
  ASSERT_OK(mae_model_resize(first, 24, 16));
  ASSERT_OK(mae_model_classifier(first, 40, 1, 7, &second));
  check_encoder_copied(first, second);
  check_new_head(second, 40);
  ck_assert(same_bits(mae_model_find(first, "fc_norm.weight"),
                      mae_model_find(second, "fc_norm.weight")));
  ck_assert_int_eq(mae_model_num_patches(second), 24);
  ASSERT_OK(mae_model_classifier(first, 2, 0, 7, &plain));
  ck_assert(all_are(mae_model_find(plain, "norm.weight"), 1));
  mae_model_destroy(encoder);
  mae_model_destroy(first);
  mae_model_destroy(second);
  mae_model_destroy(plain);
}
END_TEST

START_TEST(refusals) {
  mae_model *encoder = small_model(1), *made = NULL;
  ASSERT_FAILS(mae_model_classifier(NULL, 2, 0, 0, &made),
               MAE_ERROR_INVALID_ARGUMENT, "encoder");
  ASSERT_FAILS(mae_model_classifier(encoder, 2, 0, 0, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "out");
  static const int32_t counts[] = {0, -1, INT32_MIN, INT32_MAX};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    ASSERT_FAILS(mae_model_classifier(encoder, counts[i], 0, 0, &made),
                 MAE_ERROR_INVALID_ARGUMENT, "num_classes");
  ASSERT_FAILS(mae_model_classifier(encoder, 2, 2, 0, &made),
               MAE_ERROR_INVALID_ARGUMENT, "global_pool");
  ck_assert_ptr_null(made);
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_graph_options o = {.grads = NULL};
  mae_graph g;
  ASSERT_FAILS(mae_graph_classifier(context, encoder, 1, &o, &g),
               MAE_ERROR_STATE, "no head");
  mae_context_destroy(context);
  mae_model_destroy(encoder);
}
END_TEST

/* -------------------------------------------------------------- graph --- */

typedef struct fixture {
  mae_context *context;
  mae_model *model;
  float *images, *target, **grads, *block;
} fixture;

/* Soft targets, each row a distribution. */
static float *make_target(int64_t batch, int64_t classes) {
  float *target = malloc((size_t)(batch * classes) * sizeof *target);
  ASSERT_OK(mae_random_uniform(5, 0, 0, (size_t)(batch * classes), target));
  for (int64_t b = 0; b < batch; b++) {
    float sum = 0;
    for (int64_t i = 0; i < classes; i++) sum += target[b * classes + i];
    for (int64_t i = 0; i < classes; i++) target[b * classes + i] /= sum;
  }
  return target;
}

static fixture set_up(int32_t global_pool) {
  fixture f = {.context = make_context(2, MAE_ISA_AUTO)};
  mae_model *encoder = small_model(1);
  ASSERT_OK(mae_model_classifier(encoder, CLASSES, global_pool, 7, &f.model));
  mae_model_destroy(encoder);
  shake(f.model, 4);
  f.images = small_images(BATCH, 6);
  f.target = make_target(BATCH, CLASSES);
  f.grads = calloc((size_t)f.model->n_params, sizeof *f.grads);
  ASSERT_OK(mae_model_shadow(f.model, NULL, f.grads, &f.block));
  return f;
}

static void tear_down(fixture *f) {
  free(f->images);
  free(f->target);
  free(f->grads);
  free(f->block);
  mae_model_destroy(f->model);
  mae_context_destroy(f->context);
}

static void fill(const mae_graph *g, const float *images, const float *target) {
  mae_tensor *t = mae_tape_value(g->tape, g->images);
  memcpy(t->data, images, (size_t)mae_tensor_size(t) * sizeof(float));
  t = mae_tape_value(g->tape, g->target);
  memcpy(t->data, target, (size_t)mae_tensor_size(t) * sizeof(float));
}

static mae_graph graph_of(const fixture *f, mae_graph_options o) {
  mae_graph g;
  ASSERT_OK(mae_graph_classifier(f->context, f->model, BATCH, &o, &g));
  return g;
}

static double run_with(const mae_graph *g, const float *images,
                       const float *target) {
  fill(g, images, target);
  ASSERT_OK(mae_tape_forward(g->tape));
  return *mae_tape_value(g->tape, g->loss)->data;
}

static double run(const fixture *f, const mae_graph *g) {
  return run_with(g, f->images, f->target);
}

static const float *logits_of(const mae_graph *g) {
  return mae_tape_value(g->tape, g->logits)->data;
}

/* -sum target * log softmax, the mean over rows, in double precision. */
static double cross_entropy(const float *logits, const float *target,
                            int64_t batch, int64_t classes) {
  double loss = 0;
  for (int64_t b = 0; b < batch; b++) {
    double sum = 0;
    for (int64_t i = 0; i < classes; i++)
      sum += exp((double)logits[b * classes + i]);
    for (int64_t i = 0; i < classes; i++)
      loss += target[b * classes + i] *
              (log(sum) - (double)logits[b * classes + i]);
  }
  return loss / (double)batch;
}

static const struct {
  const char *name, *file;
} others[] = {{"official_cls", "official_cls.pth"},
              {"official_pool", "official_pool.pth"},
              {"timm_vit", "timm_vit.safetensors"},
              {"timm_pool", "timm_pool.safetensors"},
              {"hf_classifier", "hf_classifier"}};
enum { OTHERS = sizeof others / sizeof *others };

static void load_other(int i, mae_model **model, mae_safetensors **file) {
  char path[128];
  mae_load_options options;
  mae_load_options_init(&options, sizeof options);
  options.num_heads = 2;
  snprintf(path, sizeof path, "tests/data/import/%s", others[i].file);
  ASSERT_OK(mae_model_import(path, &options, model, NULL));
  ASSERT_OK(
      mae_safetensors_open("tests/data/import/expected.safetensors", file));
}

/* Fine-tuned models of others give their logits. */
START_TEST(parity) {
  char name[64];
  mae_model *model;
  mae_safetensors *file;
  load_other(_i, &model, &file);
  snprintf(name, sizeof name, "%s.logits", others[_i].name);
  mae_tensor *images = golden(file, "images"), *want = golden(file, name);
  const int64_t n = want->shape[0], classes = want->shape[1];
  float *target = make_target(n, classes);
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_graph_options o = {.grads = NULL};
  mae_graph g;
  ASSERT_OK(mae_graph_classifier(context, model, n, &o, &g));
  double loss = run_with(&g, images->data, target);
  double error = relative_error(logits_of(&g), want->data, n * classes);
  ck_assert_msg(error < 1e-5, "relative error %g", error);
  ck_assert_double_eq_tol(loss, cross_entropy(want->data, target, n, classes),
                          1e-5);
  mae_graph_destroy(&g);
  mae_context_destroy(context);
  free(target);
  mae_tensor_destroy(images);
  mae_tensor_destroy(want);
  mae_safetensors_close(file);
  mae_model_destroy(model);
}
END_TEST

/* The same through sessions, in both modes, cut into passes. */
START_TEST(session_parity) {
  char name[64];
  mae_model *model;
  mae_safetensors *file;
  load_other(_i % OTHERS, &model, &file);
  snprintf(name, sizeof name, "%s.logits", others[_i % OTHERS].name);
  mae_tensor *images = golden(file, "images"), *want = golden(file, name);
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_session_options o;
  mae_session_options_init(&o, sizeof o);
  o.features = MAE_FEATURES_LOGITS;
  o.mode = (mae_mode)(_i / OTHERS);
  o.batch_size = _i % 2 + 1;
  o.block = _i % 3 ? -1 : 1; /* both are the last */
  mae_session *s;
  ASSERT_OK(mae_session_create(context, model, &o, &s));
  ck_assert_int_eq(mae_session_feature_size(s), want->shape[1]);
  const int64_t n = mae_tensor_size(want);
  float *got = malloc((size_t)n * sizeof *got);
  ASSERT_OK(mae_session_features(s, images->data, want->shape[0], NULL, got));
  double error = relative_error(got, want->data, n);
  ck_assert_msg(error < 1e-5, "relative error %g", error);
  free(got);
  mae_session_destroy(s);
  mae_context_destroy(context);
  mae_tensor_destroy(images);
  mae_tensor_destroy(want);
  mae_safetensors_close(file);
  mae_model_destroy(model);
}
END_TEST

/* Bytes in, halves out, at another image size, with patches left out. */
START_TEST(session_options) {
  fixture f = set_up(_i);
  uint8_t pixels[20 * 30];
  for (size_t i = 0; i < sizeof pixels; i++)
    pixels[i] = (uint8_t)(i * 37 % 251);
  const mae_image picture = {.data = pixels, .width = 30, .height = 20,
                             .channels = 1};
  mae_session_options o;
  mae_session_options_init(&o, sizeof o);
  o.features = MAE_FEATURES_LOGITS;
  o.image_height = 24;
  o.feature_mask_ratio = 0.5;
  o.image_width = 32;
  mae_session *s;
  ASSERT_OK(mae_session_create(f.context, f.model, &o, &s));
  float full[CLASSES], from_floats[CLASSES], image[24 * 32];
  ASSERT_OK(mae_features_u8(s, &picture, 1, full));
  ASSERT_OK(mae_session_preprocess(s, &picture, image));
  ASSERT_OK(mae_session_features(s, image, 1, NULL, from_floats));
  ck_assert_mem_eq(full, from_floats, sizeof full);
  mae_session_destroy(s);
  o.dtype = MAE_DTYPE_F16;
  uint16_t half[CLASSES];
  ASSERT_OK(mae_session_create(f.context, f.model, &o, &s));
  ASSERT_OK(mae_features_u8(s, &picture, 1, half));
  for (int i = 0; i < CLASSES; i++)
    ck_assert_uint_eq(half[i], mae_to_f16(full[i]));
  mae_session_destroy(s);
  /* By hand: pooled tokens of the same patches, normed, through the head. */
  o.dtype = MAE_DTYPE_F32;
  o.features = _i ? MAE_FEATURES_MEAN : MAE_FEATURES_CLASS_TOKEN;
  const int64_t width = f.model->config.embed_dim;
  float pooled[64];
  ASSERT_OK(mae_session_create(f.context, f.model, &o, &s));
  ASSERT_OK(mae_features_u8(s, &picture, 1, pooled));
  mae_session_destroy(s);
  const mae_tensor *weight = mae_model_find(f.model, "head.weight");
  for (int c = 0; c < CLASSES; c++) {
    double sum = mae_model_find(f.model, "head.bias")->data[c];
    for (int64_t i = 0; i < width; i++)
      sum += (double)weight->data[c * width + i] * pooled[i];
    ck_assert_double_eq_tol(full[c], sum, 1e-5);
  }
  tear_down(&f);
}
END_TEST

START_TEST(session_refusals) {
  fixture f = set_up(0);
  mae_model *headless = small_model(1);
  const int32_t twice[] = {-1, -1};
  mae_session *s = NULL;
  mae_session_options o, bad;
  mae_session_options_init(&o, sizeof o);
  o.features = MAE_FEATURES_LOGITS;
  ASSERT_FAILS(mae_session_create(f.context, headless, &o, &s),
               MAE_ERROR_STATE, "no head");
#define REFUSED(change, word)                               \
  bad = o, change;                                          \
  ASSERT_FAILS(mae_session_create(f.context, f.model, &bad, &s), \
               MAE_ERROR_INVALID_ARGUMENT, word)
  REFUSED(bad.l2_normalize = 1, "l2_normalize");
  REFUSED(bad.final_norm = 0, "final_norm");
  REFUSED(bad.block = 0, "last block");
  REFUSED((bad.blocks = twice, bad.num_blocks = 2), "last block");
  REFUSED(bad.features = (mae_features)5, "features");
  ck_assert_ptr_null(s);
  mae_model_destroy(headless);
  tear_down(&f);
}
END_TEST

/* The slope of the loss along a parameter's gradient is the gradient's length,
 * by central differences. */
static void check_gradient(const fixture *f, const mae_graph *g, int32_t i) {
  mae_tensor *t = mae_model_tensor(f->model, i);
  const int64_t n = mae_tensor_size(t);
  const size_t bytes = (size_t)n * sizeof(float);
  float *was = malloc(bytes);
  memcpy(was, t->data, bytes);
  double squares = 0, loss[2];
  for (int64_t k = 0; k < n; k++)
    squares += (double)f->grads[i][k] * f->grads[i][k];
  const double length = sqrt(squares), h = 0.01;
  ck_assert_msg(length > 1e-4, "%s has no gradient", f->model->params[i].name);
  for (int side = 0; side < 2; side++) {
    for (int64_t k = 0; k < n; k++)
      t->data[k] = (float)(was[k] + (side ? h : -h) * f->grads[i][k] / length);
    loss[side] = run(f, g);
  }
  memcpy(t->data, was, bytes);
  free(was);
  ck_assert_msg(fabs((loss[1] - loss[0]) / (2 * h) - length) <
                    0.01 * length + 1e-4,
                "%s: slope %g, gradient %g", f->model->params[i].name,
                (loss[1] - loss[0]) / (2 * h), length);
}

/* Of all parameters, the position table among them. */
START_TEST(gradients) {
  fixture f = set_up(_i % 2);
  mae_graph g = graph_of(&f, (mae_graph_options){
                                 .grads = f.grads, .drop_path = _i / 2});
  if (g.drop_scales) { /* scales of their own */
    mae_tape_value(g.tape, g.drop_scales[0])->data[1] = 0;
    mae_tape_value(g.tape, g.drop_scales[3])->data[2] = 1.5f;
  }
  run(&f, &g);
  ASSERT_OK(mae_tape_backward(g.tape, 1, 0));
  for (int32_t i = 0; i < f.model->n_params; i++) check_gradient(&f, &g, i);
  mae_graph_destroy(&g);
  tear_down(&f);
}
END_TEST

/* Is this parameter trained when the last k blocks are? */
static bool is_trained(const mae_model *m, int32_t i, int32_t k) {
  const mae_config *c = &m->config;
  if (!k) return i >= mae_param_head(c);
  return i >= mae_param_blocks(c) + (c->depth - k) * MAE_BLOCK_PARAMS;
}

/* Frozen parameters change no other gradient, and cost less. */
START_TEST(frozen) {
  fixture all = set_up(_i % 2), part = set_up(_i % 2);
  const bool recompute = _i / 2;
  mae_graph g = graph_of(&all, (mae_graph_options){
                                   .grads = all.grads, .recompute = recompute});
  run(&all, &g);
  ASSERT_OK(mae_tape_backward(g.tape, 1, 0));
  mae_graph_cost whole, cost;
  ASSERT_OK(mae_graph_measure_classifier(
      all.context, all.model, BATCH,
      &(mae_graph_options){.grads = all.grads,
                                      .recompute = recompute},
      &whole));
  ck_assert_uint_eq(whole.bytes, mae_tape_memory(g.tape));
  for (int32_t k = 1; k >= 0; k--) {
    for (int32_t i = 0; i < part.model->n_params; i++)
      if (!is_trained(part.model, i, k)) part.grads[i] = NULL;
    const mae_graph_options o = {.grads = part.grads,
                                            .recompute = recompute};
    mae_graph less = graph_of(&part, o);
    ck_assert_double_eq(run(&part, &less), run(&all, &g));
    ASSERT_OK(mae_tape_backward(less.tape, 1, 0));
    for (int32_t i = 0; i < part.model->n_params; i++)
      if (part.grads[i])
        ck_assert_mem_eq(
            part.grads[i], all.grads[i],
            (size_t)mae_tensor_size(&part.model->params[i].value) *
                sizeof(float));
    ASSERT_OK(mae_graph_measure_classifier(part.context, part.model, BATCH, &o,
                                           &cost));
    ck_assert_uint_eq(cost.bytes, mae_tape_memory(less.tape));
    ck_assert_uint_lt(cost.bytes, whole.bytes);
    ck_assert_double_lt(cost.step_flops, whole.step_flops);
    ck_assert_double_eq(cost.encoder_flops, whole.encoder_flops);
    ck_assert_double_eq(cost.decoder_flops, 0);
    mae_graph_destroy(&less);
  }
  /* The head alone: its weights' gradient beside the forward pass. */
  ck_assert_double_eq(cost.step_flops - cost.encoder_flops,
                      2.0 * BATCH * CLASSES * part.model->config.embed_dim);
  mae_graph_destroy(&g);
  tear_down(&all);
  tear_down(&part);
}
END_TEST

/* Scales of 1 change nothing, and of 0 all blocks of that image. */
START_TEST(drop_path) {
  fixture f = set_up(_i);
  mae_graph plain = graph_of(&f, (mae_graph_options){.grads = NULL});
  mae_graph g = graph_of(&f, (mae_graph_options){.drop_path = true});
  float none[BATCH * CLASSES], dropped[BATCH * CLASSES];
  run(&f, &plain);
  run(&f, &g);
  ck_assert_double_lt(
      relative_error(logits_of(&g), logits_of(&plain), BATCH * CLASSES), 1e-6);
  for (int32_t i = 0; i < 2 * f.model->config.depth; i++)
    mae_tape_value(g.tape, g.drop_scales[i])->data[1] = 0;
  run(&f, &g);
  memcpy(dropped, logits_of(&g), sizeof dropped);
  ck_assert_double_lt(relative_error(dropped, logits_of(&plain), CLASSES),
                      1e-6);
  /* Blocks that add nothing, for comparison. */
  static const char *const last[] = {"attn.proj", "mlp.fc2"};
  for (int i = 0; i < 8; i++) {
    char name[64];
    snprintf(name, sizeof name, "blocks.%d.%s.%s", i / 4, last[i / 2 % 2],
             i % 2 ? "bias" : "weight");
    mae_tensor *t = mae_model_tensor(f.model, index_of(f.model, name));
    memset(t->data, 0, (size_t)mae_tensor_size(t) * sizeof(float));
  }
  run(&f, &plain);
  memcpy(none, logits_of(&plain), sizeof none);
  ck_assert_double_lt(
      relative_error(dropped + CLASSES, none + CLASSES, CLASSES), 1e-6);
  ck_assert_double_gt(relative_error(dropped, none, CLASSES), 1e-3);
  mae_graph_destroy(&plain);
  mae_graph_destroy(&g);
  tear_down(&f);
}
END_TEST

Suite *classifier_suite(void) {
  Suite *s = suite_create("classifier");
  TCase *tc = tcase_create("classifier");
  tcase_add_loop_test(tc, of_an_autoencoder, 0, 2);
  tcase_add_test(tc, of_a_classifier);
  tcase_add_test(tc, refusals);
  tcase_add_loop_test(tc, parity, 0, OTHERS);
  tcase_add_loop_test(tc, session_parity, 0, 2 * OTHERS);
  tcase_add_loop_test(tc, session_options, 0, 2);
  tcase_add_test(tc, session_refusals);
  tcase_add_loop_test(tc, gradients, 0, 4);
  tcase_add_loop_test(tc, frozen, 0, 4);
  tcase_add_loop_test(tc, drop_path, 0, 2);
  suite_add_tcase(s, tc);
  return s;
}
