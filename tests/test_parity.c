/* Everything a model computes, against PyTorch in double precision
 * (tests/data/make_golden.py).  The bar is 1e-4 relative to the largest value
 * of each tensor; MAE_SHOW_PARITY=1 prints what was reached. */
#include "golden.h"
#include "suites.h"

static const double BAR = 1e-4;

static const char *const paths[] = {"tests/data/golden_tiny.safetensors",
                                    "tests/data/golden_odd.safetensors",
                                    "tests/data/golden_masked.safetensors"};
enum { PATHS = sizeof paths / sizeof *paths };

typedef struct fixture {
  mae_safetensors *file;
  mae_model *model;
  mae_context *context;
  mae_tensor *images, *noise;
  int64_t batch;
  double mask_ratio;
} fixture;

/* Case i: a file, an instruction set and a thread count. */
static fixture set_up(int i) {
  fixture f;
  const char *path = paths[i % PATHS];
  ASSERT_OK(mae_safetensors_open(path, &f.file));
  ASSERT_OK(mae_model_load(path, &f.model));
  f.context = make_context(i / PATHS % 2 ? 2 : 1, isas[i / PATHS / 2]);
  f.images = golden(f.file, "golden.images");
  f.noise = golden(f.file, "golden.noise");
  f.batch = f.images->shape[0];
  f.mask_ratio = atof(mae_safetensors_metadata(f.file, "golden.mask_ratio"));
  return f;
}

static void tear_down(fixture *f) {
  mae_tensor_destroy(f->images);
  mae_tensor_destroy(f->noise);
  mae_context_destroy(f->context);
  mae_model_destroy(f->model);
  mae_safetensors_close(f->file);
}

static void expect(const fixture *f, const char *prefix, const char *name,
                   const float *got, int64_t n, double bar) {
  expect_golden(f->file, prefix, name, got, n, bar);
}

static mae_session *session_of(const fixture *f, mae_session_options *o) {
  mae_session *session;
  o->mask_ratio = f->mask_ratio;
  ASSERT_OK(mae_session_create(f->context, f->model, o, &session));
  return session;
}

START_TEST(forward) {
  fixture f = set_up(_i);
  mae_session_options o;
  mae_session_options_init(&o, sizeof o);
  mae_session *s = session_of(&f, &o);
  mae_tensor *pred = golden(f.file, "golden.pred");
  mae_tensor *mask = golden(f.file, "golden.mask");
  mae_tensor *recon = golden(f.file, "golden.recon");
  double loss;
  ASSERT_OK(mae_session_forward(s, f.images->data, f.batch, f.noise->data,
                                &loss, pred->data, mask->data));
  float loss_f = (float)loss;
  expect(&f, "golden.", "loss", &loss_f, 1, BAR);
  expect(&f, "golden.", "pred", pred->data, mae_tensor_size(pred), BAR);
  expect(&f, "golden.", "mask", mask->data, mae_tensor_size(mask), 0);
  ASSERT_OK(mae_session_reconstruct(s, f.images->data, f.batch, f.noise->data,
                                    recon->data, NULL));
  expect(&f, "golden.", "recon", recon->data, mae_tensor_size(recon), BAR);
  mae_tensor_destroy(pred);
  mae_tensor_destroy(mask);
  mae_tensor_destroy(recon);
  mae_session_destroy(s);
  tear_down(&f);
}
END_TEST

static void check_features(const fixture *f, mae_session_options o,
                           const float *noise, const char *name) {
  o.features = MAE_FEATURES_TOKENS;
  mae_session *s = session_of(f, &o);
  int64_t n = f->batch * mae_session_feature_size(s);
  float *out = malloc((size_t)n * sizeof *out);
  ASSERT_OK(mae_session_features(s, f->images->data, f->batch, noise, out));
  expect(f, "golden.", name, out, n, BAR);
  free(out);
  mae_session_destroy(s);
}

START_TEST(features) {
  fixture f = set_up(_i);
  mae_session_options o;
  mae_session_options_init(&o, sizeof o);
  check_features(&f, o, NULL, "features");
  o.batch_size = 1; /* the cut into passes must not matter */
  check_features(&f, o, NULL, "features");
  o.block = 0;
  o.final_norm = 0;
  check_features(&f, o, NULL, "block0");
  mae_session_options_init(&o, sizeof o);
  o.feature_mask_ratio = f.mask_ratio;
  check_features(&f, o, f.noise->data, "latent");
  tear_down(&f);
}
END_TEST

