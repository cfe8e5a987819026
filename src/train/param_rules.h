/* Which parameters are trained, how fast, and whether they decay. */
#ifndef MAE_TRAIN_PARAM_RULES_H
#define MAE_TRAIN_PARAM_RULES_H

#include "model/model.h"

typedef struct mae_param_rules { /* one of each per parameter */
  bool *trains, *decays;
  double *rate; /* times the learning rate */
} mae_param_rules;

/* The rules of these checked options; free them. */
mae_status mae_param_rules_make(const mae_model *model,
                                const mae_trainer_options *options,
                                mae_param_rules *rules);
/* Fine on zeroed ones. */
void mae_param_rules_free(mae_param_rules *rules);

/* A model that mae_trainer_step_labels trains. */
static inline bool mae_is_classifier(const mae_config *config) {
  return config->num_classes > 0;
}

#endif
