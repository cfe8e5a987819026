/* What goes into a classifier's step: images and targets, both mixed, and which
 * branches are left out. */
#ifndef MAE_TRAIN_CLASSIFIER_BATCH_H
#define MAE_TRAIN_CLASSIFIER_BATCH_H

#include "train/trainer.h"

/* labels [B] or targets [B, num_classes], the other being NULL: is each in its
 * range? */
mae_status mae_classifier_batch_check(const mae_trainer *trainer,
                                      const int32_t *labels,
                                      const float *targets);
/* Fill the inputs of the trainer's graph for the images that come next. */
void mae_classifier_batch_fill(mae_trainer *trainer, const float *images,
                               const int32_t *labels, const float *targets);

#endif