static mae_trainer_options training(const fixture *f) {
  mae_trainer_options o;
  mae_trainer_options_init(&o, sizeof o);
  mae_tensor *base_lr = golden(f->file, "golden.base_lr");
  o.batch_size = (int32_t)f->batch;
  o.mask_ratio = f->mask_ratio;
  o.base_lr = base_lr->data[0];
  o.warmup_steps = 2;
  o.total_steps = 10;
  mae_tensor_destroy(base_lr);
  return o;
}

/* The position tables are fixed; with mask tokens in the encoder, the
 * decoder's is not used. */
static bool is_trained(const fixture *f, const char *name) {
  if (strstr(name, "pos_embed")) return false;
  return strcmp(name, "mask_token") ||
         !mae_model_find(f->model, "encoder_mask_token");
}

START_TEST(gradients) {
  fixture f = set_up(_i);
  mae_trainer_options o = training(&f);
  mae_trainer *t;
  ASSERT_OK(mae_trainer_create(f.context, f.model, &o, &t));
  ASSERT_OK(mae_trainer_step(t, f.images->data, f.noise->data, NULL));
  int compared = 0, trained = 0;
  for (int32_t i = 0; i < mae_model_num_tensors(f.model); i++) {
    const char *name = mae_model_tensor_name(f.model, i);
    mae_tensor *grad = mae_trainer_gradient(t, name);
    ck_assert_int_eq(grad != NULL, is_trained(&f, name));
    trained += is_trained(&f, name);
    if (!grad) continue;
    expect(&f, "grad.", name, grad->data, mae_tensor_size(grad), BAR);
    compared++;
  }
  ck_assert_int_eq(compared, trained);
  mae_trainer_destroy(t);
  tear_down(&f);
}
END_TEST

START_TEST(five_adamw_steps) {
  fixture f = set_up(_i);
  mae_trainer_options o = training(&f);
  mae_trainer *t;
  ASSERT_OK(mae_trainer_create(f.context, f.model, &o, &t));
  mae_tensor *noises = golden(f.file, "golden.noises");
  float losses[5], rates[5];
  double sum_of_rates = 0;
  for (int step = 0; step < 5; step++) {
    mae_step_result r = {.struct_size = sizeof r};
    ASSERT_OK(mae_trainer_step(
        t, f.images->data,
        noises->data + step * mae_tensor_size(f.noise), &r));
    ck_assert_int_eq(r.step, step + 1);
    losses[step] = (float)r.loss;
    rates[step] = (float)r.learning_rate;
    sum_of_rates += r.learning_rate;
  }
  expect(&f, "golden.", "losses", losses, 5, BAR);
  expect(&f, "golden.", "lrs", rates, 5, 1e-6);
  for (int32_t i = 0; i < mae_model_num_tensors(f.model); i++) {
    const char *name = mae_model_tensor_name(f.model, i);
    const mae_tensor *value = mae_model_tensor(f.model, i);
    if (mae_trainer_gradient(t, name))
      expect_trained(f.file, "adamw.", name, value, sum_of_rates, BAR);
  }
  mae_tensor_destroy(noises);
  mae_trainer_destroy(t);
  tear_down(&f);
}
END_TEST

/* Our fixed tables are those of the reference. */
START_TEST(position_tables) {
  fixture f = set_up(_i);
  mae_config c;
  ASSERT_OK(mae_config_init(&c, sizeof c, NULL));
  ASSERT_OK(mae_model_config(f.model, &c));
  mae_model *fresh;
  ASSERT_OK(mae_model_create(&c, 1, &fresh));
  static const char *const names[] = {"pos_embed", "decoder_pos_embed"};
  for (int i = 0; i < 2; i++) {
    const mae_tensor *t = mae_model_find(fresh, names[i]);
    expect(&f, "", names[i], t->data, mae_tensor_size(t), 1e-6);
  }
  mae_model_destroy(fresh);
  tear_down(&f);
}
END_TEST

Suite *parity_suite(void) {
  Suite *suite = suite_create("parity");
  TCase *tc = tcase_create("parity");
  int cases = 2 * PATHS * isa_count();
  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, forward, 0, cases);
  tcase_add_loop_test(tc, features, 0, cases);
  tcase_add_loop_test(tc, gradients, 0, cases);
  tcase_add_loop_test(tc, five_adamw_steps, 0, cases);
  tcase_add_loop_test(tc, position_tables, 0, PATHS);
  suite_add_tcase(suite, tc);
  return suite;
}
