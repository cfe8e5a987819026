/* Features: passes through the encoder, pooled and written as asked. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "model/session.h"

/* One vector, or one head's row of attention weights. */
static int64_t vector_size(const mae_session *s) {
  switch (s->options.features) {
    case MAE_FEATURES_ATTENTION: return 1 + s->feature_kept;
    case MAE_FEATURES_LOGITS: return s->model->config.num_classes;
    default: return s->model->config.embed_dim;
  }
}

/* Vectors per image and block. */
static int64_t vector_count(const mae_session *s) {
  const int64_t tokens = 1 + s->feature_kept;
  switch (s->options.features) {
    case MAE_FEATURES_TOKENS: return tokens;
    case MAE_FEATURES_ATTENTION: return tokens * s->model->config.num_heads;
    default: return 1;
  }
}

int64_t mae_session_feature_size(const mae_session *session) {
  if (!session) return 0;
  return session->options.num_blocks * vector_count(session) *
         vector_size(session);
}

/* ------------------------------------------------------------ writing --- */

static float inverse_length(const float *x, int64_t n) {
  double squares = 0;
  for (int64_t i = 0; i < n; i++) squares += (double)x[i] * x[i];
  /* torch's normalize: a zero vector stays one */
  return (float)(1 / fmax(sqrt(squares), 1e-12));
}

/* Write vector number `at` of the output. */
static void put_vector(const mae_session *s, const float *x, void *out,
                       int64_t at) {
  const int64_t n = vector_size(s);
  float scale = s->options.l2_normalize ? inverse_length(x, n) : 1;
  if (s->options.dtype == MAE_DTYPE_F16) {
    uint16_t *y = (uint16_t *)out + at * n;
    for (int64_t i = 0; i < n; i++) y[i] = mae_to_f16(x[i] * scale);
  } else {
    float *y = (float *)out + at * n;
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * scale;
  }
}

/* The mean of all tokens [1 + kept, D] but the first, through fc_norm if the
 * model has one.  Lent by the lane. */
static const float *mean_of_patches(const mae_session *s, mae_lane *lane,
                                    const float *tokens) {
  const mae_config *c = &s->model->config;
  const int64_t width = c->embed_dim, kept = s->feature_kept;
  float *mean = lane->vector, *normed = mean + width;
  memset(mean, 0, (size_t)width * sizeof *mean);
  for (int64_t t = 1; t <= kept; t++)
    for (int64_t i = 0; i < width; i++) mean[i] += tokens[t * width + i];
  for (int64_t i = 0; i < width; i++) mean[i] /= (float)kept;
  if (!c->global_pool || !s->options.final_norm) return mean;
  const mae_param *norm = &s->model->params[mae_param_norm(c)];
  lane->context->kernels->layer_norm_forward(
      lane->context->pool, 1, width, (float)c->layer_norm_eps, mean,
      norm[0].value.data, norm[1].value.data, normed, NULL, NULL);
  return normed;
}

/* What a pass over images begin and on gave for block k of the list. */
static void put_block(const mae_session *s, mae_lane *lane, const mae_graph *g,
                      int32_t k, int64_t begin, void *out) {
  const mae_tensor *value = mae_tape_value(g->tape, g->features[k]);
  const int64_t each = mae_tensor_size(value) / g->batch;
  const int64_t count = vector_count(s), size = vector_size(s);
  for (int64_t b = 0; b < g->batch; b++) {
    const float *x = value->data + b * each;
    int64_t at = ((begin + b) * s->options.num_blocks + k) * count;
    if (s->options.features == MAE_FEATURES_MEAN)
      put_vector(s, mean_of_patches(s, lane, x), out, at);
    else /* the class token, it and all that follow, or the logits */
      for (int64_t i = 0; i < count; i++)
        put_vector(s, x + i * size, out, at + i);
  }
}

/* ------------------------------------------------------------- passes --- */

/* A call: images as f32 or as bytes, the other NULL. */
typedef struct call {
  mae_session *session;
  const float *images;
  const mae_image *pictures;
  int64_t n;
  const float *noise;
  void *out;
} call;

static mae_status graph_for(mae_session *s, mae_lane *lane, int64_t count,
                            mae_graph **out) {
  mae_graph *g = &lane->features[mae_session_slot(s, count)];
  if (g->batch != count) {
    const mae_span span = mae_span_begin(s->context->profile);
    const mae_session_options *o = &s->options;
    const bool logits = o->features == MAE_FEATURES_LOGITS;
    const mae_graph_outputs outputs = {
        .blocks = s->blocks,
        .count = o->num_blocks,
        .final_norm = o->final_norm,
        .attention = o->features == MAE_FEATURES_ATTENTION,
        .logits = logits,
        .class_token = o->features == MAE_FEATURES_CLASS_TOKEN ||
                       (logits && !s->model->config.global_pool),
        .precision = o->precision,
        .packed = s->packed.of};
    mae_graph_destroy(g);
    MAE_TRY(mae_graph_features(lane->context, s->model, count, s->feature_kept,
                               &outputs, g));
    mae_session_span_end(s, span, "plan");
  }
  *out = g;
  return MAE_OK;
}

