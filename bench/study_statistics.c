#include "study_statistics.h"

#include <math.h>
#include <stddef.h>

enum { MOST_SEEDS = 64 };

static study_spread spread(const double *x, int32_t n) {
  study_spread s = {n, 0, 0, false};
  double squares = 0;
  int32_t above = 0, below = 0;
  for (int32_t i = 0; i < n; i++) s.mean += x[i] / n;
  for (int32_t i = 0; i < n; i++) {
    squares += (x[i] - s.mean) * (x[i] - s.mean);
    above += x[i] > 0;
    below += x[i] < 0;
  }
  if (n > 1) s.sd = sqrt(squares / (n - 1));
  s.clear = n >= 3 && (above == n || below == n) &&
            fabs(s.mean) > 2 * s.sd / sqrt(n);
  return s;
}

/* Values of the seeds that both sides have; b NULL: of a alone. */
static study_spread gather(const study_results *r, int32_t seeds, study_of a,
                           const study_of *b, study_field field) {
  double x[MOST_SEEDS];
  int32_t n = 0;
  for (int32_t seed = 1; seed <= seeds && n < MOST_SEEDS; seed++) {
    const study_result *one, *other = NULL;
    one = study_results_find(r, a.variant, a.protocol, seed);
    if (b) other = study_results_find(r, b->variant, b->protocol, seed);
    if (!one || (b && !other)) continue;
    x[n] = one->values[field] - (b ? other->values[field] : 0);
    if (!isnan(x[n])) n++;
  }
  return spread(x, n);
}

study_spread study_mean(const study_results *r, int32_t seeds, study_of of,
                        study_field field) {
  return gather(r, seeds, of, NULL, field);
}

study_spread study_difference(const study_results *r, int32_t seeds, study_of a,
                              study_of b, study_field field) {
  return gather(r, seeds, a, &b, field);
}
