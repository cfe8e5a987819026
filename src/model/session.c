/* Sessions: options, creation, and what all their calls share. */
#include "model/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "kernels/precision.h"

static const mae_session_options defaults = {
    .struct_size = sizeof defaults,
    .batch_size = 16,
    .features = MAE_FEATURES_CLASS_TOKEN,
    .block = -1,
    .final_norm = 1,
    .feature_mask_ratio = 0,
    .mask_ratio = 0.75,
    .seed = 0,
    .dtype = MAE_DTYPE_F32,
    .mode = MAE_MODE_LATENCY};

void mae_session_options_init(mae_session_options *options,
                              size_t struct_size) {
  mae_options_write(options, struct_size, &defaults, sizeof defaults);
}

/* ------------------------------------------------------------ options --- */

static mae_status check_choice(const char *what, int value, int most) {
  if (value >= 0 && value <= most) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "%s is %d, not 0 to %d", what,
                  value, most);
}

static mae_status check_blocks(const mae_session_options *o, int32_t depth) {
  if (o->num_blocks < 1 || o->num_blocks > MAE_MOST_BLOCKS)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "num_blocks is %d",
                    o->num_blocks);
  for (int32_t i = 0; i < o->num_blocks; i++)
    if (o->blocks[i] < -1 || o->blocks[i] >= depth)
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "block %d of %d",
                      o->blocks[i], depth);
  return MAE_OK;
}

static mae_status check_logits(const mae_session_options *o,
                               const mae_config *c) {
  if (o->features != MAE_FEATURES_LOGITS) return MAE_OK;
  if (!c->num_classes)
    return mae_fail(MAE_ERROR_STATE, "no logits: the model has no head");
  if (o->l2_normalize || !o->final_norm)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "logits go with neither l2_normalize = 1 nor final_norm = "
                    "0");
  if (o->num_blocks == 1 &&
      (o->blocks[0] == -1 || o->blocks[0] == c->depth - 1))
    return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                  "logits are of the last block, not of block %d",
                  o->blocks[0]);
}

static mae_status check(const mae_session_options *o, const mae_config *c) {
  if (o->batch_size < 1 || o->batch_size > 65536)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "batch_size is %d",
                    o->batch_size);
  MAE_TRY(check_choice("features", (int)o->features, MAE_FEATURES_LOGITS));
  MAE_TRY(check_choice("final_norm", o->final_norm, 1));
  MAE_TRY(check_choice("dtype", (int)o->dtype, MAE_DTYPE_F16));
  MAE_TRY(check_choice("l2_normalize", o->l2_normalize, 1));
  MAE_TRY(check_choice("mode", (int)o->mode, MAE_MODE_THROUGHPUT));
  MAE_TRY(check_choice("pack_weights", o->pack_weights, 1));
  MAE_TRY(mae_precision_check("mae_session_options", o->precision));
  if (o->l2_normalize && o->features == MAE_FEATURES_ATTENTION)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "l2_normalize does not go with attention weights");
  MAE_TRY(check_blocks(o, c->depth));
  return check_logits(o, c);
}

/* `block` is a list of one; no list is left in the options. */
static mae_status take_blocks(mae_session *s, const mae_config *c) {
  mae_session_options *o = &s->options;
  if (!o->blocks) {
    if (o->num_blocks)
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                      "num_blocks is %d and blocks is NULL", o->num_blocks);
    o->blocks = &o->block;
    o->num_blocks = 1;
  }
  MAE_TRY(check(o, c));
  s->blocks = mae_calloc((size_t)o->num_blocks, sizeof *s->blocks);
  if (!s->blocks) return MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t i = 0; i < o->num_blocks; i++)
    s->blocks[i] = o->blocks[i] < 0 ? c->depth - 1 : o->blocks[i];
  o->blocks = NULL;
  return MAE_OK;
}

/* The model at the session's image size. */
static mae_status take_size(mae_session *s) {
  const mae_config *c = &s->model->config;
  const mae_session_options *o = &s->options;
  int32_t height = o->image_height ? o->image_height : c->image_height;
  int32_t width = o->image_width ? o->image_width : c->image_width;
  if (height == c->image_height && width == c->image_width) return MAE_OK;
  MAE_TRY(mae_model_view(s->model, height, width, &s->view));
  s->model = s->view;
  return MAE_OK;
}

/* ----------------------------------------------------------- creation --- */

