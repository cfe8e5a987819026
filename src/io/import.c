/* Loading models, from this library's files and from other people's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/options.h"
#include "io/checkpoint.h"
#include "io/infer.h"
#include "io/notes.h"
#include "io/report.h"

static const mae_load_options defaults = {.struct_size = sizeof defaults,
                                          .norm_pix_loss = -1};

void mae_load_options_init(mae_load_options *options, size_t struct_size) {
  mae_options_write(options, struct_size, &defaults, sizeof defaults);
}

/* An import under way. */
typedef struct job {
  mae_load_options options;
  char *path;        /* of the weights */
  char *config_path; /* where config.json would be */
  mae_weights *weights;
  mae_naming naming;
  bool ours; /* a file with our metadata */
  mae_model *model;
  mae_load_report *report;
  bool *used; /* per weight of the file */
} job;

/* Put the file's name before the latest message. */
static mae_status in_file(const job *in, mae_status status) {
  return mae_fail(status, "%s: %s", in->path, mae_last_error());
}

/* ------------------------------------------------------------- options --- */

static mae_status check_range(const char *what, int32_t value, int32_t least,
                              int32_t most) {
  if (value >= least && value <= most) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                  "mae_load_options: %s is %d, not %d to %d", what, value,
                  least, most);
}

static mae_status check_pair(const char *what, int32_t height, int32_t width) {
  MAE_TRY(check_range(what, height, 0, 65536));
  MAE_TRY(check_range(what, width, 0, 65536));
  if (!height == !width) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                  "mae_load_options: %s has one side of two", what);
}

static mae_status check_options(const mae_load_options *o) {
  MAE_TRY(check_range("map", o->map, 0, 1));
  MAE_TRY(check_pair("image size", o->image_height, o->image_width));
  MAE_TRY(check_pair("grid", o->grid_height, o->grid_width));
  MAE_TRY(check_range("num_heads", o->num_heads, 0, 65536));
  MAE_TRY(check_range("decoder_num_heads", o->decoder_num_heads, 0, 65536));
  MAE_TRY(check_range("norm_pix_loss", o->norm_pix_loss, -1, 1));
  if (!(o->layer_norm_eps >= 0 && o->layer_norm_eps < 1))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "mae_load_options: layer_norm_eps is %g, not in [0, 1)",
                    o->layer_norm_eps);
  return MAE_OK;
}

/* --------------------------------------------------------------- paths --- */

/* folder/name in fresh memory; folder has `length` characters. */
static char *join(const char *folder, size_t length, const char *name) {
  const size_t size = length + strlen(name) + 2;
  char *path = mae_calloc(size, 1);
  if (path)
    snprintf(path, size, "%.*s%s%s", (int)length, folder, length ? "/" : "",
             name);
  return path;
}

/* *mode is 0 when there is nothing of that name. */
static mae_status look_at(const char *path, mode_t *mode) {
  struct stat info = {.st_mode = 0};
  if (stat(path, &info) && errno != ENOENT && errno != ENOTDIR)
    return mae_io_fail("look at", path, errno);
  *mode = info.st_mode;
  return MAE_OK;
}

/* The weights in a folder, with the config beside them. */
static mae_status find_in_folder(job *in, const char *folder) {
  static const char *const names[] = {"model.safetensors", "pytorch_model.bin"};
  mode_t mode = 0;
  for (size_t i = 0; i < 2 && !mode; i++) {
    free(in->path);
    in->path = join(folder, strlen(folder), names[i]);
    if (!in->path) return MAE_ERROR_OUT_OF_MEMORY;
    MAE_TRY(look_at(in->path, &mode));
  }
  if (!mode)
    return mae_fail(MAE_ERROR_NOT_FOUND,
                    "%s has neither model.safetensors nor pytorch_model.bin",
                    folder);
  in->config_path = join(folder, strlen(folder), "config.json");
  return in->config_path ? MAE_OK : MAE_ERROR_OUT_OF_MEMORY;
}

