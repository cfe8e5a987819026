/* The cubic convolution filter with a = -1/2, widened by the factor an image
 * shrinks by.  Pillow's rules decide where it is cut off, how it is normalised
 * and how its weights are rounded, so that results are the same to the bit. */
#include "image/resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define SUPPORT 2.0

/* Weights per output are a multiple of this, so that vectors fit. */
enum { ROUND = 16 };

static double cubic(double x) {
  x = fabs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * -0.5;
  return 0;
}

mae_status mae_grow(void **block, size_t *have, int64_t size) {
  if (*block && (uint64_t)size <= *have) return MAE_OK;
  void *grown = mae_calloc((size_t)size, 1);
  if (!grown) return MAE_ERROR_OUT_OF_MEMORY;
  free(*block);
  *block = grown;
  *have = (size_t)size;
  return MAE_OK;
}

typedef struct arrays {
  double *filter; /* [most taps], of one output */
  int32_t *first, *taps, *weights;
} arrays;

static int64_t most_taps(int64_t from, double support) {
  const int64_t most = (int64_t)ceil(support) * 2 + 1;
  return most < from ? most : from;
}

static mae_status lay_out(mae_resample *r, int64_t count, int64_t taps,
                          int32_t group, arrays *a) {
  const int64_t pitch = (taps * group + ROUND - 1) / ROUND * ROUND;
  int64_t values, size;
  if (!mae_mul(count, pitch + 2, &values) ||
      !mae_mul(values + 2 * taps, sizeof(int32_t), &size))
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory to resize %lld pixels",
                    (long long)count);
  MAE_TRY(mae_grow(&r->block, &r->size, size));
  a->filter = r->block;
  a->first = (int32_t *)(a->filter + taps);
  a->taps = a->first + count;
  a->weights = a->taps + count;
  r->axis = (mae_axis){.count = count, .pitch = pitch, .first = a->first,
                       .taps = a->taps, .weights = a->weights};
  return MAE_OK;
}

/* Filter for inputs begin .. begin + taps - 1 around the centre; sum 1. */
static void make_filter(double *filter, int64_t begin, int64_t taps,
                        double centre, double shrink) {
  const double scale = 1 / shrink;
  double sum = 0;
  for (int64_t k = 0; k < taps; k++) {
    filter[k] = cubic(((double)(k + begin) - centre + 0.5) * scale);
    sum += filter[k];
  }
  if (sum != 0)
    for (int64_t k = 0; k < taps; k++) filter[k] /= sum;
}

static int32_t to_fixed(double weight) {
  return (int32_t)((weight < 0 ? -0.5 : 0.5) +
                   weight * (1 << MAE_RESAMPLE_BITS));
}

static void store_weights(int32_t *weights, int64_t pitch, const double *filter,
                          int64_t taps, int32_t group) {
  memset(weights, 0, (size_t)pitch * sizeof *weights);
  for (int64_t k = 0; k < taps; k++)
    for (int32_t c = 0; c < group; c++)
      weights[k * group + c] = to_fixed(filter[k]);
}

mae_status mae_resample_fit(mae_resample *r, mae_stretch from, int64_t to,
                            int64_t first, int64_t count, int32_t group,
                            bool mirror) {
  const double scale = from.length / (double)to;
  const double shrink = scale < 1 ? 1 : scale, support = SUPPORT * shrink;
  const int64_t most = most_taps(from.inputs, support);
  arrays a = {0};
  MAE_TRY(lay_out(r, count, most, group, &a));
  for (int64_t i = 0; i < count; i++) {
    const double centre = from.begin + ((double)(first + i) + 0.5) * scale;
    int64_t begin = (int64_t)(centre - support + 0.5);
    int64_t end = (int64_t)(centre + support + 0.5);
    if (begin < 0) begin = 0;
    if (end > from.inputs) end = from.inputs;
    if (i == 0) r->axis.begin = begin;
    r->axis.end = end;
    const int64_t at = mirror ? count - 1 - i : i;
    a.first[at] = (int32_t)(begin - r->axis.begin);
    a.taps[at] = (int32_t)(end - begin);
    make_filter(a.filter, begin, end - begin, centre, shrink);
    store_weights(a.weights + at * r->axis.pitch, r->axis.pitch, a.filter,
                  end - begin, group);
  }
  return MAE_OK;
}

void mae_resample_free(mae_resample *r) {
  free(r->block);
  *r = (mae_resample){0};
}
