/* The library among an application's own threads: everything at once, its own
 * use of BLAS, contexts of other settings, forks.  Made for `make check-suite
 * SANITIZE=thread` (CK_RUN_SUITE=stress). */
#include <cblas.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/pool.h"
#include "golden.h"
#include "suites.h"

#if defined(MAE_BLAS_BLIS)
#include <blis.h>
static int blas_threads(void) { return (int)bli_thread_get_num_threads(); }
static void set_blas_threads(int n) { bli_thread_set_num_threads(n); }
#else
static int blas_threads(void) { return openblas_get_num_threads(); }
static void set_blas_threads(int n) { openblas_set_num_threads(n); }
#endif

enum {
  IMAGES = 6,
  OUT = IMAGES * 32,
  ROUNDS = 12,
  MOST_POOL = 3, /* threads of a context: 1 to 3 */
  BATCH = 4,
  STEPS = 5,
  SIDE = 48, /* of the application's own products */
};

/* What each gives alone. */
static const mae_model *model;
static float *images;
static float features[ISAS][MOST_POOL + 1][OUT];
static float trained[32]; /* "cls_token" after STEPS steps */
static float product[SIDE * SIDE];
static double batch_sum;

static mae_status try_context(int32_t threads, mae_isa isa,
                              mae_context **context) {
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  o.threads = threads;
  o.isa = isa;
  return mae_context_create(&o, context);
}

/* Features of the model, by a session of its own. */
static mae_status extract(mae_context *context, float *out) {
  mae_session_options o;
  mae_session *s = NULL;
  mae_session_options_init(&o, sizeof o);
  o.batch_size = 4;
  mae_status status = mae_session_create(context, model, &o, &s);
  if (status == MAE_OK)
    status = mae_session_features(s, images, IMAGES, NULL, out);
  mae_session_destroy(s);
  return status;
}

/* The same in a context of its own. */
static mae_status extract_alone(int32_t threads, mae_isa isa, float *out) {
  mae_context *context;
  mae_status status = try_context(threads, isa, &context);
  if (status != MAE_OK) return status;
  status = extract(context, out);
  mae_context_destroy(context);
  return status;
}

static mae_status train(float *out) {
  mae_config c = small_config();
  mae_trainer_options o;
  mae_context *context = NULL;
  mae_model *own = NULL;
  mae_trainer *t = NULL;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = BATCH;
  o.base_lr = 0.1;
  mae_status status = try_context(2, MAE_ISA_AUTO, &context);
  if (status == MAE_OK) status = mae_model_create(&c, 5, &own);
  if (status == MAE_OK) status = mae_trainer_create(context, own, &o, &t);
  for (int i = 0; i < STEPS && status == MAE_OK; i++)
    status = mae_trainer_step(t, images, NULL, NULL);
  if (status == MAE_OK)
    memcpy(out, mae_tensor_data(mae_model_find(own, "cls_token")),
           sizeof trained);
  mae_trainer_destroy(t);
  mae_model_destroy(own);
  mae_context_destroy(context);
  return status;
}

static mae_status fetch(void *arg, int64_t i, float *out) {
  (void)arg;
  memcpy(out, images + i % IMAGES * SMALL_IMAGE, SMALL_IMAGE * sizeof *out);
  return MAE_OK;
}

static mae_status make_loader(const mae_dataset *dataset, mae_loader **l) {
  mae_loader_options o;
  mae_loader_options_init(&o, sizeof o);
  o.batch_size = BATCH;
  o.image_height = o.image_width = 16;
  o.in_chans = 1;
  o.threads = 3;
  return mae_loader_create(dataset, &o, l);
}

/* Two batches, weighted so that order matters. */
static mae_status load(double *sum) {
  mae_dataset *dataset = NULL;
  mae_loader *l = NULL;
  const float *x;
  *sum = 0;
  mae_status status = mae_dataset_from_callback(4 * BATCH, fetch, NULL,
                                                &dataset);
  if (status == MAE_OK) status = make_loader(dataset, &l);
  for (int k = 0; k < 2 && status == MAE_OK; k++) {
    status = mae_loader_next(l, &x);
    for (int i = 0; i < BATCH * SMALL_IMAGE && status == MAE_OK; i++)
      *sum += (double)x[i] * (i + 1);
  }
  mae_loader_destroy(l);
  mae_dataset_destroy(dataset);
  return status;
}

static void multiply(float *out) {
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, SIDE, SIDE, SIDE / 3, 1,
              images, SIDE / 3, images + 64, SIDE / 3, 0, out,
              SIDE);
}

static void set_up(void) {
  set_blas_threads(2);
  images = small_images(IMAGES, 5);
  model = small_model(4);
  for (int k = 0; k < isa_count(); k++)
    for (int32_t n = 1; n <= MOST_POOL; n++)
      ASSERT_OK(extract_alone(n, isas[k], features[k][n]));
  ASSERT_OK(train(trained));
  ASSERT_OK(load(&batch_sum));
  multiply(product);
  ck_assert_int_eq(blas_threads(), 2);
}

