/* UTF-8, in no locale. */
#ifndef MAE_BASE_UTF8_H
#define MAE_BASE_UTF8_H

#include <stdbool.h>

/* Is it well-formed UTF-8 without control characters: one line of text? */
bool mae_is_line(const char *text);

#endif
