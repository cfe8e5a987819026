/* Doing what `mae features` was asked: decode, preprocess, infer, write. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tool/decoder.h"
#include "tool/features.h"
#include "tool/progress.h"
#include "tool/rows.h"
#include "tool/say.h"

typedef struct job {
  features_request *request;
  mae_context *context;
  mae_model *model;
  mae_session *session;
  decoder *decoder;
  rows_file *rows;
  progress progress;
  size_t image_values, row_size; /* row_size in bytes */
  size_t batch;                  /* images per call of the library */
  float *images;                 /* [batch, C, H, W] */
  void *features;
  const char **names;
  size_t pending, written, done; /* images that wait in the batch; rows in the
                                    file; paths dealt with */
} job;

static mae_status make_context(int32_t threads, mae_context **context) {
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  o.threads = threads;
  return mae_context_create(&o, context);
}

static int session_options(const features_request *r, mae_config *config,
                           mae_session_options *o) {
  mae_session_options_init(o, sizeof *o);
  if (r->batch) o->batch_size = r->batch;
  o->features = r->output;
  o->final_norm = !r->no_final_norm;
  o->l2_normalize = r->l2;
  o->dtype = r->dtype;
  o->mode = r->mode;
  if (r->n_blocks == 1) o->block = r->blocks[0];
  if (r->n_blocks > 1) {
    o->blocks = r->blocks;
    o->num_blocks = r->n_blocks;
  }
  return look_apply(&r->look, config, o);
}

/* The shape of one row; c is of the size that images are looked at. */
static rows_layout layout_of(const features_request *r, const mae_config *c) {
  rows_layout l = {.dtype = r->dtype};
  int64_t tokens =
      1 + c->image_height / c->patch_size * (c->image_width / c->patch_size);
  if (r->n_blocks > 1) l.shape[l.ndim++] = r->n_blocks;
  if (r->output == MAE_FEATURES_ATTENTION) {
    l.shape[l.ndim++] = c->num_heads;
    l.shape[l.ndim++] = tokens;
    l.shape[l.ndim++] = tokens;
    return l;
  }
  if (r->output == MAE_FEATURES_TOKENS) l.shape[l.ndim++] = tokens;
  l.shape[l.ndim++] =
      r->output == MAE_FEATURES_LOGITS ? c->num_classes : c->embed_dim;
  return l;
}

/* Images per call of the library: in throughput mode a pass a thread. */
static size_t images_per_call(const features_request *r, const job *j,
                              const mae_session_options *o) {
  int32_t passes =
      r->mode == MAE_MODE_THROUGHPUT ? mae_context_threads(j->context) : 1;
  return (size_t)o->batch_size * (size_t)passes;
}

static mae_status make_buffers(job *j, const mae_config *c) {
  const size_t batch = j->batch;
  j->image_values =
      (size_t)c->in_chans * (size_t)c->image_height * (size_t)c->image_width;
  j->images = mae_calloc(batch, j->image_values * sizeof *j->images);
  j->features = mae_calloc(batch, j->row_size);
  j->names = mae_calloc(batch, sizeof *j->names);
  return j->images && j->features && j->names ? MAE_OK
                                              : MAE_ERROR_OUT_OF_MEMORY;
}

static mae_status open_job(job *j, const mae_config *config,
                           const mae_session_options *o) {
  const features_request *r = j->request;
  const char *const *paths = (const char *const *)r->paths.items;
  rows_layout layout = layout_of(r, config);
  MAE_TRY(make_context(r->threads, &j->context));
  MAE_TRY(mae_session_create(j->context, j->model, o, &j->session));
  j->row_size = (size_t)row_bytes(&layout);
  size_t value = layout.dtype == MAE_DTYPE_F16 ? 2 : 4;
  if ((int64_t)(j->row_size / value) != mae_session_feature_size(j->session))
    return mae_fail(MAE_ERROR_STATE, "features of an unexpected size");
  j->batch = images_per_call(r, j, o);
  MAE_TRY(make_buffers(j, config));
  MAE_TRY(rows_begin(r->out_path, &layout, paths, r->paths.count, &j->rows));
  decoder_options d = {.model = j->model,
                       .look = o,
                       .paths = paths,
                       .count = r->paths.count,
                       .image_values = j->image_values,
                       .threads = mae_context_threads(j->context),
                       .ahead = j->batch};
  return decoder_start(&d, &j->decoder);
}

static void close_job(job *j) {
  decoder_stop(j->decoder);
  rows_abort(j->rows);
  mae_session_destroy(j->session);
  mae_context_destroy(j->context);
  mae_model_destroy(j->model);
  free(j->images);
  free(j->features);
  free(j->names);
}

/* The features of the images that wait. */
static mae_status run_batch(job *j) {
  if (!j->pending) return MAE_OK;
  MAE_TRY(mae_session_features(j->session, j->images, (int64_t)j->pending, NULL,
                               j->features));
  MAE_TRY(rows_add(j->rows, j->features, j->names, j->pending));
  j->written += j->pending;
  j->pending = 0;
  return MAE_OK;
}

static int take_image(job *j, const decoded *image) {
  features_request *r = j->request;
  if (!image->pixels) {
    if (r->failed.at_once) progress_clear(&j->progress);
    return failures_add(&r->failed, image->path, image->problem);
  }
  memcpy(j->images + j->pending * j->image_values, image->pixels,
         j->image_values * sizeof *j->images);
  j->names[j->pending++] = image->path;
  return TOOL_OK;
}

static int run_all(job *j) {
  decoded image;
  while (decoder_next(j->decoder, &image)) {
    int status = take_image(j, &image);
    if (status != TOOL_OK) return status;
    if (j->pending == j->batch && run_batch(j) != MAE_OK) return fail_library();
    j->done++;
    progress_show(&j->progress, j->done, j->request->failed.count);
  }
  return run_batch(j) == MAE_OK ? TOOL_OK : fail_library();
}

/* Put the file in place, unless it would be empty. */
static int finish(job *j) {
  const features_request *r = j->request;
  int status = r->failed.count ? TOOL_FAILED : TOOL_OK;
  rows_file *rows = j->rows;
  progress_end(&j->progress, j->written);
  failures_report(&r->failed, r->asked);
  if (!j->written) return fail("nothing to write");
  j->rows = NULL;
  return rows_commit(rows) == MAE_OK ? status : fail_library();
}

static int run_job(job *j) {
  features_request *r = j->request;
  mae_config config;
  mae_session_options options;
  int status = weights_load_to_use(&r->weights, r->model_path, &j->model);
  if (status != TOOL_OK) return status;
  if (mae_config_init(&config, sizeof config, NULL) != MAE_OK ||
      mae_model_config(j->model, &config) != MAE_OK)
    return fail_library();
  status = session_options(r, &config, &options);
  if (status != TOOL_OK) return status;
  if (open_job(j, &config, &options) != MAE_OK) return fail_library();
  j->progress = progress_begin(r->paths.count, r->quiet);
  status = run_all(j);
  if (status == TOOL_OK) return finish(j);
  progress_clear(&j->progress);
  return status;
}

int features_run(features_request *request) {
  if (!request->paths.count) {
    failures_report(&request->failed, request->asked);
    return fail("nothing to write");
  }
  job j = {.request = request};
  int status = run_job(&j);
  close_job(&j);
  return status;
}
