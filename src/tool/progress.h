/* How far a command has come: a bar on a terminal, else a line now and then. */
#ifndef MAE_TOOL_PROGRESS_H
#define MAE_TOOL_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct progress {
  bool quiet, terminal, drawn;
  size_t total;
  double began, shown; /* seconds */
} progress;

progress progress_begin(size_t total, bool quiet);
void progress_show(progress *p, size_t done, size_t failed);
/* Take the bar off the terminal, so that a line may be printed. */
void progress_clear(progress *p);
/* The last line: how many, how fast. */
void progress_end(progress *p, size_t written);

#endif
