/* Where a command's time went, for those who set MAE_PROFILE=1. */
#ifndef MAE_TOOL_PROFILE_H
#define MAE_TOOL_PROFILE_H

#include <stdio.h>

#include "libmae/mae.h"

/* A context's entries as a table, the longest first; nothing when there are none.  The
 * columns are words without spaces: part, op, pass, calls, seconds, share of
 * all, and GFLOP/s of what is counted in FLOPs, else "-". */
void profile_print(const mae_context *context, FILE *out);

#endif
