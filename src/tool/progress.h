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
/* The same for a command that has numbers of its own to show: is it time, and
 * how much of the whole is done, 0 to 1. */
bool progress_due(const progress *p);
void progress_show_text(progress *p, double part, const char *numbers);
/* A line that stays, in place of the next that would be due. */
void progress_line(progress *p, const char *text);
/* "5:06", with hours "1:05:06", with days "2 days 1:05:06". */
void progress_time(char *out, size_t size, double seconds);
/* Take the bar off the terminal, so that a line may be printed. */
void progress_clear(progress *p);
/* The last line: how many, how fast. */
void progress_end(progress *p, size_t written);

#endif