static mae_status preprocess(mae_lane *lane, const call *c, int64_t i,
                             float *into) {
  mae_status status = mae_preprocess_run(lane->preprocess, lane->context,
                                         &c->pictures[i], into);
  if (status == MAE_OK) return MAE_OK;
  return mae_fail(status, "image %lld: %s", (long long)i, mae_last_error());
}

static mae_status preprocess_all(mae_lane *lane, const call *c, mae_pass pass,
                                 float *into) {
  const mae_session *s = c->session;
  const int64_t values = mae_config_image_values(&s->model->config);
  const mae_span span = mae_span_begin(s->context->profile);
  for (int64_t i = 0; i < pass.count; i++)
    MAE_TRY(preprocess(lane, c, pass.begin + i, into + i * values));
  mae_session_span_end(s, span, "preprocess");
  return MAE_OK;
}

/* Images, and which patches of them are seen. */
static mae_status fill(mae_lane *lane, const call *c, mae_pass pass,
                       mae_graph *g) {
  const mae_session *s = c->session;
  const int64_t values = mae_config_image_values(&s->model->config);
  float *into = mae_graph_images(g);
  if (c->pictures) MAE_TRY(preprocess_all(lane, c, pass, into));
  const mae_span span = mae_span_begin(s->context->profile);
  if (c->images)
    memcpy(into, c->images + pass.begin * values,
           (size_t)(pass.count * values) * sizeof *into);
  mae_graph_mask(g, mae_session_noise(s, lane, pass, s->feature_kept,
                                      c->noise));
  mae_session_span_end(s, span, "inputs");
  return MAE_OK;
}

static mae_status run_graph(const call *c, mae_lane *lane, mae_pass pass) {
  mae_session *s = c->session;
  mae_graph *g;
  MAE_TRY(graph_for(s, lane, pass.count, &g));
  MAE_TRY(fill(lane, c, pass, g));
  MAE_TRY(mae_tape_forward(g->tape));
  const mae_span span = mae_span_begin(s->context->profile);
  for (int32_t k = 0; k < s->options.num_blocks; k++)
    put_block(s, lane, g, k, pass.begin, c->out);
  mae_session_span_end(s, span, "outputs");
  return MAE_OK;
}

static mae_status run_pass(const call *c, mae_lane *lane, mae_pass pass) {
  const mae_span span = mae_span_begin(c->session->context->profile);
  mae_status status = run_graph(c, lane, pass);
  mae_session_span_end(c->session, span, "other");
  return status;
}

/* A lane's share of the call: always the same images, so that what runs where
 * does not hang on the threads' luck. */
static void run_lane(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  const call *c = arg;
  const int64_t lanes = c->session->n_lanes, end = c->n * (i + 1) / lanes;
  mae_lane *lane = &c->session->lanes[i];
  lane->status = MAE_OK;
  for (int64_t at = c->n * i / lanes; at < end && lane->status == MAE_OK;) {
    mae_pass pass = mae_session_pass(c->session, at, end);
    lane->status = run_pass(c, lane, pass);
    at += pass.count;
  }
  if (lane->status != MAE_OK)
    snprintf(lane->message, sizeof lane->message, "%s", mae_last_error());
}

static mae_status run(call *c) {
  mae_session *s = c->session;
  mae_pool_run(s->context->pool, s->n_lanes, run_lane, c);
  for (int32_t i = 0; i < s->n_lanes; i++)
    if (s->lanes[i].status != MAE_OK)
      return mae_fail(s->lanes[i].status, "%s", s->lanes[i].message);
  return MAE_OK;
}

mae_status mae_session_features(mae_session *session, const float *images,
                                int64_t n, const float *noise, void *out) {
  MAE_TRY(mae_session_check_call(session, images, n));
  MAE_REQUIRE(out);
  return run(&(call){.session = session, .images = images, .n = n,
                     .noise = noise, .out = out});
}

mae_status mae_features_u8(mae_session *session, const mae_image *images,
                           int64_t n, void *out) {
  MAE_TRY(mae_session_check_call(session, images, n));
  MAE_REQUIRE(out);
  return run(&(call){.session = session, .pictures = images, .n = n,
                     .out = out});
}
