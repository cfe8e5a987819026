/* A plot as an SVG that needs nothing but itself. */
#ifndef BENCH_STUDY_PLOT_H
#define BENCH_STUDY_PLOT_H

#include "study_statistics.h"
#include "tool/text.h"

enum { PLOT_MOST_POINTS = 8, PLOT_MOST_SERIES = 8 };

typedef struct plot_series {
  const char *label;
  study_spread points[PLOT_MOST_POINTS]; /* n = 0: none; bars of one sd */
  bool level; /* points[0] alone, as a dashed line across */
} plot_series;

typedef struct plot {
  const char *title, *across, *up;
  int count; /* places across */
  double at[PLOT_MOST_POINTS];
  const char *names[PLOT_MOST_POINTS]; /* of the places */
  bool joined; /* by lines: the places are numbers */
  bool bars;   /* columns from zero */
  plot_series series[PLOT_MOST_SERIES];
  int series_count;
} plot;

void plot_svg(const plot *p, text *out);

#endif
