/* The official forward with its loss, and reconstructions. */
#include <math.h>
#include <string.h>

#include "model/session.h"

static mae_status graph_for(mae_session *s, mae_lane *lane, int64_t count,
                            mae_graph **out) {
  mae_graph *g = &lane->autoencoder[mae_session_slot(s, count)];
  if (g->batch != count) {
    const mae_graph_options o = {.precision = s->options.precision};
    const mae_span span = mae_span_begin(s->context->profile);
    mae_graph_destroy(g);
    MAE_TRY(mae_graph_autoencoder(lane->context, s->model, count, s->kept, &o,
                                  g));
    mae_session_span_end(s, span, "plan");
  }
  *out = g;
  return MAE_OK;
}

/* Run the graph on one pass of images. */
static mae_status run(mae_session *s, mae_pass pass, const float *images,
                      const float *noise, mae_graph **out) {
  mae_lane *lane = &s->lanes[0];
  mae_graph *g;
  MAE_TRY(graph_for(s, lane, pass.count, &g));
  const mae_span span = mae_span_begin(s->context->profile);
  mae_graph_fill(
      g, images + pass.begin * mae_config_image_values(&s->model->config),
      mae_session_noise(s, lane, pass, s->kept, noise));
  mae_session_span_end(s, span, "inputs");
  MAE_TRY(mae_tape_forward(g->tape));
  *out = g;
  return MAE_OK;
}

static void copy_out(float *to, const mae_tensor *from, int64_t image) {
  int64_t size = mae_tensor_size(from), each = size / from->shape[0];
  if (to) memcpy(to + image * each, from->data, (size_t)size * sizeof *to);
}

static mae_status forward(mae_session *session, const float *images, int64_t n,
                          const float *noise, double *loss, float *pred,
                          float *mask) {
  double sum = 0;
  for (int64_t begin = 0; begin < n;) {
    mae_pass at = mae_session_pass(session, begin, n);
    mae_graph *g;
    MAE_TRY(run(session, at, images, noise, &g));
    copy_out(pred, mae_tape_value(g->tape, g->pred), begin);
    copy_out(mask, mae_tape_value(g->tape, g->mask), begin);
    /* Every image has as many removed patches, so chunks weigh by images. */
    sum += *mae_tape_value(g->tape, g->loss)->data * (double)at.count;
    begin += at.count;
  }
  if (loss) *loss = n ? sum / (double)n : 0;
  return MAE_OK;
}

mae_status mae_session_forward(mae_session *session, const float *images,
                               int64_t n, const float *noise, double *loss,
                               float *pred, float *mask) {
  MAE_TRY(mae_session_check_call(session, images, n));
  const mae_span span = mae_span_begin(session->context->profile);
  mae_status status = forward(session, images, n, noise, loss, pred, mask);
  mae_session_span_end(session, span, "other");
  return status;
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

static mae_status reconstruct(mae_session *session, const float *images,
                              int64_t n, const float *noise, float *out,
                              float *mask) {
  const mae_config *c = &session->model->config;
  const int64_t values = mae_config_image_values(c);
  const int64_t patches = mae_config_patches(c);
  for (int64_t begin = 0; begin < n;) {
    mae_pass at = mae_session_pass(session, begin, n);
    mae_graph *g;
    MAE_TRY(run(session, at, images, noise, &g));
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

mae_status mae_session_reconstruct(mae_session *session, const float *images,
                                   int64_t n, const float *noise, float *out,
                                   float *mask) {
  MAE_TRY(mae_session_check_call(session, images, n));
  MAE_REQUIRE(out);
  const mae_span span = mae_span_begin(session->context->profile);
  mae_status status = reconstruct(session, images, n, noise, out, mask);
  mae_session_span_end(session, span, "other");
  return status;
}
