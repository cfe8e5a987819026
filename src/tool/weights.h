/* The options that say which weights to load, and loading them. */
#ifndef MAE_TOOL_WEIGHTS_H
#define MAE_TOOL_WEIGHTS_H

#include <getopt.h>
#include <stdbool.h>

#include "libmae/mae.h"

typedef struct weights_options {
  mae_load_options load;
} weights_options;

/* Codes of the long options; a command's own begin at COMMAND_OPTIONS. */
enum {
  WEIGHTS_GRID = 1000,
  WEIGHTS_HEADS,
  WEIGHTS_DECODER_HEADS,
  WEIGHTS_EPS,
  WEIGHTS_MAP,
  COMMAND_OPTIONS = 2000
};

#define WEIGHTS_LONG_OPTIONS                                                 \
  {"grid", required_argument, NULL, WEIGHTS_GRID},                           \
      {"num-heads", required_argument, NULL, WEIGHTS_HEADS},                 \
      {"decoder-num-heads", required_argument, NULL, WEIGHTS_DECODER_HEADS}, \
      {"layer-norm-eps", required_argument, NULL, WEIGHTS_EPS}, {            \
    "map", no_argument, NULL, WEIGHTS_MAP                                    \
  }

#define WEIGHTS_HELP                                                           \
  "Weights of others (FILE may be .safetensors or .pth, official, timm or\n"   \
  "Hugging Face, or a folder with model.safetensors) that do not say it "      \
  "all:\n"                                                                     \
  "      --grid N|HxW         patches down and across in the position table\n" \
  "      --num-heads N        attention heads (else one per 64 of the "        \
  "width)\n"                                                                   \
  "      --decoder-num-heads N\n"                                              \
  "                           of the decoder (else 16)\n"                      \
  "      --layer-norm-eps X   (else 1e-6; 1e-12 of Hugging Face's)\n"          \
  "      --map                use the file where it lies, not a copy of it\n"

void weights_options_init(weights_options *w);

/* What getopt_long returned: TOOL_OK, TOOL_USAGE (said), or -1 when it is none
 * of these options. */
int weights_option(weights_options *w, int code, const char *value);

/* The library's latest message about a file, and which option would help;
 * returns TOOL_FAILED. */
int fail_weights(void);

/* Load; on failure say what is missing.  report may be NULL.  Returns a tool
 * status. */
int weights_load(const weights_options *w, const char *path, mae_model **model,
                 mae_load_report **report);

/* Load weights to work with: tensors that are not used get one line. */
int weights_load_to_use(const weights_options *w, const char *path,
                        mae_model **model);

#endif
