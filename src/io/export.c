/* Writing models for others: official names, or Hugging Face's. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/atomic_file.h"
#include "io/checkpoint.h"
#include "io/hf_config.h"
#include "io/layout.h"

static mae_status check(const mae_model *model, mae_layout layout,
                        mae_dtype dtype) {
  const mae_config *c = &model->config;
  if (layout != MAE_LAYOUT_OFFICIAL && layout != MAE_LAYOUT_HUGGING_FACE)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "no layout %d", (int)layout);
  if (dtype != MAE_DTYPE_F32 && dtype != MAE_DTYPE_F16)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "no dtype %d", (int)dtype);
  if (layout == MAE_LAYOUT_HUGGING_FACE && (c->global_pool || c->num_classes))
    return mae_fail(MAE_ERROR_UNSUPPORTED,
                    "Hugging Face's ViTMAE has neither global pooling nor a "
                    "head");
  if (layout == MAE_LAYOUT_HUGGING_FACE && c->encoder_mask_tokens)
    return mae_fail(MAE_ERROR_UNSUPPORTED,
                    "Hugging Face's ViTMAE has no mask tokens in its encoder");
  return MAE_OK;
}

/* 65520 is the first to be rounded to infinity. */
static mae_status check_f16_range(const mae_model *model) {
  for (int32_t i = 0; i < model->n_params; i++) {
    const mae_tensor *t = &model->params[i].value;
    for (int64_t k = 0; k < mae_tensor_size(t); k++)
      if (isfinite(t->data[k]) && fabsf(t->data[k]) >= 65520)
        return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                        "%s holds %g, beyond the range of f16",
                        model->params[i].name, t->data[k]);
  }
  return MAE_OK;
}

/* ------------------------------------------------------------- tensors --- */

enum { MOST_PARTS = 3 };

/* The model's tensors under the naming's names. */
typedef struct listing {
  mae_file_name *names;
  mae_tensor *tensors;
  mae_safetensors_entry *entries;
  int32_t count;
} listing;

static void add_parts(listing *l, const mae_naming *naming,
                      const mae_param *p) {
  const int32_t parts = mae_naming_parts(naming, p->name);
  for (int32_t k = 0; k < parts; k++) {
    const int32_t i = l->count++;
    l->names[i] = mae_naming_part(naming, p->name, k);
    l->tensors[i] = p->value;
    l->tensors[i].shape[0] /= parts;
    l->tensors[i].data += k * mae_tensor_size(&l->tensors[i]);
    l->entries[i] = (mae_safetensors_entry){l->names[i].text, &l->tensors[i]};
  }
}

static mae_status list_tensors(const mae_model *model, const mae_naming *naming,
                               listing *l) {
  const size_t most = (size_t)model->n_params * MOST_PARTS;
  l->names = mae_calloc(most, sizeof *l->names);
  l->tensors = mae_calloc(most, sizeof *l->tensors);
  l->entries = mae_calloc(most, sizeof *l->entries);
  if (!l->names || !l->tensors || !l->entries) return MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t i = 0; i < model->n_params; i++)
    add_parts(l, naming, &model->params[i]);
  return MAE_OK;
}

static mae_status write_tensors(const mae_model *model, mae_layout layout,
                                mae_dtype dtype, const char *path) {
  /* transformers puts "vit." before the encoder inside a larger model. */
  const mae_naming naming = {.layout = layout,
                             .vit = mae_config_has_decoder(&model->config)};
  listing l = {0};
  mae_status status = list_tensors(model, &naming, &l);
  if (status == MAE_OK)
    status = mae_checkpoint_write_as(path, dtype, model, l.entries,
                                     l.count, NULL, 0);
  free(l.names);
  free(l.tensors);
  free(l.entries);
  return status;
}

/* -------------------------------------------------------------- folder --- */

static bool is_one_file(const char *path) {
  static const char end[] = ".safetensors";
  const size_t length = strlen(path), tail = sizeof end - 1;
  return length >= tail && !strcmp(path + length - tail, end);
}

static char *in_folder(const char *folder, const char *name) {
  const size_t size = strlen(folder) + strlen(name) + 2;
  char *path = mae_calloc(size, 1);
  if (path) snprintf(path, size, "%s/%s", folder, name);
  return path;
}

/* The config is ready, but for its name, before the old weights go, so that a
 * full disk leaves both old files. */
static mae_status write_both(const mae_model *model, mae_dtype dtype,
                             const char *weights, const char *config) {
  mae_atomic_file file;
  MAE_TRY(mae_hf_config_begin(config, dtype, &model->config, &file));
  mae_status status =
      write_tensors(model, MAE_LAYOUT_HUGGING_FACE, dtype, weights);
  if (status == MAE_OK) return mae_atomic_commit(&file);
  mae_atomic_abort(&file);
  return status;
}

static mae_status write_folder(const mae_model *model, mae_dtype dtype,
                               const char *folder) {
  if (mkdir(folder, 0777) && errno != EEXIST)
    return mae_io_fail("make the folder", folder, errno);
  char *weights = in_folder(folder, "model.safetensors");
  char *config = in_folder(folder, "config.json");
  mae_status status = weights && config
                          ? write_both(model, dtype, weights, config)
                          : MAE_ERROR_OUT_OF_MEMORY;
  free(weights);
  free(config);
  return status;
}

mae_status mae_model_export(const mae_model *model, mae_layout layout,
                            mae_dtype dtype, const char *path) {
  MAE_REQUIRE(model);
  MAE_REQUIRE(path);
  MAE_TRY(check(model, layout, dtype));
  if (dtype == MAE_DTYPE_F16) MAE_TRY(check_f16_range(model));
  if (layout == MAE_LAYOUT_HUGGING_FACE && !is_one_file(path))
    return write_folder(model, dtype, path);
  return write_tensors(model, layout, dtype, path);
}
