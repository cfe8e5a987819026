/* What a tape would take, found out without taking it. */
#ifndef MAE_AUTOGRAD_MEASURE_H
#define MAE_AUTOGRAD_MEASURE_H

#include <stdbool.h>

#include "libmae/mae.h"

/* A parameter of this shape without data, for a tape that is measured only. */
mae_status mae_tape_shape(mae_tape *tape, const mae_tensor *shape,
                          bool requires_grad, mae_var *out);

/* Do all of mae_tape_plan but take the memory: *bytes is what
 * mae_tape_memory would say.  The tape can then neither run nor be planned. */
mae_status mae_tape_measure(mae_tape *tape, mae_var loss, size_t *bytes);

int32_t mae_tape_num_ops(const mae_tape *tape); /* recorded so far */

/* Floating-point operations in matrix products, two for each multiply-add: of
 * operations first to end - 1 forward, and of the whole of a measured tape
 * forward, again where segments do that, and backward. */
double mae_tape_forward_flops(const mae_tape *tape, int32_t first, int32_t end);
double mae_tape_step_flops(const mae_tape *tape);

#endif
