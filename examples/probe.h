/* A linear probe: softmax regression on fixed features. */
#ifndef EXAMPLES_PROBE_H
#define EXAMPLES_PROBE_H

#include <libmae/mae.h>

typedef struct probe_data {
  int64_t n, width;
  float *features; /* [n, width]; standardised in place */
  const uint8_t *labels;
} probe_data;

/* Train on `train`, whose mean and deviation also standardise `test`; returns
 * the share of `test` classified rightly. */
double probe_accuracy(mae_context *context, probe_data *train,
                      probe_data *test, int classes, int epochs);

#endif
