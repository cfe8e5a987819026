#include "data/augment.h"

#include <math.h>

/* Image `number` has values number * VALUES ... of its own in this stream:
 * four for the flip, of which one is used, then four for each try. */
enum { TRIES = 10, VALUES = 4 + 4 * TRIES };
static const uint64_t STREAM = 0x6175676d656e74; /* "augment" */

#define MOST_RATIO 65536.0 /* of an image of the longest side */

/* ------------------------------------------------------------- options --- */

mae_status mae_augment_check(const mae_augment *augment) {
  MAE_REQUIRE(augment);
  const mae_augment a = *augment;
  if (!(a.scale_min > 0 && a.scale_min <= a.scale_max && a.scale_max <= 1))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "scale is %g to %g; 0 < least <= most <= 1", a.scale_min,
                    a.scale_max);
  if (!(a.ratio_min >= 1 / MOST_RATIO && a.ratio_min <= a.ratio_max &&
        a.ratio_max <= MOST_RATIO))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "ratio is %g to %g; 1/%g <= least <= most <= %g",
                    a.ratio_min, a.ratio_max, MOST_RATIO, MOST_RATIO);
  if (!(a.flip >= 0 && a.flip <= 1))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "flip is %g, not in [0, 1]",
                    a.flip);
  return MAE_OK;
}

/* ---------------------------------------------------------------- draw --- */

/* As torch's uniform_ in f32, which rounds product and sum at once: the product
 * is exact in double. */
static double between(float u, float from, float to) {
  return (float)((double)u * (to - from) + from);
}

/* One of 0 ... most. */
static int32_t pick(float u, int32_t most) {
  return (int32_t)((double)u * (most + 1));
}

static bool try_box(const mae_augment *a, int32_t width, int32_t height,
                    const float u[4], mae_crop *crop) {
  const double area = (double)width * height *
                      between(u[0], (float)a->scale_min, (float)a->scale_max);
  const double ratio =
      (float)exp(between(u[1], (float)log((float)a->ratio_min),
                         (float)log((float)a->ratio_max)));
  const double w = rint(sqrt(area * ratio)), h = rint(sqrt(area / ratio));
  if (!(w > 0 && w <= width && h > 0 && h <= height)) return false;
  crop->width = (int32_t)w;
  crop->height = (int32_t)h;
  crop->top = pick(u[2], height - crop->height);
  crop->left = pick(u[3], width - crop->width);
  return true;
}

/* Rounded, but at least 1 and at most `most`. */
static int32_t side(double length, int32_t most) {
  const double rounded = rint(length);
  return rounded < 1 ? 1 : rounded > most ? most : (int32_t)rounded;
}

/* As much of the centre as an allowed ratio can have. */
static void centre_box(const mae_augment *a, int32_t width, int32_t height,
                       mae_crop *crop) {
  const double ratio = (double)width / height;
  crop->width = width;
  crop->height = height;
  if (ratio < a->ratio_min)
    crop->height = side(width / a->ratio_min, height);
  else if (ratio > a->ratio_max)
    crop->width = side(height * a->ratio_max, width);
  crop->top = (height - crop->height) / 2;
  crop->left = (width - crop->width) / 2;
}

mae_crop mae_augment_draw(const mae_augment *augment, int32_t width,
                          int32_t height, uint64_t seed, uint64_t number) {
  const uint64_t first = number * VALUES;
  mae_crop crop = {0};
  bool found = false;
  float u[4];
  mae_random_uniform(seed, STREAM, first, 1, u);
  crop.flip = (double)u[0] < augment->flip;
  for (uint64_t i = 1; i <= TRIES && !found; i++) {
    mae_random_uniform(seed, STREAM, first + 4 * i, 4, u);
    found = try_box(augment, width, height, u, &crop);
  }
  if (!found) centre_box(augment, width, height, &crop);
  return crop;
}

/* -------------------------------------------------------------- shrink --- */

/* How many pixels became one, told by the sizes before and after. */
static int32_t shrink_of(int32_t side_before, int32_t side_after) {
  int32_t shrink = 1;
  while (shrink < 8 && (side_before + shrink - 1) / shrink > side_after)
    shrink *= 2;
  return shrink;
}

mae_box mae_crop_box(const mae_crop *crop, int32_t width, int32_t height,
                     const mae_image *decoded) {
  const double across = shrink_of(width, decoded->width);
  const double down = shrink_of(height, decoded->height);
  return (mae_box){crop->left / across, crop->top / down, crop->width / across,
                   crop->height / down};
}
