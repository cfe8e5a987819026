/* Means over seeds, and differences between variants seed by seed. */
#ifndef BENCH_STUDY_STATISTICS_H
#define BENCH_STUDY_STATISTICS_H

#include "study_results.h"

typedef struct study_spread {
  int32_t n;       /* seeds that have it */
  double mean, sd; /* sd with n - 1; 0 of fewer than two */
  bool clear;      /* of a difference, see study_difference */
} study_spread;

/* One side of a comparison. */
typedef struct study_of {
  const char *variant, *protocol;
} study_of;

study_spread study_mean(const study_results *r, int32_t seeds, study_of of,
                        study_field field);
/* a - b over the seeds that have both.  Clear: at least three seeds, all of one
 * sign, and the mean beyond twice its standard error, sd / sqrt(n). */
study_spread study_difference(const study_results *r, int32_t seeds, study_of a,
                              study_of b, study_field field);

#endif
