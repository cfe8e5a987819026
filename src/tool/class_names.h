/* The names of classes as an array, lent by a model or a dataset. */
#ifndef MAE_TOOL_CLASS_NAMES_H
#define MAE_TOOL_CLASS_NAMES_H

#include "libmae/mae.h"

typedef struct class_names {
  int32_t count;
  const char **list; /* NULL: they have no names */
} class_names;

/* Free them, but not before what lent them is used no more. */
mae_status class_names_of_model(const mae_model *model, class_names *names);
mae_status class_names_of_dataset(const mae_dataset *dataset,
                                  class_names *names);
void class_names_free(class_names *names);

/* What to call class c: its name or else its number. */
typedef struct class_label {
  char text[300];
} class_label;
class_label class_label_of(const class_names *names, int32_t c);

/* The images at a path, with their classes numbered so. */
mae_status class_names_open(const char *path, const class_names *names,
                            mae_dataset **dataset);

#endif
