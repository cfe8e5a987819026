/* Trains a small model on made-up images, as one of several processes or
 * alone, for tests/mpi.sh.  Prints "step loss rate norm" of each update. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/mpi.h"
#include "tool/say.h"

enum { SIDE = 32, IMAGE = 3 * SIDE * SIDE };

static struct {
  int batch, accum, steps; /* batch: of all ranks together */
  long long bucket_bytes;
  const char *resume, *save;       /* each rank saves SAVE.RANK */
  int kill_rank, kill_step;        /* this rank dies there */
  int fail_rank, odd_rank, nan_step; /* fails; has another seed; NaN image */
} wish = {.batch = 8, .accum = 1, .steps = 12, .bucket_bytes = 65536,
          .kill_rank = -1, .fail_rank = -1, .odd_rank = -1, .nan_step = -1};

static void read_wishes(int argc, char **argv) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const char *name = argv[i], *value = argv[i + 1];
    if (!strcmp(name, "batch")) wish.batch = atoi(value);
    if (!strcmp(name, "accum")) wish.accum = atoi(value);
    if (!strcmp(name, "steps")) wish.steps = atoi(value);
    if (!strcmp(name, "bucket")) wish.bucket_bytes = atoll(value);
    if (!strcmp(name, "resume")) wish.resume = value;
    if (!strcmp(name, "save")) wish.save = value;
    if (!strcmp(name, "kill")) wish.kill_rank = atoi(value);
    if (!strcmp(name, "at")) wish.kill_step = atoi(value);
    if (!strcmp(name, "fail")) wish.fail_rank = atoi(value);
    if (!strcmp(name, "odd")) wish.odd_rank = atoi(value);
    if (!strcmp(name, "nan")) wish.nan_step = atoi(value);
  }
}

/* One rank's failure ends them all. */
static void need(mae_status status) {
  if (status != MAE_OK) mpi_abort(fail_library());
}

static mae_model *make_model(void) {
  mae_config c;
  mae_model *model;
  need(mae_config_init(&c, sizeof c, NULL));
  c.image_height = c.image_width = SIDE;
  c.patch_size = 4;
  c.embed_dim = 64;
  c.depth = 4;
  c.num_heads = 4;
  c.decoder_embed_dim = 32;
  c.decoder_depth = 2;
  c.decoder_num_heads = 4;
  need(mae_model_create(&c, 7, &model));
  return model;
}

static mae_trainer *make_trainer(mae_context *context, mae_model *model) {
  mae_trainer_options o;
  mae_trainer *trainer;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = wish.batch / mpi_ranks();
  o.accum_steps = wish.accum;
  o.base_lr = 0.02;
  o.warmup_steps = 3;
  o.total_steps = 100;
  o.clip_grad = 0.5;
  o.seed = 3 + (mpi_rank() == wish.odd_rank);
  need(mae_trainer_create(context, model, &o, &trainer));
  if (mpi_communicator()) {
    mae_communicator c = *mpi_communicator();
    c.bucket_bytes = wish.bucket_bytes;
    need(mae_trainer_set_communicator(trainer, &c));
  }
  if (wish.resume) need(mae_trainer_resume(trainer, wish.resume));
  return trainer;
}

static void step(mae_trainer *trainer, float *images, int i) {
  const size_t n = (size_t)(wish.batch / mpi_ranks()) * IMAGE;
  mae_step_result r = {.struct_size = sizeof r};
  need(mae_random_normal(
      1, 2, mae_trainer_images_seen(trainer) * IMAGE + (uint64_t)mpi_rank() * n,
      n, images));
  if (i == wish.nan_step && mpi_rank() == mpi_ranks() - 1)
    images[0] = 0.0f / 0.0f;
  if (i == wish.kill_step && mpi_rank() == wish.kill_rank) raise(SIGKILL);
  if (i == wish.kill_step && mpi_rank() == wish.fail_rank)
    mpi_abort(fail("rank %d has had enough", mpi_rank()));
  mae_status status = mae_trainer_step(trainer, images, NULL, &r);
  if (status == MAE_ERROR_NON_FINITE)
    say("rank %d skips: %s", mpi_rank(), mae_last_error());
  else
    need(status);
  if (status == MAE_OK && !mpi_rank()) {
    printf("%lld %.9g %.9g %.9g\n", (long long)r.step, r.loss, r.learning_rate,
           r.grad_norm);
    fflush(stdout);
  }
}

static void save(const mae_trainer *trainer) {
  char path[4096];
  snprintf(path, sizeof path, "%s.%d", wish.save, mpi_rank());
  need(mae_trainer_save(trainer, path));
}

int main(int argc, char **argv) {
  int status = mpi_begin(&argc, &argv);
  if (status) return status;
  read_wishes(argc, argv);
  mae_context_options o;
  mae_context *context;
  mae_context_options_init(&o, sizeof o);
  o.threads = 1;
  need(mae_context_create(&o, &context));
  mae_model *model = make_model();
  mae_trainer *trainer = make_trainer(context, model);
  float *images = malloc((size_t)wish.batch * IMAGE * sizeof *images);
  if (!images) mpi_abort(fail("no memory"));
  for (int i = 0; i < wish.steps; i++) step(trainer, images, i);
  /* A flag of one rank is seen by all. */
  if (mpi_any(0) || !mpi_any(mpi_rank() == mpi_ranks() - 1))
    mpi_abort(fail("mpi_any is wrong on rank %d", mpi_rank()));
  if (mpi_ranks_here() != mpi_ranks())
    mpi_abort(fail("%d ranks here", mpi_ranks_here()));
  if (wish.save) save(trainer);
  mpi_barrier();
  free(images);
  mae_trainer_destroy(trainer);
  mae_model_destroy(model);
  mae_context_destroy(context);
  mpi_end();
  return TOOL_OK;
}
