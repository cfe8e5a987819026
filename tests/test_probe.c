/* The linear probe: against PyTorch in double precision (make_probe.py), its
 * gradient against finite differences, LARS and batch norm by hand. */
#include <cblas.h>

#include "golden.h"
#include "kernels/blas.h"
#include "kernels/context.h"
#include "suites.h"
#include "train/lars.h"
#include "train/probe_head.h"

/* ------------------------------------------------------------- goldens --- */

static const double BAR = 1e-5;

enum { /* options of the file, as NAMES of make_probe.py */
  O_BATCH, O_EPOCHS, O_WARMUP, O_LR, O_DECAY, O_MOMENTUM, O_TRUST, O_EPS,
  O_NORM_MOMENTUM, O_SEED, O_CLASSES
};

static mae_tensor *of_case(const mae_safetensors *file, const char *name,
                           const char *what) {
  char full[64];
  snprintf(full, sizeof full, "%s.%s", name, what);
  return golden(file, full);
}

static mae_probe_options options_of(const float *v) {
  mae_probe_options o;
  mae_probe_options_init(&o, sizeof o);
  o.batch_size = (int64_t)v[O_BATCH];
  o.epochs = (int64_t)v[O_EPOCHS];
  o.warmup_epochs = (int64_t)v[O_WARMUP];
  o.base_lr = v[O_LR];
  o.weight_decay = v[O_DECAY];
  o.momentum = v[O_MOMENTUM];
  o.trust_coefficient = v[O_TRUST];
  o.batch_norm_eps = v[O_EPS];
  o.batch_norm_momentum = v[O_NORM_MOMENTUM];
  o.seed = (uint64_t)v[O_SEED];
  return o;
}

/* Losses of the epochs. */
typedef struct history {
  float loss[32];
  int64_t n, stop_after;
} history;

static int32_t note(void *arg, int64_t epoch, int64_t epochs, double loss) {
  history *h = arg;
  ck_assert_int_eq(epoch, h->n + 1);
  ck_assert_int_le(epoch, epochs);
  h->loss[h->n++] = (float)loss;
  return epoch == h->stop_after;
}

static void expect(const mae_safetensors *file, const char *name,
                   const char *what, const float *got, int64_t n) {
  mae_tensor *want = of_case(file, name, what);
  ck_assert_int_eq(mae_tensor_size(want), n);
  const double error = relative_error(got, want->data, n);
  if (getenv("MAE_SHOW_PARITY")) printf("%s.%-8s %.2e\n", name, what, error);
  ck_assert_msg(error <= BAR, "%s.%s: relative error %g", name, what, error);
  mae_tensor_destroy(want);
}

static void check_case(const mae_safetensors *file, const char *name,
                       int32_t threads) {
  mae_tensor *x = of_case(file, name, "features");
  mae_tensor *labels_f = of_case(file, name, "labels");
  mae_tensor *values = of_case(file, name, "options");
  const int64_t n = x->shape[0], width = x->shape[1];
  const int32_t classes = (int32_t)values->data[O_CLASSES];
  int32_t labels[256];
  float weight[64], bias[8], logits[256 * 8];
  history h = {.n = 0};
  ck_assert(n <= 256 && classes <= 8 && classes * width <= 64);
  for (int64_t i = 0; i < n; i++) labels[i] = (int32_t)labels_f->data[i];
  mae_probe_options o = options_of(values->data);
  o.on_epoch = note;
  o.arg = &h;
  mae_context *context = make_context(threads, MAE_ISA_AUTO);
  ASSERT_OK(mae_linear_probe(context, x->data, labels, n, width, classes, &o,
                             weight, bias));
  for (int64_t i = 0; i < n * classes; i++) {
    const int64_t row = i / classes, c = i % classes;
    double sum = bias[c];
    for (int64_t j = 0; j < width; j++)
      sum += (double)x->data[row * width + j] * weight[c * width + j];
    logits[i] = (float)sum;
  }
  expect(file, name, "losses", h.loss, h.n);
  expect(file, name, "logits", logits, n * classes);
  mae_context_destroy(context);
  mae_tensor_destroy(x);
  mae_tensor_destroy(labels_f);
  mae_tensor_destroy(values);
}

