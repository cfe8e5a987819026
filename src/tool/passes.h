/* Many images through a session, batch by batch, in their order: decoded ahead
 * by threads, what cannot be read left out. */
#ifndef MAE_TOOL_PASSES_H
#define MAE_TOOL_PASSES_H

#include "tool/decoder.h"
#include "tool/failures.h"
#include "tool/progress.h"

typedef struct passes {
  mae_context *context;
  const mae_model *model;
  mae_session *session;
  const mae_session_options *options; /* of the session */
  const char *const *paths;           /* files, or else */
  const mae_dataset *dataset;
  size_t count;
  progress *progress; /* NULL: it is not shown */
  failures *failed;
  /* What the session makes of n images, side by side, and their numbers.
   * Returns a tool status, of which one that is not TOOL_OK ends it all. */
  int (*take)(void *arg, const void *outputs, const size_t *images, size_t n);
  void *arg;
} passes;

/* Returns a tool status; what is wrong is said. */
int passes_run(const passes *p);

#endif
