/* The table of one instruction set's kernels. */
#include "kernels/simd.h"

extern const mae_kernels MAE_GLUE(mae_, table, MAE_ISA_NAME);

#define ENTRY(name) .name = KERNEL(name),
const mae_kernels MAE_GLUE(mae_, table, MAE_ISA_NAME) = {
    MAE_KERNEL_LIST(ENTRY)};
