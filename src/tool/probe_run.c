/* Doing what `mae probe` was asked: features once, then what they tell. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tool/cached_features.h"
#include "tool/class_names.h"
#include "tool/classify.h"
#include "tool/context.h"
#include "tool/interrupt.h"
#include "tool/precision.h"
#include "tool/probe.h"
#include "tool/profile.h"
#include "tool/say.h"

typedef struct job {
  probe_request *request;
  mae_context *context;
  mae_model *model; /* a classifier, whose head is to be found */
  mae_config config;
  mae_session_options options;
  mae_dataset *data, *val; /* val may be NULL */
  cached_features trained, tested;
  progress progress;
} job;

/* ---------------------------------------------------------- the parts --- */

/* Images are to be looked at in the same way by whoever loads it. */
static mae_status keep_look(job *j) {
  look_options *l = &j->request->look;
  const int32_t n = j->config.in_chans;
  look_of_model(l, j->model, &j->config);
  if (!l->n_mean && !l->n_std && n != 1 && n != 3) return MAE_OK;
  return mae_model_set_normalization(j->model, look_mean(l, &j->config),
                                     look_std(l, &j->config));
}

static mae_status make_classifier(job *j, mae_model *encoder) {
  const probe_request *r = j->request;
  class_names names;
  const int32_t pool = r->pool < 0 ? j->config.global_pool : r->pool;
  MAE_TRY(mae_model_resize(encoder, j->config.image_height,
                           j->config.image_width));
  MAE_TRY(mae_model_classifier(encoder, mae_dataset_num_classes(j->data), pool,
                               r->probe.seed, &j->model));
  MAE_TRY(class_names_of_dataset(j->data, &names));
  mae_status status = mae_model_set_class_names(j->model, names.list);
  if (status == MAE_OK && r->val_path)
    status = class_names_open(r->val_path, &names, &j->val);
  class_names_free(&names);
  j->options.features = pool ? MAE_FEATURES_MEAN : MAE_FEATURES_CLASS_TOKEN;
  return status == MAE_OK ? keep_look(j) : status;
}

static int make_parts(job *j, mae_model *encoder) {
  const probe_request *r = j->request;
  mae_session_options_init(&j->options, sizeof j->options);
  if (r->pass) j->options.batch_size = r->pass;
  precision_set(&j->options, r->precision);
  if (mae_config_init(&j->config, sizeof j->config, NULL) != MAE_OK ||
      mae_model_config(encoder, &j->config) != MAE_OK)
    return fail_library();
  int status = look_apply(&r->look, &j->config, &j->options);
  if (status != TOOL_OK) return status;
  if (mae_dataset_open_labelled(r->data_path, NULL, 0, &j->data) != MAE_OK ||
      make_classifier(j, encoder) != MAE_OK ||
      open_context(r->threads, &j->context) != MAE_OK)
    return fail_library();
  return TOOL_OK;
}

static int cache(job *j, const mae_dataset *dataset, cached_features *f) {
  probe_request *r = j->request;
  j->progress =
      progress_begin((size_t)mae_dataset_size(dataset), r->quiet);
  passes p = {.context = j->context,
              .model = j->model,
              .options = &j->options,
              .dataset = dataset,
              .progress = &j->progress,
              .failed = &r->failed};
  int status = cached_features_make(&p, f);
  if (status != TOOL_OK) return status;
  progress_end(&j->progress, (size_t)f->n);
  return f->n ? TOOL_OK : fail("no image can be read");
}

/* ------------------------------------------------------------- testing --- */

static int tell(const job *j, const float *logits, bool loss) {
  const cached_features *f = &j->tested;
  const int32_t classes = mae_dataset_num_classes(j->data);
  mae_evaluation *e;
  if (mae_evaluation_create(classes, &e) != MAE_OK) return fail_library();
  mae_status status = mae_evaluation_add(e, logits, f->labels, f->n);
  if (status == MAE_OK) classify_print(e, classes, loss);
  mae_evaluation_destroy(e);
  return status == MAE_OK ? finish_output() : fail_library();
}

/* features weight^T + bias; sums run along classes, in the order of width. */
static void apply_head(const cached_features *f, int32_t classes,
                       const float *weight, const float *bias, float *across,
                       float *logits) {
  for (int32_t c = 0; c < classes; c++)
    for (int64_t k = 0; k < f->width; k++)
      across[k * classes + c] = weight[c * f->width + k];
  for (int64_t i = 0; i < f->n; i++) {
    float *restrict out = logits + i * classes;
    const float *restrict row = f->rows + i * f->width;
    memcpy(out, bias, (size_t)classes * sizeof *out);
    for (int64_t k = 0; k < f->width; k++) {
      const float *restrict w = across + k * classes;
      for (int32_t c = 0; c < classes; c++) out[c] += row[k] * w[c];
    }
  }
}

