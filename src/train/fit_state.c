#include "train/fit_state.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/c_locale.h"

static const char images_key[] = "mae.fit.images";
static const char batches_key[] = "mae.fit.batches";
static const char sum_key[] = "mae.fit.loss_sum";
static const char best_key[] = "mae.fit.best_loss";

static void add(mae_fit_texts *t, const char *key) {
  t->list[t->count] = (mae_safetensors_text){key, t->values[t->count]};
  t->count++;
}

/* Reals in hexadecimal, so that no bit is lost. */
void mae_fit_state_write(const mae_fit_state *s, mae_fit_texts *t) {
  const size_t room = sizeof t->values[0];
  const mae_c_locale locale = mae_c_locale_enter();
  t->count = 0;
  snprintf(t->values[0], room, "%" PRIu64, s->images);
  add(t, images_key);
  snprintf(t->values[1], room, "%" PRId64, s->batches);
  add(t, batches_key);
  snprintf(t->values[2], room, "%a", s->loss_sum);
  add(t, sum_key);
  if (s->has_best) {
    snprintf(t->values[3], room, "%a", s->best_loss);
    add(t, best_key);
  }
  mae_c_locale_leave(locale);
}

static mae_status read_real(const mae_safetensors *file, const char *key,
                            double *value) {
  const char *text = mae_safetensors_metadata(file, key);
  double v;
  if (text && !isspace((unsigned char)*text) && mae_c_locale_read(text, &v) &&
      isfinite(v)) {
    *value = v;
    return MAE_OK;
  }
  return mae_fail(MAE_ERROR_FORMAT, "metadata: %s is missing or no number",
                  key);
}

mae_status mae_fit_state_read(const mae_safetensors *file, mae_fit_state *s) {
  mae_fit_state made = {0};
  uint64_t batches;
  if (mae_safetensors_metadata(file, images_key)) {
    MAE_TRY(
        mae_checkpoint_integer(file, images_key, UINT64_MAX, &made.images));
    MAE_TRY(mae_checkpoint_integer(file, batches_key, INT64_MAX, &batches));
    MAE_TRY(read_real(file, sum_key, &made.loss_sum));
    made.batches = (int64_t)batches;
    made.has_best = mae_safetensors_metadata(file, best_key);
    if (made.has_best) MAE_TRY(read_real(file, best_key, &made.best_loss));
  }
  *s = made;
  return MAE_OK;
}
