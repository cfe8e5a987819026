/* Times training steps (forward, backward, AdamW) on made-up images.
 *
 *   train_step [--config vit_b16|vit_l16|vit_h14|demo] [--batch N] [--steps N]
 *              [--threads N] [--precision f32|bf16] [--recompute]
 *              [--update-in-backward] [--image-size N] [--depth N]
 *              [--mask-ratio X] [--interactive]
 *
 * program.h says what it prints; also "flops", of a step, and "planned_bytes"
 * (mae_trainer_plan).  MAE_PROFILE=1: at the end, where the steps' time went. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"
#include "tool/context.h"
#include "tool/profile.h"

typedef struct request {
  const char *config, *precision;
  int batch, threads, image_size, depth; /* the last two 0: the config's */
  double mask_ratio;
  bool recompute, in_backward;
  turns turns;
} request;

/* The model that examples/demo.c trains. */
static void demo_config(mae_config *c) {
  c->image_height = c->image_width = 28;
  c->in_chans = 1;
  c->patch_size = 4;
  c->embed_dim = 128;
  c->depth = 4;
  c->num_heads = 4;
  c->decoder_embed_dim = 64;
  c->decoder_depth = 1;
  c->decoder_num_heads = 4;
}

static request read_request(int argc, char **argv) {
  static request r = {.config = "vit_b16", .precision = "f32", .batch = 16,
                      .mask_ratio = 0.75, .turns.steps = 5};
  const program_option options[] = {
      {"config", .text = &r.config},
      {"precision", .text = &r.precision},
      {"batch", .number = &r.batch},
      {"threads", .number = &r.threads},
      {"image-size", .number = &r.image_size},
      {"depth", .number = &r.depth},
      {"mask-ratio", .real = &r.mask_ratio},
      {"recompute", .flag = &r.recompute},
      {"update-in-backward", .flag = &r.in_backward},
      TURNS_OPTIONS(r.turns),
      {0}};
  program_options(argc, argv, options);
  return r;
}

static mae_config config_of(const request *r) {
  const bool demo = !strcmp(r->config, "demo");
  mae_config c;
  need(mae_config_init(&c, sizeof c, demo ? NULL : r->config));
  if (demo) demo_config(&c);
  if (r->image_size) c.image_height = c.image_width = r->image_size;
  if (r->depth) c.depth = r->depth;
  return c;
}

typedef struct training {
  mae_trainer *trainer;
  const float *images;
} training;

static void step(void *arg) {
  const training *t = arg;
  need(mae_trainer_step(t->trainer, t->images, NULL, NULL));
}

static void introduce(mae_context *context, const mae_config *config,
                      const mae_trainer_options *options) {
  mae_training_plan plan = {.struct_size = sizeof plan};
  need(mae_trainer_plan(context, config, options, &plan));
  printf("version libmae %s\nisa %s\nthreads %d\nflops %.0f\n"
         "planned_bytes %lld\n",
         mae_version(), isa_name(context), mae_context_threads(context),
         plan.step_flops,
         (long long)plan.total_bytes);
}

int main(int argc, char **argv) {
  const request r = read_request(argc, argv);
  const mae_config config = config_of(&r);
  mae_trainer_options options;
  mae_trainer_options_init(&options, sizeof options);
  options.batch_size = r.batch;
  options.mask_ratio = r.mask_ratio;
  options.recompute = r.recompute;
  options.update_in_backward = r.in_backward;
  mae_context *context;
  mae_model *model;
  training t;
  need(open_context(r.threads, &context));
  options.precision = precision_of(context, r.precision);
  need(mae_model_create(&config, 1, &model));
  need(mae_trainer_create(context, model, &options, &t.trainer));
  float *images =
      program_values((size_t)r.batch * (size_t)config.in_chans *
                     (size_t)config.image_height * (size_t)config.image_width);
  t.images = images;
  step(&t); /* warm up */
  mae_context_profile_reset(context);
  introduce(context, &config, &options);
  ready();
  take_turns(&r.turns, step, &t);
  profile_print(context, stdout);
  free(images);
  mae_trainer_destroy(t.trainer);
  mae_model_destroy(model);
  mae_context_destroy(context);
  return 0;
}
