/* Times features of ViT-B/16 from bytes, as a program calls for them:
 *
 *   features [IMAGES [ROUNDS]]
 *
 * Prints milliseconds per image, median of the rounds: one image at a time
 * with all threads on it, many at once in either mode, and the share of
 * preprocessing. */
#include <libmae/mae.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WIDTH = 500, HEIGHT = 375, MOST_ROUNDS = 100 };

static void need(mae_status status) {
  if (status == MAE_OK) return;
  fprintf(stderr, "%s: %s\n", mae_status_name(status), mae_last_error());
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static mae_session *open_session(mae_context *context, const mae_model *model,
                                 int32_t batch, mae_mode mode) {
  mae_session_options o;
  mae_session *s;
  mae_session_options_init(&o, sizeof o);
  o.batch_size = batch;
  o.mode = mode;
  need(mae_session_create(context, model, &o, &s));
  return s;
}

int main(int argc, char **argv) {
  int n = argc > 1 ? atoi(argv[1]) : 16, rounds = argc > 2 ? atoi(argv[2]) : 5;
  if (n < 1 || rounds < 1 || rounds > MOST_ROUNDS) {
    fprintf(stderr, "usage: features [IMAGES [ROUNDS]]\n");
    return 2;
  }
  mae_config config;
  mae_context *context;
  mae_model *model;
  need(mae_config_init(&config, sizeof config, "vit_b16"));
  need(mae_context_create(NULL, &context));
  need(mae_model_create(&config, 1, &model));
  uint8_t *pixels = malloc((size_t)n * WIDTH * HEIGHT * 3);
  mae_image *images = malloc((size_t)n * sizeof *images);
  float *out = malloc((size_t)n * 768 * sizeof *out);
  float *input = malloc(3 * 224 * 224 * sizeof *input);
  if (!pixels || !images || !out || !input) return 1;
  for (size_t i = 0; i < (size_t)n * WIDTH * HEIGHT * 3; i++)
    pixels[i] = (uint8_t)(i * 2654435761u >> 13);
  for (int i = 0; i < n; i++)
    images[i] = (mae_image){.data = pixels + (size_t)i * WIDTH * HEIGHT * 3,
                            .width = WIDTH, .height = HEIGHT, .channels = 3};
  enum { ONE, LATENCY, THROUGHPUT, PREPROCESS, WAYS };
  static const char *const names[] = {"one at a time", "latency mode",
                                      "throughput mode", "preprocessing alone"};
  mae_session *sessions[] = {
      open_session(context, model, 1, MAE_MODE_LATENCY),
      open_session(context, model, n, MAE_MODE_LATENCY),
      open_session(context, model, n, MAE_MODE_THROUGHPUT)};
  double times[WAYS][MOST_ROUNDS];
  for (int round = -1; round < rounds; round++) /* the first plans memory */
    for (int way = 0; way < WAYS; way++) {
      double start = now();
      if (way < PREPROCESS)
        need(mae_features_u8(sessions[way], images, n, out));
      else
        for (int i = 0; i < n; i++)
          need(mae_session_preprocess(sessions[ONE], &images[i], input));
      if (round >= 0) times[way][round] = (now() - start) / n;
    }
  for (int way = 0; way < WAYS; way++) {
    qsort(times[way], (size_t)rounds, sizeof(double), ascending);
    printf("%-20s %8.2f ms per image (%.2f to %.2f)\n", names[way],
           times[way][rounds / 2], times[way][0], times[way][rounds - 1]);
  }
  for (int i = 0; i < 3; i++) mae_session_destroy(sessions[i]);
  mae_model_destroy(model);
  mae_context_destroy(context);
  free(input);
  free(out);
  free(images);
  free(pixels);
  return 0;
}
