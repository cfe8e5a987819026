/* The images of the study: batches drawn in a seeded order, mirrored and
 * shifted at random, and the few images whose labels may be seen. */
#ifndef BENCH_STUDY_DATA_H
#define BENCH_STUDY_DATA_H

#include "fashion.h"
#include "study_settings.h"

/* Images get a black border of one pixel, so that there are 5 by 5 patches of
 * 6 by 6. */
enum { STUDY_SIDE = FASHION_SIDE + 2, STUDY_PIXELS = STUDY_SIDE * STUDY_SIDE };

typedef struct study_data {
  fashion train, test;
} study_data;

/* Cut to the sizes of the settings. */
study_data study_data_load(const study_settings *s);
void study_data_free(study_data *data);

/* As many of each class, drawn by the seed; a copy. */
fashion study_labelled(const fashion *train, int64_t n, uint64_t seed);

/* Epochs of shuffled batches; what is left over at an epoch's end is left out.
 * A function of the seed and of how many batches came before. */
typedef struct study_batches {
  const fashion *data;
  uint64_t seed;
  int32_t size;
  int64_t next, per_epoch;
  uint32_t *order;
  float *images;   /* [size, 1, 30, 30], of the latest batch */
  int32_t *labels; /* [size] */
} study_batches;

study_batches study_batches_make(const fashion *data, int32_t size,
                                 uint64_t seed);
void study_batches_next(study_batches *b);
void study_batches_free(study_batches *b);

/* For a program that cannot go on without memory. */
void *study_memory(size_t n, size_t size);

#endif
