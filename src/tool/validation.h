/* Testing a classifier that is being trained, after each epoch. */
#ifndef MAE_TOOL_VALIDATION_H
#define MAE_TOOL_VALIDATION_H

#include "tool/run.h"

typedef struct validation {
  mae_dataset *dataset; /* NULL: there is nothing to test on */
  bool told;            /* of what cannot be read */
} validation;

/* Test the model, and the average of its weights: a line said, one in the
 * metrics, and best.safetensors when one of the two is better than all before.
 * What fails is a warning. */
void validation_run(validation *v, run *r, int64_t epoch);

#endif
