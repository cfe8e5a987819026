/* What a run knows beside its trainer; saved in checkpoints. */
#ifndef MAE_TRAIN_FIT_STATE_H
#define MAE_TRAIN_FIT_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/checkpoint.h"

typedef struct mae_fit_state {
  uint64_t images;    /* seen when the two sums were right */
  double loss_sum;    /* of this epoch's batches */
  int64_t batches;    /* in that sum */
  bool has_best;
  double best_loss; /* least mean loss of an epoch */
} mae_fit_state;

/* As texts for the metadata. */
enum { MAE_FIT_TEXTS = 4 };
typedef struct mae_fit_texts {
  char values[MAE_FIT_TEXTS][32];
  mae_safetensors_text list[MAE_FIT_TEXTS];
  int32_t count;
} mae_fit_texts;

void mae_fit_state_write(const mae_fit_state *state, mae_fit_texts *texts);

/* A file without them gives a zeroed state.  MAE_ERROR_FORMAT. */
mae_status mae_fit_state_read(const mae_safetensors *file,
                              mae_fit_state *state);

#endif
