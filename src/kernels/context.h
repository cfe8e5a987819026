/* The context: threads and kernels. */
#ifndef MAE_KERNELS_CONTEXT_H
#define MAE_KERNELS_CONTEXT_H

#include "base/profile.h"
#include "kernels/kernels.h"

struct mae_context {
  mae_pool *pool;
  const mae_kernels *kernels;
  mae_isa isa;
  mae_products products[MAE_PRECISION_BF16 + 1]; /* of each precision */
  mae_profile *profile; /* NULL: nobody wants one */
};

#endif
