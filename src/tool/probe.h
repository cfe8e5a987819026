/* What `mae probe` is asked to do, and doing it. */
#ifndef MAE_TOOL_PROBE_H
#define MAE_TOOL_PROBE_H

#include "tool/failures.h"
#include "tool/look.h"
#include "tool/weights.h"

typedef struct probe_request {
  weights_options weights;
  look_options look;
  const char *model_path, *data_path, *val_path, *out_path;
  int32_t pool;      /* 0: class token, 1: mean of the patch tokens; -1: as the
                        model has it */
  int32_t k;         /* neighbours; 0: no k-NN */
  double temperature;
  bool no_linear, quiet, help;
  mae_probe_options probe;
  int32_t pass, threads;
  mae_precision precision; /* of the encoder */
  failures failed;
} probe_request;

/* Returns the exit status. */
int probe_run(probe_request *request);

#endif
