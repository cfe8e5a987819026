#include "kernels/precision.h"

mae_status mae_precision_check(const char *owner, mae_precision precision) {
  if (precision == MAE_PRECISION_F32 || precision == MAE_PRECISION_BF16)
    return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "%s: there is no precision %d",
                  owner, (int)precision);
}

bool mae_precision_native(const mae_kernels *kernels, mae_precision precision) {
  return precision == MAE_PRECISION_F32 || kernels->best_bf16();
}
