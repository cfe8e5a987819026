/* Fashion-MNIST, from Debian's package dataset-fashion-mnist. */
#ifndef EXAMPLES_FASHION_H
#define EXAMPLES_FASHION_H

#include <libmae/mae.h>

enum { FASHION_SIDE = 28, FASHION_PIXELS = 28 * 28, FASHION_CLASSES = 10 };

/* Mean and deviation of the training pixels on a scale of 0 to 1. */
#define FASHION_MEAN 0.2860f
#define FASHION_STD 0.3530f

typedef struct fashion {
  int64_t n;
  float *images;   /* [n, 1, 28, 28], normalised */
  uint8_t *labels; /* [n] */
} fashion;

/* which: "train" (60,000) or "t10k" (10,000).  Says on stderr what failed and
 * ends the program. */
fashion fashion_load(const char *which);
void fashion_free(fashion *data);

/* End the program with the library's message unless status is MAE_OK. */
void need(mae_status status);

#endif
