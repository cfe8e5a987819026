#include "tool/look.h"

#include <string.h>

#include "tool/parse.h"
#include "tool/say.h"

int look_option(look_options *l, int code, const char *value) {
  const int32_t most = LOOK_MOST_CHANNELS;
  bool ok;
  switch (code) {
    case LOOK_SIZE:
      ok = parse_size(value, &l->height, &l->width);
      return ok ? TOOL_OK
                : fail_usage("--image-size: '%s' is not N or HxW", value);
    case LOOK_CROP:
      ok = parse_real(value, 1e-3, 1, &l->crop_ratio);
      return ok ? TOOL_OK
                : fail_usage("--crop-ratio: '%s' is not above 0, up to 1",
                             value);
    case LOOK_MEAN:
      ok = parse_reals(value, most, l->mean, &l->n_mean);
      return ok ? TOOL_OK : fail_usage("--mean: '%s' is not R,G,B", value);
    case LOOK_STD:
      ok = parse_reals(value, most, l->std, &l->n_std);
      return ok ? TOOL_OK : fail_usage("--std: '%s' is not R,G,B", value);
    default: return -1;
  }
}

static int check_count(const char *option, int32_t n, int32_t channels) {
  if (!n || n == channels) return TOOL_OK;
  return fail_usage("%s: %d numbers for a model of %d channels", option, (int)n,
                    (int)channels);
}

int look_apply(const look_options *l, mae_config *config,
               mae_session_options *session) {
  int status = check_count("--mean", l->n_mean, config->in_chans);
  if (status == TOOL_OK)
    status = check_count("--std", l->n_std, config->in_chans);
  if (l->height) {
    config->image_height = l->height;
    config->image_width = l->width;
  }
  session->image_height = l->height;
  session->image_width = l->width;
  session->crop_ratio = l->crop_ratio;
  session->mean = l->n_mean ? l->mean : NULL;
  session->std = l->n_std ? l->std : NULL;
  return status;
}

void look_of_model(look_options *l, const mae_model *model,
                   const mae_config *config) {
  const int32_t n = config->in_chans;
  float mean[LOOK_MOST_CHANNELS], std[LOOK_MOST_CHANNELS];
  if (n > LOOK_MOST_CHANNELS ||
      mae_model_normalization(model, mean, std) != MAE_OK)
    return;
  if (!l->n_mean) memcpy(l->mean, mean, sizeof mean);
  if (!l->n_std) memcpy(l->std, std, sizeof std);
  if (!l->n_mean) l->n_mean = n;
  if (!l->n_std) l->n_std = n;
}

/* ImageNet's; of grey images, the means of the three. */
static const float *in_use(const float *given, int32_t n, const float *colour,
                           const float *grey, const mae_config *config) {
  if (n) return given;
  return config->in_chans == 1 ? grey : colour;
}

const float *look_mean(const look_options *l, const mae_config *config) {
  static const float colour[] = {0.485f, 0.456f, 0.406f}, grey[] = {0.449f};
  return in_use(l->mean, l->n_mean, colour, grey, config);
}

const float *look_std(const look_options *l, const mae_config *config) {
  static const float colour[] = {0.229f, 0.224f, 0.225f}, grey[] = {0.226f};
  return in_use(l->std, l->n_std, colour, grey, config);
}
