/* Doing what `mae features` was asked: images through a session, into a file. */
#include <stdlib.h>

#include "base/memory.h"
#include "tool/context.h"
#include "tool/features.h"
#include "tool/passes.h"
#include "tool/precision.h"
#include "tool/profile.h"
#include "tool/rows.h"
#include "tool/say.h"

typedef struct job {
  features_request *request;
  mae_context *context;
  mae_model *model;
  mae_session *session;
  rows_file *rows;
  progress progress;
  const char **names; /* room for those of a call */
  size_t written;     /* rows in the file */
} job;

static int session_options(const features_request *r, mae_config *config,
                           mae_session_options *o) {
  mae_session_options_init(o, sizeof *o);
  if (r->batch) o->batch_size = r->batch;
  o->features = r->output;
  o->final_norm = !r->no_final_norm;
  o->l2_normalize = r->l2;
  o->dtype = r->dtype;
  o->mode = r->mode;
  precision_set(o, r->precision);
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

static mae_status open_job(job *j, const mae_config *config,
                           const mae_session_options *o) {
  const features_request *r = j->request;
  const char *const *paths = (const char *const *)r->paths.items;
  rows_layout layout = layout_of(r, config);
  MAE_TRY(open_context(r->threads, &j->context));
  MAE_TRY(mae_session_create(j->context, j->model, o, &j->session));
  int64_t value = layout.dtype == MAE_DTYPE_F16 ? 2 : 4;
  if (row_bytes(&layout) / value != mae_session_feature_size(j->session))
    return mae_fail(MAE_ERROR_STATE, "features of an unexpected size");
  j->names = mae_calloc(r->paths.count, sizeof *j->names);
  if (!j->names) return MAE_ERROR_OUT_OF_MEMORY;
  return rows_begin(r->out_path, &layout, paths, r->paths.count, &j->rows);
}

static void close_job(job *j) {
  rows_abort(j->rows);
  mae_session_destroy(j->session);
  profile_print(j->context, stderr);
  mae_context_destroy(j->context);
  mae_model_destroy(j->model);
  free(j->names);
}

static int take(void *arg, const void *outputs, const size_t *images,
                size_t n) {
  job *j = arg;
  for (size_t i = 0; i < n; i++)
    j->names[i] = j->request->paths.items[images[i]];
  if (rows_add(j->rows, outputs, j->names, n) != MAE_OK) return fail_library();
  j->written += n;
  return TOOL_OK;
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
  const passes p = {.context = j->context,
                    .model = j->model,
                    .session = j->session,
                    .options = &options,
                    .paths = (const char *const *)r->paths.items,
                    .count = r->paths.count,
                    .progress = &j->progress,
                    .failed = &r->failed,
                    .take = take,
                    .arg = j};
  status = passes_run(&p);
  return status == TOOL_OK ? finish(j) : status;
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
