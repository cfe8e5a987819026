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
  if (o.isa < MAE_ISA_AUTO || o.isa > MAE_ISA_AMX)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "no isa %d", (int)o.isa);
  if (o.profile < 0 || o.profile > 1)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "profile is %d, not 0 or 1",
                    o.profile);
  const mae_kernels *kernels = mae_kernels_for(o.isa);
  if (!kernels)
    return mae_fail(MAE_ERROR_UNSUPPORTED,
                    "this processor or build lacks isa %d", (int)o.isa);
  mae_context *context = mae_calloc(1, sizeof *context);
  if (!context) return MAE_ERROR_OUT_OF_MEMORY;
  context->kernels = kernels;
  context->isa = o.isa == MAE_ISA_AUTO ? mae_kernels_best() : o.isa;
  for (int p = MAE_PRECISION_F32; p <= MAE_PRECISION_BF16; p++)
    context->products[p] = mae_products_for(context->isa, (mae_precision)p);
  mae_status status = mae_pool_create(
      o.threads ? o.threads : mae_cpu_count(), &context->pool);
  if (status == MAE_OK && o.profile)
    status = mae_profile_create(&context->profile);
  if (status != MAE_OK) {
    mae_context_destroy(context);
    return status;
  }
  *out = context;
  return MAE_OK;
}

void mae_context_destroy(mae_context *context) {
  if (!context) return;
  mae_pool_destroy(context->pool);
  mae_profile_destroy(context->profile);
  free(context);
}

int32_t mae_context_threads(const mae_context *context) {
  return context ? mae_pool_threads(context->pool) : 0;
}

int32_t mae_context_precision_is_native(const mae_context *context,
                                        mae_precision precision) {
  return context && mae_precision_known(precision) &&
         context->products[precision] != MAE_PRODUCTS_BF16_EMULATED;
}

mae_isa mae_context_isa(const mae_context *context) {
  return context ? context->isa : MAE_ISA_AUTO;
}

int32_t mae_context_profile_size(const mae_context *context) {
  return context && context->profile ? mae_profile_size(context->profile) : 0;
}

mae_status mae_context_profile(const mae_context *context, int32_t i,
                               mae_profile_entry *entry) {
  MAE_REQUIRE(context);
  MAE_REQUIRE(entry);
  if (entry->struct_size < 2 * sizeof(size_t))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "mae_profile_entry: struct_size is %zu",
                    entry->struct_size);
  mae_profile_entry e;
  if (!context->profile || !mae_profile_get(context->profile, i, &e))
    return mae_fail(MAE_ERROR_NOT_FOUND, "the profile has no entry %d", i);
  mae_options_write(entry, entry->struct_size, &e, sizeof e);
  return MAE_OK;
}

void mae_context_profile_reset(mae_context *context) {
  if (context && context->profile) mae_profile_reset(context->profile);
}
