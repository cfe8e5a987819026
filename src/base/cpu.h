/* What this processor can do. */
#ifndef MAE_BASE_CPU_H
#define MAE_BASE_CPU_H

#include <stdbool.h>

#include "base/error.h"

bool mae_cpu_has(mae_isa isa);

#endif
