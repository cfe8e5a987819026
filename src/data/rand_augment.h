/* RandAugment (Cubuk et al. 2019) as timm's "rand-mM-mstdS-incI" has it: some
 * operations, each drawn from fifteen, applied with probability 1/2. */
#ifndef MAE_DATA_RAND_AUGMENT_H
#define MAE_DATA_RAND_AUGMENT_H

#include <stdbool.h>

#include "data/planes.h"

/* In timm's order, from which they are drawn. */
typedef enum mae_rand_kind {
  MAE_RAND_AUTO_CONTRAST,
  MAE_RAND_EQUALIZE,
  MAE_RAND_INVERT,
  MAE_RAND_ROTATE,
  MAE_RAND_POSTERIZE,
  MAE_RAND_SOLARIZE,
  MAE_RAND_SOLARIZE_ADD,
  MAE_RAND_COLOUR,
  MAE_RAND_CONTRAST,
  MAE_RAND_BRIGHTNESS,
  MAE_RAND_SHARPNESS,
  MAE_RAND_SHEAR_X,
  MAE_RAND_SHEAR_Y,
  MAE_RAND_TRANSLATE_X,
  MAE_RAND_TRANSLATE_Y,
  MAE_RAND_KINDS
} mae_rand_kind;

typedef struct mae_rand_augment {
  int32_t ops;      /* of an image, 0 to MAE_RAND_MOST_OPS */
  double magnitude; /* mean, 0 to 10 */
  double std;       /* its standard deviation, 0 to 100 */
  bool increasing; /* all operations do more as it grows; else posterize and
                      solarize do less, and enhancements go from 0.1 to 1.9 */
} mae_rand_augment;

enum { MAE_RAND_MOST_OPS = 16 };

typedef struct mae_rand_op {
  mae_rand_kind kind;
  bool applied;
  bool negative; /* of what goes in two directions: the other one */
  double magnitude; /* 0 to 10 */
} mae_rand_op;

/* MAE_ERROR_INVALID_ARGUMENT: out of the ranges above. */
mae_status mae_rand_augment_check(const mae_rand_augment *augment);

/* Operation k of image `number`: a pure function of its arguments. */
mae_rand_op mae_rand_augment_draw(const mae_rand_augment *augment,
                                  uint64_t seed, uint64_t number, int32_t k);

/* Whether `applied` or not.  fill [chans]: the colour of what comes from
 * outside the image. */
void mae_rand_op_apply(const mae_rand_op *op, bool increasing,
                       const uint8_t *fill, mae_planes *planes);

/* All operations of image `number` that are to be applied. */
void mae_rand_augment_run(const mae_rand_augment *augment, uint64_t seed,
                          uint64_t number, const uint8_t *fill,
                          mae_planes *planes);

#endif
