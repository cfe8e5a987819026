#include "tool/class_names.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

typedef const char *(*name_of)(const void *owner, int32_t c);

static const char *model_name(const void *owner, int32_t c) {
  return mae_model_class_name(owner, c);
}

static const char *dataset_name(const void *owner, int32_t c) {
  return mae_dataset_class_name(owner, c);
}

static mae_status take(const void *owner, name_of name, int32_t count,
                       class_names *names) {
  *names = (class_names){.count = count};
  if (!count || !name(owner, 0)) return MAE_OK;
  names->list = mae_calloc((size_t)count, sizeof *names->list);
  if (!names->list) return MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t c = 0; c < count; c++) names->list[c] = name(owner, c);
  return MAE_OK;
}

mae_status class_names_of_model(const mae_model *model, class_names *names) {
  mae_config c;
  MAE_TRY(mae_config_init(&c, sizeof c, NULL));
  MAE_TRY(mae_model_config(model, &c));
  return take(model, model_name, c.num_classes, names);
}

mae_status class_names_of_dataset(const mae_dataset *dataset,
                                  class_names *names) {
  return take(dataset, dataset_name, mae_dataset_num_classes(dataset), names);
}

void class_names_free(class_names *names) {
  free(names->list);
  *names = (class_names){0};
}

class_label class_label_of(const class_names *names, int32_t c) {
  class_label label;
  if (names->list)
    snprintf(label.text, sizeof label.text, "%s", names->list[c]);
  else
    snprintf(label.text, sizeof label.text, "%d", (int)c);
  return label;
}

mae_status class_names_open(const char *path, const class_names *names,
                            mae_dataset **dataset) {
  return mae_dataset_open_labelled(path, names->list, names->count, dataset);
}
