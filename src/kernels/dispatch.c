/* The choice of kernels by processor. */
#include "base/cpu.h"
#include "kernels/kernels.h"

extern const mae_kernels mae_table_portable;
#if defined(__x86_64__)
extern const mae_kernels mae_table_avx2, mae_table_avx512;
#endif

const mae_kernels *mae_kernels_for(mae_isa isa) {
  if (isa == MAE_ISA_AUTO) isa = mae_kernels_best();
  if (!mae_cpu_has(isa)) return NULL;
  switch (isa) {
    case MAE_ISA_PORTABLE: return &mae_table_portable;
#if defined(__x86_64__)
    case MAE_ISA_AVX2: return &mae_table_avx2;
    case MAE_ISA_AVX512:
    case MAE_ISA_AMX: return &mae_table_avx512;
#endif
    default: return NULL;
  }
}

mae_isa mae_kernels_best(void) {
  if (mae_cpu_has(MAE_ISA_AMX)) return MAE_ISA_AMX;
  if (mae_cpu_has(MAE_ISA_AVX512)) return MAE_ISA_AVX512;
  if (mae_cpu_has(MAE_ISA_AVX2)) return MAE_ISA_AVX2;
  return MAE_ISA_PORTABLE;
}
