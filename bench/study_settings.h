/* How large the study is.  Results of one size are never mixed with those of
 * another: each carries study_settings_text. */
#ifndef BENCH_STUDY_SETTINGS_H
#define BENCH_STUDY_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

/* Variants at once, each on one thread. */
enum { STUDY_JOBS = 2 };

typedef struct study_settings {
  int32_t seeds; /* 1 ... seeds */
  int64_t images, labels, tests; /* pretrained on; labelled of these; tested */
  int32_t patch, width, depth, heads, decoder_width, decoder_heads;
  int32_t pretrain_batch, batch; /* batch: of training with labels */
  int32_t pretrain_epochs, finetune_epochs, scratch_epochs, probe_epochs;
  double pretrain_rate, finetune_rate, scratch_rate, probe_rate; /* per 256 */
} study_settings;

extern const study_settings study_full;
extern const study_settings study_smoke; /* seconds: does the program work? */

/* All of it in a line. */
void study_settings_text(const study_settings *s, char *out, size_t size);

#endif
