/* results.jsonl: a line for each finished cell, appended when it is. */
#ifndef BENCH_STUDY_RESULTS_H
#define BENCH_STUDY_RESULTS_H

#include "study_cells.h"

/* Numbers that a cell does not have are NaN. */
typedef enum study_field {
  STUDY_TOP1, /* shares of the test images, 0 to 1 */
  STUDY_TOP5,
  STUDY_TEST_LOSS,
  STUDY_LOSS,    /* mean training loss of the last tenth of the steps */
  STUDY_STEP_MS, /* median time of a training step */
  STUDY_STEP_FLOPS,
  STUDY_STEPS,
  STUDY_SECONDS, /* of the whole cell */
  STUDY_FIELDS
} study_field;

typedef struct study_result {
  study_cell cell;
  double values[STUDY_FIELDS];
} study_result;

typedef struct study_results {
  study_result *items; /* in the order of the file */
  int32_t count, room;
} study_results;

/* Reads the file; none is no results.  A last line that was cut short by a kill
 * is taken off the file.  Ends the program, saying why, when a line is damaged
 * or of other settings. */
study_results study_results_read(const char *path, const char *settings);
/* Appends to both.  Ends the program when the file cannot be written. */
void study_results_add(study_results *r, const char *path, const char *settings,
                       const study_result *result);
/* The latest for a cell, or NULL. */
const study_result *study_results_find(const study_results *r,
                                       const char *variant,
                                       const char *protocol, int32_t seed);
void study_results_free(study_results *r);

#endif
