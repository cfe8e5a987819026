/* What the study compares: variants of pretraining, and protocols that
 * evaluate what was pretrained.  A cell is one protocol on one variant with
 * one seed. */
#ifndef BENCH_STUDY_CELLS_H
#define BENCH_STUDY_CELLS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct study_variant {
  const char *name, *label; /* in results.jsonl; for people */
  double mask_ratio;
  int32_t norm_pix_loss, decoder_depth, encoder_mask_tokens;
} study_variant;

enum { STUDY_VARIANTS = 8, STUDY_PROTOCOLS = 12 };

/* The first is the base, which the others change in one thing. */
extern const study_variant study_variants[STUDY_VARIANTS];

typedef enum study_kind {
  STUDY_PRETRAIN,
  STUDY_LINEAR,
  STUDY_KNN,
  STUDY_FINETUNE,
  STUDY_SCRATCH
} study_kind;

typedef struct study_protocol {
  const char *name, *label;
  study_kind kind;
  bool base_only; /* for the base variant alone */
  int32_t blocks; /* trained; -1: everything */
  bool recipe;    /* of STUDY_SCRATCH: with its regularisation */
  bool untrained; /* on the encoder as it is initialised */
} study_protocol;

extern const study_protocol study_protocols[STUDY_PROTOCOLS];

/* NULL: there is none of that name. */
const study_variant *study_variant_find(const char *name);
const study_protocol *study_protocol_find(const char *name);

typedef struct study_cell {
  const study_variant *variant;
  const study_protocol *protocol;
  int32_t seed;
} study_cell;

/* Cell i of a study with so many seeds, in the order in which they run: seed by
 * seed, so that an interrupted study has all variants of the first.  False:
 * there is none. */
bool study_cell_at(int32_t seeds, int32_t i, study_cell *cell);

#endif
