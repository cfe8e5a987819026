/* Attention's kernels against the definition in f64, at sizes that leave rests
 * of vectors, tiles and blocks of every instruction set.  That the gradients
 * are those of the definition is held by central differences in test_ops.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "kernels/kernels.h"
#include "suites.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* Relative to the largest magnitude of each result; reached are 5e-7 and, where
 * scores are some 200, whose rounding is the error's size, 3e-5. */
static const double BAR = 2e-6, FAR_BAR = 1e-4;

typedef struct shape {
  int64_t batch, tokens, heads, dim;
  float size; /* of q, k and v */
} shape;

static int64_t width_of(shape s) { return s.heads * s.dim; }
static int64_t rows_of(shape s) { return s.batch * s.tokens; }
static int64_t sums_of(shape s) { return s.batch * s.heads * s.tokens; }

static void *make(int64_t n, size_t size) {
  void *p = NULL; /* kernels want aligned scratch */
  ck_assert_int_eq(0, posix_memalign(&p, 64, (size_t)n * size));
  memset(p, 0, (size_t)n * size);
  return p;
}

static float *random_floats(int64_t n, float size, uint64_t seed) {
  float *x = make(n, sizeof *x);
  for (int64_t i = 0; i < n; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    x[i] = size * ((float)(seed >> 40) * (3.0f / 16777216) - 1.5f);
  }
  return x;
}

/* ---------------------------------------------------------- definition --- */

typedef struct truth {
  double *y, *log_sum, *dqkv;
} truth;

/* Where a head's first q lies in qkv; k and v are a width each behind it. */
typedef struct place {
  int64_t q, y, row;
} place;

/* Of one query: p = softmax(scores); returns log(sum(exp(scores))). */
static double define_row(shape s, const float *qkv, int64_t q, int64_t k,
                         double *p) {
  const int64_t stride = 3 * width_of(s);
  double top = -INFINITY, sum = 0;
  for (int64_t j = 0; j < s.tokens; j++) {
    p[j] = 0;
    for (int64_t c = 0; c < s.dim; c++)
      p[j] += (double)qkv[q + c] * qkv[k + j * stride + c];
    p[j] /= sqrt((double)s.dim);
    top = fmax(top, p[j]);
  }
  for (int64_t j = 0; j < s.tokens; j++) sum += p[j] = exp(p[j] - top);
  for (int64_t j = 0; j < s.tokens; j++) p[j] /= sum;
  return top + log(sum);
}

/* d sum(y dy) / d(q, k, v) of one query with probabilities p. */
static void define_gradient(shape s, const float *qkv, const float *dy,
                            int64_t q, int64_t k, const double *p,
                            double *dqkv) {
  const int64_t width = width_of(s), stride = 3 * width;
  double *dp = make(s.tokens, sizeof *dp), mean = 0;
  for (int64_t j = 0; j < s.tokens; j++) {
    for (int64_t c = 0; c < s.dim; c++) {
      dp[j] += (double)dy[c] * qkv[k + width + j * stride + c];
      dqkv[k + width + j * stride + c] += p[j] * dy[c];
    }
    mean += p[j] * dp[j];
  }
  for (int64_t j = 0; j < s.tokens; j++) {
    const double d = p[j] * (dp[j] - mean) / sqrt((double)s.dim);
    for (int64_t c = 0; c < s.dim; c++) {
      dqkv[q + c] += d * qkv[k + j * stride + c];
      dqkv[k + j * stride + c] += d * qkv[q + c];
    }
  }
  free(dp);
}

static void define_head(shape s, const float *qkv, const float *dy, place at,
                        truth *t) {
  const int64_t width = width_of(s), stride = 3 * width;
  double *p = make(s.tokens, sizeof *p);
  for (int64_t i = 0; i < s.tokens; i++) {
    const int64_t q = at.q + i * stride, y = at.y + i * width;
    t->log_sum[at.row + i] = define_row(s, qkv, q, at.q + width, p);
    for (int64_t j = 0; j < s.tokens; j++)
      for (int64_t c = 0; c < s.dim; c++)
        t->y[y + c] += p[j] * qkv[at.q + 2 * width + j * stride + c];
    define_gradient(s, qkv, dy + y, q, at.q + width, p, t->dqkv);
  }
  free(p);
}

