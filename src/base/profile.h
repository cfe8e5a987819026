/* Where time goes, for a context that was asked to tell (its option profile).
 *
 * A span is a stretch of time on one thread.  Spans may lie within others; each
 * counts what is not in one within it, so that all add up to the outermost. */
#ifndef MAE_BASE_PROFILE_H
#define MAE_BASE_PROFILE_H

#include <stdbool.h>

#include "base/error.h"

/* Counts by part, operation and pass.  Any number of threads may use one. */
typedef struct mae_profile mae_profile;

mae_status mae_profile_create(mae_profile **profile);
void mae_profile_destroy(mae_profile *profile);

typedef struct mae_span {
  int64_t began, counted; /* nanoseconds */
} mae_span;

/* profile may be NULL for both: nothing is measured then. */
mae_span mae_span_begin(const mae_profile *profile);
/* part and op are literals or live as long as the profile.  What there is no
 * room for is counted under "other". */
void mae_span_end(mae_profile *profile, mae_span span, const char *part,
                  const char *op, mae_profile_pass pass, double flops);

int32_t mae_profile_size(mae_profile *profile);
/* Entry i, false out of range. */
bool mae_profile_get(mae_profile *profile, int32_t i, mae_profile_entry *entry);
void mae_profile_reset(mae_profile *profile);

#endif
