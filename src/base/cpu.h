/* What this processor can do. */
#ifndef MAE_BASE_CPU_H
#define MAE_BASE_CPU_H

#include <stdbool.h>

#include "base/error.h"

bool mae_cpu_has(mae_isa isa);
/* Instructions for products of bf16 beside MAE_ISA_AVX512, by the processor and
 * by the system, which must keep their registers. */
bool mae_cpu_has_avx512_bf16(void);
bool mae_cpu_has_amx_bf16(void);

/* The best that this process may use.  The first call asks the system for the
 * permission that AMX wants; it holds for all threads. */
typedef enum mae_bf16 {
  MAE_BF16_NONE,
  MAE_BF16_AVX512,
  MAE_BF16_AMX
} mae_bf16;
mae_bf16 mae_cpu_bf16(void);

#endif
