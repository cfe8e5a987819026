/* The options that say which model to train: a preset, and any field of its
 * config. */
#ifndef MAE_TOOL_MODEL_OPTIONS_H
#define MAE_TOOL_MODEL_OPTIONS_H

#include <getopt.h>

#include "libmae/mae.h"

/* Codes of the long options, apart from those of weights.h. */
enum {
  MODEL_PRESET = 3000,
  MODEL_IMAGE_SIZE,
  MODEL_MLP_RATIO,
  MODEL_NORM_EPS,
  MODEL_FIELDS /* the whole numbers, in the order of the options below */
};

#define MODEL_LONG_OPTIONS                                                \
  {"model", required_argument, NULL, MODEL_PRESET},                       \
      {"image-size", required_argument, NULL, MODEL_IMAGE_SIZE},          \
      {"mlp-ratio", required_argument, NULL, MODEL_MLP_RATIO},            \
      {"layer-norm-eps", required_argument, NULL, MODEL_NORM_EPS},        \
      {"patch-size", required_argument, NULL, MODEL_FIELDS},              \
      {"in-chans", required_argument, NULL, MODEL_FIELDS + 1},            \
      {"embed-dim", required_argument, NULL, MODEL_FIELDS + 2},           \
      {"depth", required_argument, NULL, MODEL_FIELDS + 3},               \
      {"num-heads", required_argument, NULL, MODEL_FIELDS + 4},           \
      {"decoder-embed-dim", required_argument, NULL, MODEL_FIELDS + 5},   \
      {"decoder-depth", required_argument, NULL, MODEL_FIELDS + 6},       \
      {"decoder-num-heads", required_argument, NULL, MODEL_FIELDS + 7},   \
      {"norm-pix-loss", required_argument, NULL, MODEL_FIELDS + 8}, {     \
    "encoder-mask-tokens", required_argument, NULL, MODEL_FIELDS + 9      \
  }

#define MODEL_HELP                                                            \
  "Model:\n"                                                                  \
  "      --model NAME         vit_b16 (default), vit_l16 or vit_h14; the "    \
  "options\n"                                                                 \
  "                           below change what it says, in any order\n"      \
  "      --image-size N|HxW   height and width, multiples of the patch size " \
  "(224)\n"                                                                   \
  "      --patch-size N --in-chans N --mlp-ratio X --layer-norm-eps X\n"      \
  "      --embed-dim N --depth N --num-heads N\n"                             \
  "      --decoder-embed-dim N --decoder-depth N --decoder-num-heads N\n"     \
  "      --norm-pix-loss 0|1  predict pixels, or patches normalised (1)\n"     \
  "      --encoder-mask-tokens 0|1  mask tokens in the encoder too (0)\n"

enum { MODEL_FIELD_COUNT = 10 };

typedef struct model_options {
  const char *preset; /* NULL: the default */
  int32_t height, width;              /* 0: the preset's */
  double mlp_ratio, norm_eps;         /* 0: the preset's */
  int32_t fields[MODEL_FIELD_COUNT];  /* -1: the preset's */
} model_options;

void model_options_init(model_options *m);

/* What getopt_long returned: TOOL_OK, TOOL_USAGE (said), or -1 when it is none
 * of these options. */
int model_option(model_options *m, int code, const char *value);

/* The config they make, unchecked but for the preset.  Returns a tool status.
 */
int model_options_config(const model_options *m, mae_config *config);

#endif
