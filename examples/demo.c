/* Pretrains a small MAE on Fashion-MNIST and looks at what it learnt.
 *
 *   demo [OUT_FOLDER [EPOCHS]]
 *
 * Writes mae.safetensors, loss.csv, loss.png and reconstruction.png, then
 * compares linear probes on the 10,000 test images. */
#include <errno.h>
#include <libmae/mae.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fashion.h"
#include "grid.h"
#include "picture.h"
#include "probe.h"

enum { BATCH = 128, SEED = 1, PROBE_EPOCHS = 6 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static mae_config demo_config(void) {
  mae_config c;
  need(mae_config_init(&c, sizeof c, NULL));
  c.image_height = c.image_width = FASHION_SIDE;
  c.in_chans = 1;
  c.patch_size = 4;
  c.embed_dim = 128;
  c.depth = 4;
  c.num_heads = 4;
  c.decoder_embed_dim = 64;
  c.decoder_depth = 1;
  c.decoder_num_heads = 4;
  return c;
}

/* ----------------------------------------------------------- training --- */

/* Copy the images, every second one mirrored: the augmentation. */
static void fill_batch(const fashion *data, const uint32_t *order,
                       const float *coin, float *out) {
  for (int b = 0; b < BATCH; b++) {
    const float *image = data->images + (size_t)order[b] * FASHION_PIXELS;
    float *to = out + b * FASHION_PIXELS;
    for (int i = 0; i < FASHION_PIXELS; i++) {
      int row = i / FASHION_SIDE, column = i % FASHION_SIDE;
      int from = coin[b] < 0.5f ? column : FASHION_SIDE - 1 - column;
      to[i] = image[row * FASHION_SIDE + from];
    }
  }
}

/* One line that rewrites itself on a terminal, and one each 10 s elsewhere. */
static void show_progress(int64_t step, int64_t steps, double loss,
                          double start, double *shown) {
  double t = now(), rate = (double)step * BATCH / (t - start);
  int terminal = isatty(STDOUT_FILENO);
  if (step < steps && t - *shown < (terminal ? 0.2 : 10)) return;
  *shown = t;
  double left = (double)(steps - step) * BATCH / rate;
  printf("%sstep %lld/%lld  loss %.4f  %.0f images/s  ETA %d:%02d%s",
         terminal ? "\r" : "", (long long)step, (long long)steps, loss, rate,
         (int)left / 60, (int)left % 60,
         terminal && step < steps ? "   " : "\n");
  fflush(stdout);
}

/* Mean loss of each 20 steps goes to curve; returns how many. */
static int pretrain(mae_trainer *trainer, const fashion *data, int epochs,
                    float *curve) {
  int64_t per_epoch = data->n / BATCH, steps = per_epoch * epochs, step = 0;
  uint32_t *order = malloc((size_t)data->n * sizeof *order);
  float *batch = malloc(BATCH * FASHION_PIXELS * sizeof *batch), coin[BATCH];
  if (!order || !batch) exit(1);
  double start = now(), shown = start, sum = 0, recent = 0;
  int points = 0;
  for (int epoch = 0; epoch < epochs; epoch++) {
    need(mae_random_permutation(SEED, (uint64_t)epoch, (size_t)data->n, order));
    for (int64_t b = 0; b < per_epoch; b++) {
      mae_step_result r = {.struct_size = sizeof r};
      need(mae_random_uniform(SEED, 1u << 20, (uint64_t)step * BATCH, BATCH,
                              coin));
      fill_batch(data, order + b * BATCH, coin, batch);
      need(mae_trainer_step(trainer, batch, NULL, &r));
      sum += r.loss;
      if (++step % 20 == 0) {
        curve[points++] = (float)(recent = sum / 20);
        sum = 0;
      }
      show_progress(step, steps, recent, start, &shown);
    }
  }
  free(order);
  free(batch);
  return points;
}

/* -------------------------------------------------------------- files --- */

static const char *in_folder(const char *folder, const char *name) {
  static char path[1024];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void check_written(int error, const char *path) {
  if (!error) return;
  fprintf(stderr, "cannot write %s: %s\n", path,
          error > 0 ? strerror(error) : "libpng failed");
  exit(1);
}

static void write_curve(const char *folder, const float *curve, int n) {
  const char *path = in_folder(folder, "loss.csv");
  FILE *csv = fopen(path, "w");
  if (!csv) check_written(errno, path);
  fprintf(csv, "step,loss\n");
  for (int i = 0; i < n; i++) fprintf(csv, "%d,%.6f\n", 20 * (i + 1), curve[i]);
  if (ferror(csv) | fclose(csv)) check_written(errno ? errno : EIO, path);
  picture p = picture_create(640, 360);
  if (!p.pixels) exit(1);
  picture_curve(&p, curve, n);
  path = in_folder(folder, "loss.png");
  check_written(picture_write_png(&p, path), path);
  picture_destroy(&p);
}

/* ------------------------------------------------------------- probes --- */

static float *features(mae_context *context, const mae_model *model,
                       const fashion *data, int64_t *width) {
  mae_session_options o;
  mae_session_options_init(&o, sizeof o);
  o.batch_size = 200;
  o.features = MAE_FEATURES_MEAN;
  mae_session *session;
  need(mae_session_create(context, model, &o, &session));
  *width = mae_session_feature_size(session);
  float *out = malloc((size_t)(data->n * *width) * sizeof *out);
  if (!out) exit(1);
  need(mae_session_features(session, data->images, data->n, NULL, out));
  mae_session_destroy(session);
  return out;
}

/* A NULL model probes the pixels. */
static double probe(mae_context *context, const mae_model *model,
                    const fashion *train, const fashion *test) {
  probe_data a = {train->n, FASHION_PIXELS, train->images, train->labels};
  probe_data b = {test->n, FASHION_PIXELS, test->images, test->labels};
  if (model) {
    a.features = features(context, model, train, &a.width);
    b.features = features(context, model, test, &b.width);
  }
  b.width = a.width;
  double share = probe_accuracy(context, &a, &b, FASHION_CLASSES, PROBE_EPOCHS);
  if (model) {
    free(a.features);
    free(b.features);
  }
  return share;
}

int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : "runs/demo";
  int epochs = argc > 2 ? atoi(argv[2]) : 4;
  if (epochs < 1 || epochs > 1000) {
    fprintf(stderr, "usage: demo [OUT_FOLDER [EPOCHS, 1 to 1000]]\n");
    return 2;
  }
  if (mkdir(folder, 0777) && errno != EEXIST) check_written(errno, folder);
  fashion train = fashion_load("train"), test = fashion_load("t10k");

  mae_config config = demo_config();
  mae_context *context;
  mae_model *model, *untrained;
  need(mae_context_create(NULL, &context));
  need(mae_model_create(&config, SEED, &model));
  need(mae_model_create(&config, SEED, &untrained));
  printf("%lld images, %lld parameters, %d threads\n", (long long)train.n,
         (long long)mae_model_parameter_count(model, 0),
         mae_context_threads(context));

  mae_trainer_options o;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = BATCH;
  o.base_lr = 4e-3; /* a small model on a short schedule bears a high rate */
  o.total_steps = train.n / BATCH * epochs;
  o.warmup_steps = o.total_steps / 20;
  o.seed = SEED;
  mae_trainer *trainer;
  need(mae_trainer_create(context, model, &o, &trainer));
  float *curve = malloc((size_t)(o.total_steps / 20 + 1) * sizeof *curve);
  if (!curve) return 1;
  int points = pretrain(trainer, &train, epochs, curve);

  need(mae_trainer_save(trainer, in_folder(folder, "mae.safetensors")));
  write_curve(folder, curve, points);
  const char *path = in_folder(folder, "reconstruction.png");
  check_written(grid_write(context, model, test.images, 8, FASHION_MEAN,
                           FASHION_STD, path), path);
  printf("wrote mae.safetensors, loss.csv, loss.png and reconstruction.png to "
         "%s\n", folder);

  printf("Linear probe on the 10,000 test images, mean of the patch tokens:\n");
  printf("  MAE features        %.2f %%\n",
         100 * probe(context, model, &train, &test));
  printf("  untrained encoder   %.2f %%\n",
         100 * probe(context, untrained, &train, &test));
  printf("  raw pixels          %.2f %%\n",
         100 * probe(context, NULL, &train, &test));

  free(curve);
  mae_trainer_destroy(trainer);
  mae_model_destroy(model);
  mae_model_destroy(untrained);
  mae_context_destroy(context);
  fashion_free(&train);
  fashion_free(&test);
  return 0;
}
