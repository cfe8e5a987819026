#include "base/cpu.h"

bool mae_cpu_has(mae_isa isa) {
  switch (isa) {
    case MAE_ISA_AUTO:
    case MAE_ISA_PORTABLE: return true;
#if defined(__x86_64__)
    case MAE_ISA_AVX2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case MAE_ISA_AVX512:
      return mae_cpu_has(MAE_ISA_AVX2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl");
#endif
    default: return false;
  }
}
