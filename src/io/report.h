/* What an import found: lines of text for the caller. */
#ifndef MAE_IO_REPORT_H
#define MAE_IO_REPORT_H

#include "base/error.h"

enum { MAE_LOAD_FINDINGS = 3 };

struct mae_load_report {
  mae_layout layout;
  const char *format;
  int64_t mapped_bytes;
  struct {
    char **lines;
    int32_t count, room;
  } found[MAE_LOAD_FINDINGS];
};

mae_status mae_report_create(mae_load_report **report);
mae_status mae_report_add(mae_load_report *report, mae_load_finding finding,
                          const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
