/* Settings that follow from others: what they were not given, what they must
 * agree on. */
#ifndef MAE_TOOL_SETTLE_H
#define MAE_TOOL_SETTLE_H

#include "tool/run_settings.h"

/* Each returns a tool status; what is wrong is said. */

/* Of pretraining, for a process of `ranks`. */
int settle_pretraining(run_settings *s, int32_t rank, int32_t ranks);

#endif
