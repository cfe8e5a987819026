/* The precision of products. */
#ifndef MAE_KERNELS_PRECISION_H
#define MAE_KERNELS_PRECISION_H

#include <stdbool.h>

#include "kernels/kernels.h"

/* Fails, naming the owner, on a number that is no precision. */
mae_status mae_precision_check(const char *owner, mae_precision precision);

bool mae_precision_known(mae_precision precision);

/* By the instruction set; a context has the answers. */
mae_products mae_products_for(mae_isa isa, mae_precision precision);

#endif
