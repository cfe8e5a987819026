#include "train/param_rules.h"

#include <math.h>
#include <stdlib.h>

/* Depth of a classifier's parameter (official get_layer_id_for_vit): 0 before
 * the blocks, i + 1 in block i, beyond the last in norm and head. */
static int32_t layer_of(const mae_config *c, int32_t param) {
  const int32_t first = mae_param_blocks(c);
  if (param < first) return 0;
  if (param >= mae_param_norm(c)) return c->depth + 1;
  return (param - first) / MAE_BLOCK_PARAMS + 1;
}

/* Everything but for fixed position tables; of a classifier, which trains its
 * positions, too, the last blocks and what follows them, or the head. */
static bool trains(const mae_model *model, const mae_trainer_options *o,
                   int32_t i) {
  const mae_config *c = &model->config;
  if (!mae_is_classifier(c)) return mae_param_trainable(&model->params[i]);
  if (o->trainable_blocks < 0) return true;
  if (o->trainable_blocks == 0) return i >= mae_param_head(c);
  return layer_of(c, i) > c->depth - o->trainable_blocks;
}

/* Biases and norms, the tensors of one dimension, do not decay (official
 * add_weight_decay, param_groups_lrd); of classifiers neither do the class
 * token and the positions (timm's no_weight_decay). */
static bool decays(const mae_model *model, int32_t i) {
  if (model->params[i].value.ndim == 1) return false;
  return !mae_is_classifier(&model->config) ||
         (i != MAE_PARAM_CLS_TOKEN && i != MAE_PARAM_POS_EMBED);
}

static double rate(const mae_config *c, const mae_trainer_options *o,
                   int32_t i) {
  if (!mae_is_classifier(c)) return 1;
  return pow(o->layer_decay, c->depth + 1 - layer_of(c, i));
}

static void fill(const mae_model *model, const mae_trainer_options *o,
                 mae_param_rules *rules) {
  for (int32_t i = 0; i < model->n_params; i++) {
    rules->trains[i] = trains(model, o, i);
    rules->decays[i] = decays(model, i);
    rules->rate[i] = rate(&model->config, o, i);
  }
}

mae_status mae_param_rules_make(const mae_model *model,
                                const mae_trainer_options *o,
                                mae_param_rules *out) {
  const size_t n = (size_t)model->n_params;
  mae_param_rules rules = {mae_calloc(n, sizeof *rules.trains),
                           mae_calloc(n, sizeof *rules.decays),
                           mae_calloc(n, sizeof *rules.rate)};
  if (!rules.trains || !rules.decays || !rules.rate) {
    mae_param_rules_free(&rules);
    return MAE_ERROR_OUT_OF_MEMORY;
  }
  fill(model, o, &rules);
  *out = rules;
  return MAE_OK;
}

void mae_param_rules_free(mae_param_rules *rules) {
  free(rules->trains);
  free(rules->decays);
  free(rules->rate);
  *rules = (mae_param_rules){0};
}
