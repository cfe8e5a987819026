/* k nearest neighbours: against the definition, worked examples, threads. */
#include "golden.h"
#include "suites.h"

enum { N = 700, M = 300, WIDTH = 13, CLASSES = 9 }; /* several blocks each */

typedef struct problem {
  float train[N * WIDTH], queries[M * WIDTH];
  int32_t labels[N];
} problem;

static problem *make_problem(void) {
  static problem p;
  float which[N];
  ASSERT_OK(mae_random_normal(1, 1, 0, N * WIDTH, p.train));
  ASSERT_OK(mae_random_normal(1, 2, 0, M * WIDTH, p.queries));
  ASSERT_OK(mae_random_uniform(1, 3, 0, N, which));
  for (int i = 0; i < N; i++) p.labels[i] = (int32_t)(which[i] * CLASSES);
  return &p;
}

static double cosine(const float *a, const float *b) {
  double ab = 0, aa = 0, bb = 0;
  for (int i = 0; i < WIDTH; i++) {
    ab += (double)a[i] * b[i];
    aa += (double)a[i] * a[i];
    bb += (double)b[i] * b[i];
  }
  return ab / sqrt(aa * bb);
}

/* The definition, by looking k times for the nearest not taken yet. */
static void definition(const problem *p, const float *query, int k,
                       double temperature, double votes[CLASSES]) {
  double similarity[N], sum = 0;
  for (int i = 0; i < N; i++)
    similarity[i] = cosine(p->train + i * WIDTH, query);
  for (int c = 0; c < CLASSES; c++) votes[c] = 0;
  for (int taken = 0; taken < k; taken++) {
    int best = 0;
    for (int i = 1; i < N; i++)
      if (similarity[i] > similarity[best]) best = i;
    const double weight = exp(similarity[best] / temperature);
    votes[p->labels[best]] += weight;
    sum += weight;
    similarity[best] = -2;
  }
  for (int c = 0; c < CLASSES; c++) votes[c] /= sum;
}

static void check_definition(int k, double temperature) {
  const problem *p = make_problem();
  static float out[M * CLASSES];
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  ASSERT_OK(mae_knn_classify(context, p->train, p->labels, N, WIDTH, CLASSES,
                             p->queries, M, k, temperature, out));
  for (int q = 0; q < M; q++) {
    double votes[CLASSES];
    definition(p, p->queries + q * WIDTH, k, temperature, votes);
    for (int c = 0; c < CLASSES; c++)
      ck_assert_double_eq_tol(out[q * CLASSES + c], votes[c], 1e-5);
  }
  mae_context_destroy(context);
}

START_TEST(as_defined) {
  check_definition(1, 0.07);
  check_definition(20, 0.07);
  check_definition(100, 1);
}
END_TEST

START_TEST(same_bits_with_any_threads) {
  const problem *p = make_problem();
  static float one[M * CLASSES], three[M * CLASSES];
  mae_context *a = make_context(1, MAE_ISA_AUTO);
  mae_context *b = make_context(3, MAE_ISA_PORTABLE);
  ASSERT_OK(mae_knn_classify(a, p->train, p->labels, N, WIDTH, CLASSES,
                             p->queries, M, 20, 0.07, one));
  ASSERT_OK(mae_knn_classify(b, p->train, p->labels, N, WIDTH, CLASSES,
                             p->queries, M, 20, 0.07, three));
  ck_assert_mem_eq(one, three, sizeof one);
  mae_context_destroy(a);
  mae_context_destroy(b);
}
END_TEST

/* Directions count, not lengths; the first of equals; k above n; a zero row;
 * a temperature that exp alone could not bear. */
START_TEST(by_hand) {
  const float train[] = {100, 0, 1e-30f, 0, 0, 1, 0, 0, -1, 0};
  const int32_t labels[] = {2, 1, 0, 3, 0};
  const float queries[] = {1e30f, 0, 0, 0};
  float out[8];
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  ASSERT_OK(mae_knn_classify(context, train, labels, 5, 2, 4, queries, 1, 1,
                             1e-4, out));
  const float first[] = {0, 0, 1, 0};
  ck_assert_mem_eq(out, first, sizeof first);
  ASSERT_OK(mae_knn_classify(context, train, labels, 5, 2, 4, queries, 1, 2,
                             1e-4, out));
  const float both[] = {0, 0.5f, 0.5f, 0};
  ck_assert_mem_eq(out, both, sizeof both);
  ASSERT_OK(mae_knn_classify(context, train, labels, 5, 2, 4, queries, 2, 99, 1,
                             out));
  const double e = exp(1), sum = 2 * e + 2 + 1 / e;
  ck_assert_double_eq_tol(out[0], (1 + 1 / e) / sum, 1e-6);
  ck_assert_double_eq_tol(out[1], e / sum, 1e-6);
  ck_assert_double_eq_tol(out[3], 1 / sum, 1e-6);
  ck_assert_double_eq_tol(out[4], 0.4, 1e-6); /* of the query of zeros */
  mae_context_destroy(context);
}
END_TEST

START_TEST(refused) {
  float train[] = {1, 2, 3, 4}, queries[] = {1, 2}, out[2] = {7, 7};
  int32_t labels[] = {0, 1};
  mae_context *c = make_context(1, MAE_ISA_AUTO);
  ASSERT_FAILS(mae_knn_classify(c, train, labels, 2, 2, 1, queries, 1, 1, 1,
                                out), MAE_ERROR_INVALID_ARGUMENT, "label 1");
  ASSERT_FAILS(mae_knn_classify(c, train, labels, 2, 2, 2, queries, 1, 0, 1,
                                out), MAE_ERROR_INVALID_ARGUMENT, "k is 0");
  ASSERT_FAILS(mae_knn_classify(c, train, labels, 2, 2, 2, queries, 1, 1, 0,
                                out), MAE_ERROR_INVALID_ARGUMENT, "temperat");
  ASSERT_FAILS(mae_knn_classify(c, train, labels, 2, 0, 2, queries, 1, 1, 1,
                                out), MAE_ERROR_INVALID_ARGUMENT, "0 values");
  ASSERT_FAILS(mae_knn_classify(c, train, labels, INT64_MAX / 2, 3, 2, queries,
                                1, 1, 1, out), MAE_ERROR_INVALID_ARGUMENT,
               "rows");
  ASSERT_FAILS(mae_knn_classify(c, NULL, labels, 2, 2, 2, queries, 1, 1, 1,
                                out), MAE_ERROR_INVALID_ARGUMENT, "train");
  queries[1] = INFINITY;
  ASSERT_FAILS(mae_knn_classify(c, train, labels, 2, 2, 2, queries, 1, 1, 1,
                                out), MAE_ERROR_NON_FINITE, "queries: row 0");
  train[2] = NAN;
  ASSERT_FAILS(mae_knn_classify(c, train, labels, 2, 2, 2, queries, 1, 1, 1,
                                out), MAE_ERROR_NON_FINITE, "train: row 1");
  ck_assert(out[0] == 7 && out[1] == 7);
  mae_context_destroy(c);
}
END_TEST

Suite *knn_suite(void) {
  Suite *suite = suite_create("knn");
  TCase *tests = tcase_create("knn");
  tcase_add_test(tests, as_defined);
  tcase_add_test(tests, same_bits_with_any_threads);
  tcase_add_test(tests, by_hand);
  tcase_add_test(tests, refused);
  suite_add_tcase(suite, tests);
  return suite;
}
