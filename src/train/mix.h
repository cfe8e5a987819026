/* Mixup and CutMix of a batch, as timm's Mixup in its mode "batch". */
#ifndef MAE_TRAIN_MIX_H
#define MAE_TRAIN_MIX_H

#include <stdbool.h>
#include <stdint.h>

/* Sample i of n becomes lam of itself and 1 - lam of sample n - 1 - i: of all
 * its pixels, or with cutmix of those in rows top ... bottom - 1 and columns
 * left ... right - 1, which are that sample's.  lam 1: nothing is mixed. */
typedef struct mae_mix {
  bool cutmix;
  double lam;
  int32_t top, left, bottom, right;
} mae_mix;

/* The mixing of batch `number`: a pure function of its arguments, by random
 * numbers of a stream of its own.  mixup and cutmix are the alphas of the Beta
 * distributions (alpha, alpha) of lam, at least 1e-6, or 0 for never.  prob is
 * the probability to mix at all, switch_prob that of CutMix where both may be.
 * lam is that of the pixels: CutMix's box may be cut by the border. */
mae_mix mae_mix_draw(double mixup, double cutmix, double prob,
                     double switch_prob, int32_t height, int32_t width,
                     uint64_t seed, uint64_t number);

/* A CutMix of about 1 - lam of the image, its box around row cy, column cx. */
mae_mix mae_mix_box(double lam, int32_t cy, int32_t cx, int32_t height,
                    int32_t width);

/* images [n, chans, height, width] in place.  The one in the middle of an odd
 * batch, which is its own partner, stays as it is. */
void mae_mix_images(const mae_mix *mix, float *images, int64_t n, int64_t chans,
                    int32_t height, int32_t width);

/* targets [n, classes], rows of probabilities, in place. */
void mae_mix_targets(const mae_mix *mix, float *targets, int64_t n,
                     int64_t classes);

#endif
