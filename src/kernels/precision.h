/* The precision of products. */
#ifndef MAE_KERNELS_PRECISION_H
#define MAE_KERNELS_PRECISION_H

#include <stdbool.h>

#include "kernels/kernels.h"

/* Fails, naming the owner, on a number that is no precision. */
mae_status mae_precision_check(const char *owner, mae_precision precision);

/* Do these kernels leave such products to instructions made for them, rather
 * than round the factors and multiply in f32? */
bool mae_precision_native(const mae_kernels *kernels, mae_precision precision);

#endif
