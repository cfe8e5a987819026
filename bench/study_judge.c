#include "study_judge.h"

#include <math.h>
#include <stdlib.h>

enum { PASS = 50, PROBE_BATCH = 256, NEIGHBOURS = 20 };

static int32_t *labels_of(const fashion *data) {
  int32_t *labels = study_memory((size_t)data->n, sizeof *labels);
  for (int64_t i = 0; i < data->n; i++) labels[i] = data->labels[i];
  return labels;
}

static void judge(const float *logits, const fashion *test, double *values) {
  mae_evaluation *e;
  int32_t *labels = labels_of(test);
  need(mae_evaluation_create(FASHION_CLASSES, &e));
  need(mae_evaluation_add(e, logits, labels, test->n));
  values[STUDY_TOP1] = mae_evaluation_top1(e);
  values[STUDY_TOP5] = mae_evaluation_top5(e);
  values[STUDY_TEST_LOSS] = mae_evaluation_loss(e);
  mae_evaluation_destroy(e);
  free(labels);
}

static float *features(const study_bench *bench, const mae_model *model,
                       mae_features what, const fashion *data, int64_t *width) {
  mae_session_options o;
  mae_session *session;
  mae_session_options_init(&o, sizeof o);
  o.batch_size = PASS;
  o.features = what;
  o.mode = MAE_MODE_THROUGHPUT;
  need(mae_session_create(bench->context, model, &o, &session));
  *width = mae_session_feature_size(session);
  float *out = study_memory((size_t)(data->n * *width), sizeof *out);
  need(mae_session_features(session, data->images, data->n, NULL, out));
  mae_session_destroy(session);
  return out;
}

void study_judge_model(const study_bench *bench, const mae_model *classifier,
                       double *values) {
  int64_t width;
  float *logits = features(bench, classifier, MAE_FEATURES_LOGITS,
                           &bench->data->test, &width);
  judge(logits, &bench->data->test, values);
  free(logits);
}

/* [n, width] by [FASHION_CLASSES, width]. */
static float *apply_head(const float *x, int64_t n, int64_t width,
                         const float *weight, const float *bias) {
  float *out = study_memory((size_t)n * FASHION_CLASSES, sizeof *out);
  for (int64_t i = 0; i < n; i++)
    for (int c = 0; c < FASHION_CLASSES; c++) {
      double sum = bias[c];
      for (int64_t j = 0; j < width; j++)
        sum += (double)x[i * width + j] * weight[c * width + j];
      out[i * FASHION_CLASSES + c] = (float)sum;
    }
  return out;
}

/* What both kinds of frozen features need. */
typedef struct frozen {
  int64_t width;
  float *train, *test;
  int32_t *labels;
} frozen;

static frozen frozen_make(const study_bench *bench, const mae_model *encoder,
                          const fashion *labelled) {
  frozen f;
  f.train =
      features(bench, encoder, MAE_FEATURES_MEAN, labelled, &f.width);
  f.test = features(bench, encoder, MAE_FEATURES_MEAN, &bench->data->test,
                    &f.width);
  f.labels = labels_of(labelled);
  return f;
}

static void frozen_free(frozen *f) {
  free(f->train);
  free(f->test);
  free(f->labels);
}

void study_judge_linear(const study_bench *bench, const mae_model *encoder,
                        const fashion *labelled, uint64_t seed,
                        double *values) {
  const fashion *test = &bench->data->test;
  frozen f = frozen_make(bench, encoder, labelled);
  float *weight =
      study_memory((size_t)(FASHION_CLASSES * f.width), sizeof *weight);
  float bias[FASHION_CLASSES];
  mae_probe_options o;
  mae_probe_options_init(&o, sizeof o);
  o.batch_size = PROBE_BATCH;
  o.epochs = bench->settings->probe_epochs;
  if (o.warmup_epochs >= o.epochs) o.warmup_epochs = 0;
  o.base_lr = bench->settings->probe_rate;
  o.seed = seed;
  need(mae_linear_probe(bench->context, f.train, f.labels, labelled->n, f.width,
                        FASHION_CLASSES, &o, weight, bias));
  float *logits = apply_head(f.test, test->n, f.width, weight, bias);
  judge(logits, test, values);
  free(logits);
  free(weight);
  frozen_free(&f);
}

void study_judge_knn(const study_bench *bench, const mae_model *encoder,
                     const fashion *labelled, double *values) {
  const fashion *test = &bench->data->test;
  frozen f = frozen_make(bench, encoder, labelled);
  float *scores =
      study_memory((size_t)test->n * FASHION_CLASSES, sizeof *scores);
  need(mae_knn_classify(bench->context, f.train, f.labels, labelled->n, f.width,
                        FASHION_CLASSES, f.test, test->n, NEIGHBOURS, 0.07,
                        scores));
  judge(scores, test, values);
  values[STUDY_TEST_LOSS] = NAN; /* scores are no log-probabilities */
  free(scores);
  frozen_free(&f);
}
