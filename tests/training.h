/* A small model, its trainer and their context, for tests of training. */
#ifndef TESTS_TRAINING_H
#define TESTS_TRAINING_H

#include "golden.h"

typedef struct run {
  mae_context *context;
  mae_model *model;
  mae_trainer *trainer;
} run;

/* The run takes over the model. */
static inline run run_of(mae_model *model, mae_trainer_options o,
                         int32_t threads) {
  run r = {.context = make_context(threads, MAE_ISA_AUTO), .model = model};
  ASSERT_OK(mae_trainer_create(r.context, r.model, &o, &r.trainer));
  return r;
}

static inline void stop(run *r) {
  mae_trainer_destroy(r->trainer);
  mae_model_destroy(r->model);
  mae_context_destroy(r->context);
}

#endif
