/* Which inputs, and with what weights, make each output of a resized row. */
#ifndef MAE_IMAGE_RESAMPLE_H
#define MAE_IMAGE_RESAMPLE_H

#include <stdbool.h>

#include "kernels/kernels.h"

typedef struct mae_resample {
  mae_axis axis;
  void *block; /* holds its arrays; only grows */
  size_t size;
} mae_resample;

/* `inputs` pixels, of which the stretch from `begin` on is resized. */
typedef struct mae_stretch {
  int64_t inputs;
  double begin, length;
} mae_stretch;

/* Antialiased bicubic weights that resize the stretch to `to` outputs, of
 * which outputs first .. first + count - 1 are wanted, the last of them first
 * when mirrored.  Each weight is stored `group` times.  Zeroed memory is a
 * resample to begin with. */
mae_status mae_resample_fit(mae_resample *r, mae_stretch from, int64_t to,
                            int64_t first, int64_t count, int32_t group,
                            bool mirror);
void mae_resample_free(mae_resample *r);

/* Make *block at least `size` bytes large; what it held is lost. */
mae_status mae_grow(void **block, size_t *have, int64_t size);

#endif
