/* How the pixels of a model's images are normalised. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

static mae_status check(const float *mean, const float *std, int32_t chans) {
  for (int32_t c = 0; c < chans; c++)
    if (!isfinite(mean[c]) || !isfinite(std[c]) || !(std[c] > 0))
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                      "channel %d: mean %g and std %g are not finite and "
                      "positive",
                      c, (double)mean[c], (double)std[c]);
  return MAE_OK;
}

mae_status mae_model_set_normalization(mae_model *model, const float *mean,
                                       const float *std) {
  MAE_REQUIRE(model);
  const int32_t chans = model->config.in_chans;
  float *both = NULL;
  if (!mean != !std)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "mean and std go together: both or neither");
  if (mean) {
    MAE_TRY(check(mean, std, chans));
    both = mae_calloc(2 * (size_t)chans, sizeof *both);
    if (!both) return MAE_ERROR_OUT_OF_MEMORY;
    memcpy(both, mean, (size_t)chans * sizeof *both);
    memcpy(both + chans, std, (size_t)chans * sizeof *both);
  }
  free(model->normalization);
  model->normalization = both;
  return MAE_OK;
}

const float *mae_model_mean(const mae_model *model) {
  return mae_model_original(model)->normalization;
}

const float *mae_model_std(const mae_model *model) {
  const float *mean = mae_model_mean(model);
  return mean ? mean + model->config.in_chans : NULL;
}

mae_status mae_model_normalization(const mae_model *model, float *mean,
                                   float *std) {
  MAE_REQUIRE(model);
  MAE_REQUIRE(mean);
  MAE_REQUIRE(std);
  const size_t bytes = (size_t)model->config.in_chans * sizeof *mean;
  if (!mae_model_mean(model))
    return mae_fail(MAE_ERROR_NOT_FOUND,
                    "the model does not say how its images are normalised");
  memcpy(mean, mae_model_mean(model), bytes);
  memcpy(std, mae_model_std(model), bytes);
  return MAE_OK;
}
