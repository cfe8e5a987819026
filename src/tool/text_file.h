/* A text as a whole file. */
#ifndef MAE_TOOL_TEXT_FILE_H
#define MAE_TOOL_TEXT_FILE_H

#include "libmae/mae.h"
#include "tool/text.h"

/* Crash-safe, and gone on Ctrl-C while half written. */
mae_status text_write(const char *path, const text *t);

#endif