static mae_status find_paths(job *in, const char *path) {
  if (strlen(path) > 65536)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "a path of 64 kilobytes");
  mode_t mode = 0;
  MAE_TRY(look_at(path, &mode));
  if (S_ISDIR(mode)) return find_in_folder(in, path);
  in->path = strdup(path);
  const char *slash = strrchr(path, '/');
  in->config_path =
      slash == path
          ? strdup("/config.json")
          : join(path, slash ? (size_t)(slash - path) : 0, "config.json");
  if (in->path && in->config_path) return MAE_OK;
  return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for a path");
}

/* -------------------------------------------------------------- config --- */

/* Whether somebody wrote our metadata, sound or not. */
static bool has_our_metadata(const mae_safetensors *file) {
  return file && (mae_safetensors_metadata(file, "mae.image_height") ||
                  mae_safetensors_metadata(file, "mae.embed_dim") ||
                  mae_safetensors_metadata(file, "mae.mlp_ratio"));
}

/* What the options say instead. */
static mae_status override(const job *in, mae_config *config) {
  const mae_load_options *o = &in->options;
  mae_config c = *config;
  if (o->grid_height) {
    c.image_height = o->grid_height * c.patch_size;
    c.image_width = o->grid_width * c.patch_size;
  }
  if (o->num_heads) c.num_heads = o->num_heads;
  if (o->decoder_num_heads && mae_config_has_decoder(&c))
    c.decoder_num_heads = o->decoder_num_heads;
  if (o->norm_pix_loss >= 0) c.norm_pix_loss = o->norm_pix_loss;
  if (o->layer_norm_eps > 0) c.layer_norm_eps = o->layer_norm_eps;
  MAE_TRY(mae_config_check(&c));
  *config = c;
  return MAE_OK;
}

static mae_status find_config(job *in, mae_config *config) {
  const mae_safetensors *file = mae_weights_safetensors(in->weights);
  const bool named = mae_naming_detect(in->weights, &in->naming);
  in->report->layout = in->naming.layout;
  in->ours = has_our_metadata(file);
  if (in->ours) {
    MAE_TRY(mae_checkpoint_config(file, config));
    return override(in, config);
  }
  if (!named) {
    MAE_TRY(mae_report_add(in->report, MAE_LOAD_MISSING,
                           "patch_embed.proj.weight"));
    return mae_fail(MAE_ERROR_MISMATCH,
                    "neither patch_embed.proj.weight nor Hugging Face's "
                    "embeddings.patch_embeddings.projection.weight is in it");
  }
  mae_hf_config hf = {.present = false};
  if (in->naming.layout == MAE_LAYOUT_HUGGING_FACE)
    MAE_TRY(mae_hf_config_read(in->config_path, &hf));
  return mae_infer_config(in->weights, &in->naming, &hf, &in->options, config);
}

/* ------------------------------------------------------------- tensors --- */

/* What a part of a parameter should be in the file. */
static mae_tensor part_of(const mae_tensor *value, int32_t parts) {
  mae_tensor part = *value;
  part.shape[0] /= parts;
  return part;
}

static const mae_weight *find_part(const job *in, const char *official,
                                   int32_t part, mae_file_name *name) {
  *name = mae_naming_part(&in->naming, official, part);
  const mae_weight *w = mae_weights_find(in->weights, name->text);
  if (w) in->used[w - mae_weights_at(in->weights, 0)] = true;
  return w;
}

static mae_status compare(const job *in, const mae_weight *w,
                          const mae_tensor *expected) {
  mae_tensor found = {.ndim = (int32_t)w->ndim};
  memcpy(found.shape, w->shape, sizeof found.shape);
  mae_shape_text wanted = mae_tensor_shape_text(expected);
  if (!mae_element_is_real(w->element))
    return mae_report_add(in->report, MAE_LOAD_MISSHAPEN,
                          "%s: %s, expected F32, F16, BF16 or F64", w->name,
                          mae_element_name(w->element));
  if (w->ndim < 1 || w->ndim > MAE_MAX_DIMS)
    return mae_report_add(in->report, MAE_LOAD_MISSHAPEN,
                          "%s: %lld dimensions, expected %s", w->name,
                          (long long)w->ndim, wanted.text);
  if (mae_tensor_same_shape(&found, expected)) return MAE_OK;
  return mae_report_add(in->report, MAE_LOAD_MISSHAPEN, "%s: %s, expected %s",
                        w->name, mae_tensor_shape_text(&found).text,
                        wanted.text);
}

