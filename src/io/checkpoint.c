#include "io/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/c_locale.h"
#include "io/notes.h"

/* ----------------------------------------------------- config as text --- */

typedef struct config_field {
  const char *key;
  size_t offset;
  bool newer; /* older files lack it: the default is meant */
} config_field;

#define FIELD(name) {"mae." #name, offsetof(mae_config, name), false}
#define NEWER(name) {"mae." #name, offsetof(mae_config, name), true}
static const config_field fields[] = {
    FIELD(image_height),      FIELD(image_width),
    FIELD(patch_size),        FIELD(in_chans),
    FIELD(embed_dim),         FIELD(depth),
    FIELD(num_heads),         FIELD(decoder_embed_dim),
    FIELD(decoder_depth),     FIELD(decoder_num_heads),
    FIELD(norm_pix_loss),     NEWER(global_pool),
    NEWER(num_classes),       NEWER(encoder_mask_tokens),
};
static const config_field reals[] = {FIELD(mlp_ratio), NEWER(layer_norm_eps)};
#undef FIELD
#undef NEWER

enum {
  INTEGERS = sizeof fields / sizeof *fields,
  REALS = sizeof reals / sizeof *reals,
  CONFIG_TEXTS = INTEGERS + REALS + 1
};

static void write_config(const mae_config *config,
                         char values[CONFIG_TEXTS][32],
                         mae_safetensors_text *texts) {
  for (int i = 0; i < INTEGERS; i++) {
    int32_t value;
    memcpy(&value, (const char *)config + fields[i].offset, sizeof value);
    snprintf(values[i], sizeof values[i], "%d", value);
    texts[i] = (mae_safetensors_text){fields[i].key, values[i]};
  }
  const mae_c_locale locale = mae_c_locale_enter();
  for (int i = 0; i < REALS; i++) {
    char *text = values[INTEGERS + i];
    double value;
    memcpy(&value, (const char *)config + reals[i].offset, sizeof value);
    snprintf(text, sizeof values[0], "%.17g", value);
    texts[INTEGERS + i] = (mae_safetensors_text){reals[i].key, text};
  }
  mae_c_locale_leave(locale);
  texts[CONFIG_TEXTS - 1] = (mae_safetensors_text){"format", "pt"};
}

mae_status mae_checkpoint_integer(const mae_safetensors *file, const char *key,
                                  uint64_t most, uint64_t *value) {
  const char *text = mae_safetensors_metadata(file, key);
  if (!text)
    return mae_fail(MAE_ERROR_FORMAT, "the metadata has no \"%s\"", key);
  char *end = NULL;
  errno = 0;
  unsigned long long number = strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end || errno || number > most)
    return mae_fail(MAE_ERROR_FORMAT, "metadata \"%s\" is \"%.40s\"", key,
                    text);
  *value = number;
  return MAE_OK;
}

static mae_status read_real(const mae_safetensors *file, const char *key,
                            double *value) {
  const char *text = mae_safetensors_metadata(file, key);
  if (!text)
    return mae_fail(MAE_ERROR_FORMAT, "the metadata has no \"%s\"", key);
  if (!mae_c_locale_read(text, value))
    return mae_fail(MAE_ERROR_FORMAT, "metadata \"%s\" is \"%.40s\"",
                    key, text);
  return MAE_OK;
}

static bool left_out(const mae_safetensors *file, const config_field *field) {
  return field->newer && !mae_safetensors_metadata(file, field->key);
}

mae_status mae_checkpoint_config(const mae_safetensors *file,
                                 mae_config *config) {
  mae_config made;
  MAE_TRY(mae_config_init(&made, sizeof made, NULL));
  for (int i = 0; i < INTEGERS; i++) {
    uint64_t number = 0;
    if (left_out(file, &fields[i])) continue;
    MAE_TRY(mae_checkpoint_integer(file, fields[i].key, INT32_MAX, &number));
    int32_t value = (int32_t)number;
    memcpy((char *)&made + fields[i].offset, &value, sizeof value);
  }
  for (int i = 0; i < REALS; i++) {
    if (left_out(file, &reals[i])) continue;
    double value = 0;
    MAE_TRY(read_real(file, reals[i].key, &value));
    memcpy((char *)&made + reals[i].offset, &value, sizeof value);
  }
  if (mae_config_check(&made) != MAE_OK)
    return mae_fail(MAE_ERROR_FORMAT, "metadata: %s", mae_last_error());
  *config = made;
  return MAE_OK;
}

/* -------------------------------------------------------------- files --- */

mae_status mae_checkpoint_write_as(const char *path, mae_dtype dtype,
                                   const mae_model *model,
                                   const mae_safetensors_entry *entries,
                                   int32_t n_entries,
                                   const mae_safetensors_text *metadata,
                                   int32_t n_metadata) {
  char values[CONFIG_TEXTS][32];
  mae_notes notes;
  int32_t n_texts = CONFIG_TEXTS;
  mae_safetensors_text *texts = mae_calloc(
      CONFIG_TEXTS + MAE_NOTES + (size_t)n_metadata, sizeof *texts);
  if (!texts) return MAE_ERROR_OUT_OF_MEMORY;
  write_config(&model->config, values, texts);
  mae_status status = mae_notes_write(model, &notes);
  for (int32_t i = 0; i < notes.count; i++) texts[n_texts++] = notes.list[i];
  for (int32_t i = 0; i < n_metadata; i++) texts[n_texts++] = metadata[i];
  if (status == MAE_OK)
    status = mae_safetensors_write_as(path, dtype, entries, n_entries, texts,
                                      n_texts);
  mae_notes_free(&notes);
  free(texts);
  return status;
}

mae_status mae_checkpoint_write(const char *path, const mae_model *model,
                                const mae_safetensors_entry *entries,
                                int32_t n_entries,
                                const mae_safetensors_text *metadata,
                                int32_t n_metadata) {
  int32_t n_tensors = model->n_params + n_entries;
  mae_safetensors_entry *tensors =
      mae_calloc((size_t)n_tensors, sizeof *tensors);
  if (!tensors) return MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t i = 0; i < model->n_params; i++)
    tensors[i] = (mae_safetensors_entry){model->params[i].name,
                                         &model->params[i].value};
  for (int32_t i = 0; i < n_entries; i++)
    tensors[model->n_params + i] = entries[i];
  mae_status status =
      mae_checkpoint_write_as(path, MAE_DTYPE_F32, model, tensors, n_tensors,
                              metadata, n_metadata);
  free(tensors);
  return status;
}

mae_status mae_model_save(const mae_model *model, const char *path) {
  MAE_REQUIRE(model);
  MAE_REQUIRE(path);
  return mae_checkpoint_write(path, model, NULL, 0, NULL, 0);
}
