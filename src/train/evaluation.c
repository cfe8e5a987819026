/* Top-1, top-5, loss and confusions of a classifier. */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "train/labelled_rows.h"

enum { MOST_CLASSES = 32768, TOP = 5 };

struct mae_evaluation {
  int32_t classes;
  int64_t count, first, among_first;
  double loss;
  int64_t *confusion; /* [truth, predicted] */
};

mae_status mae_evaluation_create(int32_t num_classes, mae_evaluation **out) {
  MAE_REQUIRE(out);
  if (num_classes < 1 || num_classes > MOST_CLASSES)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "num_classes is %d, not 1 to %d", num_classes,
                    MOST_CLASSES);
  mae_evaluation *e = mae_calloc(1, sizeof *e);
  if (!e) return MAE_ERROR_OUT_OF_MEMORY;
  const size_t classes = (size_t)num_classes;
  e->classes = num_classes;
  e->confusion = mae_calloc(classes * classes, sizeof *e->confusion);
  if (!e->confusion) {
    free(e);
    return MAE_ERROR_OUT_OF_MEMORY;
  }
  *out = e;
  return MAE_OK;
}

void mae_evaluation_destroy(mae_evaluation *evaluation) {
  if (!evaluation) return;
  free(evaluation->confusion);
  free(evaluation);
}

static int32_t largest(const float *x, int32_t n) {
  int32_t best = 0;
  for (int32_t i = 1; i < n; i++)
    if (x[i] > x[best]) best = i;
  return best;
}

static mae_status check_row(const float *x, int32_t n, int64_t row) {
  for (int32_t i = 0; i < n; i++)
    if (isnan(x[i]))
      return mae_fail(MAE_ERROR_NON_FINITE, "logit %d of row %lld is NaN", i,
                      (long long)row);
  const float most = x[largest(x, n)];
  if (isinf(most))
    return mae_fail(MAE_ERROR_NON_FINITE, "the largest logit of row %lld is %g",
                    (long long)row, (double)most);
  return MAE_OK;
}

/* How many classes come before the label. */
static int32_t rank_of(const float *x, int32_t n, int32_t label) {
  int32_t before = 0;
  for (int32_t i = 0; i < n; i++)
    before += x[i] > x[label] || (x[i] == x[label] && i < label);
  return before;
}

static double cross_entropy(const float *x, int32_t n, int32_t label,
                            double most) {
  double sum = 0;
  for (int32_t i = 0; i < n; i++) sum += exp(x[i] - most);
  return log(sum) - (x[label] - most);
}

static void add_row(mae_evaluation *e, const float *x, int32_t label) {
  const int32_t n = e->classes, predicted = largest(x, n);
  const int32_t rank = rank_of(x, n, label);
  e->count++;
  e->first += rank == 0;
  e->among_first += rank < TOP;
  e->loss += cross_entropy(x, n, label, x[predicted]);
  e->confusion[(int64_t)label * n + predicted]++;
}

mae_status mae_evaluation_add(mae_evaluation *evaluation, const float *logits,
                              const int32_t *labels, int64_t n) {
  MAE_REQUIRE(evaluation);
  if (n < 0)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "%lld images", (long long)n);
  if (n == 0) return MAE_OK;
  MAE_REQUIRE(logits);
  MAE_REQUIRE(labels);
  const int32_t classes = evaluation->classes;
  MAE_TRY(mae_rows_check_labels(labels, n, classes));
  for (int64_t i = 0; i < n; i++)
    MAE_TRY(check_row(logits + i * classes, classes, i));
  for (int64_t i = 0; i < n; i++)
    add_row(evaluation, logits + i * classes, labels[i]);
  return MAE_OK;
}

static double mean(const mae_evaluation *e, double sum) {
  return e->count ? sum / (double)e->count : 0;
}

int64_t mae_evaluation_count(const mae_evaluation *evaluation) {
  return evaluation ? evaluation->count : 0;
}

double mae_evaluation_top1(const mae_evaluation *evaluation) {
  return evaluation ? mean(evaluation, (double)evaluation->first) : 0;
}

double mae_evaluation_top5(const mae_evaluation *evaluation) {
  return evaluation ? mean(evaluation, (double)evaluation->among_first) : 0;
}

double mae_evaluation_loss(const mae_evaluation *evaluation) {
  return evaluation ? mean(evaluation, evaluation->loss) : 0;
}

int64_t mae_evaluation_confusion(const mae_evaluation *evaluation,
                                 int32_t truth, int32_t predicted) {
  if (!evaluation) return 0;
  const int32_t n = evaluation->classes;
  if (truth < 0 || truth >= n || predicted < 0 || predicted >= n) return 0;
  return evaluation->confusion[(int64_t)truth * n + predicted];
}
