/* Classifiers against PyTorch in double precision (make_finetune.py of
 * tests/data).  The bar is relative to the largest value of each tensor; 1e-6
 * is reached, which MAE_SHOW_PARITY=1 prints, and a parameter that decays or
 * does not where it should is off by 5e-4. */
#include "golden.h"
#include "model/graph.h"
#include "suites.h"

static const double BAR = 1e-5;

/* --------------------------------------------------------- operations --- */

static const double OP_BAR = 2e-6;

enum { X, OTHER, RESIDUAL, INPUTS };

typedef struct op_case {
  const char *prefix;
  const char *in[INPUTS]; /* names in the file */
  bool live[INPUTS];
  mae_status (*record)(mae_tape *tape, const mae_var *in, mae_var *out);
} op_case;

static mae_status record_token(mae_tape *t, const mae_var *in, mae_var *out) {
  return mae_tape_mean_tokens(t, in[X], 0, 1, out);
}

static mae_status record_pool(mae_tape *t, const mae_var *in, mae_var *out) {
  return mae_tape_mean_tokens(t, in[X], 1, 6, out); /* of 7 */
}

static mae_status record_loss(mae_tape *t, const mae_var *in, mae_var *out) {
  return mae_tape_softmax_cross_entropy(t, in[X], in[OTHER], out);
}

static mae_status record_drop(mae_tape *t, const mae_var *in, mae_var *out) {
  return mae_tape_drop_path_add(t, in[X], in[OTHER], in[RESIDUAL], out);
}

static const op_case op_cases[] = {
    {"token.", {"x"}, {true}, record_token},
    {"pool.", {"x"}, {true}, record_pool},
    {"hard.", {"logits", "target"}, {true}, record_loss},
    {"smooth.", {"logits", "target"}, {true}, record_loss},
    {"soft.", {"logits", "target"}, {true}, record_loss},
    {"drop.", {"x", "scale", "residual"}, {true, false, true}, record_drop},
};

enum { OP_CASES = sizeof op_cases / sizeof *op_cases };

static mae_tensor *op_tensor(const mae_safetensors *file, const op_case *c,
                             const char *name) {
  char full[64];
  snprintf(full, sizeof full, "%s%s", c->prefix, name);
  return golden(file, full);
}

static void fill(mae_tensor *to, const mae_safetensors *file, const op_case *c,
                 const char *name) {
  mae_tensor *from = op_tensor(file, c, name);
  ck_assert_int_eq(mae_tensor_size(from), mae_tensor_size(to));
  memcpy(to->data, from->data, (size_t)mae_tensor_size(to) * sizeof(float));
  mae_tensor_destroy(from);
}

static void check_op(const mae_safetensors *file, mae_context *context,
                     const op_case *c) {
  mae_tape *tape;
  mae_var in[INPUTS], out;
  ASSERT_OK(mae_tape_create(context, &tape));
  for (int i = 0; i < INPUTS && c->in[i]; i++) {
    mae_tensor *t = op_tensor(file, c, c->in[i]);
    ASSERT_OK(mae_tape_input(tape, t->ndim, t->shape, c->live[i], &in[i]));
    mae_tensor_destroy(t);
  }
  ASSERT_OK(c->record(tape, in, &out));
  ASSERT_OK(mae_tape_plan(tape, out));
  for (int i = 0; i < INPUTS && c->in[i]; i++)
    fill(mae_tape_value(tape, in[i]), file, c, c->in[i]);
  ASSERT_OK(mae_tape_forward(tape));
  fill(mae_tape_grad(tape, out), file, c, "dy");
  ASSERT_OK(mae_tape_backward(tape, mae_tape_grad(tape, out)->data[0], 0));
  const mae_tensor *y = mae_tape_value(tape, out);
  expect_golden(file, c->prefix, "y", y->data, mae_tensor_size(y), OP_BAR);
  for (int i = 0; i < INPUTS && c->in[i]; i++) {
    const mae_tensor *grad = mae_tape_grad(tape, in[i]);
    char name[32];
    snprintf(name, sizeof name, "d%s", c->in[i]);
    if (c->live[i])
      expect_golden(file, c->prefix, name, grad->data, mae_tensor_size(grad), OP_BAR);
  }
  mae_tape_destroy(tape);
}