static mae_status compare_all(const job *in) {
  for (int32_t i = 0; i < in->model->n_params; i++) {
    const mae_param *p = &in->model->params[i];
    const int32_t parts = mae_naming_parts(&in->naming, p->name);
    const mae_tensor expected = part_of(&p->value, parts);
    for (int32_t k = 0; k < parts; k++) {
      mae_file_name name;
      const mae_weight *w = find_part(in, p->name, k, &name);
      MAE_TRY(
          w ? compare(in, w, &expected)
            : mae_report_add(in->report, MAE_LOAD_MISSING, "%s", name.text));
    }
  }
  return MAE_OK;
}

/* -------------------------------------------------------------- extras --- */

static bool begins(const char *name, const char *with) {
  return !strncmp(name, with, strlen(with));
}

/* Would the file's own model compute something with it that ours does not? */
static bool is_needed_there(const job *in, const char *name) {
  static const char *const elsewhere[] = {"norm.",
                                          "fc_norm.",
                                          "norm_pre.",
                                          "patch_embed.",
                                          "reg_token",
                                          "dist_token",
                                          "cls_token",
                                          "pos_embed",
                                          "embeddings.distillation_token",
                                          "embeddings.patch_embeddings."};
  for (int decoder = 0; decoder < 2; decoder++)
    if ((!decoder || mae_config_has_decoder(&in->model->config)) &&
        begins(name, mae_naming_blocks(&in->naming, decoder).text))
      return true;
  if (in->naming.vit && begins(name, "vit.")) name += strlen("vit.");
  for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
    if (begins(name, elsewhere[i])) return true;
  return false;
}

/* *needed: the first that the file's model would need. */
static mae_status list_extras(const job *in, const char **needed) {
  *needed = NULL;
  for (int32_t i = 0; i < mae_weights_count(in->weights); i++) {
    const char *name = mae_weights_at(in->weights, i)->name;
    if (in->used[i] || (in->ours && begins(name, "optim."))) continue;
    MAE_TRY(mae_report_add(in->report, MAE_LOAD_EXTRA, "%s", name));
    if (!*needed && !in->ours && is_needed_there(in, name)) *needed = name;
  }
  return MAE_OK;
}

static mae_status check_fit(const job *in) {
  const mae_load_report *r = in->report;
  const char *needed = NULL;
  MAE_TRY(compare_all(in));
  MAE_TRY(list_extras(in, &needed));
  const int32_t missing = mae_load_report_count(r, MAE_LOAD_MISSING);
  const int32_t misshapen = mae_load_report_count(r, MAE_LOAD_MISSHAPEN);
  if (missing)
    return mae_fail(MAE_ERROR_MISMATCH,
                    "%d tensors are missing and %d misshapen, first of them "
                    "%.150s",
                    missing, misshapen,
                    mae_load_report_item(r, MAE_LOAD_MISSING, 0));
  if (misshapen)
    return mae_fail(MAE_ERROR_MISMATCH,
                    "%d tensors are misshapen, first of them %.250s", misshapen,
                    mae_load_report_item(r, MAE_LOAD_MISSHAPEN, 0));
  if (needed)
    return mae_fail(MAE_ERROR_MISMATCH,
                    "%.150s belongs to another kind of model", needed);
  return MAE_OK;
}

/* ------------------------------------------------------------- filling --- */

/* Use f32 tensors of one part where they lie. */
static void map_params(const job *in) {
  for (int32_t i = 0; i < in->model->n_params; i++) {
    mae_param *p = &in->model->params[i];
    mae_file_name name;
    if (mae_naming_parts(&in->naming, p->name) > 1) continue;
    p->value.data =
        mae_weights_in_place(in->weights, find_part(in, p->name, 0, &name));
    if (p->value.data)
      in->report->mapped_bytes +=
          mae_tensor_size(&p->value) * (int64_t)sizeof(float);
  }
}

