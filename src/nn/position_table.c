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
