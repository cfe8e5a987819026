/* Curves of a run's numbers over its updates. */
#ifndef MAE_TOOL_CHART_H
#define MAE_TOOL_CHART_H

#include "libmae/mae.h"
#include "tool/metrics.h"
#include "tool/ticks.h"

typedef enum chart_of {
  CHART_LOSS,
  CHART_TOP1, /* of tests */
  CHART_LEARNING_RATE,
  CHART_GRAD_NORM,
  CHART_SPEED,
  CHARTS
} chart_of;

const char *chart_title(chart_of what);
/* Its points; there may be none. */
const metric_curve *chart_curve(const metrics *m, chart_of what);
double chart_value(chart_of what, const metric_point *point);

/* The axes that hold all points; of the loss, its extremes too. */
ticks chart_across(const metrics *m, int most);
ticks chart_up(const metrics *m, chart_of what, int most);

/* An inline SVG picture; its colours are CSS classes. */
void chart_svg(const metrics *m, chart_of what, text *out);
/* loss.png */
mae_status chart_png(const metrics *m, const char *path);

#endif