static truth define(shape s, const float *qkv, const float *dy) {
  const int64_t width = width_of(s);
  truth t = {make(rows_of(s) * width, sizeof(double)),
             make(sums_of(s), sizeof(double)),
             make(rows_of(s) * 3 * width, sizeof(double))};
  for (int64_t b = 0; b < s.batch; b++)
    for (int64_t h = 0; h < s.heads; h++) {
      const int64_t first = b * s.tokens * width;
      define_head(s, qkv, dy,
                  (place){3 * first + h * s.dim, first + h * s.dim,
                          (b * s.heads + h) * s.tokens},
                  &t);
    }
  return t;
}

/* -------------------------------------------------------------- kernels --- */

typedef struct result {
  float *y, *log_sum, *dqkv;
} result;

enum { GUARD = 64 };

/* Nothing beyond what was asked for is touched. */
static float *make_scratch(shape s, bool backward, int32_t threads,
                           int64_t *size) {
  ck_assert(mae_attention_scratch(s.tokens, s.dim, backward, size));
  *size *= threads;
  float *scratch = make(*size + GUARD, sizeof *scratch);
  for (int64_t i = 0; i < *size + GUARD; i++) scratch[i] = NAN;
  return scratch;
}

static void free_scratch(float *scratch, int64_t size) {
  for (int64_t i = size; i < size + GUARD; i++) ck_assert(isnan(scratch[i]));
  free(scratch);
}

/* add: to what random_floats(..., 3) gives.  kept: forward writes it, and
 * backward reads it in qkv's place; or NULL. */
static result compute(shape s, mae_isa isa, int32_t threads, bool add,
                      const float *qkv, uint16_t *kept, const float *dy) {
  const mae_kernels *k = mae_kernels_for(isa);
  const int64_t size = rows_of(s) * width_of(s);
  result r = {random_floats(size, NAN, 1), random_floats(sums_of(s), NAN, 1),
              random_floats(3 * size, add ? 1 : NAN, 3)};
  mae_pool *pool;
  ck_assert_int_eq(MAE_OK, mae_pool_create(threads, &pool));
  int64_t floats;
  float *scratch = make_scratch(s, false, threads, &floats);
  k->attention_forward(pool, s.batch, s.tokens, s.heads, s.dim, qkv, r.y,
                       r.log_sum, kept, scratch);
  free_scratch(scratch, floats);
  scratch = make_scratch(s, true, threads, &floats);
  k->attention_backward(pool, s.batch, s.tokens, s.heads, s.dim,
                        kept ? NULL : qkv, kept, r.y, r.log_sum, dy, r.dqkv,
                        add, scratch);
  free_scratch(scratch, floats);
  mae_pool_destroy(pool);
  return r;
}

static void free_result(result *r) {
  free(r->y);
  free(r->log_sum);
  free(r->dqkv);
}

static void expect(shape s, mae_isa isa, const char *what, const float *got,
                   const double *want, int64_t n, double bar) {
  double most = 0, error = 0;
  for (int64_t i = 0; i < n; i++) {
    most = fmax(most, fabs(want[i]));
    const double e = fabs(got[i] - want[i]);
    error = e <= error ? error : e; /* NaN sticks */
    if (isnan(e)) error = INFINITY;
  }
  if (getenv("MAE_SHOW_ERRORS"))
    printf("error %lldx%lldx%lldx%lld isa %d %-7s %.2e\n", (long long)s.batch,
           (long long)s.tokens, (long long)s.heads, (long long)s.dim, (int)isa,
           what, error == 0 ? 0 : error / most);
  ck_assert_msg(error <= bar * most,
                "%lld tokens, %lld wide, isa %d: %s is off by %g of %g",
                (long long)s.tokens, (long long)s.dim, (int)isa, what, error,
                most);
}