START_TEST(as_pytorch) {
  mae_safetensors *file;
  ASSERT_OK(mae_safetensors_open("tests/data/golden_probe.safetensors", &file));
  check_case(file, "batches", _i + 1);
  check_case(file, "other", _i + 1);
  mae_safetensors_close(file);
}
END_TEST

/* ------------------------------------------------------------ the head --- */

enum { N = 700, WIDTH = 19, CLASSES = 6 }; /* three shares, one not whole */

static float features[N * WIDTH];
static int32_t labels[N];

/* Normal values, and labels that some of them tell. */
static void make_rows(void) {
  ASSERT_OK(mae_random_normal(8, 0, 0, N * WIDTH, features));
  for (int i = 0; i < N; i++) {
    int best = 0;
    for (int c = 1; c < CLASSES; c++)
      if (features[i * WIDTH + c] > features[i * WIDTH + best]) best = c;
    labels[i] = best;
  }
}

static mae_probe_head make_head(mae_context *context, uint32_t order[N]) {
  mae_probe_head h;
  make_rows();
  ASSERT_OK(mae_random_permutation(2, 0, N, order));
  ASSERT_OK(mae_probe_head_init(&h, context->pool, WIDTH, CLASSES, N, 1e-6,
                                0.1));
  ASSERT_OK(mae_random_normal(9, 0, 0, WIDTH * CLASSES, h.weight));
  ASSERT_OK(mae_random_normal(9, 1, 0, CLASSES, h.bias));
  return h;
}

static double loss_at(mae_probe_head *h, const uint32_t *order, float *x,
                      float to) {
  const float was = *x;
  *x = to;
  const double loss = mae_probe_head_gradient(h, features, labels, order, N);
  *x = was;
  return loss;
}

static void check_gradient(mae_probe_head *h, const uint32_t *order, float *x,
                           const float *dx, int64_t n) {
  float want[WIDTH * CLASSES], got[WIDTH * CLASSES];
  memcpy(got, dx, (size_t)n * sizeof *got);
  const float step = 1.0f / 64;
  for (int64_t i = 0; i < n; i++)
    want[i] = (float)((loss_at(h, order, x + i, x[i] + step) -
                       loss_at(h, order, x + i, x[i] - step)) / (2 * step));
  ck_assert_double_le(relative_error(got, want, n), 1e-3);
}

START_TEST(gradient) {
  uint32_t order[N];
  mae_context *context = make_context(3, MAE_ISA_AUTO);
  mae_probe_head h = make_head(context, order);
  ck_assert_int_eq(h.n_shares, 3);
  mae_blas_enter();
  mae_probe_head_gradient(&h, features, labels, order, N);
  check_gradient(&h, order, h.weight, h.dweight, WIDTH * CLASSES);
  mae_probe_head_gradient(&h, features, labels, order, N);
  check_gradient(&h, order, h.bias, h.dbias, CLASSES);
  mae_blas_leave();
  mae_probe_head_free(&h);
  mae_context_destroy(context);
}
END_TEST

/* However many shares: the same numbers but for rounding. */
START_TEST(shares_agree) {
  uint32_t order[N];
  mae_context *one = make_context(1, MAE_ISA_AUTO);
  mae_context *three = make_context(3, MAE_ISA_AUTO);
  mae_probe_head a = make_head(one, order), b = make_head(three, order);
  mae_blas_enter();
  const double loss = mae_probe_head_gradient(&a, features, labels, order, N);
  ck_assert_double_eq_tol(
      mae_probe_head_gradient(&b, features, labels, order, N), loss, 1e-6);
  mae_blas_leave();
  ck_assert_double_le(relative_error(b.dweight, a.dweight, WIDTH * CLASSES),
                      1e-5);
  ck_assert_double_le(relative_error(b.dbias, a.dbias, CLASSES), 1e-5);
  mae_probe_head_free(&a);
  mae_probe_head_free(&b);
  mae_context_destroy(one);
  mae_context_destroy(three);
}
END_TEST

/* ------------------------------------------------------------- by hand --- */

