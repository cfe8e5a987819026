/* Gradients of parameters that only pass through the tape's memory. */
#ifndef MAE_AUTOGRAD_PASSING_H
#define MAE_AUTOGRAD_PASSING_H

#include "libmae/mae.h"

/* A parameter, without data when the tape is measured only, whose gradient
 * lives from the first operation to write it until the watcher of the backward
 * pass has been told that it is final; one that no operation writes stays, all
 * zeros.  It is never added to what an earlier pass left.
 *
 * As this is for who lacks memory, outputs of attention in f32 are not kept for
 * the backward pass either but made anew. */
mae_status mae_tape_passing_parameter(mae_tape *tape, const mae_tensor *value,
                                      mae_var *out);

#endif
