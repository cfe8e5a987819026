/* A classifier on the command line: the options that `mae eval` and `mae
 * predict` share, and what they make. */
#ifndef MAE_TOOL_CLASSIFIER_H
#define MAE_TOOL_CLASSIFIER_H

#include "tool/class_names.h"
#include "tool/look.h"
#include "tool/precision.h"
#include "tool/weights.h"

typedef struct classifier_options {
  weights_options weights;
  look_options look;
  const char *model_path;
  int32_t batch, threads; /* 0: not given */
  mae_precision precision;
  bool quiet, help;
} classifier_options;

enum { CLASSIFIER_BATCH = 1200, CLASSIFIER_THREADS };

#define CLASSIFIER_LETTERS "hm:q"

#define CLASSIFIER_LONG_OPTIONS                               \
  {"model", required_argument, NULL, 'm'},                    \
      {"batch", required_argument, NULL, CLASSIFIER_BATCH},   \
      {"threads", required_argument, NULL, CLASSIFIER_THREADS}, \
      {"quiet", no_argument, NULL, 'q'},                      \
      {"help", no_argument, NULL, 'h'}, PRECISION_LONG_OPTION, \
      WEIGHTS_LONG_OPTIONS, LOOK_LONG_OPTIONS

#define CLASSIFIER_MODEL_HELP                                              \
  "  -m, --model FILE         a classifier, of mae finetune, mae probe, or\n" \
  "                           official\n"

#define CLASSIFIER_HELP                                 \
  LOOK_HELP                                             \
  "\n"                                                  \
  "      --batch N            images per pass (16)\n"   \
  "      --threads N          (one per CPU)\n"          \
  PRECISION_HELP                                        \
  "  -q, --quiet              no progress\n"            \
  "\n" WEIGHTS_HELP

void classifier_options_init(classifier_options *o);

/* As weights_option. */
int classifier_option(classifier_options *o, int code, const char *value);

typedef struct classifier {
  mae_context *context;
  mae_model *model;
  class_names names;
  mae_session_options session; /* refers to the options' look */
} classifier;

/* Statuses are the tool's; what is wrong is said.  A zeroed classifier is
 * closed, whether it was opened or not. */
int classifier_open(const classifier_options *o, classifier *c);
void classifier_close(classifier *c);

#endif
