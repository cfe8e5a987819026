/* Parameters updated in the backward pass: the same bits without gradients. */
#include <unistd.h>

#include "autograd/passing.h"
#include "autograd/tape.h"
#include "count_alloc.h"
#include "suites.h"
#include "training.h"

enum { BATCH = 4, STEPS = 4 };

static char path[64];

static void make_path(void) {
  strcpy(path, "/tmp/libmae-in-backward-XXXXXX");
  close(mkstemp(path));
}
static void drop_path(void) { unlink(path); }

static mae_trainer_options small_options(int32_t update_in_backward) {
  mae_trainer_options o;
  mae_trainer_options_init(&o, sizeof o);
  ck_assert_int_eq(o.update_in_backward, 0);
  o.batch_size = BATCH;
  o.base_lr = 0.064;
  o.warmup_steps = 2;
  o.total_steps = 40;
  o.update_in_backward = update_in_backward;
  return o;
}

static run start_on(const mae_config *config, mae_trainer_options o,
                    int32_t threads) {
  mae_model *model;
  ASSERT_OK(mae_model_create(config, 1, &model));
  return run_of(model, o, threads);
}

static run start(int32_t update_in_backward) {
  const mae_config config = small_config();
  return start_on(&config, small_options(update_in_backward), 2);
}

static mae_step_result step(run *r, int number) {
  float *images = small_images(BATCH, (uint64_t)number);
  mae_step_result result = {.struct_size = sizeof result};
  ASSERT_OK(mae_trainer_step(r->trainer, images, NULL, &result));
  free(images);
  return result;
}

/* ------------------------------------------------------------- trainer --- */

/* Case i: i % 2 + 1 threads; recomputing; mask tokens in the encoder; bf16.
 * Some parameters are of more than one stretch of the optimizer's. */
START_TEST(same_bits) {
  mae_config config = small_config();
  config.embed_dim = 160;
  config.encoder_mask_tokens = _i >> 2 & 1;
  mae_trainer_options o = small_options(0);
  o.recompute = _i >> 1 & 1;
  o.precision = (mae_precision)(_i >> 3);
  o.ema_decay = 0.5;
  run plain = start_on(&config, o, 1 + _i % 2);
  o.update_in_backward = 1;
  run early = start_on(&config, o, 1 + _i % 2);
  for (int i = 0; i < STEPS; i++) {
    const mae_step_result a = step(&plain, i), b = step(&early, i);
    ck_assert_mem_eq(&a, &b, sizeof a);
    ck_assert_double_gt(b.grad_norm, 0);
    ck_assert(same_weights(plain.model, early.model));
    ck_assert(same_weights(mae_trainer_ema_model(plain.trainer),
                           mae_trainer_ema_model(early.trainer)));
  }
  stop(&plain);
  stop(&early);
}
END_TEST

/* Either kind resumes what the other saved. */
START_TEST(resumes) {
  run whole = start(0), first = start(_i), second = start(!_i);
  for (int i = 0; i < 2 * STEPS; i++) step(&whole, i);
  for (int i = 0; i < STEPS; i++) step(&first, i);
  ASSERT_OK(mae_trainer_save(first.trainer, path));
  ASSERT_OK(mae_trainer_resume(second.trainer, path));
  for (int i = STEPS; i < 2 * STEPS; i++) step(&second, i);
  ck_assert(same_weights(whole.model, second.model));
  stop(&whole);
  stop(&first);
  stop(&second);
}
END_TEST

static bool same(const run *a, const run *b, const char *name) {
  const mae_tensor *x = mae_model_find(a->model, name);
  const mae_tensor *y = mae_model_find(b->model, name);
  return !memcmp(x->data, y->data, (size_t)mae_tensor_size(x) * sizeof(float));
}

/* Case 0: the loss is not finite, and nothing has changed.  1: it is, but not
 * what comes to the decoder through its last layer. */
START_TEST(non_finite) {
  run a = start(1), b = start(1);
  step(&a, 0);
  step(&b, 0);
  ASSERT_OK(mae_trainer_save(b.trainer, path));
  for (run *r = &a;; r = &b) {
    mae_tensor *weight = mae_model_find(r->model, "decoder_pred.weight");
    for (int64_t i = 0; i < mae_tensor_size(weight); i++)
      weight->data[i] *= _i ? 1e13f : INFINITY;
    if (r == &b) break;
  }
  float *images = small_images(BATCH, 1);
  mae_step_result result = {.struct_size = sizeof result};
  ASSERT_FAILS(mae_trainer_step(a.trainer, images, NULL, &result),
               MAE_ERROR_NON_FINITE, _i ? "gradient" : "loss");
  free(images);
  ck_assert_int_eq(mae_trainer_steps(a.trainer), 1);
  ck_assert_uint_eq(mae_trainer_images_seen(a.trainer), BATCH);
  ck_assert_int_eq(same(&a, &b, "decoder_pred.bias"), !_i);
  ck_assert(same(&a, &b, "decoder_norm.weight"));
  ck_assert(same(&a, &b, "patch_embed.proj.weight"));
  ASSERT_OK(mae_trainer_resume(a.trainer, path));
  ASSERT_OK(mae_trainer_resume(b.trainer, path));
  step(&a, 1);
  step(&b, 1);
  ck_assert(same_weights(a.model, b.model));
  stop(&a);
  stop(&b);
}
END_TEST

