/* The value of a flag that is a number of things. */
#ifndef MAE_TOOL_OPTION_COUNT_H
#define MAE_TOOL_OPTION_COUNT_H

#include <stdint.h>

/* TOOL_OK; or says what is wrong, TOOL_USAGE. */
int option_count(const char *name, const char *value, int32_t least,
                 int32_t most, int32_t *out);

#endif
