#include "tool/settle.h"

#include <stdlib.h>
#include <string.h>

#include "tool/say.h"

/* What was not given as it is in `from`. */
static void fill_config(mae_config *c, const mae_config *from) {
  mae_config filled = *from;
#define FILL(field) \
  if (c->field) filled.field = c->field
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
  if (c->norm_pix_loss >= 0) filled.norm_pix_loss = c->norm_pix_loss;
  *c = filled;
}

static int settle_preset(run_settings *s) {
  mae_config preset;
  if (!*s->model) strcpy(s->model, "vit_b16");
  if (mae_config_init(&preset, sizeof preset, s->model) != MAE_OK)
    return fail_usage("model: '%s' is not vit_b16, vit_l16 or vit_h14",
                      s->model);
  fill_config(&s->config, &preset);
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

/* Of the weights' model where they tell, else ImageNet's. */
static int settle_channels(run_settings *s, const mae_model *weights) {
  static const float mean[] = {0.485f, 0.456f, 0.406f};
  static const float std[] = {0.229f, 0.224f, 0.225f};
  const int32_t n = s->config.in_chans;
  if (n > SETTINGS_MOST_CHANNELS)
    return fail("images of %d channels; %d are the most", (int)n,
                SETTINGS_MOST_CHANNELS);
  if ((s->mean.count && s->mean.count != n) ||
      (s->std.count && s->std.count != n))
    return fail_usage("%s: not one value for each of the %d channels",
                      s->mean.count && s->mean.count != n ? "mean" : "std",
                      (int)n);
  float own[2][SETTINGS_MOST_CHANNELS];
  if (weights && mae_model_normalization(weights, own[0], own[1]) == MAE_OK) {
    if (!s->mean.count) memcpy(s->mean.values, own[0], sizeof own[0]);
    if (!s->std.count) memcpy(s->std.values, own[1], sizeof own[1]);
    s->mean.count = s->std.count = n;
  }
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
  int status = settle_preset(s);
  if (status == TOOL_OK) status = settle_batch(s, PAPER, ranks);
  if (status == TOOL_OK) status = settle_channels(s, NULL);
  if (status == TOOL_OK) settle_loader(s, rank, ranks);
  return status;
}

/* ---------------------------------------------------------- fine-tuning --- */

static int settle_recipe(run_settings *s) {
  if (!*s->recipe) strcpy(s->recipe, "finetune");
  if (!strcmp(s->recipe, "finetune") || !strcmp(s->recipe, "scratch"))
    return TOOL_OK;
  return fail_usage("recipe: '%s' is not finetune or scratch", s->recipe);
}

bool settle_is_scratch(const run_settings *s) {
  return !strcmp(s->recipe, "scratch");
}

int settle_sources(run_settings *s) {
  int status = settle_recipe(s);
  if (status != TOOL_OK) return status;
  settle_path(s->data);
  if (*s->val) settle_path(s->val);
  if (settle_is_scratch(s)) return TOOL_OK;
  if (!*s->model)
    return fail_usage("which weights? (--model FILE; or --recipe scratch)");
  settle_path(s->model);
  return TOOL_OK;
}

/* What was given must be what the weights have, but for the image's size. */
static int agree_with_weights(run_settings *s, const mae_config *has) {
  const mae_config *c = &s->config;
  const struct {
    const char *name;
    double given, has;
  } fields[] = {{"patch-size", c->patch_size, has->patch_size},
                {"in-chans", c->in_chans, has->in_chans},
                {"embed-dim", c->embed_dim, has->embed_dim},
                {"depth", c->depth, has->depth},
                {"num-heads", c->num_heads, has->num_heads},
                {"mlp-ratio", c->mlp_ratio, has->mlp_ratio}};
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
    if (fields[i].given > 0 && fields[i].given != fields[i].has)
      return fail_usage("%s: %g is not the weights' %g", fields[i].name,
                        fields[i].given, fields[i].has);
  return TOOL_OK;
}

/* Of a classifier: the weights', a preset's, or all given, by a run that is
 * resumed. */
static int settle_classifier(run_settings *s, const mae_model *weights) {
  mae_config c, *config = &s->config;
  const int32_t pool = settings_given(s, "global-pool") ? config->global_pool
                                                        : 1; /* official */
  int status = TOOL_OK;
  if (mae_config_init(&c, sizeof c, NULL) != MAE_OK ||
      (weights && mae_model_config(weights, &c) != MAE_OK))
    return fail_library();
  if (weights) status = agree_with_weights(s, &c);
  if (status == TOOL_OK && settle_is_scratch(s))
    status = settle_preset(s);
  else if (status == TOOL_OK)
    fill_config(config, &c);
  config->decoder_embed_dim = config->decoder_depth = 0;
  config->decoder_num_heads = config->encoder_mask_tokens = 0;
  config->global_pool = pool;
  return status;
}

static int apply_recipe(run_settings *s) {
  const mae_recipe recipe =
      settle_is_scratch(s) ? MAE_RECIPE_SCRATCH : MAE_RECIPE_FINETUNE;
  run_settings of_recipe = *s;
  int64_t epochs, warmup;
  if (mae_trainer_options_recipe(&of_recipe.trainer, sizeof of_recipe.trainer,
                                 recipe, &s->config, &epochs,
                                 &warmup) != MAE_OK ||
      mae_loader_options_recipe(&of_recipe.loader, sizeof of_recipe.loader,
                                recipe) != MAE_OK)
    return fail_library();
  of_recipe.trainer.accum_steps = 0;
  of_recipe.epochs = (int32_t)epochs;
  of_recipe.warmup_epochs = (double)warmup;
  settings_default(s, &of_recipe);
  return TOOL_OK;
}

int settle_finetuning(run_settings *s, const mae_model *weights, int32_t rank,
                      int32_t ranks) {
  const int32_t images = settle_is_scratch(s) ? 4096 : 1024;
  int status = settle_classifier(s, weights);
  if (status == TOOL_OK) status = apply_recipe(s);
  if (status == TOOL_OK) status = settle_batch(s, images, ranks);
  if (status == TOOL_OK) status = settle_channels(s, weights);
  if (status == TOOL_OK) settle_loader(s, rank, ranks);
  return status;
}