START_TEST(steady_step_allocates_nothing) {
  run r = start(1);
  float *images = small_images(BATCH, 1);
  for (int i = 0; i < 3; i++) step(&r, i);
  const long before = count_alloc_calls();
  int failed = 0; /* Check's own assertions allocate */
  for (int i = 0; i < 10; i++)
    failed |= mae_trainer_step(r.trainer, images, NULL, NULL);
  const long after = count_alloc_calls();
  ck_assert_int_eq(failed, 0);
  ck_assert_int_eq(after - before, 0);
  free(images);
  stop(&r);
}
END_TEST

/* All gradients but those of one operation are gone, and attention's outputs
 * and the decoder's qkv, which are computed twice. */
START_TEST(takes_less) {
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_config config;
  ASSERT_OK(mae_config_init(&config, sizeof config, "vit_l16"));
  enum { IMAGES = 32 };
  mae_trainer_options o = small_options(0);
  o.batch_size = IMAGES;
  mae_training_plan p = {.struct_size = sizeof p}, q = p;
  ASSERT_OK(mae_trainer_plan(context, &config, &o, &p));
  o.update_in_backward = 1;
  ASSERT_OK(mae_trainer_plan(context, &config, &o, &q));
  const int64_t largest = 4 * 1024 * 1024 * (int64_t)sizeof(float);
  ck_assert_int_eq(q.gradient_bytes, 0);
  ck_assert_int_eq(q.optimizer_bytes, p.optimizer_bytes);
  const int64_t qkv = 1536, decoder_rows = IMAGES * 8 * 197;
  const int64_t rows = IMAGES * (50 + 7 * 197) + 197; /* seen ones and masks */
  const int64_t numbers =
      IMAGES * 24 * 50 * 1024 + decoder_rows * 512 + rows * qkv;
  const int64_t less =
      numbers * (int64_t)sizeof(float) * 9 / 10 - 2 * largest;
  ck_assert_int_lt(q.activation_bytes, p.activation_bytes - less);
  ck_assert_int_lt(q.total_bytes, p.total_bytes - p.gradient_bytes - less);
  ck_assert_double_eq(q.step_flops - p.step_flops,
                      4. * IMAGES * 24 * 50 * 50 * 1024 +
                          4. * 512 * 197 * (double)decoder_rows +
                          2. * 512 * (double)(rows * qkv));
  mae_context_destroy(context);
}
END_TEST

static void refuse(const mae_trainer_options *o) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_model *model = small_model(1);
  mae_trainer *t = NULL;
  ASSERT_FAILS(mae_trainer_create(context, model, o, &t),
               MAE_ERROR_INVALID_ARGUMENT, "update_in_backward");
  ck_assert_ptr_null(t);
  mae_model_destroy(model);
  mae_context_destroy(context);
}

static mae_status no_sum(void *arg, float *data, int64_t n) {
  (void)arg, (void)data, (void)n;
  return MAE_OK;
}

static mae_status no_wait(void *arg) {
  (void)arg;
  return MAE_OK;
}

START_TEST(refused) {
  mae_trainer_options o = small_options(2);
  refuse(&o);
  o = small_options(-1);
  refuse(&o);
  o = small_options(1), o.accum_steps = 2;
  refuse(&o);
  o = small_options(1), o.clip_grad = 1;
  refuse(&o);
  run r = start(1), plain = start(0);
  mae_communicator c = {.struct_size = sizeof c, .ranks = 2,
                        .start_sum = no_sum, .wait_all = no_wait};
  ASSERT_FAILS(mae_trainer_set_communicator(r.trainer, &c), MAE_ERROR_STATE,
               "update_in_backward");
  c.ranks = 1;
  ASSERT_OK(mae_trainer_set_communicator(r.trainer, &c));
  ASSERT_OK(mae_trainer_set_communicator(r.trainer, NULL));
  ck_assert_ptr_null(mae_trainer_gradient(r.trainer, "cls_token"));
  step(&r, 0); /* as if nothing had been */
  step(&plain, 0);
  ck_assert(same_weights(r.model, plain.model));
  stop(&r);
  stop(&plain);
}
END_TEST

/* ---------------------------------------------------------------- tape --- */

enum { SIDE = 8, TWICE = 0, ONCE, ALONE, PARAMS };

/* Gradients as the watcher finds them. */
typedef struct net {
  mae_tape *tape;
  mae_var x, y, param[PARAMS];
  float seen[PARAMS][SIDE * SIDE];
  int told[PARAMS];
} net;

