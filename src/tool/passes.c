#include "tool/passes.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tool/say.h"

typedef struct batch {
  const passes *passes;
  size_t image_values;
  size_t most, n;  /* images per call of the library; that wait */
  float *pixels;   /* [most, C, H, W] */
  void *outputs;
  size_t *numbers; /* of the images that wait */
} batch;

/* Images per call of the library: in throughput mode a pass a thread. */
static size_t images_per_call(const passes *p) {
  int32_t calls = p->options->mode == MAE_MODE_THROUGHPUT
                      ? mae_context_threads(p->context)
                      : 1;
  return (size_t)p->options->batch_size * (size_t)calls;
}

static mae_status make_batch(batch *b) {
  const passes *p = b->passes;
  const mae_session_options *o = p->options;
  mae_config c;
  MAE_TRY(mae_config_init(&c, sizeof c, NULL));
  MAE_TRY(mae_model_config(p->model, &c));
  const int32_t height = o->image_height ? o->image_height : c.image_height;
  const int32_t width = o->image_width ? o->image_width : c.image_width;
  const size_t value = o->dtype == MAE_DTYPE_F16 ? 2 : 4;
  b->image_values = (size_t)c.in_chans * (size_t)height * (size_t)width;
  b->most = images_per_call(p);
  b->pixels = mae_calloc(b->most, b->image_values * sizeof *b->pixels);
  b->outputs = mae_calloc(
      b->most, (size_t)mae_session_feature_size(p->session) * value);
  b->numbers = mae_calloc(b->most, sizeof *b->numbers);
  return b->pixels && b->outputs && b->numbers ? MAE_OK
                                               : MAE_ERROR_OUT_OF_MEMORY;
}

/* What the session makes of the images that wait. */
static int run_batch(batch *b) {
  const passes *p = b->passes;
  const size_t n = b->n;
  b->n = 0;
  if (!n) return TOOL_OK;
  if (mae_session_features(p->session, b->pixels, (int64_t)n, NULL,
                           b->outputs) != MAE_OK)
    return fail_library();
  return p->take(p->arg, b->outputs, b->numbers, n);
}

static int take_image(batch *b, const decoded *image) {
  const passes *p = b->passes;
  if (!image->pixels) {
    if (p->progress && p->failed->at_once) progress_clear(p->progress);
    return failures_add(p->failed, image->path, image->problem);
  }
  memcpy(b->pixels + b->n * b->image_values, image->pixels,
         b->image_values * sizeof *b->pixels);
  b->numbers[b->n++] = image->number;
  return b->n == b->most ? run_batch(b) : TOOL_OK;
}

static int take_all(batch *b, decoder *d) {
  const passes *p = b->passes;
  decoded image;
  while (decoder_next(d, &image)) {
    int status = take_image(b, &image);
    if (status != TOOL_OK) return status;
    if (p->progress)
      progress_show(p->progress, image.number + 1, p->failed->count);
  }
  return run_batch(b);
}

static int decode_all(batch *b) {
  const passes *p = b->passes;
  const decoder_options o = {.model = p->model,
                             .look = p->options,
                             .paths = p->paths,
                             .dataset = p->dataset,
                             .count = p->count,
                             .image_values = b->image_values,
                             .threads = mae_context_threads(p->context),
                             .ahead = b->most};
  decoder *d;
  if (decoder_start(&o, &d) != MAE_OK) return fail_library();
  int status = take_all(b, d);
  decoder_stop(d);
  return status;
}

int passes_run(const passes *p) {
  batch b = {.passes = p};
  int status = make_batch(&b) == MAE_OK ? decode_all(&b) : fail_library();
  if (status != TOOL_OK && p->progress) progress_clear(p->progress);
  free(b.pixels);
  free(b.outputs);
  free(b.numbers);
  return status;
}