/* Case i: an instruction set and a thread count. */
START_TEST(operations) {
  mae_safetensors *file;
  mae_context *context = make_context(_i % 2 ? 2 : 1, isas[_i / 2]);
  ASSERT_OK(mae_safetensors_open("tests/data/golden_classifier_ops.safetensors",
                                 &file));
  for (int i = 0; i < OP_CASES; i++) check_op(file, context, &op_cases[i]);
  mae_safetensors_close(file);
  mae_context_destroy(context);
}
END_TEST

/* -------------------------------------------------------- classifiers --- */

static const char *const classifier_paths[] = {
    "tests/data/golden_finetune_token.safetensors",
    "tests/data/golden_finetune_pool.safetensors"};

typedef struct fixture {
  mae_safetensors *file;
  mae_model *model;
  mae_context *context;
  mae_tensor *images, *targets; /* [steps, ...] each */
  int32_t *labels;              /* [steps, batch], or NULL */
  int64_t steps, batch, image_floats, classes; /* image_floats: of a batch */
} fixture;

static int32_t *read_labels(const mae_safetensors *file) {
  mae_tensor shape;
  if (mae_safetensors_shape(file, "golden.labels", &shape) != MAE_OK)
    return NULL;
  mae_tensor *t = golden(file, "golden.labels");
  int32_t *labels = malloc((size_t)mae_tensor_size(t) * sizeof *labels);
  ck_assert_ptr_nonnull(labels);
  for (int64_t i = 0; i < mae_tensor_size(t); i++)
    labels[i] = (int32_t)t->data[i];
  mae_tensor_destroy(t);
  return labels;
}

/* Case i: a file, a thread count and an instruction set. */
static fixture set_up(int i) {
  fixture f;
  const char *path = classifier_paths[i % 2];
  ASSERT_OK(mae_safetensors_open(path, &f.file));
  ASSERT_OK(mae_model_load(path, &f.model));
  f.context = make_context(i / 2 % 2 ? 2 : 1, isas[i / 4]);
  f.images = golden(f.file, "golden.images");
  f.targets = golden(f.file, "golden.targets");
  f.labels = read_labels(f.file);
  f.steps = f.targets->shape[0];
  f.batch = f.targets->shape[1];
  f.classes = f.targets->shape[2];
  f.image_floats = f.images->shape[1];
  ck_assert((f.labels == NULL) == (i % 2 == 1));
  return f;
}

static void tear_down(fixture *f) {
  mae_tensor_destroy(f->images);
  mae_tensor_destroy(f->targets);
  free(f->labels);
  mae_context_destroy(f->context);
  mae_model_destroy(f->model);
  mae_safetensors_close(f->file);
}

START_TEST(logits) {
  fixture f = set_up(_i);
  mae_session_options o;
  mae_session_options_init(&o, sizeof o);
  o.features = MAE_FEATURES_LOGITS;
  mae_session *s;
  ASSERT_OK(mae_session_create(f.context, f.model, &o, &s));
  ck_assert_int_eq(mae_session_feature_size(s), f.classes);
  const int64_t n = f.batch * f.classes;
  float *out = malloc((size_t)n * sizeof *out);
  ASSERT_OK(mae_session_features(s, f.images->data, f.batch, NULL, out));
  expect_golden(f.file, "plain.", "logits", out, n, BAR);
  free(out);
  mae_session_destroy(s);
  tear_down(&f);
}
END_TEST

/* ---------------------------------------------------------- gradients --- */

/* Arrays for the gradients of the parameters from the first on. */
static float **make_grads(const fixture *f, int32_t first) {
  const int32_t n = mae_model_num_tensors(f->model);
  float **grads = calloc((size_t)n, sizeof *grads);
  ck_assert_ptr_nonnull(grads);
  for (int32_t i = first; i < n; i++) {
    const mae_tensor *value = mae_model_tensor(f->model, i);
    grads[i] = malloc((size_t)mae_tensor_size(value) * sizeof(float));
    ck_assert_ptr_nonnull(grads[i]);
  }
  return grads;
}

static void free_grads(const fixture *f, float **grads) {
  for (int32_t i = 0; i < mae_model_num_tensors(f->model); i++) free(grads[i]);
  free(grads);
}