static void note(void *arg, mae_var parameter) {
  net *n = arg;
  for (int i = 0; i < PARAMS; i++) {
    if (n->param[i].id != parameter.id) continue;
    memcpy(n->seen[i], mae_tape_grad(n->tape, parameter)->data,
           sizeof n->seen[i]);
    n->told[i]++;
  }
}

/* y = (x w_twice) w_once w_twice + w_twice + w_twice; w_alone leads nowhere. */
static void record(net *n, mae_context *context, mae_tensor *const *w,
                   mae_tensor *const *dw, bool passing) {
  const int64_t square[] = {SIDE, SIDE}, row[] = {SIDE};
  mae_var bias, y, sum, nowhere;
  ASSERT_OK(mae_tape_create(context, &n->tape));
  ASSERT_OK(mae_tape_input(n->tape, 2, square, 0, &n->x));
  ASSERT_OK(mae_tape_input(n->tape, 1, row, 0, &bias));
  for (int i = 0; i < PARAMS; i++)
    ASSERT_OK(passing
                  ? mae_tape_passing_parameter(n->tape, w[i], &n->param[i])
                  : mae_tape_parameter(n->tape, w[i], dw[i], &n->param[i]));
  ASSERT_OK(mae_tape_linear(n->tape, n->x, n->param[TWICE], bias, 0, &y));
  ASSERT_OK(mae_tape_linear(n->tape, y, n->param[ONCE], bias, 0, &y));
  ASSERT_OK(mae_tape_linear(n->tape, y, n->param[TWICE], bias, 0, &y));
  ASSERT_OK(
      mae_tape_linear(n->tape, n->x, n->param[ALONE], bias, 0, &nowhere));
  ASSERT_OK(mae_tape_add(n->tape, n->param[TWICE], n->param[TWICE], &sum));
  ASSERT_OK(mae_tape_add(n->tape, sum, y, &n->y));
  ASSERT_OK(mae_tape_plan(n->tape, n->y));
}

static void pass(net *n, int32_t accumulate) {
  const mae_tape_watcher watcher = {.final = note, .arg = n};
  mae_tape_watch(n->tape, &watcher);
  memset(n->told, 0, sizeof n->told);
  for (int i = 0; i < SIDE * SIDE; i++) {
    mae_tape_value(n->tape, n->x)->data[i] = 0.03f * (float)(i % 7) - 0.1f;
    mae_tape_grad(n->tape, n->y)->data[i] = 0.01f * (float)i - 0.3f;
  }
  ASSERT_OK(mae_tape_forward(n->tape));
  ASSERT_OK(mae_tape_backward(n->tape, 1, accumulate));
  for (int i = 0; i < PARAMS; i++) ck_assert_int_eq(n->told[i], i != ALONE);
}

START_TEST(passing_gradients) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  const int64_t square[] = {SIDE, SIDE};
  mae_tensor *w[PARAMS], *dw[PARAMS];
  net plain = {.told = {0}}, passing = {.told = {0}};
  for (int i = 0; i < PARAMS; i++) {
    ASSERT_OK(mae_tensor_create(2, square, &w[i]));
    ASSERT_OK(mae_tensor_create(2, square, &dw[i]));
    ASSERT_OK(mae_random_normal(7, (uint64_t)i, 0, SIDE * SIDE, w[i]->data));
  }
  record(&plain, context, w, dw, false);
  record(&passing, context, w, NULL, true);
  pass(&plain, 0);
  for (int again = 0; again < 2; again++) { /* nothing is added */
    pass(&passing, again);
    ck_assert_mem_eq(passing.seen, plain.seen, sizeof plain.seen);
  }
  ck_assert(plain.seen[TWICE][3] != 0 && plain.seen[ONCE][3] != 0);
  const mae_tensor *alone = mae_tape_grad(passing.tape, passing.param[ALONE]);
  for (int i = 0; i < SIDE * SIDE; i++) ck_assert(alone->data[i] == 0);
  for (int i = 0; i < PARAMS; i++) {
    mae_tensor_destroy(w[i]);
    mae_tensor_destroy(dw[i]);
  }
  mae_tape_destroy(plain.tape);
  mae_tape_destroy(passing.tape);
  mae_context_destroy(context);
}
END_TEST

Suite *update_in_backward_suite(void) {
  Suite *suite = suite_create("update_in_backward");
  TCase *tc = tcase_create("update_in_backward");
  tcase_set_timeout(tc, 120);
  tcase_add_checked_fixture(tc, make_path, drop_path);
  tcase_add_loop_test(tc, same_bits, 0, 16);
  tcase_add_loop_test(tc, resumes, 0, 2);
  tcase_add_loop_test(tc, non_finite, 0, 2);
  if (count_alloc_calls() >= 0)
    tcase_add_test(tc, steady_step_allocates_nothing);
  tcase_add_test(tc, takes_less);
  tcase_add_test(tc, refused);
  tcase_add_test(tc, passing_gradients);
  suite_add_tcase(suite, tc);
  return suite;
}
