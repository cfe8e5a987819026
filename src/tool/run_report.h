/* report.html: a run, drawn for any browser, in one file. */
#ifndef MAE_TOOL_RUN_REPORT_H
#define MAE_TOOL_RUN_REPORT_H

#include "tool/metrics.h"
#include "tool/run_settings.h"
#include "tool/run_folder.h"

typedef struct run_report {
  const run_folder *folder;
  const run_settings *settings;
  const metrics *metrics;
  const mae_loader *loader; /* whose skipped images are listed */
  const char *status;       /* "running", "finished", ... */
  const char *trouble;      /* NULL, or the latest warning */
  int64_t epochs_done, updates; /* updates: of the whole run */
  int64_t images, parameters;
  int32_t processes;
  double seconds_left;
} run_report;

/* Replaces the old one, crash-safe. */
mae_status run_report_write(const run_report *r);

#endif