static void fill_graph(const fixture *f, mae_graph *g) {
  memcpy(mae_graph_images(g), f->images->data,
         (size_t)f->image_floats * sizeof(float));
  memcpy(mae_tape_value(g->tape, g->target)->data, f->targets->data,
         (size_t)(f->batch * f->classes) * sizeof(float));
  if (!g->drop_scales) return;
  mae_tensor *scales = golden(f->file, "golden.drop_scales");
  for (int64_t k = 0; k < scales->shape[0]; k++)
    memcpy(mae_tape_value(g->tape, g->drop_scales[k])->data,
           scales->data + k * f->batch, (size_t)f->batch * sizeof(float));
  mae_tensor_destroy(scales);
}

/* Logits, loss and the gradients of the parameters from the first on. */
static void check_graph(const fixture *f, bool drop_path, bool recompute,
                        int32_t first) {
  const char *prefix = drop_path ? "drop." : "plain.";
  const char *of_grad = drop_path ? "drop.grad." : "plain.grad.";
  float **grads = make_grads(f, first);
  const mae_graph_options o = {
      .grads = grads, .recompute = recompute, .drop_path = drop_path};
  mae_graph g;
  ASSERT_OK(mae_graph_classifier(f->context, f->model, f->batch, &o, &g));
  fill_graph(f, &g);
  ASSERT_OK(mae_tape_forward(g.tape));
  ASSERT_OK(mae_tape_backward(g.tape, 1, 0));
  expect_golden(f->file, prefix, "logits",
                mae_tape_value(g.tape, g.logits)->data, f->batch * f->classes,
                BAR);
  expect_golden(f->file, prefix, "loss", mae_tape_value(g.tape, g.loss)->data,
                1, BAR);
  for (int32_t i = first; i < mae_model_num_tensors(f->model); i++)
    expect_golden(f->file, of_grad, mae_model_tensor_name(f->model, i),
                  grads[i], mae_tensor_size(mae_model_tensor(f->model, i)),
                  BAR);
  mae_graph_destroy(&g);
  free_grads(f, grads);
}

static int32_t index_of(const fixture *f, const char *name) {
  for (int32_t i = 0; i < mae_model_num_tensors(f->model); i++)
    if (!strcmp(mae_model_tensor_name(f->model, i), name)) return i;
  ck_abort_msg("no %s", name);
}

START_TEST(gradients) {
  fixture f = set_up(_i);
  check_graph(&f, false, false, 0);
  check_graph(&f, false, true, 0);
  check_graph(&f, false, false, index_of(&f, "blocks.1.norm1.weight"));
  check_graph(&f, false, false, index_of(&f, "head.weight"));
  tear_down(&f);
}
END_TEST

START_TEST(gradients_with_drop_path) {
  fixture f = set_up(_i);
  check_graph(&f, true, false, 0);
  check_graph(&f, true, true, 0);
  check_graph(&f, true, false, index_of(&f, "blocks.1.norm1.weight"));
  tear_down(&f);
}
END_TEST

/* ----------------------------------------------------------- training --- */

typedef struct variant {
  const char *name;
  int32_t trainable_blocks;
  bool recipe; /* with drop path, and mixing where there are labels */
} variant;

static const variant variants[] = {
    {"all", -1, false}, {"last", 1, false}, {"head", 0, false},
    {"recipe", -1, true}};

static double metadata(const fixture *f, const char *key) {
  const char *text = mae_safetensors_metadata(f->file, key);
  ck_assert_ptr_nonnull(text);
  return atof(text);
}

static mae_trainer_options training(const fixture *f, const variant *v) {
  mae_trainer_options o;
  mae_trainer_options_init(&o, sizeof o);
  mae_tensor *base_lr = golden(f->file, "golden.base_lr");
  o.batch_size = (int32_t)f->batch;
  o.base_lr = base_lr->data[0];
  o.warmup_steps = 2;
  o.total_steps = 10;
  o.beta2 = 0.999;
  o.weight_decay = metadata(f, "golden.weight_decay");
  o.layer_decay = metadata(f, "golden.layer_decay");
  o.label_smoothing = metadata(f, "golden.smoothing");
  o.ema_decay = metadata(f, "golden.ema");
  o.trainable_blocks = v->trainable_blocks;
  if (v->recipe) {
    o.seed = (uint64_t)metadata(f, "golden.seed");
    o.drop_path = metadata(f, "golden.drop_path");
    o.mixup = metadata(f, "golden.mixup");
    o.cutmix = metadata(f, "golden.cutmix");
  }
  mae_tensor_destroy(base_lr);
  return o;
}

