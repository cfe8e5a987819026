/* Weights in the form in which products want them. */
#ifndef MAE_AUTOGRAD_PACKED_H
#define MAE_AUTOGRAD_PACKED_H

#include "libmae/mae.h"

/* Linear layers read this, which the kernels' pack_weight made of the
 * parameter and which must outlive the tape, in the parameter's place. */
void mae_tape_use_packed(mae_tape *tape, mae_var parameter,
                         const float *packed);

#endif
