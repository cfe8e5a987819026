#include "train/batch_norm.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

enum { AT_ONCE = 8 };

mae_status mae_batch_norm_init(mae_batch_norm *norm, int64_t width, double eps,
                               double momentum) {
  const size_t n = (size_t)width;
  *norm = (mae_batch_norm){.width = width, .eps = eps, .momentum = momentum};
  norm->mean = mae_calloc(n, sizeof *norm->mean);
  norm->rstd = mae_calloc(n, sizeof *norm->rstd);
  norm->running_mean = mae_calloc(n, sizeof *norm->running_mean);
  norm->running_var = mae_calloc(n, sizeof *norm->running_var);
  if (!norm->mean || !norm->rstd || !norm->running_mean || !norm->running_var) {
    mae_batch_norm_free(norm);
    return MAE_ERROR_OUT_OF_MEMORY;
  }
  for (int64_t i = 0; i < width; i++) norm->running_var[i] = 1;
  return MAE_OK;
}

void mae_batch_norm_free(mae_batch_norm *norm) {
  free(norm->mean);
  free(norm->rstd);
  free(norm->running_mean);
  free(norm->running_var);
  *norm = (mae_batch_norm){0};
}

/* Adds up to AT_ONCE rows.  So few are summed in f32, which costs no more than
 * the rounding of the rows' own values. */
static void add_rows(const float *const *rows, int64_t n, const float *shift,
                     int64_t width, double *sum, double *squares) {
  for (int64_t j = 0; j < width; j++) {
    float some = 0, some_squares = 0;
    for (int64_t i = 0; i < n; i++) {
      const float v = rows[i][j] - shift[j];
      some += v;
      some_squares += v * v;
    }
    sum[j] += some;
    squares[j] += some_squares;
  }
}

void mae_batch_norm_sums(const float *x, int64_t width, const uint32_t *index,
                         int64_t n, const float *shift, double *sums) {
  const float *rows[AT_ONCE];
  double *sum = sums, *squares = sums + width;
  for (int64_t j = 0; j < 2 * width; j++) sums[j] = 0;
  for (int64_t i = 0; i < n; i++) {
    const int64_t have = i % AT_ONCE;
    rows[have] = x + (int64_t)index[i] * width;
    if (have + 1 == AT_ONCE) /* as a constant, for the compiler */
      add_rows(rows, AT_ONCE, shift, width, sum, squares);
    else if (i + 1 == n)
      add_rows(rows, have + 1, shift, width, sum, squares);
  }
}

void mae_batch_norm_update(mae_batch_norm *norm, const float *shift,
                           const double *sums, int64_t rows) {
  const double n = (double)rows, part = norm->momentum;
  for (int64_t j = 0; j < norm->width; j++) {
    const double mean = sums[j] / n;
    const double var = fmax(sums[norm->width + j] / n - mean * mean, 0);
    norm->mean[j] = (float)(shift[j] + mean);
    norm->rstd[j] = (float)(1 / sqrt(var + norm->eps));
    norm->running_mean[j] += part * (shift[j] + mean - norm->running_mean[j]);
    norm->running_var[j] += part * (var * n / (n - 1) - norm->running_var[j]);
  }
}

void mae_batch_norm_apply(const mae_batch_norm *norm, const float *x,
                          const uint32_t *index, int64_t n, float *y) {
  const int64_t width = norm->width;
  const float *mean = norm->mean, *rstd = norm->rstd;
  for (int64_t i = 0; i < n; i++) {
    const float *row = x + (int64_t)index[i] * width;
    /* The rows are all over the memory, where no processor sees them coming. */
    const float *next = x + (int64_t)index[i + 1 < n ? i + 1 : i] * width;
    for (int64_t j = 0; j < width; j += 16) __builtin_prefetch(next + j);
    for (int64_t j = 0; j < width; j++)
      y[i * width + j] = (row[j] - mean[j]) * rstd[j];
  }
}

void mae_batch_norm_fold(const mae_batch_norm *norm, int64_t out,
                         const float *weight, const float *bias,
                         float *folded_weight, float *folded_bias) {
  const int64_t width = norm->width;
  for (int64_t c = 0; c < out; c++) {
    double shift = bias[c];
    for (int64_t j = 0; j < width; j++) {
      const double w =
          weight[c * width + j] / sqrt(norm->running_var[j] + norm->eps);
      folded_weight[c * width + j] = (float)w;
      shift -= w * norm->running_mean[j];
    }
    folded_bias[c] = (float)shift;
  }
}
