/* The numbers of each update: metrics.jsonl, and a thinned copy to draw. */
#ifndef MAE_TOOL_METRICS_H
#define MAE_TOOL_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "tool/text.h"

typedef struct metric {
  int64_t step, epoch; /* updates made; 1 for the first */
  double loss, lr, grad_norm, images_per_second, seconds;
} metric;

/* A stretch of updates: means, and the extremes of the loss. */
typedef struct metric_point {
  metric mean;
  double least_loss, most_loss;
  int64_t count;
} metric_point;

enum { METRIC_POINTS = 2048 };

typedef struct metrics {
  int fd; /* -1: no file */
  bool broken; /* the latest write failed */
  text waiting; /* lines not yet written */
  metric latest;
  double latest_epoch_loss, best_epoch_loss; /* means of whole epochs */
  int64_t epochs, best_epoch;                /* 0: none yet */
  double epoch_sum;
  int64_t epoch_updates;
  int64_t stride; /* updates a point has when it is full */
  int32_t count;
  metric_point points[METRIC_POINTS];
} metrics;

/* No file yet. */
void metrics_init(metrics *m);
/* Open the file, made if missing, and cut it after update `step` or before a
 * line that is none of ours; take in what it holds.  Returns a tool status. */
int metrics_open(metrics *m, const char *path, int64_t step);
/* Append a line.  false when it could not be written: mae_last_error, and it
 * will be tried again with the next. */
bool metrics_add(metrics *m, const metric *x);
/* The epoch of the latest update is over. */
void metrics_end_epoch(metrics *m);
void metrics_close(metrics *m);

#endif
