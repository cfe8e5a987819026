/* Inference: features, the official forward, reconstructions. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "model/graph.h"

/* Graphs for a full batch and for what is left after the full ones; the
 * latter is rebuilt when the rest has another size. */
enum { FULL, REST, SIZES };

struct mae_session {
  mae_context *context;
  const mae_model *model;
  mae_session_options options;
  int64_t feature_kept, kept; /* patches seen by features; by forward */
  mae_graph features[SIZES], autoencoder[SIZES];
  float *noise; /* [batch_size, L] */
};

static const mae_session_options defaults = {
    .struct_size = sizeof defaults,
    .batch_size = 16,
    .features = MAE_FEATURES_CLASS_TOKEN,
    .block = -1,
    .final_norm = 1,
    .feature_mask_ratio = 0,
    .mask_ratio = 0.75,
    .seed = 0};

void mae_session_options_init(mae_session_options *options,
                              size_t struct_size) {
  mae_options_write(options, struct_size, &defaults, sizeof defaults);
}

static mae_status check(const mae_session_options *o, const mae_config *c) {
  if (o->batch_size < 1 || o->batch_size > 65536)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "batch_size is %d",
                    o->batch_size);
  if (o->features < MAE_FEATURES_CLASS_TOKEN ||
      o->features > MAE_FEATURES_TOKENS)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "no features %d",
                    (int)o->features);
  if (o->block < -1 || o->block >= c->depth)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "block %d of %d", o->block,
                    c->depth);
  if (o->final_norm != 0 && o->final_norm != 1)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "final_norm is %d, not 0 or 1",
                    o->final_norm);
  return MAE_OK;
}

mae_status mae_session_create(mae_context *context, const mae_model *model,
                              const mae_session_options *options,
                              mae_session **out) {
  MAE_REQUIRE(context);
  MAE_REQUIRE(model);
  MAE_REQUIRE(out);
  const mae_config *c = &model->config;
  mae_session made = {.context = context, .model = model, .options = defaults};
  mae_session_options *o = &made.options;
  if (options)
    MAE_TRY(mae_options_read("mae_session_options", o, sizeof *o, options));
  MAE_TRY(check(o, c));
  if (o->block == -1) o->block = c->depth - 1;
  MAE_TRY(mae_config_kept(c, o->feature_mask_ratio, false, &made.feature_kept));
  MAE_TRY(mae_config_kept(c, o->mask_ratio, true, &made.kept));
  made.noise = mae_calloc((size_t)(o->batch_size * mae_config_patches(c)),
                          sizeof *made.noise);
  mae_session *session = made.noise ? mae_calloc(1, sizeof *session) : NULL;
  if (!session) {
    free(made.noise);
    return MAE_ERROR_OUT_OF_MEMORY;
  }
  *session = made;
  *out = session;
  return MAE_OK;
}

void mae_session_destroy(mae_session *session) {
  if (!session) return;
  for (int i = 0; i < SIZES; i++) {
    mae_graph_destroy(&session->features[i]);
    mae_graph_destroy(&session->autoencoder[i]);
  }
  free(session->noise);
  free(session);
}

int64_t mae_session_feature_size(const mae_session *session) {
  if (!session) return 0;
  int64_t width = session->model->config.embed_dim;
  return session->options.features == MAE_FEATURES_TOKENS
             ? (1 + session->feature_kept) * width
             : width;
}

/* Images of the call that one pass takes. */
typedef struct chunk {
  int64_t begin, count;
} chunk;

static chunk chunk_at(const mae_session *s, int64_t begin, int64_t n) {
  int64_t most = s->options.batch_size, left = n - begin;
  return (chunk){begin, left < most ? left : most};
}

/* The features graph for count images, or with autoencoder the other one. */
static mae_status graph_for(mae_session *s, bool autoencoder, int64_t count,
                            mae_graph **out) {
  int size = count == s->options.batch_size ? FULL : REST;
  mae_graph *g = autoencoder ? &s->autoencoder[size] : &s->features[size];
  if (g->batch != count) {
    mae_graph_destroy(g);
    if (autoencoder)
      MAE_TRY(mae_graph_autoencoder(s->context, s->model, count, s->kept, NULL,
                                    g));
    else
      MAE_TRY(mae_graph_features(s->context, s->model, count, s->feature_kept,
                                 s->options.block, s->options.final_norm, g));
  }
  *out = g;
  return MAE_OK;
}

/* Run the graph on one chunk of images. */
static mae_status run(mae_session *s, bool autoencoder, chunk at,
                      const float *images, const float *noise,
                      mae_graph **out) {
  const mae_config *c = &s->model->config;
  const int64_t patches = mae_config_patches(c);
  mae_graph *g;
  MAE_TRY(graph_for(s, autoencoder, at.count, &g));
  if (noise) {
    noise += at.begin * patches;
  } else {
    size_t values = (size_t)(at.count * patches);
    noise = s->noise;
    if (g->kept == patches) /* nothing to choose: patches stay in order */
      memset(s->noise, 0, values * sizeof *s->noise);
    else
      mae_random_uniform(s->options.seed, 0, (uint64_t)(at.begin * patches),
                         values, s->noise);
  }
  mae_graph_fill(g, images + at.begin * mae_config_image_values(c), noise);
  MAE_TRY(mae_tape_forward(g->tape));
  *out = g;
  return MAE_OK;
}

static mae_status check_call(const mae_session *session, const float *images,
                             int64_t n) {
  MAE_REQUIRE(session);
  MAE_REQUIRE(images);
  if (n < 0)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "%lld images", (long long)n);
  return MAE_OK;
}

