/* The options that say how images are looked at: size, crop, mean and std. */
#ifndef MAE_TOOL_LOOK_H
#define MAE_TOOL_LOOK_H

#include <getopt.h>
#include <stdbool.h>

#include "libmae/mae.h"

enum { LOOK_MOST_CHANNELS = 16 };

typedef struct look_options {
  int32_t height, width; /* 0: the model's */
  double crop_ratio;     /* 0: official */
  float mean[LOOK_MOST_CHANNELS], std[LOOK_MOST_CHANNELS];
  int32_t n_mean, n_std; /* 0: the library's */
} look_options;

enum { LOOK_SIZE = 1100, LOOK_CROP, LOOK_MEAN, LOOK_STD };

#define LOOK_LONG_OPTIONS                                 \
  {"image-size", required_argument, NULL, LOOK_SIZE},     \
      {"crop-ratio", required_argument, NULL, LOOK_CROP}, \
      {"mean", required_argument, NULL, LOOK_MEAN}, {     \
    "std", required_argument, NULL, LOOK_STD              \
  }

#define LOOK_HELP                                                        \
  "How images are looked at (else as the official evaluation does):\n"   \
  "      --image-size N|HxW   multiples of the patch size (else the "    \
  "model's);\n"                                                          \
  "                           positions are interpolated\n"              \
  "      --crop-ratio X       side of the centre crop over the resized " \
  "image's\n"                                                            \
  "                           (else 0.875 up to 224 pixels, 1 above)\n"  \
  "      --mean R,G,B --std R,G,B\n"                                     \
  "                           of pixels in 0..1 (else the model's, or ImageNet's)\n"

/* As weights_option. */
int look_option(look_options *l, int code, const char *value);

/* What was not given, as the model has it, if it does. */
void look_of_model(look_options *l, const mae_model *model,
                   const mae_config *config);

/* Put them into a session's options, which then refer to them; config gets
 * the size that images are looked at. */
int look_apply(const look_options *l, mae_config *config,
               mae_session_options *session);

/* The mean and std in use, one a channel, for models of 1 or 3. */
const float *look_mean(const look_options *l, const mae_config *config);
const float *look_std(const look_options *l, const mae_config *config);

#endif
