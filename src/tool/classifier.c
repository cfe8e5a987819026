#include "tool/classifier.h"

#include "tool/context.h"
#include "tool/option_count.h"
#include "tool/precision.h"
#include "tool/profile.h"
#include "tool/say.h"

enum { MOST_BATCH = 65536, MOST_THREADS = 4096 };

void classifier_options_init(classifier_options *o) {
  *o = (classifier_options){.batch = 0};
  weights_options_init(&o->weights);
}

int classifier_option(classifier_options *o, int code, const char *value) {
  int status = weights_option(&o->weights, code, value);
  if (status < 0) status = look_option(&o->look, code, value);
  if (status >= 0) return status;
  switch (code) {
    case 'm': o->model_path = value; return TOOL_OK;
    case 'q': o->quiet = true; return TOOL_OK;
    case 'h': o->help = true; return TOOL_OK;
    case CLASSIFIER_BATCH:
      return option_count("batch", value, 1, MOST_BATCH, &o->batch);
    case CLASSIFIER_THREADS:
      return option_count("threads", value, 1, MOST_THREADS, &o->threads);
    case OPTION_PRECISION: return precision_option(value, &o->precision);
    default: return -1;
  }
}

/* Its classes; a model without is no classifier. */
static int take_names(const char *path, classifier *c) {
  if (class_names_of_model(c->model, &c->names) != MAE_OK)
    return fail_library();
  if (c->names.count) return TOOL_OK;
  return fail("%s is no classifier: mae finetune and mae probe make one", path);
}

static int set_session(const classifier_options *o, classifier *c) {
  mae_config config;
  mae_session_options_init(&c->session, sizeof c->session);
  if (mae_config_init(&config, sizeof config, NULL) != MAE_OK ||
      mae_model_config(c->model, &config) != MAE_OK)
    return fail_library();
  if (o->batch) c->session.batch_size = o->batch;
  precision_set(&c->session, o->precision);
  return look_apply(&o->look, &config, &c->session);
}

int classifier_open(const classifier_options *o, classifier *c) {
  int status = weights_load_to_use(&o->weights, o->model_path, &c->model);
  if (status == TOOL_OK) status = take_names(o->model_path, c);
  if (status == TOOL_OK) status = set_session(o, c);
  if (status == TOOL_OK && open_context(o->threads, &c->context) != MAE_OK)
    status = fail_library();
  return status;
}

void classifier_close(classifier *c) {
  profile_print(c->context, stderr);
  class_names_free(&c->names);
  mae_context_destroy(c->context);
  mae_model_destroy(c->model);
}
