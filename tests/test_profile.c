/* Profiles: what is counted, that it adds up, and that it changes nothing. */
#include <pthread.h>
#include <time.h>

#include "base/profile.h"
#include "count_alloc.h"
#include "golden.h"
#include "suites.h"

enum { BATCH = 4, STEPS = 3 };

static mae_context *profiled(int32_t threads) {
  mae_context_options o;
  mae_context *context;
  mae_context_options_init(&o, sizeof o);
  o.threads = threads;
  o.profile = 1;
  ASSERT_OK(mae_context_create(&o, &context));
  return context;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static mae_profile_entry entry_at(const mae_context *context, int32_t i) {
  mae_profile_entry e = {.struct_size = sizeof e};
  ASSERT_OK(mae_context_profile(context, i, &e));
  return e;
}

/* The sum of the entries that match; NULL and -1 match all. */
static mae_profile_entry sum(const mae_context *context, const char *part,
                             const char *op, int pass) {
  mae_profile_entry s = {.struct_size = sizeof s};
  for (int32_t i = 0; i < mae_context_profile_size(context); i++) {
    const mae_profile_entry e = entry_at(context, i);
    if ((part && strcmp(part, e.part)) || (op && strcmp(op, e.op)) ||
        (pass >= 0 && pass != (int)e.pass))
      continue;
    s.calls += e.calls;
    s.seconds += e.seconds;
    s.flops += e.flops;
  }
  return s;
}

static void expect_calls(const mae_context *context, const char *part,
                         const char *op, int pass, int64_t calls) {
  const mae_profile_entry s = sum(context, part, op, pass);
  ck_assert_msg(s.calls == calls, "%s %s %d: %lld calls, not %lld",
                part ? part : "any", op ? op : "any", pass,
                (long long)s.calls, (long long)calls);
}

typedef struct run {
  mae_context *context;
  mae_model *model;
  mae_trainer *trainer;
  mae_trainer_options options;
  float *images;
} run;

static run start(mae_context *context, int32_t recompute) {
  run r = {.context = context, .model = small_model(1),
           .images = small_images(BATCH, 1)};
  mae_trainer_options_init(&r.options, sizeof r.options);
  r.options.batch_size = BATCH;
  r.options.recompute = recompute;
  r.options.ema_decay = 0.5;
  ASSERT_OK(mae_trainer_create(context, r.model, &r.options, &r.trainer));
  return r;
}

static double train(run *r) {
  const double began = now();
  for (int i = 0; i < STEPS; i++)
    ASSERT_OK(mae_trainer_step(r->trainer, r->images, NULL, NULL));
  return now() - began;
}

static void stop(run *r) {
  mae_trainer_destroy(r->trainer);
  mae_model_destroy(r->model);
  mae_context_destroy(r->context);
  free(r->images);
}

/* ------------------------------------------------------------- training --- */

/* Case 1: computing again. */
START_TEST(training_is_counted_as_planned) {
  run r = start(profiled(2), _i);
  const mae_config c = small_config();
  mae_training_plan p = {.struct_size = sizeof p};
  ASSERT_OK(mae_trainer_plan(r.context, &c, &r.options, &p));
  train(&r);
  ck_assert_double_eq_tol(sum(r.context, NULL, NULL, -1).flops,
                          STEPS * p.step_flops, 1);
  ck_assert_double_eq_tol(
      sum(r.context, "encoder", NULL, MAE_PROFILE_FORWARD).flops,
      STEPS * BATCH * p.encoder_flops, 1);
  ck_assert_double_eq_tol(
      sum(r.context, "decoder", NULL, MAE_PROFILE_FORWARD).flops,
      STEPS * BATCH * p.decoder_flops, 1);
  ck_assert((sum(r.context, NULL, NULL, MAE_PROFILE_RECOMPUTE).flops > 0) ==
            _i);
  for (int pass = 0; pass <= 2; pass += 2) {
    expect_calls(r.context, "encoder", "attention", pass, STEPS * c.depth);
    expect_calls(r.context, "decoder", "attention", pass,
                 STEPS * c.decoder_depth);
    expect_calls(r.context, "loss", "masked_mse", pass, STEPS);
  }
  expect_calls(r.context, "encoder", "attention", MAE_PROFILE_RECOMPUTE,
               _i ? STEPS * c.depth : 0);
  static const char *const own[] = {"noise", "inputs", "grad_norm", "adamw",
                                    "ema", "other"};
  for (size_t i = 0; i < sizeof own / sizeof *own; i++)
    expect_calls(r.context, "trainer", own[i], MAE_PROFILE_NO_PASS, STEPS);
  expect_calls(r.context, "trainer", "ranks", -1, 0);
  stop(&r);
}
END_TEST

/* What the entries leave out is what it takes to make a call and return. */
START_TEST(entries_add_up_to_the_calls) {
  run r = start(profiled(2), 0);
  const double took = train(&r), counted = sum(r.context, NULL, NULL, -1).seconds;
  ck_assert_double_le(counted, took);
  ck_assert_double_ge(counted, took - 0.01 - 0.05 * took);
  for (int32_t i = 0; i < mae_context_profile_size(r.context); i++)
    ck_assert_double_ge(entry_at(r.context, i).seconds, 0);
  stop(&r);
}
END_TEST

START_TEST(weights_are_the_same_bits) {
  run r = start(profiled(2), 0), plain = start(make_context(2, MAE_ISA_AUTO), 0);
  train(&r);
  train(&plain);
  ck_assert(same_weights(r.model, plain.model));
  ck_assert_int_eq(mae_context_profile_size(plain.context), 0);
  stop(&r);
  stop(&plain);
}
END_TEST

START_TEST(a_step_allocates_nothing) {
  if (count_alloc_calls() < 0) return;
  run r = start(profiled(2), 0);
  train(&r);
  const long before = count_alloc_calls();
  int failed = 0;
  for (int i = 0; i < STEPS; i++)
    failed |= mae_trainer_step(r.trainer, r.images, NULL, NULL);
  const long after = count_alloc_calls();
  ck_assert_int_eq(failed, 0);
  ck_assert_int_eq(after - before, 0);
  stop(&r);
}
END_TEST

START_TEST(reset_counts_anew) {
  run r = start(profiled(1), 0);
  train(&r);
  mae_context_profile_reset(r.context);
  ck_assert_int_eq(mae_context_profile_size(r.context), 0);
  train(&r);
  expect_calls(r.context, "trainer", "adamw", -1, STEPS);
  stop(&r);
}
END_TEST

static mae_status fetch(void *arg, int64_t i, float *out) {
  memcpy(out, (float *)arg + i * SMALL_IMAGE, SMALL_IMAGE * sizeof *out);
  return MAE_OK;
}

START_TEST(a_whole_run_counts_its_loader) {
  run r = start(profiled(1), 0);
  mae_dataset *dataset;
  mae_loader *loader;
  mae_loader_options l;
  mae_fit_options f;
  ASSERT_OK(mae_dataset_from_callback(BATCH, fetch, r.images, &dataset));
  mae_loader_options_init(&l, sizeof l);
  l.batch_size = BATCH;
  l.image_height = l.image_width = 16;
  l.in_chans = 1;
  ASSERT_OK(mae_loader_create(dataset, &l, &loader));
  mae_fit_options_init(&f, sizeof f);
  f.epochs = 1;
  const double began = now();
  ASSERT_OK(mae_trainer_fit(r.trainer, loader, &f));
  ck_assert_double_le(sum(r.context, NULL, NULL, -1).seconds, now() - began);
  expect_calls(r.context, "fit", "loader", MAE_PROFILE_NO_PASS, 1);
  expect_calls(r.context, "fit", "files", MAE_PROFILE_NO_PASS, 0);
  mae_loader_destroy(loader);
  mae_dataset_destroy(dataset);
  stop(&r);
}
END_TEST

/* ------------------------------------------------------------- sessions --- */

enum { IMAGES = 6, CALLERS = 4 };

static mae_session *session_of(mae_context *context, const mae_model *model,
                               mae_mode mode) {
  mae_session_options o;
  mae_session *session;
  mae_session_options_init(&o, sizeof o);
  o.batch_size = 1;
  o.mode = mode;
  ASSERT_OK(mae_session_create(context, model, &o, &session));
  return session;
}

static void expect_passes(const mae_context *context, int64_t passes) {
  const int64_t depth = small_config().depth;
  expect_calls(context, "encoder", "attention", MAE_PROFILE_FORWARD,
               passes * depth);
  expect_calls(context, "session", "inputs", -1, passes);
  expect_calls(context, "session", "outputs", -1, passes);
  expect_calls(context, "session", "other", -1, passes);
  expect_calls(context, NULL, NULL, MAE_PROFILE_BACKWARD, 0);
}

/* In either mode. */
START_TEST(features_are_counted) {
  mae_context *context = profiled(2);
  mae_model *model = small_model(1);
  mae_session *session = session_of(context, model, (mae_mode)_i);
  float *images = small_images(IMAGES, 1);
  float *out = malloc(IMAGES * sizeof *out *
                      (size_t)mae_session_feature_size(session));
  ASSERT_OK(mae_session_features(session, images, IMAGES, NULL, out));
  expect_passes(context, IMAGES);
  expect_calls(context, "session", "plan", -1, _i ? 2 : 1);
  ASSERT_OK(mae_session_forward(session, images, IMAGES, NULL, NULL, NULL,
                                NULL));
  expect_calls(context, "decoder", "attention", MAE_PROFILE_FORWARD,
               IMAGES * small_config().decoder_depth);
  free(out);
  free(images);
  mae_session_destroy(session);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

static double flops_of(mae_context *context, const mae_model *model,
                       mae_features kind, const float *images) {
  float out[(1 + SMALL_PATCHES) * 32];
  mae_session_options o;
  mae_session *session;
  mae_session_options_init(&o, sizeof o);
  o.features = kind;
  ASSERT_OK(mae_session_create(context, model, &o, &session));
  mae_context_profile_reset(context);
  ASSERT_OK(mae_session_features(session, images, 1, NULL, out));
  mae_session_destroy(session);
  return sum(context, NULL, NULL, -1).flops;
}

/* By what the last block's other tokens would take after attention. */
START_TEST(class_tokens_cost_less) {
  mae_context *context = profiled(1);
  mae_model *model = small_model(1);
  float *images = small_images(1, 1);
  const mae_config c = small_config();
  const double weights = (1 + 2 * c.mlp_ratio) * c.embed_dim * c.embed_dim;
  ck_assert_double_eq_tol(
      flops_of(context, model, MAE_FEATURES_TOKENS, images) -
          flops_of(context, model, MAE_FEATURES_CLASS_TOKEN, images),
      2 * SMALL_PATCHES * weights, 1);
  free(images);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

typedef struct caller {
  mae_context *context;
  const mae_model *model;
  const float *images;
} caller;

static void *call(void *arg) {
  const caller *c = arg;
  float out[256];
  mae_session *session = session_of(c->context, c->model, MAE_MODE_LATENCY);
  for (int i = 0; i < IMAGES; i++)
    ASSERT_OK(mae_session_features(session, c->images, 1, NULL, out));
  mae_session_destroy(session);
  return NULL;
}

START_TEST(callers_at_once_are_all_counted) {
  caller c = {profiled(2), small_model(1), small_images(1, 1)};
  pthread_t threads[CALLERS];
  for (int i = 0; i < CALLERS; i++)
    ck_assert_int_eq(pthread_create(&threads[i], NULL, call, &c), 0);
  for (int i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
  expect_passes(c.context, CALLERS * IMAGES);
  free((void *)c.images);
  mae_model_destroy((mae_model *)c.model);
  mae_context_destroy(c.context);
}
END_TEST

/* ---------------------------------------------------------------- spans --- */

static void wait_until(double t) {
  while (now() < t) continue;
}

START_TEST(an_inner_span_is_not_the_outer_ones) {
  mae_profile *p;
  mae_profile_entry inner, outer;
  ASSERT_OK(mae_profile_create(&p));
  const double began = now();
  const mae_span a = mae_span_begin(p);
  for (int i = 0; i < 2; i++) {
    const mae_span b = mae_span_begin(p);
    wait_until(now() + 0.02);
    mae_span_end(p, b, "in", "in", MAE_PROFILE_FORWARD, 3);
  }
  wait_until(now() + 0.01);
  mae_span_end(p, a, "out", "out", MAE_PROFILE_NO_PASS, 0);
  const double took = now() - began;
  ck_assert_int_eq(mae_profile_size(p), 2);
  ck_assert(mae_profile_get(p, 0, &inner));
  ck_assert(mae_profile_get(p, 1, &outer));
  ck_assert_str_eq(inner.op, "in");
  ck_assert_int_eq(inner.calls, 2);
  ck_assert_double_eq(inner.flops, 6);
  ck_assert_double_ge(inner.seconds, 0.04);
  ck_assert_double_ge(outer.seconds, 0.01);
  ck_assert_double_le(inner.seconds + outer.seconds, took);
  mae_profile_destroy(p);
}
END_TEST

START_TEST(what_finds_no_room_is_other) {
  enum { KINDS = 600 };
  static char names[KINDS][8];
  mae_profile *p;
  mae_profile_entry last;
  ASSERT_OK(mae_profile_create(&p));
  for (int round = 0; round < 2; round++)
    for (int i = 0; i < KINDS; i++) {
      snprintf(names[i], sizeof names[i], "%d", i);
      mae_span_end(p, mae_span_begin(p), "part", names[i],
                   MAE_PROFILE_FORWARD, 1);
    }
  const int32_t size = mae_profile_size(p);
  ck_assert_int_lt(size, KINDS);
  ck_assert(mae_profile_get(p, size - 1, &last));
  ck_assert_str_eq(last.part, "other");
  ck_assert_int_eq(last.calls, 2 * (KINDS - (size - 1)));
  ck_assert(!mae_profile_get(p, size, &last));
  ck_assert(!mae_profile_get(p, -1, &last));
  mae_profile_destroy(p);
}
END_TEST

/* ------------------------------------------------------------ arguments --- */

START_TEST(arguments) {
  mae_context *context = profiled(1), *plain = make_context(1, MAE_ISA_AUTO);
  mae_profile_entry e = {.struct_size = sizeof e, .calls = -7};
  ASSERT_FAILS(mae_context_profile(context, 0, &e), MAE_ERROR_NOT_FOUND, "0");
  ASSERT_FAILS(mae_context_profile(plain, 0, &e), MAE_ERROR_NOT_FOUND, "0");
  ASSERT_FAILS(mae_context_profile(NULL, 0, &e), MAE_ERROR_INVALID_ARGUMENT,
               "context");
  ASSERT_FAILS(mae_context_profile(context, 0, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "entry");
  ck_assert_int_eq(e.calls, -7);
  ck_assert_int_eq(mae_context_profile_size(NULL), 0);
  mae_context_profile_reset(NULL);
  mae_context_profile_reset(plain);
  mae_context_destroy(context);
  mae_context_destroy(plain);
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  for (int bad = -1; bad <= 2; bad += 3) {
    context = NULL;
    o.profile = bad;
    ASSERT_FAILS(mae_context_create(&o, &context), MAE_ERROR_INVALID_ARGUMENT,
                 "profile");
    ck_assert_ptr_null(context);
  }
}
END_TEST

Suite *profile_suite(void) {
  Suite *suite = suite_create("profile");
  TCase *tc = tcase_create("profile");
  tcase_set_timeout(tc, 60);
  tcase_add_loop_test(tc, training_is_counted_as_planned, 0, 2);
  tcase_add_test(tc, entries_add_up_to_the_calls);
  tcase_add_test(tc, weights_are_the_same_bits);
  tcase_add_test(tc, a_step_allocates_nothing);
  tcase_add_test(tc, reset_counts_anew);
  tcase_add_test(tc, a_whole_run_counts_its_loader);
  tcase_add_loop_test(tc, features_are_counted, 0, 2);
  tcase_add_test(tc, class_tokens_cost_less);
  tcase_add_test(tc, callers_at_once_are_all_counted);
  tcase_add_test(tc, an_inner_span_is_not_the_outer_ones);
  tcase_add_test(tc, what_finds_no_room_is_other);
  tcase_add_test(tc, arguments);
  suite_add_tcase(suite, tc);
  return suite;
}
