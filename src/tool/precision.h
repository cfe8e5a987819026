/* The option that says in which precision linear layers compute. */
#ifndef MAE_TOOL_PRECISION_H
#define MAE_TOOL_PRECISION_H

#include <getopt.h>
#include <stdbool.h>

#include "libmae/mae.h"

enum { OPTION_PRECISION = 1300 };

#define PRECISION_LONG_OPTION \
  { "precision", required_argument, NULL, OPTION_PRECISION }

#define PRECISION_HELP                                                        \
  "      --precision f32|bf16\n"                                              \
  "                           of linear layers (f32); bf16 is for "            \
  "processors\n"                                                              \
  "                           made for it\n"

bool precision_parse(const char *text, mae_precision *precision);
const char *precision_name(mae_precision precision);

/* Of the option's value: TOOL_OK, or says what is wrong, TOOL_USAGE. */
int precision_option(const char *value, mae_precision *precision);

/* A session's, and the copy of weights that goes with it. */
void precision_set(mae_session_options *options, mae_precision precision);

/* Say so when it will be slow on this processor. */
void precision_tell(const mae_context *context, mae_precision precision);

#endif
