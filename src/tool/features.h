/* What `mae features` is asked to do, and doing it. */
#ifndef MAE_TOOL_FEATURES_H
#define MAE_TOOL_FEATURES_H

#include "tool/failures.h"
#include "tool/look.h"
#include "tool/paths.h"
#include "tool/weights.h"

enum { MOST_BLOCKS = 1024 };

typedef struct features_request {
  weights_options weights;
  look_options look;
  const char *model_path, *out_path, *list_path;
  bool null, quiet, help;
  mae_features output;
  mae_mode mode;
  mae_dtype dtype;
  mae_precision precision;
  bool no_final_norm, l2;
  int32_t batch, threads;
  int32_t blocks[MOST_BLOCKS], n_blocks;
  path_list paths;
  failures failed;
  size_t asked; /* paths, and folders that could not be listed */
} features_request;

/* Returns the exit status. */
int features_run(features_request *request);

#endif
