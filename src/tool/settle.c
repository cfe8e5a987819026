#include "tool/settle.h"

#include <stdlib.h>
#include <string.h>

#include "tool/say.h"

/* The preset's, where a size was not given. */
static int settle_config(run_settings *s) {
  mae_config preset, *c = &s->config;
  if (!*s->model) strcpy(s->model, "vit_b16");
  if (mae_config_init(&preset, sizeof preset, s->model) != MAE_OK)
    return fail_usage("model: '%s' is not vit_b16, vit_l16 or vit_h14",
                      s->model);
#define FILL(field) \
  if (c->field) preset.field = c->field
  FILL(image_height);
  FILL(image_width);
  FILL(patch_size);
  FILL(in_chans);
  FILL(embed_dim);
  FILL(depth);
  FILL(num_heads);
  FILL(decoder_embed_dim);
  FILL(decoder_depth);
  FILL(decoder_num_heads);
  FILL(mlp_ratio);
  FILL(layer_norm_eps);
  FILL(encoder_mask_tokens);
#undef FILL
  if (c->norm_pix_loss >= 0) preset.norm_pix_loss = c->norm_pix_loss;
  *c = preset;
  return TOOL_OK;
}

/* Of batch x accum = effective, what was given first gives way. */
static void drop_older(run_settings *s) {
  if (!s->accum_source || !s->effective_source) return;
  if (s->accum_source > s->effective_source)
    s->effective_batch = 0;
  else if (s->effective_source > s->accum_source ||
           s->batch_source > s->accum_source)
    s->trainer.accum_steps = 0;
}

/* Passes an update: as asked, or as near to the images that an update has in
 * the recipe as whole passes come. */
static int settle_batch(run_settings *s, int32_t images, int32_t ranks) {
  drop_older(s);
  mae_trainer_options *t = &s->trainer;
  int32_t batch = t->batch_size, asked = s->effective_batch;
  if (batch % ranks)
    return fail_usage("batch: %d images cannot be shared out among %d processes",
                      (int)batch, (int)ranks);
  if (asked && asked % batch)
    return fail_usage("effective-batch: %d is not a multiple of batch, %d",
                      (int)asked, (int)batch);
  if (asked && t->accum_steps && asked / batch != t->accum_steps)
    return fail_usage("effective-batch %d is not batch %d x accum %d",
                      (int)asked, (int)batch, (int)t->accum_steps);
  if (!t->accum_steps)
    t->accum_steps = asked ? asked / batch : (images + batch / 2) / batch;
  if (t->accum_steps < 1) t->accum_steps = 1;
  int64_t effective = (int64_t)batch * t->accum_steps;
  if (effective > INT32_MAX)
    return fail_usage("batch x accum: %lld images an update are too many",
                      (long long)effective);
  s->effective_batch = (int32_t)effective;
  return TOOL_OK;
}

static int settle_channels(run_settings *s) {
  static const float mean[] = {0.485f, 0.456f, 0.406f};
  static const float std[] = {0.229f, 0.224f, 0.225f};
  const int32_t n = s->config.in_chans;
  if ((s->mean.count && s->mean.count != n) ||
      (s->std.count && s->std.count != n))
    return fail_usage("%s: not one value for each of the %d channels",
                      s->mean.count && s->mean.count != n ? "mean" : "std",
                      (int)n);
  for (int32_t k = 0; k < n; k++) { /* grey: the means of the three */
    if (!s->mean.count) s->mean.values[k] = n == 3 ? mean[k] : 0.449f;
    if (!s->std.count) s->std.values[k] = n == 3 ? std[k] : 0.226f;
    if (!(s->std.values[k] > 0)) return fail_usage("std: not above 0");
  }
  s->mean.count = s->std.count = n;
  return TOOL_OK;
}

/* A run may be resumed from another folder. */
static void settle_path(char path[PATH_MAX]) {
  char *whole = realpath(path, NULL);
  if (whole && !strpbrk(whole, "\n\r") && strlen(whole) < PATH_MAX)
    strcpy(path, whole);
  free(whole);
}

static void settle_loader(run_settings *s, int32_t rank, int32_t ranks) {
  mae_loader_options *l = &s->loader;
  s->fit.epochs = s->epochs;
  l->batch_size = s->trainer.batch_size / ranks;
  l->image_height = s->config.image_height;
  l->image_width = s->config.image_width;
  l->in_chans = s->config.in_chans;
  l->mean = s->mean.values;
  l->std = s->std.values;
  l->seed = s->trainer.seed;
  l->rank = rank;
  l->ranks = ranks;
}

int settle_pretraining(run_settings *s, int32_t rank, int32_t ranks) {
  enum { PAPER = 4096 };
  settle_path(s->data);
  int status = settle_config(s);
  if (status == TOOL_OK) status = settle_batch(s, PAPER, ranks);
  if (status == TOOL_OK) status = settle_channels(s);
  if (status == TOOL_OK) settle_loader(s, rank, ranks);
  return status;
}
