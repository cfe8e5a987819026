#include "io/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

mae_status mae_report_create(mae_load_report **report) {
  mae_load_report *made = mae_calloc(1, sizeof *made);
  if (!made) return MAE_ERROR_OUT_OF_MEMORY;
  *report = made;
  return MAE_OK;
}

static mae_status grow(mae_load_report *report, mae_load_finding finding) {
  const int32_t count = report->found[finding].count;
  if (count < report->found[finding].room) return MAE_OK;
  const int32_t room = count ? 2 * count : 16;
  char **lines =
      mae_realloc(report->found[finding].lines, (size_t)room, sizeof *lines);
  if (!lines) return MAE_ERROR_OUT_OF_MEMORY;
  report->found[finding].lines = lines;
  report->found[finding].room = room;
  return MAE_OK;
}

mae_status mae_report_add(mae_load_report *report, mae_load_finding finding,
                          const char *format, ...) {
  char line[512]; /* a name and two shapes */
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  MAE_TRY(grow(report, finding));
  char *copy = strdup(line);
  if (!copy) return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for a report");
  report->found[finding].lines[report->found[finding].count++] = copy;
  return MAE_OK;
}

void mae_load_report_destroy(mae_load_report *report) {
  if (!report) return;
  for (int k = 0; k < MAE_LOAD_FINDINGS; k++) {
    for (int32_t i = 0; i < report->found[k].count; i++)
      free(report->found[k].lines[i]);
    free(report->found[k].lines);
  }
  free(report);
}

int32_t mae_load_report_count(const mae_load_report *report,
                              mae_load_finding finding) {
  if (!report || (unsigned)finding >= MAE_LOAD_FINDINGS) return 0;
  return report->found[finding].count;
}

const char *mae_load_report_item(const mae_load_report *report,
                                 mae_load_finding finding, int32_t i) {
  if (i < 0 || i >= mae_load_report_count(report, finding)) return NULL;
  return report->found[finding].lines[i];
}

mae_layout mae_load_report_layout(const mae_load_report *report) {
  return report ? report->layout : MAE_LAYOUT_OFFICIAL;
}

const char *mae_load_report_format(const mae_load_report *report) {
  return report ? report->format : "";
}

int64_t mae_load_report_mapped_bytes(const mae_load_report *report) {
  return report ? report->mapped_bytes : 0;
}
