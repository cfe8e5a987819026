/* Settings that follow from others: what they were not given, what they must
 * agree on. */
#ifndef MAE_TOOL_SETTLE_H
#define MAE_TOOL_SETTLE_H

#include "tool/run_settings.h"

/* Each returns a tool status; what is wrong is said. */

/* Of pretraining, for a process of `ranks`. */
int settle_pretraining(run_settings *s, int32_t rank, int32_t ranks);

/* Of fine-tuning, first the recipe and the paths, so that the weights can be
 * loaded; then the rest.  weights NULL: from scratch, or of a run that is
 * resumed, whose settings have been given already. */
int settle_sources(run_settings *s);
bool settle_is_scratch(const run_settings *s);
int settle_finetuning(run_settings *s, const mae_model *weights, int32_t rank,
                      int32_t ranks);

#endif