static void step(const fixture *f, mae_trainer *t, int64_t i,
                 mae_step_result *r) {
  const int64_t n = f->batch;
  ASSERT_OK(mae_trainer_step_labels(
      t, f->images->data + i * f->image_floats,
      f->labels ? f->labels + i * n : NULL,
      f->labels ? NULL : f->targets->data + i * n * f->classes, r));
  ck_assert_int_eq(r->step, i + 1);
}

/* prefix + name is in the file. */
static bool has(const fixture *f, const char *prefix, const char *name) {
  char full[128];
  mae_tensor shape;
  snprintf(full, sizeof full, "%s%s", prefix, name);
  return mae_safetensors_shape(f->file, full, &shape) == MAE_OK;
}

/* The trained parameters have the gradients of the first images, the others
 * none. */
static void expect_gradients(const fixture *f, const mae_trainer *t,
                             const char *adamw) {
  for (int32_t i = 0; i < mae_model_num_tensors(f->model); i++) {
    const char *name = mae_model_tensor_name(f->model, i);
    const mae_tensor *grad = mae_trainer_gradient(t, name);
    ck_assert_msg(!grad == !has(f, adamw, name), "%s", name);
    if (grad)
      expect_golden(f->file, "plain.grad.", name, grad->data,
                    mae_tensor_size(grad), BAR);
  }
}

/* The trained parameters are those after the steps, the others as before. */
static void expect_weights(const fixture *f, const mae_model *model,
                           const char *prefix, double sum_of_rates) {
  for (int32_t i = 0; i < mae_model_num_tensors(model); i++) {
    const char *name = mae_model_tensor_name(model, i);
    const mae_tensor *value = mae_model_tensor(model, i);
    if (has(f, prefix, name))
      expect_trained(f->file, prefix, name, value, sum_of_rates, BAR);
    else
      expect_golden(f->file, "", name, value->data, mae_tensor_size(value), 0);
  }
}

static void train(const fixture *f, const variant *v) {
  char losses_name[32], lrs_name[32], adamw[32], ema[32];
  snprintf(losses_name, sizeof losses_name, "%s.losses", v->name);
  snprintf(lrs_name, sizeof lrs_name, "%s.lrs", v->name);
  snprintf(adamw, sizeof adamw, "%s.adamw.", v->name);
  snprintf(ema, sizeof ema, "%s.ema.", v->name);
  mae_trainer_options o = training(f, v);
  mae_trainer *t;
  ASSERT_OK(mae_trainer_create(f->context, f->model, &o, &t));
  float losses[5], lrs[5];
  double sum_of_rates = 0;
  ck_assert_int_eq(f->steps, 5);
  for (int64_t i = 0; i < 5; i++) {
    mae_step_result r = {.struct_size = sizeof r};
    step(f, t, i, &r);
    losses[i] = (float)r.loss;
    lrs[i] = (float)r.learning_rate;
    sum_of_rates += r.learning_rate;
    if (i == 0 && !v->recipe) expect_gradients(f, t, adamw);
  }
  expect_golden(f->file, "", losses_name, losses, 5, BAR);
  expect_golden(f->file, "", lrs_name, lrs, 5, 1e-6);
  expect_weights(f, f->model, adamw, sum_of_rates);
  expect_weights(f, mae_trainer_ema_model(t), ema, sum_of_rates);
  mae_trainer_destroy(t);
}

START_TEST(five_adamw_steps) {
  for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
    fixture f = set_up(_i);
    train(&f, &variants[v]);
    tear_down(&f);
  }
}
END_TEST

Suite *finetune_parity_suite(void) {
  Suite *suite = suite_create("finetune_parity");
  TCase *tc = tcase_create("finetune_parity");
  tcase_set_timeout(tc, 120);
  const int cases = 4 * isa_count();
  tcase_add_loop_test(tc, operations, 0, 2 * isa_count());
  tcase_add_loop_test(tc, logits, 0, cases);
  tcase_add_loop_test(tc, gradients, 0, cases);
  tcase_add_loop_test(tc, gradients_with_drop_path, 0, cases);
  tcase_add_loop_test(tc, five_adamw_steps, 0, cases);
  suite_add_tcase(suite, tc);
  return suite;
}
