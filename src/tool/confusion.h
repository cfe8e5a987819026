/* The table of which class was told for which. */
#ifndef MAE_TOOL_CONFUSION_H
#define MAE_TOOL_CONFUSION_H

#include "tool/class_names.h"

/* On stdout, a row a true class; for few classes. */
enum { CONFUSION_MOST_PRINTED = 20 };
void confusion_print(const mae_evaluation *e, const class_names *names);

/* As a CSV file: a first line and column of names. */
mae_status confusion_write(const mae_evaluation *e, const class_names *names,
                           const char *path);

#endif