static void expect_result(shape s, mae_isa isa, const result *r, const truth *t,
                          double bar) {
  const int64_t size = rows_of(s) * width_of(s);
  expect(s, isa, "y", r->y, t->y, size, bar);
  expect(s, isa, "log_sum", r->log_sum, t->log_sum, sums_of(s), bar);
  expect(s, isa, "dqkv", r->dqkv, t->dqkv, 3 * size, bar);
}

/* Each head's queries are cut into pieces when threads outnumber the heads:
 * that and who computes what changes no bit. */
static void expect_same(shape s, const result *a, const result *b) {
  const size_t size = (size_t)(rows_of(s) * width_of(s)) * sizeof(float);
  ck_assert_mem_eq(a->y, b->y, size);
  ck_assert_mem_eq(a->log_sum, b->log_sum, (size_t)sums_of(s) * sizeof(float));
  ck_assert_mem_eq(a->dqkv, b->dqkv, 3 * size);
}

/* What is kept is qkv, each rounded to a nearest; backward is as of these. */
static void check_kept(shape s, mae_isa isa, const float *qkv,
                       const float *dy, const result *plain) {
  const int64_t n = 3 * rows_of(s) * width_of(s);
  uint16_t *kept = make(n, sizeof *kept);
  float *rounded = make(n, sizeof *rounded);
  memset(kept, 0xff, (size_t)n * sizeof *kept);
  result r = compute(s, isa, 3, false, qkv, kept, dy);
  ck_assert_mem_eq(r.y, plain->y, (size_t)n / 3 * sizeof *r.y);
  free_result(&r);
  int64_t near = 0; /* Check's own assertions take their time */
  for (int64_t i = 0; i < n; i++) {
    rounded[i] = mae_from_bf16(kept[i]);
    near += fabsf(rounded[i] - qkv[i]) <= fabsf(qkv[i]) / 256;
  }
  ck_assert_int_eq(near, n);
  result want = compute(s, isa, 1, false, rounded, NULL, dy);
  r = compute(s, isa, 3, false, rounded, kept, dy);
  expect_same(s, &r, &want);
  free_result(&r);
  free_result(&want);
  free(kept);
  free(rounded);
}

static void check_isa(shape s, mae_isa isa, const float *qkv, const float *dy,
                      truth *t, double bar) {
  result one = compute(s, isa, 1, false, qkv, NULL, dy);
  result many = compute(s, isa, 3, false, qkv, NULL, dy);
  expect_result(s, isa, &one, t, bar);
  expect_same(s, &one, &many);
  check_kept(s, isa, qkv, dy, &one);
  result added = compute(s, isa, 2, true, qkv, NULL, dy);
  const int64_t n = 3 * rows_of(s) * width_of(s);
  float *before = random_floats(n, 1, 3);
  double *sum = make(n, sizeof *sum);
  for (int64_t i = 0; i < n; i++) sum[i] = (double)before[i] + one.dqkv[i];
  expect(s, isa, "added", added.dqkv, sum, n, 1.2e-7); /* two roundings */
  free(before);
  free(sum);
  free_result(&one);
  free_result(&many);
  free_result(&added);
}

static void check_qkv(shape s, const float *qkv, double bar) {
  float *dy = random_floats(rows_of(s) * width_of(s), 1, 7);
  truth t = define(s, qkv, dy);
  for (int isa = MAE_ISA_PORTABLE; isa <= MAE_ISA_AMX; isa++)
    if (mae_kernels_for((mae_isa)isa))
      check_isa(s, (mae_isa)isa, qkv, dy, &t, bar);
  free(dy);
  free(t.y);
  free(t.log_sum);
  free(t.dqkv);
}

