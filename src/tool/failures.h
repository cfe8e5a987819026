/* The files that could not be read, and why. */
#ifndef MAE_TOOL_FAILURES_H
#define MAE_TOOL_FAILURES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct failures {
  bool at_once; /* say each when it comes, too */
  char **lines; /* "PATH: REASON" */
  size_t count, room;
} failures;

/* reason may name the path, as the library's messages do.  Returns a tool
 * status: TOOL_OK unless there is no memory. */
int failures_add(failures *f, const char *path, const char *reason);

/* A line for each on stderr, then how many of `total` files they were. */
void failures_report(const failures *f, size_t total);
void failures_free(failures *f);

#endif
