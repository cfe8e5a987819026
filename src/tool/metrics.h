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

/* A test after an epoch, of a classifier: shares and mean cross-entropy; of the
 * average of its weights, too. */
typedef struct metric_test {
  int64_t epoch, step;
  double top1, top5, loss;
  bool has_ema;
  double ema_top1, ema_top5, ema_loss;
} metric_test;

/* A stretch of updates: means, and the extremes of the loss. */
typedef struct metric_point {
  metric mean;
  double least_loss, most_loss;
  int64_t count;
} metric_point;

enum { METRIC_POINTS = 2048 };

typedef struct metric_curve {
  int64_t stride; /* updates a point has when it is full */
  int32_t count;
  metric_point points[METRIC_POINTS];
} metric_curve;

typedef struct metrics {
  int fd; /* -1: no file */
  bool broken; /* the latest write failed */
  text waiting; /* lines not yet written */
  metric latest;
  double latest_epoch_loss, best_epoch_loss; /* means of whole epochs */
  int64_t epochs, best_epoch;                /* 0: none yet */
  double epoch_sum;
  int64_t epoch_updates;
  metric_curve updates;
  metric_test latest_test;    /* epoch 0: none yet */
  double best_top1;           /* of all tests, with those of averages */
  metric_curve tests;         /* whose loss is top-1, of averages grad_norm */
} metrics;

/* No file yet. */
void metrics_init(metrics *m);
/* Open the file, made if missing, and cut it after update `step` and the test
 * after `epoch`, or before a line that is none of ours; take in what it holds.
 * Returns a tool status. */
int metrics_open(metrics *m, const char *path, int64_t step, int64_t epoch);
/* Append a line.  false when it could not be written: mae_last_error, and it
 * will be tried again with the next. */
bool metrics_add(metrics *m, const metric *x);
/* The same for a test; *best: its top-1, or that of the average, is above all
 * before it. */
bool metrics_add_test(metrics *m, const metric_test *x, bool *best);
/* The epoch of the latest update is over. */
void metrics_end_epoch(metrics *m);
void metrics_close(metrics *m);

#endif
