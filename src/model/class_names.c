/* Names of a classifier's classes. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/model.h"

/* They fit a file's header, even if each of their characters is escaped. */
enum { MOST_BYTES = 1 << 20 };

/* Checks them; *bytes of all with their ends. */
static mae_status measure(const char *const *names, int32_t count,
                          size_t *bytes) {
  *bytes = 0;
  for (int32_t i = 0; i < count; i++) {
    if (!names[i])
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "class name %d is NULL", i);
    *bytes += strlen(names[i]) + 1;
    if (*bytes > MOST_BYTES)
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                      "class names of more than a megabyte");
    if (!mae_is_line(names[i]))
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                      "class name %d is no line of UTF-8 text", i);
  }
  return MAE_OK;
}

mae_status mae_model_set_class_names(mae_model *model,
                                     const char *const *names) {
  MAE_REQUIRE(model);
  const int32_t count = model->config.num_classes;
  char **list = NULL;
  if (names) {
    size_t bytes;
    if (!count)
      return mae_fail(MAE_ERROR_STATE, "class names: the model has no head");
    MAE_TRY(measure(names, count, &bytes));
    list = mae_calloc((size_t)count * sizeof *list + bytes, 1);
    if (!list) return MAE_ERROR_OUT_OF_MEMORY;
    char *at = (char *)(list + count);
    for (int32_t i = 0; i < count; i++) {
      list[i] = at;
      at = stpcpy(at, names[i]) + 1;
    }
  }
  free(model->class_names);
  model->class_names = list;
  return MAE_OK;
}

const char *mae_model_class_name(const mae_model *model, int32_t i) {
  if (!model || i < 0 || i >= model->config.num_classes) return NULL;
  char *const *names = mae_model_original(model)->class_names;
  return names ? names[i] : NULL;
}
