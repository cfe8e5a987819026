#include "train/lars.h"

#include <math.h>

static double length(const float *x, const float *add, double factor,
                     int64_t n) {
  double squares = 0;
  for (int64_t i = 0; i < n; i++) {
    const double v = (double)x[i] + factor * add[i];
    squares += v * v;
  }
  return sqrt(squares);
}

void mae_lars(const mae_lars_options *options, double learning_rate, bool adapt,
              int64_t n, const float *grad, float *velocity, float *x) {
  const double decay = adapt ? options->weight_decay : 0;
  double trust = 1;
  if (adapt) {
    const double step = length(grad, x, decay, n), size = length(x, x, 0, n);
    if (step > 0 && size > 0) trust = options->trust_coefficient * size / step;
  }
  for (int64_t i = 0; i < n; i++) {
    const double step = trust * ((double)grad[i] + decay * x[i]);
    velocity[i] = (float)(options->momentum * velocity[i] + step);
    x[i] = (float)(x[i] - learning_rate * velocity[i]);
  }
}