static int test_head(const job *j, const float *weight, const float *bias) {
  const cached_features *f = &j->tested;
  const int32_t classes = mae_dataset_num_classes(j->data);
  float *logits = mae_calloc((size_t)f->n, (size_t)classes * sizeof *logits);
  float *across =
      mae_calloc((size_t)f->width, (size_t)classes * sizeof *across);
  int status = TOOL_OK;
  if (logits && across) {
    apply_head(f, classes, weight, bias, across, logits);
    puts("linear probe");
    status = tell(j, logits, true);
  } else {
    status = fail_library();
  }
  free(logits);
  free(across);
  return status;
}

static int test_neighbours(job *j) {
  const probe_request *r = j->request;
  const cached_features *f = &j->tested, *t = &j->trained;
  const int32_t classes = mae_dataset_num_classes(j->data);
  float *votes = mae_calloc((size_t)f->n, (size_t)classes * sizeof *votes);
  int status = TOOL_OK;
  if (!votes ||
      mae_knn_classify(j->context, t->rows, t->labels, t->n, t->width, classes,
                       f->rows, f->n, r->k, r->temperature, votes) != MAE_OK)
    status = fail_library();
  if (status == TOOL_OK) {
    printf("%d nearest neighbours\n", (int)r->k);
    status = tell(j, votes, false);
  }
  free(votes);
  return status;
}

/* ------------------------------------------------------ the classifier --- */

static int32_t on_epoch(void *arg, int64_t epoch, int64_t epochs, double loss) {
  job *j = arg;
  char numbers[96];
  if (!progress_due(&j->progress)) return 0;
  snprintf(numbers, sizeof numbers, "linear probe: epoch %lld/%lld  loss %.4f",
           (long long)epoch, (long long)epochs, loss);
  progress_show_text(&j->progress, (double)epoch / (double)epochs, numbers);
  return 0;
}

static int save(const job *j) {
  interrupt_hold();
  mae_status status = mae_model_save(j->model, j->request->out_path);
  interrupt_release();
  return status == MAE_OK ? TOOL_OK : fail_library();
}

static int probe(job *j) {
  mae_probe_options o = j->request->probe;
  const cached_features *t = &j->trained;
  float *weight = mae_tensor_data(mae_model_find(j->model, "head.weight"));
  float *bias = mae_tensor_data(mae_model_find(j->model, "head.bias"));
  o.on_epoch = on_epoch;
  o.arg = j;
  j->progress = progress_begin(1, j->request->quiet);
  mae_status status =
      mae_linear_probe(j->context, t->rows, t->labels, t->n, t->width,
                       mae_dataset_num_classes(j->data), &o, weight, bias);
  progress_clear(&j->progress);
  if (status != MAE_OK) return fail_library();
  if (j->val) {
    int tested = test_head(j, weight, bias);
    if (tested != TOOL_OK) return tested;
  }
  return j->request->out_path ? save(j) : TOOL_OK;
}

static int run_job(job *j, mae_model *encoder) {
  probe_request *r = j->request;
  int status = make_parts(j, encoder);
  if (status == TOOL_OK) status = cache(j, j->data, &j->trained);
  if (status == TOOL_OK && j->val) status = cache(j, j->val, &j->tested);
  if (status == TOOL_OK && !r->no_linear) status = probe(j);
  if (status == TOOL_OK && r->k) status = test_neighbours(j);
  if (status != TOOL_OK) return status;
  failures_report(&r->failed, (size_t)(j->trained.n + j->tested.n) +
                                  r->failed.count);
  return r->failed.count ? TOOL_FAILED : TOOL_OK;
}

int probe_run(probe_request *request) {
  job j = {.request = request};
  mae_model *encoder = NULL;
  int status =
      weights_load_to_use(&request->weights, request->model_path, &encoder);
  if (status == TOOL_OK) status = run_job(&j, encoder);
  mae_model_destroy(encoder);
  cached_features_free(&j.trained);
  cached_features_free(&j.tested);
  mae_dataset_destroy(j.val);
  mae_dataset_destroy(j.data);
  profile_print(j.context, stderr);
  mae_context_destroy(j.context);
  mae_model_destroy(j.model);
  return status;
}