static void tear_down(void) {
  mae_model_destroy((mae_model *)(uintptr_t)model);
  free(images);
}

/* -------------------------------------------------- everything at once --- */

typedef struct actor {
  bool (*act)(struct actor *self, int round); /* false: wrong */
  mae_context *context;
  int k;         /* number among its kind */
  int bad_round; /* -1: none */
  char said[128];
} actor;

static bool same_features(mae_status status, const float *out, int isa,
                          int threads) {
  return status == MAE_OK &&
         !memcmp(out, features[isa][threads], sizeof features[isa][threads]);
}

static bool share_context(actor *self, int round) {
  float out[OUT];
  (void)round;
  return same_features(extract(self->context, out), out, isa_count() - 1, 2);
}

static bool come_and_go(actor *self, int round) {
  float out[OUT];
  const int isa = (round + self->k) % isa_count();
  const int threads = 1 + (round / 2 + self->k) % MOST_POOL;
  return same_features(extract_alone(threads, isas[isa], out), out, isa,
                       threads);
}

static bool train_own(actor *self, int round) {
  float out[32];
  (void)self, (void)round;
  return train(out) == MAE_OK && !memcmp(out, trained, sizeof trained);
}

static bool load_own(actor *self, int round) {
  double sum;
  (void)self, (void)round;
  return load(&sum) == MAE_OK && sum == batch_sum;
}

static bool multiply_own(actor *self, int round) {
  float out[SIDE * SIDE];
  (void)self, (void)round;
  for (int i = 0; i < 20; i++) {
    multiply(out);
    if (relative_error(out, product, SIDE * SIDE) > 1e-5) return false;
  }
  return true;
}

static void *play(void *arg) {
  actor *self = arg;
  for (int round = 0; round < ROUNDS && self->bad_round < 0; round++)
    if (!self->act(self, round)) {
      self->bad_round = round;
      snprintf(self->said, sizeof self->said, "%s", mae_last_error());
    }
  return NULL;
}

static void start(actor *actors, pthread_t *ids, int n) {
  for (int i = 0; i < n; i++) {
    actors[i].bad_round = -1;
    ck_assert_int_eq(pthread_create(&ids[i], NULL, play, &actors[i]), 0);
  }
}

static void finish(actor *actors, pthread_t *ids, int n) {
  for (int i = 0; i < n; i++) pthread_join(ids[i], NULL);
  for (int i = 0; i < n; i++)
    ck_assert_msg(actors[i].bad_round < 0, "actor %d, round %d: %s", i,
                  actors[i].bad_round, actors[i].said);
}

START_TEST(everything_at_once) {
  mae_context *shared = make_context(2, MAE_ISA_AUTO);
  actor actors[] = {
      {.act = share_context, .context = shared},
      {.act = share_context, .context = shared},
      {.act = come_and_go, .k = 0},
      {.act = come_and_go, .k = 1},
      {.act = train_own},
      {.act = train_own},
      {.act = load_own},
      {.act = multiply_own},
  };
  enum { ACTORS = sizeof actors / sizeof *actors };
  pthread_t ids[ACTORS];
  start(actors, ids, ACTORS);
  finish(actors, ids, ACTORS);
  ck_assert_int_eq(blas_threads(), 2);
  mae_context_destroy(shared);
}
END_TEST

/* Each of all settings at once gives its own bits; which differ, else this
 * would show nothing. */
START_TEST(settings_do_not_mix) {
  actor actors[2 * ISAS];
  pthread_t ids[2 * ISAS];
  const int n = 2 * isa_count();
  for (int i = 0; i < n; i++) actors[i] = (actor){.act = come_and_go, .k = i};
  if (isa_count() > 1)
    ck_assert(memcmp(features[0][1], features[isa_count() - 1][1],
                     sizeof features[0][1]));
  start(actors, ids, n);
  finish(actors, ids, n);
  ck_assert_int_eq(blas_threads(), 2);
}
END_TEST

/* -------------------------------------------------------------- BLAS --- */

static mae_status sum_and_set(void *arg, float *data, int64_t n) {
  (void)data, (void)n;
  *(int *)arg = blas_threads();
  set_blas_threads(3);
  return MAE_OK;
}

static mae_status wait_all(void *arg) {
  (void)arg;
  return MAE_OK;
}

/* The application sets BLAS's threads in the middle of a step: by a callback,
 * as another thread might. */
