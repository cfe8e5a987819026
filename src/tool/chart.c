#include "tool/chart.h"

#include <math.h>

const char *chart_title(chart_of what) {
  static const char *const titles[CHARTS] = {
      "Loss", "Top-1 on the test images", "Learning rate", "Gradient norm",
      "Images per second"};
  return titles[what];
}

const metric_curve *chart_curve(const metrics *m, chart_of what) {
  return what == CHART_TOP1 ? &m->tests : &m->updates;
}

double chart_value(chart_of what, const metric_point *p) {
  switch (what) {
    case CHART_LEARNING_RATE: return p->mean.lr;
    case CHART_GRAD_NORM: return p->mean.grad_norm;
    case CHART_SPEED: return p->mean.images_per_second;
    default: return p->mean.loss;
  }
}

ticks chart_across(const metrics *m, int most) {
  const metric_curve *c = &m->updates;
  double last = c->count ? (double)c->points[c->count - 1].mean.step : 1;
  return ticks_make(0, last, most, 1);
}

/* From zero for what is not the loss; widened to whole ticks. */
ticks chart_up(const metrics *m, chart_of what, int most) {
  double least = what == CHART_LOSS ? INFINITY : 0, highest = 0;
  const metric_curve *c = chart_curve(m, what);
  for (int32_t i = 0; i < c->count; i++) {
    const metric_point *p = &c->points[i];
    double low = what == CHART_LOSS ? p->least_loss : chart_value(what, p);
    double high = what == CHART_LOSS ? p->most_loss : chart_value(what, p);
    least = fmin(least, low);
    highest = fmax(highest, high);
  }
  if (!c->count) return ticks_make(0, 1, most, 0);
  ticks t = ticks_make(least, highest, most, 0);
  if (t.count < 2) return t;
  double step = t.values[1] - t.values[0];
  return ticks_make(floor(t.least / step + 1e-9) * step,
                    ceil(t.most / step - 1e-9) * step, most + 1, 0);
}
