/* Inside the trainer, for its checkpoints, plan and communicator. */
#ifndef MAE_TRAIN_TRAINER_H
#define MAE_TRAIN_TRAINER_H

#include "model/graph.h"
#include "train/ema.h"
#include "train/fit_state.h"
#include "train/gradient_sum.h"
#include "train/optimizer.h"

struct mae_trainer {
  mae_trainer_options options;
  mae_model *model;
  mae_optimizer optimizer;
  mae_ema ema;
  mae_graph graph;
  mae_gradient_sum sum; /* over ranks */
  bool agreed; /* the ranks have been compared since they last could differ */
  mae_tensor *grads; /* per parameter, what mae_trainer_gradient lends */
  float *noise;      /* [batch_size, L]; NULL for a classifier */
  uint64_t images_seen;
  int32_t gathered; /* steps whose gradients wait for the next update */
  mae_fit_state fit; /* of mae_trainer_fit */
};

/* Defaults, the caller's options (NULL: none) over them, all checked. */
mae_status mae_trainer_options_read(const mae_trainer_options *theirs,
                                    mae_trainer_options *ours);
/* Do they make sense for such a model? */
mae_status mae_trainer_options_suit(const mae_trainer_options *options,
                                    const mae_config *config);
mae_graph_options mae_trainer_graph_options(const mae_trainer_options *options,
                                            float *const *grads,
                                            const bool *trains);
size_t mae_trainer_noise_values(const mae_config *config,
                                const mae_trainer_options *options);
/* The number over all ranks of the first image of this rank's next step. */
uint64_t mae_trainer_next_image(const mae_trainer *trainer);
/* Before a step of several ranks: are their trainers alike? */
mae_status mae_trainer_agree(mae_trainer *trainer);

#endif
