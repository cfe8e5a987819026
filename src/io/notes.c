#include "io/notes.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void mae_notes_free(mae_notes *notes) {
  for (int i = 0; i < MAE_NOTES; i++) free(notes->texts[i]);
  *notes = (mae_notes){.count = 0};
}

#ifdef MAE_HAVE_JSON

#include "io/json_text.h"

static const char names_key[] = "mae.class_names";
static const char mean_key[] = "mae.mean";
static const char std_key[] = "mae.std";

/* ------------------------------------------------------------- writing --- */

/* Takes the list over; NULL counts as no memory. */
static mae_status add(mae_notes *notes, const char *key, json_t *list) {
  char *text = list ? mae_json_write(list, JSON_COMPACT) : NULL;
  json_decref(list);
  if (!text) return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for metadata");
  const int32_t i = notes->count++;
  notes->texts[i] = text;
  notes->list[i] = (mae_safetensors_text){key, text};
  return MAE_OK;
}

static json_t *list_names(const mae_model *model) {
  json_t *list = json_array();
  for (int32_t i = 0; i < model->config.num_classes; i++)
    if (json_array_append_new(list,
                              json_string(mae_model_class_name(model, i)))) {
      json_decref(list);
      return NULL;
    }
  return list;
}

static json_t *list_reals(const float *values, int32_t count) {
  json_t *list = json_array();
  for (int32_t i = 0; i < count; i++)
    if (json_array_append_new(list, json_real((double)values[i]))) {
      json_decref(list);
      return NULL;
    }
  return list;
}

mae_status mae_notes_write(const mae_model *model, mae_notes *notes) {
  const int32_t chans = model->config.in_chans;
  *notes = (mae_notes){.count = 0};
  if (mae_model_class_name(model, 0))
    MAE_TRY(add(notes, names_key, list_names(model)));
  if (!mae_model_mean(model)) return MAE_OK;
  MAE_TRY(add(notes, mean_key, list_reals(mae_model_mean(model), chans)));
  return add(notes, std_key, list_reals(mae_model_std(model), chans));
}

/* ------------------------------------------------------------- reading --- */

/* Is it a flat list of so many items, as far as its commas tell?  Looked at
 * before the parser takes memory for each. */
static bool looks_flat(const char *text, int64_t count) {
  int64_t commas = 0, lists = 0;
  bool quoted = false;
  for (; *text; text++) {
    if (*text == '"') quoted = !quoted;
    if (quoted) {
      if (*text == '\\' && text[1]) text++;
      continue;
    }
    commas += *text == ',';
    lists += *text == '[' || *text == '{';
  }
  return lists == 1 && commas == count - 1;
}

static mae_status bad(const char *key, int32_t count, const char *what) {
  return mae_fail(MAE_ERROR_FORMAT, "metadata \"%s\" is no list of %d %s", key,
                  count, what);
}

/* *list is NULL when there is no such key. */
static mae_status parse(const mae_safetensors *file, const char *key,
                        int32_t count, const char *what, json_t **list) {
  const char *text = mae_safetensors_metadata(file, key);
  json_error_t error;
  bool no_memory = false;
  *list = NULL;
  if (!text) return MAE_OK;
  if (looks_flat(text, count))
    *list = mae_json_read(text, strlen(text), &error, &no_memory);
  if (no_memory)
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for metadata");
  if (json_is_array(*list) && json_array_size(*list) == (size_t)count)
    return MAE_OK;
  json_decref(*list);
  *list = NULL;
  return bad(key, count, what);
}

static mae_status take_names(const json_t *list, mae_model *model) {
  const int32_t count = model->config.num_classes;
  const char **names = mae_calloc((size_t)count, sizeof *names);
  if (!names) return MAE_ERROR_OUT_OF_MEMORY;
  mae_status status = MAE_OK;
  for (int32_t i = 0; i < count && status == MAE_OK; i++) {
    names[i] = json_string_value(json_array_get(list, (size_t)i));
    if (!names[i]) status = bad(names_key, count, "names");
  }
  if (status == MAE_OK) {
    status = mae_model_set_class_names(model, names);
    if (status == MAE_ERROR_INVALID_ARGUMENT)
      status = mae_fail(MAE_ERROR_FORMAT, "metadata \"%s\": %s", names_key,
                        mae_last_error());
  }
  free(names);
  return status;
}

static mae_status read_names(const mae_safetensors *file, mae_model *model) {
  json_t *list;
  MAE_TRY(
      parse(file, names_key, model->config.num_classes, "names", &list));
  mae_status status = list ? take_names(list, model) : MAE_OK;
  json_decref(list);
  return status;
}

/* values[count]; *found: there is such a key. */
static mae_status read_reals(const mae_safetensors *file, const char *key,
                             int32_t count, float *values, bool *found) {
  json_t *list;
  MAE_TRY(parse(file, key, count, "numbers", &list));
  *found = list != NULL;
  mae_status status = MAE_OK;
  for (int32_t i = 0; list && i < count; i++) {
    const json_t *item = json_array_get(list, (size_t)i);
    const double value = json_number_value(item);
    if (json_is_number(item) && fabs(value) <= FLT_MAX)
      values[i] = (float)value;
    else
      status = bad(key, count, "numbers");
  }
  json_decref(list);
  return status;
}

static mae_status take_normalization(const mae_safetensors *file,
                                     mae_model *model, float *values) {
  const int32_t chans = model->config.in_chans;
  bool has_mean, has_std;
  MAE_TRY(read_reals(file, mean_key, chans, values, &has_mean));
  MAE_TRY(read_reals(file, std_key, chans, values + chans, &has_std));
  if (has_mean != has_std)
    return mae_fail(MAE_ERROR_FORMAT,
                    "the metadata has one of \"%s\" and \"%s\"", mean_key,
                    std_key);
  if (!has_mean) return MAE_OK;
  mae_status status =
      mae_model_set_normalization(model, values, values + chans);
  if (status != MAE_ERROR_INVALID_ARGUMENT) return status;
  return mae_fail(MAE_ERROR_FORMAT, "metadata \"%s\": %s", std_key,
                  mae_last_error());
}

mae_status mae_notes_read(const mae_safetensors *file, mae_model *model) {
  MAE_TRY(read_names(file, model));
  float *values =
      mae_calloc(2 * (size_t)model->config.in_chans, sizeof *values);
  if (!values) return MAE_ERROR_OUT_OF_MEMORY;
  mae_status status = take_normalization(file, model, values);
  free(values);
  return status;
}

mae_status mae_notes_same_classes(const mae_safetensors *file,
                                  const mae_model *model) {
  const char *theirs = mae_safetensors_metadata(file, names_key);
  if (!theirs || !mae_model_class_name(model, 0)) return MAE_OK;
  mae_notes ours;
  mae_status status = mae_notes_write(model, &ours);
  if (status == MAE_OK && strcmp(ours.list[0].value, theirs))
    status = mae_fail(MAE_ERROR_MISMATCH,
                      "the classes' names are others, or in another order");
  mae_notes_free(&ours);
  return status;
}

#else

/* Files with metadata are neither written nor opened without JSON. */

mae_status mae_notes_write(const mae_model *model, mae_notes *notes) {
  (void)model;
  *notes = (mae_notes){.count = 0};
  return MAE_OK;
}

mae_status mae_notes_read(const mae_safetensors *file, mae_model *model) {
  (void)file, (void)model;
  return MAE_OK;
}

mae_status mae_notes_same_classes(const mae_safetensors *file,
                                  const mae_model *model) {
  (void)file, (void)model;
  return MAE_OK;
}

#endif
