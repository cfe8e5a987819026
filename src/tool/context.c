#include "tool/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const isa_names[] = {
    [MAE_ISA_AUTO] = "auto", [MAE_ISA_PORTABLE] = "portable",
    [MAE_ISA_AVX2] = "avx2", [MAE_ISA_AVX512] = "avx512",
    [MAE_ISA_AMX] = "amx"};
enum { ISAS = sizeof isa_names / sizeof *isa_names, NO_ISA = -1 };

static mae_isa isa_asked(void) {
  const char *value = getenv("MAE_ISA");
  if (!value || !*value) return MAE_ISA_AUTO;
  for (int i = 0; i < ISAS; i++)
    if (!strcmp(value, isa_names[i])) return (mae_isa)i;
  fprintf(stderr, "MAE_ISA is %s, not auto, portable, avx2, avx512 or amx\n",
          value);
  return (mae_isa)NO_ISA; /* the library says no */
}

static int32_t profile_asked(void) {
  const char *value = getenv("MAE_PROFILE");
  return value && *value && strcmp(value, "0") ? 1 : 0;
}

mae_status open_context(int32_t threads, mae_context **context) {
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  o.threads = threads;
  o.isa = isa_asked();
  o.profile = profile_asked();
  return mae_context_create(&o, context);
}

const char *isa_name(const mae_context *context) {
  return isa_names[mae_context_isa(context)];
}