static mae_status read_param(const job *in, const mae_param *p) {
  const int32_t parts = mae_naming_parts(&in->naming, p->name);
  const int64_t each = mae_tensor_size(&p->value) / parts;
  for (int32_t k = 0; k < parts; k++) {
    mae_file_name name;
    MAE_TRY(mae_weights_read(in->weights, find_part(in, p->name, k, &name),
                             p->value.data + k * each));
  }
  return MAE_OK;
}

static mae_status fill(const job *in) {
  mae_model *model = in->model;
  bool *mapped = mae_calloc((size_t)model->n_params, sizeof *mapped);
  if (!mapped) return MAE_ERROR_OUT_OF_MEMORY;
  map_params(in);
  for (int32_t i = 0; i < model->n_params; i++)
    mapped[i] = model->params[i].value.data != NULL;
  mae_status status = mae_model_allocate(model);
  for (int32_t i = 0; i < model->n_params && status == MAE_OK; i++)
    if (!mapped[i]) status = read_param(in, &model->params[i]);
  free(mapped);
  if (status == MAE_OK && in->report->mapped_bytes)
    model->mapping =
        mae_weights_take_mapping(in->weights, &model->mapping_bytes);
  return status;
}

static mae_status resize(const job *in) {
  const mae_load_options *o = &in->options;
  const mae_config *c = &in->model->config;
  if (!o->image_height ||
      (o->image_height == c->image_height && o->image_width == c->image_width))
    return MAE_OK;
  return mae_model_resize(in->model, o->image_height, o->image_width);
}

/* --------------------------------------------------------------- whole --- */

/* Shapes are compared before memory is taken for weights, so that a config
 * that lies about the file costs nothing. */
static mae_status load(job *in) {
  mae_config config;
  MAE_TRY(mae_report_create(&in->report));
  in->report->format = mae_weights_format(in->weights);
  in->used =
      mae_calloc((size_t)mae_weights_count(in->weights), sizeof *in->used);
  if (!in->used) return MAE_ERROR_OUT_OF_MEMORY;
  MAE_TRY(find_config(in, &config));
  MAE_TRY(mae_model_describe(&config, &in->model));
  MAE_TRY(check_fit(in));
  if (in->ours)
    MAE_TRY(mae_notes_read(mae_weights_safetensors(in->weights), in->model));
  MAE_TRY(fill(in));
  return resize(in);
}

static bool has_findings(const job *in) {
  int32_t n = 0;
  for (int k = 0; in->report && k < MAE_LOAD_FINDINGS; k++)
    n += in->report->found[k].count;
  return n > 0;
}

static void finish(job *in) {
  mae_weights_close(in->weights);
  mae_model_destroy(in->model);
  mae_load_report_destroy(in->report);
  free(in->used);
  free(in->path);
  free(in->config_path);
}

mae_status mae_model_import(const char *path, const mae_load_options *options,
                            mae_model **model, mae_load_report **report) {
  MAE_REQUIRE(path);
  MAE_REQUIRE(model);
  job in = {.options = defaults};
  if (options)
    MAE_TRY(mae_options_read("mae_load_options", &in.options, sizeof in.options,
                             options));
  MAE_TRY(check_options(&in.options));
  mae_status status = find_paths(&in, path);
  if (status == MAE_OK)
    status = mae_weights_open(in.path, in.options.map, &in.weights);
  if (status == MAE_OK) {
    status = load(&in);
    if (status == MAE_ERROR_MISMATCH || status == MAE_ERROR_INVALID_ARGUMENT)
      status = in_file(&in, status);
  }
  if (status == MAE_OK) {
    *model = in.model;
    in.model = NULL;
  }
  if (report && (status == MAE_OK ||
                 (status == MAE_ERROR_MISMATCH && has_findings(&in)))) {
    *report = in.report;
    in.report = NULL;
  }
  finish(&in);
  return status;
}

mae_status mae_model_load(const char *path, mae_model **model) {
  MAE_REQUIRE(path);
  MAE_REQUIRE(model);
  return mae_model_import(path, NULL, model, NULL);
}
