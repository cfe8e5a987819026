#include "nn/position_table.h"

#include <math.h>
#include <string.h>

/* sin, then cos, of position / 10000^(i / (n/2)). */
static void encode(double position, int64_t n, float *out) {
  int64_t half = n / 2;
  for (int64_t i = 0; i < half; i++) {
    double omega = 1 / pow(10000, (double)i / (double)half);
    out[i] = (float)sin(position * omega);
    out[half + i] = (float)cos(position * omega);
  }
}

void mae_position_table(int64_t rows, int64_t columns, int64_t width,
                        float *table) {
  memset(table, 0, (size_t)width * sizeof *table);
  for (int64_t y = 0; y < rows; y++)
    for (int64_t x = 0; x < columns; x++) {
      float *out = table + (1 + y * columns + x) * width;
      encode((double)x, width / 2, out);
      encode((double)y, width / 2, out + width / 2);
    }
}

/* The four source rows that a place between them draws from, and their
 * weights. */
typedef struct taps {
  int64_t at[4];
  double weight[4];
} taps;

static taps taps_for(int64_t i, int64_t n, int64_t from_n) {
  const double a = -0.75;
  const double place = ((double)i + 0.5) * (double)from_n / (double)n - 0.5;
  const double t = place - floor(place), u = 1 - t;
  taps out = {.weight = {((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) -
                             4 * a,
                         ((a + 2) * t - (a + 3)) * t * t + 1,
                         ((a + 2) * u - (a + 3)) * u * u + 1,
                         ((a * (u + 1) - 5 * a) * (u + 1) + 8 * a) * (u + 1) -
                             4 * a}};
  for (int k = 0; k < 4; k++) {
    int64_t at = (int64_t)floor(place) - 1 + k;
    out.at[k] = at < 0 ? 0 : at >= from_n ? from_n - 1 : at;
  }
  return out;
}

void mae_position_interpolate(int64_t from_rows, int64_t from_columns,
                              int64_t width, const float *from, int64_t rows,
                              int64_t columns, float *table) {
  memcpy(table, from, (size_t)width * sizeof *table);
  for (int64_t y = 0; y < rows; y++)
    for (int64_t x = 0; x < columns; x++) {
      const taps v = taps_for(y, rows, from_rows);
      const taps h = taps_for(x, columns, from_columns);
      float *out = table + (1 + y * columns + x) * width;
      for (int64_t i = 0; i < width; i++) {
        double sum = 0;
        for (int k = 0; k < 16; k++)
          sum += v.weight[k / 4] * h.weight[k % 4] *
                 from[(1 + v.at[k / 4] * from_columns + h.at[k % 4]) * width +
                      i];
        out[i] = (float)sum;
      }
    }
}
