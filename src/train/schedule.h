/* Learning rate per update (official adjust_learning_rate). */
#ifndef MAE_TRAIN_SCHEDULE_H
#define MAE_TRAIN_SCHEDULE_H

#include <stdint.h>

/* Linear from 0 over `warmup` updates, then half a cosine from peak to least
 * at update `total`; constant after warm-up when total is 0. */
double mae_schedule(int64_t step, int64_t warmup, int64_t total, double peak,
                    double least);

#endif
