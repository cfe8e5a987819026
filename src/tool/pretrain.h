/* What `mae pretrain` is asked to do, and doing it. */
#ifndef MAE_TOOL_PRETRAIN_H
#define MAE_TOOL_PRETRAIN_H

#include <stdbool.h>

#include "tool/pretrain_settings.h"
#include "tool/run_folder.h"

typedef struct pretrain_request {
  pretrain_settings settings; /* settled */
  run_folder folder;
  bool resume; /* the run that is in the folder */
  bool force;  /* delete the run that is in the folder */
  bool quiet;
} pretrain_request;

/* Returns the exit status: 128 and the signal when one ended the run. */
int pretrain_run(pretrain_request *request);

#endif
