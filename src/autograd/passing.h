/* What only passes through the tape's memory. */
#ifndef MAE_AUTOGRAD_PASSING_H
#define MAE_AUTOGRAD_PASSING_H

#include "libmae/mae.h"

/* A parameter, without data when the tape is measured only, whose gradient
 * lives from the first operation to write it until the watcher of the backward
 * pass has been told that it is final; one that no operation writes stays, all
 * zeros.  It is never added to what an earlier pass left.
 *
 * As this is for who lacks memory, outputs in f32 of attention and of narrow
 * linear layers are not kept for the backward pass either but made anew. */
mae_status mae_tape_passing_parameter(mae_tape *tape, const mae_tensor *value,
                                      mae_var *out);

/* An input that the caller fills in anew before every forward pass, since its
 * memory goes to others after the last operation to read it; without gradient.
 * Whoever fills it in may overwrite what was kept of the pass before. */
mae_status mae_tape_passing_input(mae_tape *tape, int32_t ndim,
                                  const int64_t *shape, mae_var *out);

#endif
