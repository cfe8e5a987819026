/* Runs a cell. */
#ifndef BENCH_STUDY_RUN_H
#define BENCH_STUDY_RUN_H

#include "study_data.h"
#include "study_results.h"

typedef struct study_bench {
  const study_settings *settings;
  const study_data *data;
  mae_context *context;
  const char *models; /* folder of the pretrained models */
} study_bench;

/* Ends the program when the library fails.  The numbers but for the times are a
 * function of the cell and the settings.  Pretraining leaves its model in the
 * folder; other protocols read it there. */
study_result study_run(const study_bench *bench, const study_cell *cell);

/* The pretrained model of a cell, in static memory of the thread. */
const char *study_model_path(const study_bench *bench, const study_cell *cell);

#endif