START_TEST(setting_changed_meanwhile_stays) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_model *own = small_model(5);
  mae_trainer_options o;
  mae_trainer *t;
  int inside = 0;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = BATCH;
  ASSERT_OK(mae_trainer_create(context, own, &o, &t));
  const mae_communicator c = {.struct_size = sizeof c, .ranks = 2,
                              .arg = &inside, .start_sum = sum_and_set,
                              .wait_all = wait_all, .bucket_bytes = 1000};
  ASSERT_OK(mae_trainer_set_communicator(t, &c));
  mae_trainer_step(t, images, NULL, NULL); /* sums nothing: may fail */
  ck_assert_int_ne(inside, 0);
  ck_assert_int_eq(blas_threads(), 3);
  float out[OUT];
  ASSERT_OK(extract(context, out));
  ck_assert_int_eq(blas_threads(), 3);
  set_blas_threads(1);
  ASSERT_OK(extract(context, out));
  ck_assert_int_eq(blas_threads(), 1);
  mae_trainer_destroy(t);
  mae_model_destroy(own);
  mae_context_destroy(context);
}
END_TEST

/* ----------------------------------------------------------- signals --- */

/* worker 0 is the caller. */
static void look_at_mask(void *arg, int64_t piece, int32_t worker) {
  sigset_t now;
  (void)piece;
  pthread_sigmask(SIG_SETMASK, NULL, &now);
  if (worker) atomic_fetch_add((atomic_int *)arg, 1);
  if ((worker != 0) != (sigismember(&now, SIGUSR1) == 1))
    atomic_fetch_add((atomic_int *)arg, 1000);
  usleep(1000);
}

/* Signals are for the application's own threads: ours block them all. */
START_TEST(signals_are_for_the_application) {
  mae_pool *pool;
  atomic_int seen = 0;
  ASSERT_OK(mae_pool_create(3, &pool));
  mae_pool_run(pool, 64, look_at_mask, &seen);
  ck_assert_int_gt(seen, 0);
  ck_assert_int_le(seen, 64);
  mae_pool_destroy(pool);
}
END_TEST

/* -------------------------------------------------------------- forks --- */

/* TSan knows no threads after a fork among threads, and ASan before gcc 14 may
 * leave its allocator locked in the child. */
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
enum { CHILDREN = 25, CHILD_SECONDS = 60 };

/* Exit status of a child: 0 when all is as it should be, else a step. */
static int live_in_child(mae_context *inherited, mae_loader *loader) {
  float out[OUT];
  const float *x;
  const int best = isa_count() - 1;
  if (!same_features(extract_alone(2, isas[best], out), out, best, 2)) return 1;
  if (!same_features(extract(inherited, out), out, best, 2)) return 2;
  mae_context_destroy(inherited);
  if (mae_loader_next(loader, &x) != MAE_ERROR_STATE) return 3;
  if (mae_loader_seek(loader, 0) != MAE_ERROR_STATE) return 4;
  mae_loader_destroy(loader);
  if (train(out) != MAE_OK || memcmp(out, trained, sizeof trained)) return 5;
  double sum;
  if (load(&sum) != MAE_OK || sum != batch_sum) return 6;
  return blas_threads() == 2 ? 0 : 7;
}

static int wait_for(pid_t child) {
  int status;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

/* Threads are amid everything when the children are made; parent and children
 * go on alike. */
START_TEST(forks_among_threads) {
  mae_context *shared = make_context(2, MAE_ISA_AUTO);
  mae_dataset *dataset;
  mae_loader *loader;
  const float *x;
  ASSERT_OK(mae_dataset_from_callback(4 * BATCH, fetch, NULL, &dataset));
  ASSERT_OK(make_loader(dataset, &loader));
  ASSERT_OK(mae_loader_next(loader, &x));
  actor actors[] = {{.act = share_context, .context = shared},
                    {.act = share_context, .context = shared},
                    {.act = come_and_go},
                    {.act = train_own}};
  enum { ACTORS = sizeof actors / sizeof *actors };
  pthread_t ids[ACTORS];
  start(actors, ids, ACTORS);
  for (int i = 0; i < CHILDREN; i++) {
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (!child) {
      alarm(CHILD_SECONDS);
      _exit(live_in_child(shared, loader));
    }
    ck_assert_int_eq(wait_for(child), 0);
  }
  finish(actors, ids, ACTORS);
  ASSERT_OK(mae_loader_next(loader, &x));
  ck_assert_int_eq(blas_threads(), 2);
  mae_loader_destroy(loader);
  mae_dataset_destroy(dataset);
  mae_context_destroy(shared);
}
END_TEST
#endif

Suite *stress_suite(void) {
  Suite *suite = suite_create("stress");
  TCase *tc = tcase_create("stress");
  tcase_add_checked_fixture(tc, set_up, tear_down);
  tcase_set_timeout(tc, 300);
  tcase_add_test(tc, everything_at_once);
  tcase_add_test(tc, settings_do_not_mix);
  tcase_add_test(tc, setting_changed_meanwhile_stays);
  tcase_add_test(tc, signals_are_for_the_application);
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
  tcase_add_test(tc, forks_among_threads);
#endif
  suite_add_tcase(suite, tc);
  return suite;
}
