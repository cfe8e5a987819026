/* A classifier at work on images: its logits, and how often it is right. */
#ifndef MAE_TOOL_CLASSIFY_H
#define MAE_TOOL_CLASSIFY_H

#include "tool/passes.h"

/* Statuses are the tool's; what is wrong is said. */

/* Passes that make logits: context, model and options are set, options but for
 * the kind of output; the session is made, and destroyed again. */
int classify_run(passes *p, mae_session_options *options);

/* Every image of a labelled dataset that can be read goes into a new
 * evaluation. */
int classify_evaluate(passes *p, mae_session_options *options,
                      mae_evaluation **evaluation);

/* Top-1, top-5 and, if it means something, loss, on stdout. */
void classify_print(const mae_evaluation *e, int32_t num_classes, bool loss);

#endif
