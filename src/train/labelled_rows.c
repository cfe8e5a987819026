#include "train/labelled_rows.h"

#include <math.h>

#include "base/memory.h"

mae_status mae_rows_check_sizes(int64_t n, int64_t width, int32_t num_classes) {
  int64_t values;
  if (n < 1 || width < 1 || width > INT32_MAX || num_classes < 1 ||
      !mae_mul(n, width, &values) || values > INT64_MAX / 8 ||
      !mae_mul(width, num_classes, &values) || values > INT64_MAX / 8)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "%lld rows of %lld values in %d classes", (long long)n,
                    (long long)width, num_classes);
  return MAE_OK;
}

mae_status mae_rows_check_labels(const int32_t *labels, int64_t n,
                                 int32_t num_classes) {
  for (int64_t i = 0; i < n; i++)
    if (labels[i] < 0 || labels[i] >= num_classes)
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                      "label %lld is %d, not 0 to %d", (long long)i, labels[i],
                      num_classes - 1);
  return MAE_OK;
}

typedef struct measure {
  const float *x;
  int64_t width;
  double *lengths;
} measure;

static void measure_rows(void *arg, int64_t begin, int64_t end,
                         int32_t worker) {
  (void)worker;
  const measure *m = arg;
  for (int64_t i = begin; i < end; i++) {
    const float *row = m->x + i * m->width;
    double squares = 0;
    for (int64_t j = 0; j < m->width; j++) squares += (double)row[j] * row[j];
    m->lengths[i] = sqrt(squares);
  }
}

mae_status mae_rows_lengths(mae_pool *pool, const char *what, const float *x,
                            int64_t n, int64_t width, double *lengths) {
  measure m = {x, width, lengths};
  mae_pool_for(pool, n, 1 + 16384 / width, measure_rows, &m);
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(lengths[i]))
      return mae_fail(MAE_ERROR_NON_FINITE, "%s: row %lld is not finite", what,
                      (long long)i);
  return MAE_OK;
}
