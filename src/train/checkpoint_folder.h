/* The checkpoints of a run, and its best model, in one folder. */
#ifndef MAE_TRAIN_CHECKPOINT_FOLDER_H
#define MAE_TRAIN_CHECKPOINT_FOLDER_H

#include "train/trainer.h"

/* Make the folder if it is missing, and remove what a killed run left half
 * written there. */
mae_status mae_checkpoint_folder_begin(const char *folder);

/* Write checkpoint-NNNNNNNN.safetensors; then, of it and those of fewer
 * updates, keep the newest few. */
mae_status mae_checkpoint_folder_save(const mae_trainer *trainer,
                                      const char *folder, int32_t keep);

/* Write best.safetensors. */
mae_status mae_checkpoint_folder_save_best(const mae_trainer *trainer,
                                           const char *folder);

#endif
