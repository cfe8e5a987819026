#include "kernels/context.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/options.h"
#include "kernels/precision.h"

enum { MOST_THREADS = 1024 };

static const mae_context_options defaults = {
    .struct_size = sizeof defaults, .threads = 0, .isa = MAE_ISA_AUTO};

void mae_context_options_init(mae_context_options *options,
                              size_t struct_size) {
  mae_options_write(options, struct_size, &defaults, sizeof defaults);
}

mae_status mae_context_create(const mae_context_options *options,
                              mae_context **out) {
  MAE_REQUIRE(out);
  mae_context_options o = defaults;
  if (options)
    MAE_TRY(mae_options_read("mae_context_options", &o, sizeof o, options));
  if (o.threads < 0 || o.threads > MOST_THREADS)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "threads is %d, not 0 to %d",
                    o.threads, MOST_THREADS);
  if (o.isa < MAE_ISA_AUTO || o.isa > MAE_ISA_AVX512)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "no isa %d", (int)o.isa);
  const mae_kernels *kernels = mae_kernels_for(o.isa);
  if (!kernels)
    return mae_fail(MAE_ERROR_UNSUPPORTED,
                    "this processor or build lacks isa %d", (int)o.isa);
  mae_context *context = mae_calloc(1, sizeof *context);
  if (!context) return MAE_ERROR_OUT_OF_MEMORY;
  context->kernels = kernels;
  context->isa = o.isa == MAE_ISA_AUTO ? mae_kernels_best() : o.isa;
  mae_status status = mae_pool_create(
      o.threads ? o.threads : mae_cpu_count(), &context->pool);
  if (status != MAE_OK) {
    free(context);
    return status;
  }
  *out = context;
  return MAE_OK;
}

void mae_context_destroy(mae_context *context) {
  if (!context) return;
  mae_pool_destroy(context->pool);
  free(context);
}

int32_t mae_context_threads(const mae_context *context) {
  return context ? mae_pool_threads(context->pool) : 0;
}

int32_t mae_context_precision_is_native(const mae_context *context,
                                        mae_precision precision) {
  return context && mae_precision_native(context->kernels, precision);
}

mae_isa mae_context_isa(const mae_context *context) {
  return context ? context->isa : MAE_ISA_AUTO;
}