/* Column 0: 1, 3, 5 (biased variance 8/3, unbiased 4); column 1 constant. */
START_TEST(batch_norm_by_hand) {
  const float x[] = {1, 1e6f, 9, 9, 3, 1e6f, 5, 1e6f};
  const uint32_t index[] = {3, 0, 2};
  double sums[4];
  float y[6], weight[2] = {2, 0}, bias[1] = {1};
  mae_batch_norm norm;
  ASSERT_OK(mae_batch_norm_init(&norm, 2, 1e-6, 0.5));
  mae_batch_norm_sums(x, 2, index, 3, x + 6, sums);
  mae_batch_norm_update(&norm, x + 6, sums, 3);
  mae_batch_norm_apply(&norm, x, index, 3, y);
  ck_assert_double_eq_tol(y[0], 2 / sqrt(8.0 / 3), 1e-5);
  ck_assert_double_eq_tol(y[2], -2 / sqrt(8.0 / 3), 1e-5);
  ck_assert(y[1] == 0 && y[3] == 0 && y[4] == 0 && y[5] == 0);
  ck_assert_double_eq(norm.running_mean[0], 1.5);
  ck_assert_double_eq(norm.running_var[0], 2.5); /* half 1, half 4 */
  ck_assert_double_eq(norm.running_var[1], 0.5);
  mae_batch_norm_fold(&norm, 1, weight, bias, y, y + 2);
  ck_assert_double_eq_tol(y[0], 2 / sqrt(2.5), 1e-5);
  ck_assert_double_eq_tol(y[2], 1 - 3 / sqrt(2.5), 1e-5);
  mae_batch_norm_free(&norm);
}
END_TEST

/* Of x = (3, 4) with gradient (0, 10): trust 0.1 * 5 / 10. */
START_TEST(lars_by_hand) {
  const mae_lars_options o = {0, 0.5, 0.1}, decay = {1, 0.5, 0.1};
  const float grad[] = {0, 10}, zero[] = {0, 0};
  float x[] = {3, 4}, velocity[] = {0, 0};
  mae_lars(&o, 2, true, 2, grad, velocity, x);
  ck_assert_float_eq_tol(velocity[1], 0.5f, 1e-6f);
  ck_assert(x[0] == 3 && x[1] == 3);
  mae_lars(&o, 2, true, 2, zero, velocity, x); /* momentum alone */
  ck_assert_float_eq_tol(velocity[1], 0.25f, 1e-6f);
  ck_assert_float_eq_tol(x[1], 2.5f, 1e-6f);
  float y[] = {3, 4}, still[] = {0, 0}; /* the decay alone: 0.1 of x */
  mae_lars(&decay, 1, true, 2, zero, still, y);
  ck_assert_float_eq_tol(y[0], 2.7f, 1e-6f);
  float b[] = {3, 4}, plain[] = {0, 0}; /* a bias takes plain steps */
  mae_lars(&decay, 0.25, false, 2, grad, plain, b);
  ck_assert(b[0] == 3 && b[1] == 1.5f && plain[1] == 10);
}
END_TEST

/* ------------------------------------------------------------ the call --- */

static mae_probe_options short_options(void) {
  mae_probe_options o;
  mae_probe_options_init(&o, sizeof o);
  o.batch_size = 300;
  o.epochs = 20;
  o.warmup_epochs = 2;
  o.trust_coefficient = 0.1;
  o.base_lr = 1;
  return o;
}

static void run_probe(int32_t threads, const mae_probe_options *o,
                      float *weight, float *bias) {
  mae_context *context = make_context(threads, MAE_ISA_AUTO);
  ASSERT_OK(mae_linear_probe(context, features, labels, N, WIDTH, CLASSES, o,
                             weight, bias));
  mae_context_destroy(context);
}

START_TEST(same_bits_again) {
  const mae_probe_options o = short_options();
  float weight[2][WIDTH * CLASSES], bias[2][CLASSES];
  make_rows();
  for (int i = 0; i < 2; i++) run_probe(_i + 1, &o, weight[i], bias[i]);
  ck_assert_mem_eq(weight[0], weight[1], sizeof weight[0]);
  ck_assert_mem_eq(bias[0], bias[1], sizeof bias[0]);
}
END_TEST