static void check_shape(shape s, double bar) {
  float *qkv = random_floats(3 * rows_of(s) * width_of(s), s.size, 5);
  check_qkv(s, qkv, bar);
  free(qkv);
}

static const int64_t token_counts[] = {1, 2, 17, 50, 64, 65, 197, 257, 300};

START_TEST(sizes) {
  static const int64_t dims[] = {1, 3, 16, 32, 48, 64, 80};
  for (int i = 0; i < COUNT(dims); i++)
    check_shape((shape){2, token_counts[_i], 2, dims[i], 1}, BAR);
}
END_TEST

/* Scores of some 200 and -200: the largest must be subtracted, of the whole
 * row, which is longer than what one softmax is taken over at a time. */
START_TEST(far_scores) {
  check_shape((shape){1, token_counts[_i], 2, 64, 8}, FAR_BAR);
}
END_TEST

START_TEST(long_rows) {
  check_shape((shape){1, 1025, 1, 64, 1}, BAR);
  check_shape((shape){1, 1025, 1, 20, 8}, FAR_BAR);
}
END_TEST

/* The largest scores come last, or first, and the rest is as nothing. */
START_TEST(rising_scores) {
  const shape s = {1, 600, 1, 1, 1};
  float *qkv = random_floats(3 * s.tokens, 1, 9);
  for (int64_t i = 0; i < s.tokens; i++) {
    qkv[3 * i] = i % 2 ? 1 : -1;
    qkv[3 * i + 1] = (float)(i - 300) * 0.75f;
  }
  check_qkv(s, qkv, FAR_BAR);
  free(qkv);
}
END_TEST

/* What is not a number is not swallowed by the maximum or the exponential, and
 * stays with the queries that see it. */
START_TEST(nan_stays) {
  const shape s = {2, 70, 1, 5, 1};
  float *qkv = random_floats(rows_of(s) * 15, 1, 9);
  float *dy = random_floats(rows_of(s) * 5, 1, 7);
  const uint32_t odd = 0x7fc00155;             /* bits below, which are kept */
  memcpy(&qkv[33 * 15 + 7], &odd, sizeof odd); /* of a key of image 0 */
  for (int isa = MAE_ISA_PORTABLE; isa <= MAE_ISA_AMX; isa++) {
    if (!mae_kernels_for((mae_isa)isa)) continue;
    result r = compute(s, (mae_isa)isa, 1, false, qkv, NULL, dy);
    for (int64_t i = 0; i < rows_of(s) * 5; i++)
      ck_assert_int_eq(i < 70 * 5, isnan(r.y[i]) != 0);
    free_result(&r);
  }
  free(qkv);
  free(dy);
}
END_TEST

START_TEST(scratch_that_overflows) {
  int64_t floats;
  ck_assert(!mae_attention_scratch(INT64_MAX, 1, false, &floats));
  ck_assert(!mae_attention_scratch(1, INT64_MAX, true, &floats));
  ck_assert(!mae_attention_scratch(INT64_MAX / 2, 64, true, &floats));
  ck_assert(!mae_attention_scratch(1 << 30, (int64_t)1 << 32, false, &floats));
  ck_assert(mae_attention_scratch(1 << 20, 1 << 10, true, &floats));
  ck_assert_int_lt(floats, (int64_t)6 << 30);
}
END_TEST

Suite *attention_suite(void) {
  Suite *suite = suite_create("attention");
  TCase *tests = tcase_create("kernels");
  tcase_set_timeout(tests, 300);
  tcase_add_loop_test(tests, sizes, 0, COUNT(token_counts));
  tcase_add_loop_test(tests, far_scores, 0, COUNT(token_counts));
  tcase_add_test(tests, long_rows);
  tcase_add_test(tests, rising_scores);
  tcase_add_test(tests, nan_stays);
  tcase_add_test(tests, scratch_that_overflows);
  suite_add_tcase(suite, tests);
  return suite;
}
