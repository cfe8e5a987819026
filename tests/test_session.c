/* Features, forward and reconstruction beyond parity: threads, cuts into
 * passes, masks, bad calls, allocation. */
#include <pthread.h>

#include "count_alloc.h"
#include "golden.h"
#include "nn/masking.h"
#include "suites.h"

enum { IMAGES = 7, TOKENS_SIZE = (1 + SMALL_PATCHES) * 32 };

static mae_session *make(mae_context *context, const mae_model *model,
                         mae_features kind, int32_t batch) {
  mae_session_options o;
  mae_session *s;
  mae_session_options_init(&o, sizeof o);
  o.features = kind;
  o.batch_size = batch;
  ASSERT_OK(mae_session_create(context, model, &o, &s));
  return s;
}

/* ------------------------------------------------------------ threads --- */

typedef struct job {
  const mae_model *model;
  const float *images;
  mae_context *shared; /* NULL: a context of its own */
  float out[IMAGES * TOKENS_SIZE];
  mae_status status;
} job;

static void *extract(void *arg) {
  job *j = arg;
  mae_context_options co;
  mae_session_options so;
  mae_context *own = NULL;
  mae_session *s = NULL;
  mae_context_options_init(&co, sizeof co);
  mae_session_options_init(&so, sizeof so);
  co.threads = 1;
  so.features = MAE_FEATURES_TOKENS;
  so.batch_size = 3;
  j->status = j->shared ? MAE_OK : mae_context_create(&co, &own);
  if (!j->status)
    j->status = mae_session_create(j->shared ? j->shared : own, j->model, &so,
                                   &s);
  for (int round = 0; round < 10 && !j->status; round++)
    j->status = mae_session_features(s, j->images, IMAGES, NULL, j->out);
  mae_session_destroy(s);
  mae_context_destroy(own);
  return NULL;
}

/* Case 0: each thread has its own context; 1: they share one of 2 threads. */
START_TEST(many_threads_one_model) {
  enum { THREADS = 6 };
  mae_model *model = small_model(4);
  float *images = small_images(IMAGES, 5);
  mae_context *shared = _i ? make_context(2, MAE_ISA_AUTO) : NULL;
  job *jobs = calloc(THREADS + 1, sizeof *jobs);
  pthread_t ids[THREADS];
  for (int i = 0; i <= THREADS; i++)
    jobs[i] = (job){.model = model, .images = images, .shared = shared};
  extract(&jobs[THREADS]); /* alone */
  ck_assert_int_eq(jobs[THREADS].status, MAE_OK);
  for (int i = 0; i < THREADS; i++)
    ck_assert_int_eq(pthread_create(&ids[i], NULL, extract, &jobs[i]), 0);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(ids[i], NULL);
    ck_assert_int_eq(jobs[i].status, MAE_OK);
    ck_assert_mem_eq(jobs[i].out, jobs[THREADS].out, sizeof jobs[i].out);
  }
  free(jobs);
  free(images);
  mae_context_destroy(shared);
  mae_model_destroy(model);
}
END_TEST

/* ----------------------------------------------------------- features --- */

