#include "study_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHIFT = 2 }; /* pixels, at most, each way */
/* Streams of random numbers; epochs use 0 and up. */
enum { LABEL_STREAM = 1 << 20, PLACE_STREAM };

void *study_memory(size_t n, size_t size) {
  void *memory = calloc(n, size);
  if (memory) return memory;
  fprintf(stderr, "study: no memory\n");
  exit(1);
}

static const float black = -FASHION_MEAN / FASHION_STD;

/* The first n images, bordered. */
static fashion load(const char *which, int64_t n) {
  fashion data = fashion_load(which);
  const float *from = data.images;
  if (data.n > n) data.n = n;
  float *to = study_memory((size_t)data.n * STUDY_PIXELS, sizeof *to);
  for (int64_t i = 0; i < data.n * STUDY_PIXELS; i++) to[i] = black;
  for (int64_t row = 0; row < data.n * FASHION_SIDE; row++)
    memcpy(to + row / FASHION_SIDE * STUDY_PIXELS +
               (row % FASHION_SIDE + 1) * STUDY_SIDE + 1,
           from + row * FASHION_SIDE, FASHION_SIDE * sizeof *to);
  free(data.images);
  data.images = to;
  return data;
}

study_data study_data_load(const study_settings *s) {
  return (study_data){load("train", s->images), load("t10k", s->tests)};
}

void study_data_free(study_data *data) {
  fashion_free(&data->train);
  fashion_free(&data->test);
}

fashion study_labelled(const fashion *train, int64_t n, uint64_t seed) {
  uint32_t *order = study_memory((size_t)train->n, sizeof *order);
  int64_t taken[FASHION_CLASSES] = {0};
  fashion out = {0, study_memory((size_t)n * STUDY_PIXELS, sizeof(float)),
                 study_memory((size_t)n, 1)};
  need(mae_random_permutation(seed, LABEL_STREAM, (size_t)train->n, order));
  for (int64_t i = 0; i < train->n && out.n < n; i++) {
    const uint8_t label = train->labels[order[i]];
    if (taken[label]++ >= n / FASHION_CLASSES) continue;
    memcpy(out.images + out.n * STUDY_PIXELS,
           train->images + (size_t)order[i] * STUDY_PIXELS,
           STUDY_PIXELS * sizeof(float));
    out.labels[out.n++] = label;
  }
  free(order);
  return out;
}

study_batches study_batches_make(const fashion *data, int32_t size,
                                 uint64_t seed) {
  return (study_batches){
      .data = data,
      .seed = seed,
      .size = size,
      .per_epoch = data->n / size,
      .order = study_memory((size_t)data->n, sizeof(uint32_t)),
      .images = study_memory((size_t)size * STUDY_PIXELS, sizeof(float)),
      .labels = study_memory((size_t)size, sizeof(int32_t))};
}

void study_batches_free(study_batches *b) {
  free(b->order);
  free(b->images);
  free(b->labels);
}

/* A copy, mirrored or not, shifted by down and right; black comes in. */
static void place(const float *from, int mirror, int down, int right,
                  float *to) {
  for (int y = 0; y < STUDY_SIDE; y++)
    for (int x = 0; x < STUDY_SIDE; x++) {
      int row = y - down, column = x - right;
      int inside = row >= 0 && row < STUDY_SIDE && column >= 0 &&
                   column < STUDY_SIDE;
      if (mirror) column = STUDY_SIDE - 1 - column;
      *to++ = inside ? from[row * STUDY_SIDE + column]
                     : black;
    }
}

static int shift(float coin) { return (int)(coin * (2 * SHIFT + 1)) - SHIFT; }

void study_batches_next(study_batches *b) {
  const int64_t epoch = b->next / b->per_epoch, at = b->next % b->per_epoch;
  if (at == 0)
    need(mae_random_permutation(b->seed, (uint64_t)epoch, (size_t)b->data->n,
                                b->order));
  for (int32_t i = 0; i < b->size; i++) {
    const uint32_t item = b->order[at * b->size + i];
    float coins[3];
    need(mae_random_uniform(b->seed, PLACE_STREAM,
                            3 * (uint64_t)(b->next * b->size + i), 3, coins));
    place(b->data->images + (size_t)item * STUDY_PIXELS, coins[0] < 0.5f,
          shift(coins[1]), shift(coins[2]),
          b->images + (size_t)i * STUDY_PIXELS);
    b->labels[i] = b->data->labels[item];
  }
  b->next++;
}
