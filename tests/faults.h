/* Cases of public calls that are to survive faults: memory that is not there,
 * files that cannot be read or written.  test_faults.c runs them. */
#ifndef TESTS_FAULTS_H
#define TESTS_FAULTS_H

#include "io/safetensors.h"

/* What a case works with, made anew for each run and destroyed after it. */
typedef struct fault_world {
  mae_context *context;
  mae_model *model, *other; /* bits of both are watched */
  mae_session *session;
  mae_trainer *trainer;
  mae_dataset *dataset;
  mae_loader *loader;
  mae_tape *tape;
  mae_evaluation *evaluation;
  float *images; /* FAULT_BATCH of the model's */
  mae_load_report *report;
  mae_tensor *rows;
  float out[2048];  /* what a call fills in; 0.25 before */
  mae_image image;  /* likewise; zero before */
  char path[320];   /* of the file at hand */
  union {           /* what a call makes, of the case's kind */
    void *any;
    mae_context *context;
    mae_tensor *tensor;
    mae_model *model;
    mae_session *session;
    mae_trainer *trainer;
    mae_idx *idx;
    mae_dataset *dataset;
    mae_loader *loader;
    mae_evaluation *evaluation;
  } made;
} fault_world;

typedef enum fault_kind {
  MAKES_NOTHING,
  MAKES_CONTEXT,
  MAKES_TENSOR,
  MAKES_MODEL,
  MAKES_SESSION,
  MAKES_TRAINER,
  MAKES_IDX,
  MAKES_DATASET,
  MAKES_LOADER,
  MAKES_EVALUATION
} fault_kind;

typedef struct fault_case {
  const char *call; /* the public function */
  const char *how;  /* one of several cases of it; or "" */
  fault_kind kind;
  /* Nothing fails yet.  MAE_ERROR_UNSUPPORTED: left out of this build. */
  mae_status (*make)(fault_world *w);
  mae_status (*run)(fault_world *w);
  /* More of the outcome than the runner sees by itself; may be NULL. */
  uint64_t (*outcome)(fault_world *w);
  int flags;
  const char *spare; /* a library that does not survive without memory:
                        fail_alloc_spare */
} fault_case;

enum {
  FAULT_RUN = 1, /* a run of training: it may go on past a fault or end early,
                    with whole files, and goes on from there */
  FAULT_BY_ZLIB = 16, /* takes an interrupted read for an error; the system
                         interrupts none of a file on a disk */
  FAULT_BY_BLAS = 64, /* multiplies by CBLAS on any processor */
  FAULT_LEAKS = 32, /* a library used loses a block of its own */
  FAULT_FILLS_PARTLY = 4, /* arrays are filled as far as it went */
  FAULT_TWO_FILES = 8, /* of which the first may have its new name when the
                          second cannot get it */
  FAULT_SKIPS = 2 /* what cannot be read is passed over, and that is told */
};

/* Tables, each ending with a call of NULL. */
extern const fault_case fault_basics[], fault_tapes[], fault_models[],
    fault_sessions[], fault_trainers[], fault_data[];

/* Calls that ask for no memory.  Returns the public function's name, having
 * called it when w is not NULL; NULL: there is no i-th. */
const char *fault_free_call(int i, fault_world *w);
/* Makes all that these calls are made on. */
mae_status fault_free_make(fault_world *w);

/* ---------------------------------------------------------- for makers --- */

enum {
  FAULT_SIDE = 8, /* of images, grey */
  FAULT_VALUES = FAULT_SIDE * FAULT_SIDE,
  FAULT_BATCH = 2,
  FAULT_CLASSES = 3
};

extern char fault_folder[64]; /* of this case alone */

/* fault_folder/name. */
void fault_path(fault_world *w, const char *name);
mae_config fault_config(void);
mae_status fault_make_context(fault_world *w); /* of one thread */
mae_status fault_make_model(fault_world *w);
mae_status fault_make_classifier(fault_world *w); /* with names */
mae_status fault_make_images(fault_world *w);
/* Context, model or classifier, images and trainer. */
mae_trainer_options fault_trainer_options(void);
mae_status fault_make_trainer(fault_world *w);
mae_status fault_make_classifier_trainer(fault_world *w);
/* The same n images by a callback. */
mae_status fault_make_dataset(fault_world *w);
/* Batches of FAULT_BATCH from the world's dataset, by one thread. */
mae_loader_options fault_loader_options(void);

/* Write a file, and a picture of a kind that a build may lack. */
mae_status fault_write(const char *path, const void *bytes, size_t size);
mae_status fault_write_png(const char *path);

/* A hash of the bytes that goes on from another. */
uint64_t fault_hash(uint64_t hash, const void *bytes, size_t size);
uint64_t fault_hash_text(uint64_t hash, const char *text);
uint64_t fault_hash_model(uint64_t hash, const mae_model *model);
uint64_t fault_hash_image(uint64_t hash, const mae_image *image);
uint64_t fault_hash_dataset(uint64_t hash, const mae_dataset *dataset);
/* Names and contents of all files in fault_folder. */
uint64_t fault_hash_files(void);
/* All that a world holds, and what a case of this kind has made. */
uint64_t fault_hash_world(const fault_world *w, fault_kind kind);
void fault_destroy_made(fault_world *w, fault_kind kind);
void fault_destroy_world(fault_world *w, fault_kind kind);

#endif
