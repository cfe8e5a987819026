/* Numbers and lists on the command line.  Each returns false when the text is
 * anything else, all of it counted. */
#ifndef MAE_TOOL_PARSE_H
#define MAE_TOOL_PARSE_H

#include <stdbool.h>
#include <stdint.h>

bool parse_int(const char *text, int64_t least, int64_t most, int32_t *out);
bool parse_seed(const char *text, uint64_t *out);
bool parse_real(const char *text, double least, double most, double *out);

/* "224" or "224x192", height first. */
bool parse_size(const char *text, int32_t *height, int32_t *width);

/* "1,2,-1": at most `most` numbers, whose count goes to *count. */
bool parse_ints(const char *text, int32_t most, int32_t *out, int32_t *count);
bool parse_reals(const char *text, int32_t most, float *out, int32_t *count);

#endif
