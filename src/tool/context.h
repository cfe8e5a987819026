/* The context of a command, as the environment wants it. */
#ifndef MAE_TOOL_CONTEXT_H
#define MAE_TOOL_CONTEXT_H

#include "libmae/mae.h"

/* Of so many threads (0: one per CPU); MAE_ISA names its instruction set, and
 * with MAE_PROFILE=1 it has a profile. */
mae_status open_context(int32_t threads, mae_context **context);

/* Of a context, as MAE_ISA has it. */
const char *isa_name(const mae_context *context);

#endif