/* ----------------------------------------------------------- features --- */

/* tokens [1 + kept, width] -> out [width], the mean of all but the first. */
static void mean_of_patches(const float *tokens, int64_t kept, int64_t width,
                            float *out) {
  memset(out, 0, (size_t)width * sizeof *out);
  for (int64_t t = 1; t <= kept; t++)
    for (int64_t i = 0; i < width; i++) out[i] += tokens[t * width + i];
  for (int64_t i = 0; i < width; i++) out[i] /= (float)kept;
}

static void pool_features(const mae_session *s, const mae_graph *g,
                          float *out) {
  const int64_t width = s->model->config.embed_dim;
  const int64_t size = mae_session_feature_size(s);
  const mae_tensor *tokens = mae_tape_value(g->tape, g->features);
  for (int64_t b = 0; b < g->batch; b++) {
    const float *image = tokens->data + b * (1 + g->kept) * width;
    if (s->options.features == MAE_FEATURES_MEAN)
      mean_of_patches(image, g->kept, width, out + b * size);
    else /* the class token, or it and all that follow */
      memcpy(out + b * size, image, (size_t)size * sizeof *out);
  }
}

mae_status mae_session_features(mae_session *session, const float *images,
                                int64_t n, const float *noise, float *out) {
  MAE_TRY(check_call(session, images, n));
  MAE_REQUIRE(out);
  for (int64_t begin = 0; begin < n;) {
    chunk at = chunk_at(session, begin, n);
    mae_graph *g;
    MAE_TRY(run(session, false, at, images, noise, &g));
    pool_features(session, g, out + begin * mae_session_feature_size(session));
    begin += at.count;
  }
  return MAE_OK;
}

/* ------------------------------------------- forward, reconstruction --- */

static void copy_out(float *to, const mae_tensor *from, int64_t image) {
  int64_t size = mae_tensor_size(from), each = size / from->shape[0];
  if (to) memcpy(to + image * each, from->data, (size_t)size * sizeof *to);
}

mae_status mae_session_forward(mae_session *session, const float *images,
                               int64_t n, const float *noise, double *loss,
                               float *pred, float *mask) {
  MAE_TRY(check_call(session, images, n));
  double sum = 0;
  for (int64_t begin = 0; begin < n;) {
    chunk at = chunk_at(session, begin, n);
    mae_graph *g;
    MAE_TRY(run(session, true, at, images, noise, &g));
    copy_out(pred, mae_tape_value(g->tape, g->pred), begin);
    copy_out(mask, mae_tape_value(g->tape, g->mask), begin);
    /* Every image has as many removed patches, so chunks weigh by images. */
    sum += *mae_tape_value(g->tape, g->loss)->data * (double)at.count;
    begin += at.count;
  }
  if (loss) *loss = n ? sum / (double)n : 0;
  return MAE_OK;
}

/* One patch of an image. */
typedef struct patch_view {
  const mae_config *config;
  int64_t corner; /* of its first pixel in the image */
} patch_view;

/* Where value i of a patch, in the order of the prediction (row, column,
 * channel), lies in the image. */
static int64_t value_at(const patch_view *v, int64_t i) {
  const mae_config *c = v->config;
  int64_t channel = i % c->in_chans, pixel = i / c->in_chans;
  int64_t row = pixel / c->patch_size, column = pixel % c->patch_size;
  return (channel * c->image_height + row) * c->image_width + column +
         v->corner;
}

/* Write the prediction into the image, first undoing the normalisation by the
 * true patch's mean and standard deviation. */
static void put_patch(const patch_view *v, const float *pred, float *image) {
  const int64_t n = mae_config_patch_values(v->config);
  double mean = 0, std = 1;
  if (v->config->norm_pix_loss) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += image[value_at(v, i)];
    mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) {
      double d = image[value_at(v, i)] - mean;
      squares += d * d;
    }
    std = sqrt(squares / (double)(n - 1) + 1e-6);
  }
  for (int64_t i = 0; i < n; i++)
    image[value_at(v, i)] = (float)(pred[i] * std + mean);
}

static void put_predictions(const mae_config *c, const float *pred,
                            const float *mask, float *image) {
  const int64_t p = c->patch_size, across = c->image_width / p;
  for (int64_t l = 0; l < mae_config_patches(c); l++) {
    if (mask[l] == 0) continue;
    patch_view view = {c, l / across * p * c->image_width + l % across * p};
    put_patch(&view, pred + l * mae_config_patch_values(c), image);
  }
}

mae_status mae_session_reconstruct(mae_session *session, const float *images,
                                   int64_t n, const float *noise, float *out,
                                   float *mask) {
  MAE_TRY(check_call(session, images, n));
  MAE_REQUIRE(out);
  const mae_config *c = &session->model->config;
  const int64_t values = mae_config_image_values(c);
  const int64_t patches = mae_config_patches(c);
  for (int64_t begin = 0; begin < n;) {
    chunk at = chunk_at(session, begin, n);
    mae_graph *g;
    MAE_TRY(run(session, true, at, images, noise, &g));
    const mae_tensor *removed = mae_tape_value(g->tape, g->mask);
    const mae_tensor *pred = mae_tape_value(g->tape, g->pred);
    memmove(out + begin * values, images + begin * values,
            (size_t)(at.count * values) * sizeof *out);
    for (int64_t b = 0; b < at.count; b++)
      put_predictions(c, pred->data + b * patches * mae_config_patch_values(c),
                      removed->data + b * patches,
                      out + (begin + b) * values);
    copy_out(mask, removed, begin);
    begin += at.count;
  }
  return MAE_OK;
}
