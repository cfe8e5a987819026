/* Inside the trainer, for its checkpoints and its plan. */
#ifndef MAE_TRAIN_TRAINER_H
#define MAE_TRAIN_TRAINER_H

#include "model/graph.h"
#include "train/optimizer.h"

struct mae_trainer {
  mae_trainer_options options;
  mae_model *model;
  mae_optimizer optimizer;
  mae_graph graph;
  mae_tensor *grads; /* per parameter, what mae_trainer_gradient lends */
  float *noise;      /* [batch_size, L] */
  uint64_t images_seen;
  int32_t gathered; /* steps whose gradients wait for the next update */
};

/* Defaults, the caller's options (NULL: none) over them, all checked. */
mae_status mae_trainer_options_read(const mae_trainer_options *theirs,
                                    mae_trainer_options *ours);
size_t mae_trainer_noise_values(const mae_config *config,
                                const mae_trainer_options *options);

#endif
