#include "data/rand_augment.h"

#include <math.h>

#include "data/affine.h"
#include "data/blend.h"
#include "data/tone.h"

/* Operation k of image `number` has VALUES values of its own in this stream,
 * those after (number * MAE_RAND_MOST_OPS + k) * VALUES: uniform ones for
 * kind, whether it is applied, and direction; and as the fifth a normal one for
 * the magnitude, made of numbers of which no uniform one is. */
enum { VALUES = 8, NORMAL = 4 };
static const uint64_t STREAM = 0x72616e64617567; /* "randaug" */

#define PROBABILITY 0.5
#define MOST 10.0 /* magnitude */

mae_status mae_rand_augment_check(const mae_rand_augment *augment) {
  MAE_REQUIRE(augment);
  const mae_rand_augment a = *augment;
  if (a.ops < 0 || a.ops > MAE_RAND_MOST_OPS)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "rand_augment_ops is %d, not 0 to %d", a.ops,
                    MAE_RAND_MOST_OPS);
  if (!(a.magnitude >= 0 && a.magnitude <= MOST))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "rand_augment_magnitude is %g, not in [0, %g]",
                    a.magnitude, MOST);
  if (!(a.std >= 0 && a.std <= 100))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "rand_augment_std is %g, not in [0, 100]", a.std);
  return MAE_OK;
}

/* ---------------------------------------------------------------- draw --- */

mae_rand_op mae_rand_augment_draw(const mae_rand_augment *augment,
                                  uint64_t seed, uint64_t number, int32_t k) {
  const uint64_t first = (number * MAE_RAND_MOST_OPS + (uint64_t)k) * VALUES;
  float u[3], z;
  mae_random_uniform(seed, STREAM, first, 3, u);
  mae_random_normal(seed, STREAM, first + NORMAL, 1, &z);
  const double magnitude = augment->magnitude + (double)z * augment->std;
  return (mae_rand_op){
      .kind = (mae_rand_kind)((double)u[0] * MAE_RAND_KINDS),
      .applied = (double)u[1] < PROBABILITY,
      .negative = (double)u[2] >= 0.5,
      .magnitude = fmin(fmax(magnitude, 0), MOST)};
}

/* --------------------------------------------------------------- apply --- */

/* The magnitude as a number of this range, and direction. */
static double amount(const mae_rand_op *op, double most) {
  const double v = op->magnitude / MOST * most;
  return op->negative ? -v : v;
}

/* Whole steps of the magnitude, rounded down. */
static int32_t steps(const mae_rand_op *op, int32_t most) {
  return (int32_t)(op->magnitude / MOST * most);
}

/* 1 leaves the image as it is. */
static double factor(const mae_rand_op *op, bool increasing) {
  if (increasing) return fmax(0.1, 1 + amount(op, 0.9));
  return op->magnitude / MOST * 1.8 + 0.1;
}

static void posterize(const mae_rand_op *op, bool increasing, mae_planes *p) {
  mae_tone_posterize(p, increasing ? 4 - steps(op, 4) : steps(op, 4));
}

static void solarize(const mae_rand_op *op, bool increasing, mae_planes *p) {
  mae_tone_solarize(p, increasing ? 256 - steps(op, 256) : steps(op, 256));
}

void mae_rand_op_apply(const mae_rand_op *op, bool increasing,
                       const uint8_t *fill, mae_planes *p) {
  const double f = factor(op, increasing);
  switch (op->kind) {
    case MAE_RAND_AUTO_CONTRAST: mae_tone_auto_contrast(p); break;
    case MAE_RAND_EQUALIZE: mae_tone_equalize(p); break;
    case MAE_RAND_INVERT: mae_tone_invert(p); break;
    case MAE_RAND_ROTATE: mae_affine_rotate(p, amount(op, 30), fill); break;
    case MAE_RAND_POSTERIZE: posterize(op, increasing, p); break;
    case MAE_RAND_SOLARIZE: solarize(op, increasing, p); break;
    case MAE_RAND_SOLARIZE_ADD: mae_tone_solarize_add(p, steps(op, 110)); break;
    case MAE_RAND_COLOUR: mae_blend_colour(p, f); break;
    case MAE_RAND_CONTRAST: mae_tone_contrast(p, f); break;
    case MAE_RAND_BRIGHTNESS: mae_tone_brightness(p, f); break;
    case MAE_RAND_SHARPNESS: mae_blend_sharpness(p, f); break;
    case MAE_RAND_SHEAR_X: mae_affine_shear_x(p, amount(op, 0.3), fill); break;
    case MAE_RAND_SHEAR_Y: mae_affine_shear_y(p, amount(op, 0.3), fill); break;
    case MAE_RAND_TRANSLATE_X:
      mae_affine_shift(p, amount(op, 0.45) * p->width, 0, fill);
      break;
    case MAE_RAND_TRANSLATE_Y:
      mae_affine_shift(p, 0, amount(op, 0.45) * p->height, fill);
      break;
    case MAE_RAND_KINDS: break;
  }
}

void mae_rand_augment_run(const mae_rand_augment *augment, uint64_t seed,
                          uint64_t number, const uint8_t *fill,
                          mae_planes *planes) {
  for (int32_t k = 0; k < augment->ops; k++) {
    const mae_rand_op op = mae_rand_augment_draw(augment, seed, number, k);
    if (op.applied) mae_rand_op_apply(&op, augment->increasing, fill, planes);
  }
}
