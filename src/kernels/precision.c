#include "kernels/precision.h"

bool mae_precision_known(mae_precision precision) {
  return precision == MAE_PRECISION_F32 || precision == MAE_PRECISION_BF16;
}

mae_status mae_precision_check(const char *owner, mae_precision precision) {
  if (mae_precision_known(precision)) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "%s: there is no precision %d",
                  owner, (int)precision);
}

mae_products mae_products_for(mae_isa isa, mae_precision precision) {
  const bool amx = isa == MAE_ISA_AMX;
  if (precision == MAE_PRECISION_F32)
    return amx ? MAE_PRODUCTS_F32_AMX : MAE_PRODUCTS_F32;
  if (amx) return MAE_PRODUCTS_BF16_AMX;
  return isa == MAE_ISA_AVX512 && MAE_HAVE_BF16 && mae_cpu_has_avx512_bf16()
             ? MAE_PRODUCTS_BF16_AVX512
             : MAE_PRODUCTS_BF16_EMULATED;
}
