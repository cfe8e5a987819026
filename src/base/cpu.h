/* What this processor can do. */
#ifndef MAE_BASE_CPU_H
#define MAE_BASE_CPU_H

#include <stdbool.h>

#include "base/error.h"

/* May this process use it?  The first question about MAE_ISA_AMX asks the
 * system for the permission that it wants, which holds for all threads. */
bool mae_cpu_has(mae_isa isa);
/* Instructions for products of bf16 beside MAE_ISA_AVX512, by the processor and
 * by the system, which must keep their registers. */
bool mae_cpu_has_avx512_bf16(void);
bool mae_cpu_has_amx_bf16(void);

/* Does the compiler know these?  Else nothing here uses them. */
#if defined(__x86_64__) && defined(__has_include)
#if __has_include(<amxbf16intrin.h>)
#define MAE_HAVE_BF16 1
#endif
#endif
#ifndef MAE_HAVE_BF16
#define MAE_HAVE_BF16 0
#endif

#endif
