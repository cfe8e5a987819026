/* The study as its document sees it: numbers in words. */
#ifndef BENCH_STUDY_VIEW_H
#define BENCH_STUDY_VIEW_H

#include "study_settings.h"
#include "study_statistics.h"
#include "tool/text.h"

typedef struct study_view {
  const study_settings *settings;
  const study_results *results;
} study_view;

/* Accuracies in per cent, and their differences in points. */
study_spread study_accuracy(const study_view *v, const char *variant,
                            const char *protocol);
study_spread study_gain(const study_view *v, study_of a, study_of b);
/* Of pretraining. */
study_spread study_cost(const study_view *v, const char *variant,
                        study_field field);

/* "86.12 ± 0.31", with so many digits; "-" where nothing is. */
void study_add_spread(text *out, study_spread s, int digits);
/* "+0.42 ± 0.31 points". */
void study_add_gain(text *out, study_spread s);

/* study_findings.c: a paragraph each, all words chosen by the numbers. */
void study_find_ratio(const study_view *v, text *out);
void study_find_target(const study_view *v, text *out);
void study_find_decoder(const study_view *v, text *out);
void study_find_mask_tokens(const study_view *v, text *out);
void study_find_protocols(const study_view *v, text *out);
void study_find_partial(const study_view *v, text *out);

/* study_document.c */
void study_document(const study_view *v, text *out);
/* study_figures.c: plot i and its file's name; false: there is none. */
bool study_figure(const study_view *v, int i, const char **name, text *out);

#endif
