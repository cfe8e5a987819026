/* Evaluation: worked examples, ties, what is refused. */
#include "golden.h"
#include "suites.h"

static mae_evaluation *evaluation(int32_t classes) {
  mae_evaluation *e;
  ASSERT_OK(mae_evaluation_create(classes, &e));
  return e;
}

/* Seven classes; the label comes first, fourth, sixth. */
START_TEST(worked_example) {
  const float logits[] = {0, 3, 1, 0, 0, 0, 0,  /* label 1: first */
                          6, 5, 4, 3, 2, 1, 0,  /* label 3: fourth */
                          6, 5, 4, 3, 2, 1, 0}; /* label 5: sixth */
  const int32_t labels[] = {1, 3, 5};
  mae_evaluation *e = evaluation(7);
  ASSERT_OK(mae_evaluation_add(e, logits, labels, 2));
  ASSERT_OK(mae_evaluation_add(e, logits + 14, labels + 2, 1));
  ck_assert_int_eq(mae_evaluation_count(e), 3);
  ck_assert_double_eq(mae_evaluation_top1(e), 1.0 / 3);
  ck_assert_double_eq(mae_evaluation_top5(e), 2.0 / 3);
  ck_assert_int_eq(mae_evaluation_confusion(e, 1, 1), 1);
  ck_assert_int_eq(mae_evaluation_confusion(e, 3, 0), 1);
  ck_assert_int_eq(mae_evaluation_confusion(e, 5, 0), 1);
  ck_assert_int_eq(mae_evaluation_confusion(e, 0, 3), 0);
  ck_assert_int_eq(mae_evaluation_confusion(e, 7, 0), 0);
  ck_assert_int_eq(mae_evaluation_confusion(e, -1, 0), 0);
  double ladder = 0, loss;
  for (int i = 0; i < 7; i++) ladder += exp(i);
  loss = log(exp(3) + exp(1) + 5) - 3 + log(ladder) - 3 + log(ladder) - 1;
  ck_assert_double_eq_tol(mae_evaluation_loss(e), loss / 3, 1e-12);
  mae_evaluation_destroy(e);
}
END_TEST

START_TEST(lower_class_of_a_tie) {
  const float equal[7] = {0};
  const int32_t labels[] = {0, 1, 4, 5};
  mae_evaluation *e = evaluation(7);
  for (int i = 0; i < 4; i++)
    ASSERT_OK(mae_evaluation_add(e, equal, labels + i, 1));
  ck_assert_double_eq(mae_evaluation_top1(e), 0.25);
  ck_assert_double_eq(mae_evaluation_top5(e), 0.75);
  ck_assert_int_eq(mae_evaluation_confusion(e, 5, 0), 1);
  ck_assert_double_eq_tol(mae_evaluation_loss(e), log(7), 1e-12);
  mae_evaluation_destroy(e);
}
END_TEST

START_TEST(few_classes) {
  const float logits[] = {1, 2, 1000, -1000};
  const int32_t labels[] = {0, 0};
  mae_evaluation *e = evaluation(2);
  ck_assert_double_eq(mae_evaluation_top1(e), 0);
  ck_assert_double_eq(mae_evaluation_loss(e), 0);
  ASSERT_OK(mae_evaluation_add(e, NULL, NULL, 0));
  ASSERT_OK(mae_evaluation_add(e, logits, labels, 2));
  ck_assert_double_eq(mae_evaluation_top1(e), 0.5);
  ck_assert_double_eq(mae_evaluation_top5(e), 1);
  ck_assert_double_eq_tol(mae_evaluation_loss(e), log(1 + exp(1)) / 2, 1e-12);
  mae_evaluation_destroy(e);
  e = evaluation(1);
  ASSERT_OK(mae_evaluation_add(e, logits, labels, 1));
  ck_assert_double_eq(mae_evaluation_top1(e), 1);
  mae_evaluation_destroy(e);
}
END_TEST

START_TEST(refused) {
  const float good[] = {1, 2, 3, 1, 2, 3};
  const float nan_row[] = {1, 2, 3, 1, NAN, 3}, inf_row[] = {1, INFINITY, 0};
  const float none[] = {-INFINITY, -INFINITY, -INFINITY};
  const float never[] = {-INFINITY, 0, 0};
  const int32_t labels[] = {0, 1}, high[] = {0, 3}, low[] = {-1};
  mae_evaluation *e = NULL;
  ASSERT_FAILS(mae_evaluation_create(0, &e), MAE_ERROR_INVALID_ARGUMENT,
               "num_classes is 0");
  ASSERT_FAILS(mae_evaluation_create(1 << 20, &e), MAE_ERROR_INVALID_ARGUMENT,
               "32768");
  ck_assert_ptr_null(e);
  e = evaluation(3);
  ASSERT_FAILS(mae_evaluation_add(e, nan_row, labels, 2), MAE_ERROR_NON_FINITE,
               "logit 1 of row 1");
  ASSERT_FAILS(mae_evaluation_add(e, inf_row, labels, 1), MAE_ERROR_NON_FINITE,
               "row 0 is inf");
  ASSERT_FAILS(mae_evaluation_add(e, none, labels, 1), MAE_ERROR_NON_FINITE,
               "row 0 is -inf");
  ASSERT_FAILS(mae_evaluation_add(e, good, high, 2), MAE_ERROR_INVALID_ARGUMENT,
               "label 1 is 3");
  ASSERT_FAILS(mae_evaluation_add(e, good, low, 1), MAE_ERROR_INVALID_ARGUMENT,
               "label 0 is -1");
  ASSERT_FAILS(mae_evaluation_add(e, good, labels, -1),
               MAE_ERROR_INVALID_ARGUMENT, "-1");
  ASSERT_FAILS(mae_evaluation_add(e, NULL, labels, 1),
               MAE_ERROR_INVALID_ARGUMENT, "logits is NULL");
  ck_assert_int_eq(mae_evaluation_count(e), 0);
  ASSERT_OK(mae_evaluation_add(e, never, labels + 1, 1)); /* p = 0 elsewhere */
  ck_assert_double_eq_tol(mae_evaluation_loss(e), log(2), 1e-12);
  mae_evaluation_destroy(e);
  mae_evaluation_destroy(NULL);
}
END_TEST

Suite *evaluation_suite(void) {
  Suite *suite = suite_create("evaluation");
  TCase *tests = tcase_create("evaluation");
  tcase_add_test(tests, worked_example);
  tcase_add_test(tests, lower_class_of_a_tie);
  tcase_add_test(tests, few_classes);
  tcase_add_test(tests, refused);
  suite_add_tcase(suite, tests);
  return suite;
}
