#include "tool/cached_features.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tool/say.h"

typedef struct cache {
  const mae_dataset *dataset;
  cached_features *features;
} cache;

static int take(void *arg, const void *outputs, const size_t *images,
                size_t n) {
  const cache *c = arg;
  cached_features *f = c->features;
  const size_t width = (size_t)f->width;
  memcpy(f->rows + (size_t)f->n * width, outputs, n * width * sizeof(float));
  for (size_t i = 0; i < n; i++)
    f->labels[f->n++] = mae_dataset_label(c->dataset, (int64_t)images[i]);
  return TOOL_OK;
}

static mae_status make_room(const passes *p, cached_features *f) {
  f->n = 0;
  f->width = mae_session_feature_size(p->session);
  f->rows = mae_calloc(p->count, (size_t)f->width * sizeof *f->rows);
  f->labels = mae_calloc(p->count, sizeof *f->labels);
  return f->rows && f->labels ? MAE_OK : MAE_ERROR_OUT_OF_MEMORY;
}

int cached_features_make(passes *p, cached_features *f) {
  cache c = {p->dataset, f};
  p->count = (size_t)mae_dataset_size(p->dataset);
  p->take = take;
  p->arg = &c;
  if (mae_session_create(p->context, p->model, p->options, &p->session) !=
      MAE_OK)
    return fail_library();
  int status = make_room(p, f) == MAE_OK ? passes_run(p) : fail_library();
  mae_session_destroy(p->session);
  p->session = NULL;
  return status;
}

void cached_features_free(cached_features *f) {
  free(f->rows);
  free(f->labels);
  *f = (cached_features){0};
}
