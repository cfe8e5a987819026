/* Parts of a graph, for the profile. */
#ifndef MAE_AUTOGRAD_PART_H
#define MAE_AUTOGRAD_PART_H

#include "libmae/mae.h"

/* What is recorded from here on belongs to this part of the model, a literal
 * that a profile names; at first "tape". */
void mae_tape_part(mae_tape *tape, const char *part);

#endif
