/* Times training steps (forward, backward, AdamW) on random images.
 *
 *   train_step [--config vit_b16|demo] [--batch N] [--steps N] [--threads N]
 *              [--recompute] [--interactive]
 *
 * Prints "step SECONDS" for each.  With --interactive it makes one step for
 * each line of input, so that a driver can alternate it with another program
 * on the same machine.  --recompute trades time for memory. */
#include <libmae/mae.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void need(mae_status status) {
  if (status == MAE_OK) return;
  fprintf(stderr, "%s: %s\n", mae_status_name(status), mae_last_error());
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

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

int main(int argc, char **argv) {
  const char *name = "vit_b16";
  int batch = 16, steps = 5, threads = 0, interactive = 0, recompute = 0;
  for (int i = 1; i < argc; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : "";
    if (!strcmp(argv[i], "--interactive")) {
      interactive = 1;
      continue;
    }
    if (!strcmp(argv[i], "--recompute")) {
      recompute = 1;
      continue;
    }
    if (!strcmp(argv[i], "--config")) name = value;
    else if (!strcmp(argv[i], "--batch")) batch = atoi(value);
    else if (!strcmp(argv[i], "--steps")) steps = atoi(value);
    else if (!strcmp(argv[i], "--threads")) threads = atoi(value);
    else {
      fprintf(stderr, "train_step: what is %s?\n", argv[i]);
      return 2;
    }
    i++;
  }

  int demo = !strcmp(name, "demo");
  mae_config config;
  need(mae_config_init(&config, sizeof config, demo ? NULL : name));
  if (demo) demo_config(&config);
  mae_context_options co;
  mae_context_options_init(&co, sizeof co);
  co.threads = threads;
  mae_trainer_options to;
  mae_trainer_options_init(&to, sizeof to);
  to.batch_size = batch;
  to.recompute = recompute;
  mae_context *context;
  mae_model *model;
  mae_trainer *trainer;
  need(mae_context_create(&co, &context));
  need(mae_model_create(&config, 1, &model));
  need(mae_trainer_create(context, model, &to, &trainer));

  size_t pixels = (size_t)batch * (size_t)config.in_chans *
                  (size_t)config.image_height * (size_t)config.image_width;
  float *images = malloc(pixels * sizeof *images);
  if (!images) return 1;
  need(mae_random_normal(2, 0, 0, pixels, images));
  need(mae_trainer_step(trainer, images, NULL, NULL)); /* warm up */
  printf("libmae %s threads %d isa %d\n", mae_version(),
         mae_context_threads(context), (int)mae_context_isa(context));
  fflush(stdout);

  char line[64];
  for (int i = 0; i < steps; i++) {
    if (interactive && !fgets(line, sizeof line, stdin)) break;
    double start = now();
    need(mae_trainer_step(trainer, images, NULL, NULL));
    printf("step %.6f\n", now() - start);
    fflush(stdout);
  }
  free(images);
  mae_trainer_destroy(trainer);
  mae_model_destroy(model);
  mae_context_destroy(context);
  return 0;
}
