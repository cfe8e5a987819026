#include "tool/precision.h"

#include <string.h>

#include "tool/say.h"

/* In the order of mae_precision. */
static const char *const names[] = {"f32", "bf16"};
enum { NAMES = sizeof names / sizeof *names };

bool precision_parse(const char *text, mae_precision *precision) {
  for (int i = 0; i < NAMES; i++)
    if (!strcmp(text, names[i])) {
      *precision = (mae_precision)i;
      return true;
    }
  return false;
}

const char *precision_name(mae_precision precision) {
  return names[precision];
}

int precision_option(const char *value, mae_precision *precision) {
  if (precision_parse(value, precision)) return TOOL_OK;
  return fail_usage("--precision: '%s' is not f32 or bf16", value);
}

/* In f32 passes of many images gain nothing by a copy, larger than what it is
 * made of. */
void precision_set(mae_session_options *options, mae_precision precision) {
  options->precision = precision;
  options->pack_weights = precision == MAE_PRECISION_BF16;
}

void precision_tell(const mae_context *context, mae_precision precision) {
  if (!mae_context_precision_is_native(context, precision))
    say("%s is emulated on this processor, slower than f32",
        precision_name(precision));
}
