#include "tool/option_count.h"

#include "tool/parse.h"
#include "tool/say.h"

int option_count(const char *name, const char *value, int32_t least,
                 int32_t most, int32_t *out) {
  if (parse_int(value, least, most, out)) return TOOL_OK;
  return fail_usage("--%s: '%s' is not %d to %d", name, value, (int)least,
                    (int)most);
}