START_TEST(kinds_agree) {
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_model *model = small_model(4);
  float *images = small_images(IMAGES, 5);
  float tokens[IMAGES * TOKENS_SIZE], cls[IMAGES * 32], mean[IMAGES * 32];
  mae_session *t = make(context, model, MAE_FEATURES_TOKENS, 4);
  mae_session *c = make(context, model, MAE_FEATURES_CLASS_TOKEN, 4);
  mae_session *m = make(context, model, MAE_FEATURES_MEAN, 4);
  ck_assert_int_eq(mae_session_feature_size(t), TOKENS_SIZE);
  ck_assert_int_eq(mae_session_feature_size(c), 32);
  ASSERT_OK(mae_session_features(t, images, IMAGES, NULL, tokens));
  ASSERT_OK(mae_session_features(c, images, IMAGES, NULL, cls));
  ASSERT_OK(mae_session_features(m, images, IMAGES, NULL, mean));
  for (int b = 0; b < IMAGES; b++)
    for (int i = 0; i < 32; i++) {
      double sum = 0;
      for (int k = 1; k <= SMALL_PATCHES; k++)
        sum += tokens[b * TOKENS_SIZE + k * 32 + i];
      ck_assert_float_eq_tol(cls[b * 32 + i], tokens[b * TOKENS_SIZE + i],
                             1e-5f);
      ck_assert_double_eq_tol(mean[b * 32 + i], sum / SMALL_PATCHES, 1e-5);
    }
  mae_session_destroy(t);
  mae_session_destroy(c);
  mae_session_destroy(m);
  free(images);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

START_TEST(masking_follows_noise) {
  enum { L = 10, KEPT = 4 };
  const float noise[L] = {.5f, .1f, .9f, .3f, .3f, .8f, .2f, .7f, .6f, .4f};
  const int32_t order[L] = {1, 6, 3, 4, 9, 0, 8, 7, 5, 2};
  uint64_t keys[L];
  int32_t keep[KEPT], restore[L];
  float mask[L];
  mae_masking(1, L, KEPT, noise, keys, keep, restore, mask, NULL);
  for (int i = 0; i < L; i++) {
    if (i < KEPT) ck_assert_int_eq(keep[i], order[i]);
    ck_assert_int_eq(restore[order[i]], i);
    ck_assert_float_eq(mask[order[i]], i >= KEPT);
  }
  ck_assert_int_eq(mae_masking_kept(196, 0.75), 49);
  ck_assert_int_eq(mae_masking_kept(49, 0.75), 12);
  ck_assert_int_eq(mae_masking_kept(10, 0.9), 0);
}
END_TEST

/* Without noise a mask follows from the seed; of L = 16, 4 are kept. */
START_TEST(masks_by_seed) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_model *model = small_model(4);
  float *images = small_images(IMAGES, 5);
  float mask[3][IMAGES * SMALL_PATCHES];
  for (int k = 0; k < 3; k++) {
    mae_session_options o;
    mae_session *s;
    mae_session_options_init(&o, sizeof o);
    o.seed = k == 2 ? 9 : 8;
    o.batch_size = k ? 3 : 16;
    ASSERT_OK(mae_session_create(context, model, &o, &s));
    ASSERT_OK(mae_session_forward(s, images, IMAGES, NULL, NULL, NULL, mask[k]));
    mae_session_destroy(s);
  }
  ck_assert_mem_eq(mask[0], mask[1], sizeof mask[0]);
  ck_assert(memcmp(mask[0], mask[2], sizeof mask[0]));
  for (int b = 0; b < IMAGES; b++) {
    float removed = 0;
    for (int i = 0; i < SMALL_PATCHES; i++) removed += mask[0][b * SMALL_PATCHES + i];
    ck_assert_float_eq(removed, 12);
  }
  free(images);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

START_TEST(reconstruction_keeps_visible) {
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_model *model = small_model(4);
  float *images = small_images(IMAGES, 5);
  float out[IMAGES * SMALL_IMAGE], mask[IMAGES * SMALL_PATCHES];
  mae_session *s = make(context, model, MAE_FEATURES_MEAN, 4);
  ASSERT_OK(mae_session_reconstruct(s, images, IMAGES, NULL, out, mask));
  for (int i = 0; i < IMAGES * SMALL_IMAGE; i++) {
    int b = i / SMALL_IMAGE, y = i % SMALL_IMAGE / 16, x = i % 16;
    int removed = mask[b * SMALL_PATCHES + y / 4 * 4 + x / 4] != 0;
    ck_assert(isfinite(out[i]));
    if (!removed) ck_assert_float_eq(out[i], images[i]);
    if (removed) ck_assert_float_ne(out[i], images[i]);
  }
  mae_session_destroy(s);
  free(images);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

START_TEST(steady_calls_allocate_nothing) {
  if (count_alloc_calls() < 0) return; /* another allocator: not countable */
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_model *model = small_model(4);
  float *images = small_images(IMAGES, 5), out[IMAGES * SMALL_IMAGE];
  mae_session *s = make(context, model, MAE_FEATURES_MEAN, 4);
  for (int round = 0; round < 2; round++) { /* the first one plans memory */
    long before = count_alloc_calls();
    int failed = 0; /* Check's own assertions allocate */
    for (int i = 0; i < 3; i++) {
      failed |= mae_session_features(s, images, IMAGES, NULL, out);
      failed |= mae_session_reconstruct(s, images, IMAGES, NULL, out, NULL);
    }
    long after = count_alloc_calls();
    ck_assert_int_eq(failed, 0);
    if (round) ck_assert_int_eq(after - before, 0);
    else ck_assert_int_gt(after - before, 0); /* the counter counts */
  }
  mae_session_destroy(s);
  free(images);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

/* ---------------------------------------------------------- bad calls --- */

static void refuse(mae_session_options o, const char *word) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_model *model = small_model(4);
  mae_session *s = NULL;
  ASSERT_FAILS(mae_session_create(context, model, &o, &s),
               MAE_ERROR_INVALID_ARGUMENT, word);
  ck_assert_ptr_null(s);
  mae_model_destroy(model);
  mae_context_destroy(context);
}

START_TEST(bad_options) {
  mae_session_options good, o;
  mae_session_options_init(&good, sizeof good);
  o = good, o.batch_size = 0;
  refuse(o, "batch_size");
  o = good, o.batch_size = 65537;
  refuse(o, "batch_size");
  o = good, o.l2_normalize = 2;
  refuse(o, "l2_normalize is 2");
  const int32_t blocks[] = {0};
  o = good, o.blocks = blocks, o.num_blocks = -1;
  refuse(o, "num_blocks is -1");
  o.num_blocks = 65537;
  refuse(o, "num_blocks is 65537");
  o = good, o.features = (mae_features)5;
  refuse(o, "features");
  o = good, o.block = 2;
  refuse(o, "block");
  o = good, o.block = -2;
  refuse(o, "block");
  o = good, o.final_norm = 2;
  refuse(o, "final_norm");
  o = good, o.pack_weights = 2;
  refuse(o, "pack_weights is 2");
  const double ratios[] = {-0.1, 1, 1.5, 0.95, NAN};
  for (int i = 0; i < 5; i++) {
    o = good, o.mask_ratio = ratios[i];
    refuse(o, "ratio");
    o = good, o.feature_mask_ratio = ratios[i];
    refuse(o, "ratio");
  }
  o = good, o.mask_ratio = 0; /* nothing removed: no loss */
  refuse(o, "ratio");
}
END_TEST

START_TEST(bad_calls) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_model *model = small_model(4);
  mae_session *s = NULL;
  float *images = small_images(1, 5), out[SMALL_IMAGE];
  ASSERT_FAILS(mae_session_create(NULL, model, NULL, &s),
               MAE_ERROR_INVALID_ARGUMENT, "context");
  ASSERT_FAILS(mae_session_create(context, NULL, NULL, &s),
               MAE_ERROR_INVALID_ARGUMENT, "model");
  ASSERT_FAILS(mae_session_create(context, model, NULL, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "out");
  ASSERT_OK(mae_session_create(context, model, NULL, &s));
  ASSERT_FAILS(mae_session_features(NULL, images, 1, NULL, out),
               MAE_ERROR_INVALID_ARGUMENT, "session");
  ASSERT_FAILS(mae_session_features(s, NULL, 1, NULL, out),
               MAE_ERROR_INVALID_ARGUMENT, "images");
  ASSERT_FAILS(mae_session_features(s, images, 1, NULL, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "out");
  ASSERT_FAILS(mae_session_features(s, images, -1, NULL, out),
               MAE_ERROR_INVALID_ARGUMENT, "images");
  ASSERT_FAILS(mae_session_reconstruct(s, images, 1, NULL, NULL, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "out");
  ASSERT_FAILS(mae_session_reconstruct(NULL, images, 1, NULL, out, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "session");
  ASSERT_FAILS(mae_session_forward(s, NULL, 1, NULL, NULL, NULL, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "images");
  ASSERT_OK(mae_session_features(s, images, 0, NULL, out));
  ASSERT_OK(mae_session_features(s, images, 1, NULL, out));
  mae_session_destroy(s);
  mae_session_destroy(NULL);
  ck_assert_int_eq(mae_session_feature_size(NULL), 0);
  free(images);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

/* Without a decoder there is nothing to predict with. */
START_TEST(no_decoder) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_config c = small_config();
  mae_model *model;
  mae_session *s;
  float *images = small_images(1, 5), out[SMALL_IMAGE];
  c.decoder_embed_dim = c.decoder_depth = c.decoder_num_heads = 0;
  ASSERT_OK(mae_model_create(&c, 1, &model));
  ASSERT_OK(mae_session_create(context, model, NULL, &s));
  for (int i = 0; i < 2; i++) { /* the first leaves nothing behind */
    ASSERT_FAILS(mae_session_reconstruct(s, images, 1, NULL, out, NULL),
                 MAE_ERROR_STATE, "no decoder");
    ASSERT_FAILS(mae_session_forward(s, images, 1, NULL, NULL, out, NULL),
                 MAE_ERROR_STATE, "no decoder");
  }
  ASSERT_OK(mae_session_features(s, images, 1, NULL, out));
  mae_session_destroy(s);
  free(images);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

Suite *session_suite(void) {
  Suite *suite = suite_create("session");
  TCase *tc = tcase_create("session");
  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, many_threads_one_model, 0, 2);
  tcase_add_test(tc, kinds_agree);
  tcase_add_test(tc, masking_follows_noise);
  tcase_add_test(tc, masks_by_seed);
  tcase_add_test(tc, reconstruction_keeps_visible);
  tcase_add_test(tc, steady_calls_allocate_nothing);
  tcase_add_test(tc, bad_options);
  tcase_add_test(tc, bad_calls);
  tcase_add_test(tc, no_decoder);
  suite_add_tcase(suite, tc);
  return suite;
}