static mae_status init_lane(const mae_session *s, mae_lane *lane) {
  const mae_config *c = &s->model->config;
  const mae_session_options *o = &s->options;
  lane->context = s->context;
  if (o->mode == MAE_MODE_THROUGHPUT) {
    lane->own = *s->context;
    lane->own.pool = NULL;
    MAE_TRY(mae_pool_create(1, &lane->own.pool));
    lane->context = &lane->own;
  }
  lane->noise = mae_calloc((size_t)(o->batch_size * mae_config_patches(c)),
                           sizeof *lane->noise);
  lane->vector = mae_calloc(2 * (size_t)c->embed_dim, sizeof *lane->vector);
  if (!lane->noise || !lane->vector) return MAE_ERROR_OUT_OF_MEMORY;
  return mae_preprocess_create(c->in_chans, c->image_height, c->image_width,
                               o->crop_ratio,
                               o->mean ? o->mean : mae_model_mean(s->model),
                               o->std ? o->std : mae_model_std(s->model),
                               &lane->preprocess);
}

static void free_lane(mae_lane *lane) {
  for (int i = 0; i < MAE_GRAPH_SIZES; i++) {
    mae_graph_destroy(&lane->features[i]);
    mae_graph_destroy(&lane->autoencoder[i]);
  }
  mae_preprocess_destroy(lane->preprocess);
  free(lane->noise);
  free(lane->vector);
  mae_pool_destroy(lane->own.pool);
}

/* Fill a zeroed session whose context, model and options are set. */
static mae_status set_up(mae_session *s) {
  mae_session_options *o = &s->options;
  MAE_TRY(take_blocks(s, &s->model->config));
  MAE_TRY(take_size(s));
  const mae_config *c = &s->model->config;
  MAE_TRY(mae_config_kept(c, o->feature_mask_ratio, false, &s->feature_kept));
  if (mae_config_has_decoder(c))
    MAE_TRY(mae_config_kept(c, o->mask_ratio, true, &s->kept));
  if (o->pack_weights)
    MAE_TRY(mae_packed_weights_init(&s->packed, s->context, s->model,
                                    o->precision));
  const bool many = o->mode == MAE_MODE_THROUGHPUT;
  int32_t lanes = many ? mae_context_threads(s->context) : 1;
  s->lanes = mae_calloc((size_t)lanes, sizeof *s->lanes);
  if (!s->lanes) return MAE_ERROR_OUT_OF_MEMORY;
  while (s->n_lanes < lanes)
    MAE_TRY(init_lane(s, &s->lanes[s->n_lanes++]));
  o->mean = o->std = NULL; /* the caller's, and copied */
  return MAE_OK;
}

mae_status mae_session_create(mae_context *context, const mae_model *model,
                              const mae_session_options *options,
                              mae_session **out) {
  MAE_REQUIRE(context);
  MAE_REQUIRE(model);
  MAE_REQUIRE(out);
  mae_session_options o = defaults;
  if (options)
    MAE_TRY(mae_options_read("mae_session_options", &o, sizeof o, options));
  mae_session *session = mae_calloc(1, sizeof *session);
  if (!session) return MAE_ERROR_OUT_OF_MEMORY;
  *session = (mae_session){.context = context, .model = model, .options = o};
  mae_status status = set_up(session);
  if (status != MAE_OK) {
    mae_session_destroy(session);
    return status;
  }
  *out = session;
  return MAE_OK;
}

void mae_session_destroy(mae_session *session) {
  if (!session) return;
  for (int32_t i = 0; i < session->n_lanes; i++) free_lane(&session->lanes[i]);
  mae_packed_weights_free(&session->packed);
  mae_model_destroy(session->view);
  free(session->lanes);
  free(session->blocks);
  free(session);
}

/* -------------------------------------------------------------- calls --- */

mae_status mae_session_check_call(const mae_session *session,
                                  const void *images, int64_t n) {
  MAE_REQUIRE(session);
  MAE_REQUIRE(images);
  if (n < 0)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "%lld images", (long long)n);
  return MAE_OK;
}

mae_pass mae_session_pass(const mae_session *s, int64_t begin, int64_t end) {
  int64_t most = s->options.batch_size, left = end - begin;
  return (mae_pass){begin, left < most ? left : most};
}

int mae_session_slot(const mae_session *s, int64_t count) {
  return count == s->options.batch_size ? MAE_GRAPH_FULL : MAE_GRAPH_REST;
}

const float *mae_session_noise(const mae_session *s, mae_lane *lane,
                               mae_pass pass, int64_t kept,
                               const float *noise) {
  const int64_t patches = mae_config_patches(&s->model->config);
  if (noise) return noise + pass.begin * patches;
  size_t values = (size_t)(pass.count * patches);
  if (kept == patches) /* nothing to choose: patches stay in order */
    memset(lane->noise, 0, values * sizeof *lane->noise);
  else
    mae_random_uniform(s->options.seed, 0, (uint64_t)(pass.begin * patches),
                       values, lane->noise);
  return lane->noise;
}

mae_status mae_session_preprocess(mae_session *session, const mae_image *image,
                                  float *out) {
  MAE_TRY(mae_session_check_call(session, image, 1));
  MAE_REQUIRE(out);
  mae_lane *lane = &session->lanes[0];
  return mae_preprocess_run(lane->preprocess, lane->context, image, out);
}
