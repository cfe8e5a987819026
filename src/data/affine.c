/* Each pixel wanted is looked for in the source by an affine map, and made of
 * the 4 x 4 pixels around by cubic polynomials, along the rows first.  All in
 * double, in the order in which Pillow does it. */
#include "data/affine.h"

#include <math.h>
#include <stdbool.h>

/* From the place (x, y) wanted to (m0 x + m1 y + m2, m3 x + m4 y + m5). */
typedef struct affine {
  double m[6];
} affine;

/* Where a pixel comes from: the pixels around it along one axis, those beyond
 * the edge being the last before it, and how far from the second it is. */
typedef struct taps {
  int64_t at[4];
  double rest; /* in [0, 1) */
} taps;

static int64_t clamp(int64_t i, int64_t n) {
  return i < 0 ? 0 : i < n ? i : n - 1;
}

/* place in [0, n). */
static taps find_taps(double place, int64_t n) {
  const double first = floor(place - 0.5);
  const int64_t i = (int64_t)first;
  taps t = {.rest = place - 0.5 - first};
  for (int k = 0; k < 4; k++) t.at[k] = clamp(i - 1 + k, n);
  return t;
}

static inline double cubic(double a, double b, double c, double d, double t) {
  const double p1 = b, p2 = c - a, p3 = 2 * (a - b) + c - d,
               p4 = b - a - c + d;
  return p1 + t * (p2 + t * (p3 + t * p4));
}

/* Of a row at the places across; exactly on a pixel that pixel. */
static inline double along(const uint8_t *x, const taps *across) {
  const int64_t *at = across->at;
  if (across->rest == 0) return x[at[1]];
  return cubic(x[at[0]], x[at[1]], x[at[2]], x[at[3]], across->rest);
}

static uint8_t sample(const uint8_t *plane, int64_t width, const taps *across,
                      const taps *down) {
  const int64_t *at = down->at;
  double v = along(plane + at[1] * width, across);
  if (down->rest != 0)
    v = cubic(along(plane + at[0] * width, across), v,
              along(plane + at[2] * width, across),
              along(plane + at[3] * width, across), down->rest);
  return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)v;
}

static void make_row(mae_planes *p, const affine *a, int32_t y,
                     const uint8_t *fill) {
  const double *m = a->m, v = y + 0.5;
  const int64_t width = p->width, n = mae_planes_area(p);
  uint8_t *out = p->spare + y * width;
  for (int32_t x = 0; x < width; x++) {
    const double u = x + 0.5;
    const double left = m[0] * u + m[1] * v + m[2];
    const double top = m[3] * u + m[4] * v + m[5];
    if (!(left >= 0 && left < p->width && top >= 0 && top < p->height)) {
      for (int32_t c = 0; c < p->chans; c++) out[c * n + x] = fill[c];
      continue;
    }
    const taps across = find_taps(left, p->width);
    const taps down = find_taps(top, p->height);
    for (int32_t c = 0; c < p->chans; c++)
      out[c * n + x] = sample(p->data + c * n, width, &across, &down);
  }
}

static void apply(mae_planes *p, affine a, const uint8_t *fill) {
  for (int32_t y = 0; y < p->height; y++) make_row(p, &a, y, fill);
  mae_planes_swap(p);
}

void mae_affine_shear_x(mae_planes *planes, double factor,
                        const uint8_t *fill) {
  apply(planes, (affine){{1, factor, 0, 0, 1, 0}}, fill);
}

void mae_affine_shear_y(mae_planes *planes, double factor,
                        const uint8_t *fill) {
  apply(planes, (affine){{1, 0, 0, factor, 1, 0}}, fill);
}

void mae_affine_shift(mae_planes *planes, double x, double y,
                      const uint8_t *fill) {
  apply(planes, (affine){{1, 0, x, 0, 1, y}}, fill);
}

/* ------------------------------------------------------------- rotation --- */

/* To 15 decimals, as Python's round: the nearest number to them.  The product
 * is rounded, which matters only half way between two. */
static double round15(double x) {
  const double product = x * 1e15, whole = rint(product);
  const double lost = fma(x, 1e15, -product), part = product - whole;
  if (part == 0.5 && lost > 0) return (whole + 1) / 1e15;
  if (part == -0.5 && lost < 0) return (whole - 1) / 1e15;
  return whole / 1e15;
}

/* Turned about the origin, then moved so that the centre stays. */
static affine rotation(double radians, double x, double y) {
  const double c = round15(cos(radians)), s = round15(sin(radians));
  affine a = {{c, s, 0, round15(-sin(radians)), c, 0}};
  a.m[2] = a.m[0] * -x + a.m[1] * -y + x;
  a.m[5] = a.m[3] * -x + a.m[4] * -y + y;
  return a;
}

void mae_affine_rotate(mae_planes *planes, double degrees,
                       const uint8_t *fill) {
  double turn = fmod(degrees, 360);
  if (turn < 0) turn += 360;
  if (turn == 0) return;
  const double radians = -(turn * (3.14159265358979323846 / 180));
  apply(planes, rotation(radians, planes->width / 2.0, planes->height / 2.0),
        fill);
}
