#include "data/erase.h"

#include <math.h>
#include <stdbool.h>

/* Image `number` has values number * VALUES ... of its own in this stream:
 * four for whether to erase, of which one is used, then four for each try. */
enum { TRIES = 10, VALUES = 4 + 4 * TRIES };
static const uint64_t STREAM = 0x6572617365;         /* "erase" */
static const uint64_t NOISE_STREAM = 0x6e6f697365;   /* "noise" */

#define AREA_MIN 0.02
#define AREA_MAX (1.0 / 3)
#define ASPECT_MIN 0.3 /* height over width */
#define ASPECT_MAX (1 / ASPECT_MIN)

static double between(float u, double from, double to) {
  return from + (to - from) * (double)u;
}

static bool try_box(int32_t height, int32_t width, const float u[4],
                    mae_erase_box *box) {
  const double area = between(u[0], AREA_MIN, AREA_MAX) *
                      ((double)height * width);
  const double aspect = exp(between(u[1], log(ASPECT_MIN), log(ASPECT_MAX)));
  const double h = rint(sqrt(area * aspect)), w = rint(sqrt(area / aspect));
  if (!(w < width && h < height)) return false;
  box->height = (int32_t)h;
  box->width = (int32_t)w;
  box->top = (int32_t)((double)u[2] * (height - box->height + 1));
  box->left = (int32_t)((double)u[3] * (width - box->width + 1));
  return true;
}

mae_erase_box mae_erase_draw(double probability, int32_t height, int32_t width,
                             uint64_t seed, uint64_t number) {
  const uint64_t first = number * VALUES;
  mae_erase_box box = {0};
  float u[4];
  mae_random_uniform(seed, STREAM, first, 1, u);
  bool done = !((double)u[0] < probability);
  for (uint64_t i = 1; i <= TRIES && !done; i++) {
    mae_random_uniform(seed, STREAM, first + 4 * i, 4, u);
    done = try_box(height, width, u, &box);
  }
  return box;
}

/* Value i of the image gets value number * values + i of the noise's stream. */
void mae_erase_fill(mae_erase_box box, int32_t chans, int32_t height,
                    int32_t width, uint64_t seed, uint64_t number,
                    float *image) {
  const uint64_t area = (uint64_t)height * (uint64_t)width;
  const uint64_t first = number * area * (uint64_t)chans;
  for (int32_t c = 0; c < chans; c++)
    for (int32_t y = box.top; y < box.top + box.height; y++) {
      const uint64_t at = (uint64_t)c * area +
                          (uint64_t)y * (uint64_t)width + (uint64_t)box.left;
      mae_random_normal(seed, NOISE_STREAM, first + at, (size_t)box.width,
                        image + at);
    }
}