START_TEST(learns) {
  const mae_probe_options o = short_options();
  float weight[WIDTH * CLASSES], bias[CLASSES], logits[CLASSES];
  mae_evaluation *e;
  make_rows();
  run_probe(2, &o, weight, bias);
  ASSERT_OK(mae_evaluation_create(CLASSES, &e));
  for (int i = 0; i < N; i++) {
    for (int c = 0; c < CLASSES; c++) {
      logits[c] = bias[c];
      for (int j = 0; j < WIDTH; j++)
        logits[c] += features[i * WIDTH + j] * weight[c * WIDTH + j];
    }
    ASSERT_OK(mae_evaluation_add(e, logits, labels + i, 1));
  }
  ck_assert_double_ge(mae_evaluation_top1(e), 0.9);
  mae_evaluation_destroy(e);
}
END_TEST

/* A run that the callback ends is one as long as it came but for its rates. */
START_TEST(ends_when_told) {
  mae_probe_options o = short_options();
  history h = {.stop_after = 3};
  float weight[WIDTH * CLASSES] = {0}, bias[CLASSES];
  make_rows();
  o.on_epoch = note;
  o.arg = &h;
  run_probe(1, &o, weight, bias);
  ck_assert_int_eq(h.n, 3);
  ck_assert_float_ne(weight[0], 0);
}
END_TEST

/* The application's setting of the BLAS library comes back. */
START_TEST(blas_as_found) {
  const mae_probe_options o = short_options();
  float weight[WIDTH * CLASSES], bias[CLASSES];
  make_rows();
#ifdef MAE_BLAS_OPENBLAS
  openblas_set_num_threads(2);
  run_probe(2, &o, weight, bias);
  ck_assert_int_eq(openblas_get_num_threads(), 2);
#else
  run_probe(2, &o, weight, bias);
#endif
}
END_TEST

#define PROBE_FAILS(status, word)                                            \
  ASSERT_FAILS(mae_linear_probe(context, features, labels, n, WIDTH, classes, \
                                &o, weight, bias), status, word)

START_TEST(refused) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_probe_options o = short_options();
  float weight[WIDTH * CLASSES] = {7}, bias[CLASSES] = {7};
  int64_t n = N;
  int32_t classes = CLASSES;
  make_rows();
  classes = CLASSES - 1;
  PROBE_FAILS(MAE_ERROR_INVALID_ARGUMENT, "is 5, not 0 to 4");
  classes = 0;
  PROBE_FAILS(MAE_ERROR_INVALID_ARGUMENT, "0 classes");
  classes = CLASSES;
  n = 1;
  PROBE_FAILS(MAE_ERROR_INVALID_ARGUMENT, "one row");
  n = N;
  o.warmup_epochs = 21;
  PROBE_FAILS(MAE_ERROR_INVALID_ARGUMENT, "warmup_epochs");
  o = short_options();
  o.batch_size = 1;
  PROBE_FAILS(MAE_ERROR_INVALID_ARGUMENT, "batch_size");
  o = short_options();
  o.base_lr = NAN;
  PROBE_FAILS(MAE_ERROR_INVALID_ARGUMENT, "base_lr");
  o = short_options();
  o.struct_size = 0;
  PROBE_FAILS(MAE_ERROR_INVALID_ARGUMENT, "struct_size");
  o = short_options();
  o.base_lr = 1e6;
  o.trust_coefficient = 1e6;
  PROBE_FAILS(MAE_ERROR_NON_FINITE, "the loss");
  o = short_options();
  features[5 * WIDTH + 2] = NAN;
  PROBE_FAILS(MAE_ERROR_NON_FINITE, "features: row 5");
  ck_assert(weight[0] == 7 && bias[0] == 7);
  mae_context_destroy(context);
}
END_TEST

Suite *probe_suite(void) {
  Suite *suite = suite_create("probe");
  TCase *tests = tcase_create("probe");
  tcase_add_loop_test(tests, as_pytorch, 0, 3);
  tcase_add_test(tests, gradient);
  tcase_add_test(tests, shares_agree);
  tcase_add_test(tests, batch_norm_by_hand);
  tcase_add_test(tests, lars_by_hand);
  tcase_add_loop_test(tests, same_bits_again, 0, 3);
  tcase_add_test(tests, learns);
  tcase_add_test(tests, ends_when_told);
  tcase_add_test(tests, blas_as_found);
  tcase_add_test(tests, refused);
  suite_add_tcase(suite, tests);
  return suite;
}
