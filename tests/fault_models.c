/* Faults: models, their files, sessions. */
#include "faults.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --------------------------------------------------------------- models --- */

static mae_status nothing(fault_world *w) {
  (void)w;
  return MAE_OK;
}

static mae_status create_model(fault_world *w) {
  const mae_config c = fault_config();
  return mae_model_create(&c, 7, &w->made.model);
}

static mae_status create_classifier(fault_world *w) {
  return mae_model_classifier(w->model, FAULT_CLASSES, 1, 2, &w->made.model);
}

static mae_status resize(fault_world *w) {
  return mae_model_resize(w->model, 12, 16);
}

static mae_status name_classes(fault_world *w) {
  static const char *const names[FAULT_CLASSES] = {"x", "y", "z"};
  return mae_model_set_class_names(w->model, names);
}

static mae_status normalize(fault_world *w) {
  const float mean[] = {0.75f}, std[] = {2};
  return mae_model_set_normalization(w->model, mean, std);
}

/* ---------------------------------------------------------------- files --- */

/* An old file of other weights is there, reached by a link. */
static mae_status make_old(fault_world *w) {
  const mae_config c = fault_config();
  char target[320];
  MAE_TRY(mae_model_create(&c, 3, &w->other));
  fault_path(w, "target.safetensors");
  memcpy(target, w->path, sizeof target);
  unlink(target);
  MAE_TRY(mae_model_save(w->other, target));
  chmod(target, 0600);
  fault_path(w, "link.safetensors");
  unlink(w->path);
  return symlink("target.safetensors", w->path) ? MAE_ERROR_IO : MAE_OK;
}

static mae_status make_saving(fault_world *w) {
  MAE_TRY(fault_make_model(w));
  return make_old(w);
}

static mae_status make_saving_classifier(fault_world *w) {
  MAE_TRY(fault_make_classifier(w));
  mae_model_destroy(w->other);
  w->other = NULL;
  return make_old(w);
}

static mae_status save(fault_world *w) {
  return mae_model_save(w->model, w->path);
}

static mae_status export_f16(fault_world *w) {
  return mae_model_export(w->model, MAE_LAYOUT_OFFICIAL, MAE_DTYPE_F16,
                          w->path);
}

static mae_status make_exporting(fault_world *w) {
  MAE_TRY(fault_make_model(w));
  w->other = w->model;
  w->model = NULL;
  MAE_TRY(mae_model_classifier(w->other, FAULT_CLASSES, 0, 2, &w->model));
  fault_path(w, "folder");
  MAE_TRY(mae_model_export(w->other, MAE_LAYOUT_HUGGING_FACE, MAE_DTYPE_F16,
                           w->path));
  mae_model_destroy(w->model);
  w->model = NULL;
  return fault_make_model(w);
}

static mae_status export_folder(fault_world *w) {
  return mae_model_export(w->model, MAE_LAYOUT_HUGGING_FACE, MAE_DTYPE_F32,
                          w->path);
}

static mae_status make_loading(fault_world *w) {
  MAE_TRY(fault_make_classifier(w));
  fault_path(w, "model.safetensors");
  return access(w->path, F_OK) ? mae_model_save(w->model, w->path) : MAE_OK;
}

static mae_status load(fault_world *w) {
  return mae_model_load(w->path, &w->made.model);
}

static mae_status import(fault_world *w, const char *path, int32_t map) {
  mae_load_options o;
  mae_load_options_init(&o, sizeof o);
  o.map = map;
  o.num_heads = o.decoder_num_heads = 2;
  return mae_model_import(path, &o, &w->made.model, &w->report);
}

static mae_status import_mapped(fault_world *w) {
  return import(w, w->path, 1);
}

#define DATA "tests/data/import/"
static mae_status import_folder(fault_world *w) {
  return import(w, DATA "hf_mae", 0);
}
static mae_status import_timm(fault_world *w) {
  return import(w, DATA "timm_vit.safetensors", 0);
}
static mae_status import_torch(fault_world *w) {
  return import(w, DATA "official.pth", 0);
}
static mae_status import_views(fault_world *w) {
  return import(w, DATA "trainer_bf16.pt", 0);
}
static mae_status import_across(fault_world *w) {
  return import(w, DATA "across.pth", 0);
}
static mae_status import_resized(fault_world *w) {
  mae_load_options o;
  mae_load_options_init(&o, sizeof o);
  o.image_height = 16;
  o.image_width = 12;
  return mae_model_import(w->path, &o, &w->made.model, NULL);
}

static mae_status write_once(fault_world *w, const char *name,
                             const mae_safetensors_entry *entries, int32_t n) {
  fault_path(w, name);
  return access(w->path, F_OK)
             ? mae_safetensors_write(w->path, entries, n, NULL, 0)
             : MAE_OK;
}

/* A file that lacks a tensor and has one that no model has. */
static mae_status make_incomplete(fault_world *w) {
  enum { MOST = 64 };
  mae_safetensors_entry entries[MOST];
  MAE_TRY(fault_make_model(w));
  const int32_t n = mae_model_num_tensors(w->model);
  if (n > MOST) return MAE_ERROR_UNSUPPORTED;
  for (int32_t i = 0; i < n; i++) {
    const char *name = mae_model_tensor_name(w->model, i);
    entries[i] = (mae_safetensors_entry){
        strcmp(name, "norm.bias") ? name : "reg_token",
        mae_model_tensor(w->model, i)};
  }
  return write_once(w, "incomplete.safetensors", entries, n);
}

/* A file of something else. */
static mae_status make_foreign(fault_world *w) {
  MAE_TRY(fault_make_model(w));
  const mae_safetensors_entry other = {"other", mae_model_tensor(w->model, 0)};
  return write_once(w, "foreign.safetensors", &other, 1);
}

/* Refused, with a report. */
static mae_status import_refused(fault_world *w) {
  const mae_status status = import(w, w->path, 0);
  return status == MAE_ERROR_MISMATCH && w->report ? MAE_OK : status;
}

static uint64_t report_of(fault_world *w) {
  uint64_t hash = fault_hash_text(0, mae_load_report_format(w->report));
  for (int k = 0; k <= MAE_LOAD_MISSHAPEN; k++)
    for (int32_t i = 0; i < mae_load_report_count(w->report, k); i++)
      hash = fault_hash_text(hash, mae_load_report_item(w->report, k, i));
  return hash;
}

#define WRITER(call, how, make, run) \
  {call, how, MAKES_NOTHING, make, run, NULL, 0, NULL}
#define READER(call, how, make, run) \
  {call, how, MAKES_MODEL, make, run, report_of, 0, NULL}
const fault_case fault_models[] = {
    {"mae_model_create", "", MAKES_MODEL, nothing, create_model, NULL, 0, NULL},
    {"mae_model_classifier", "", MAKES_MODEL, fault_make_model,
     create_classifier, NULL, 0, NULL},
    {"mae_model_resize", "", MAKES_NOTHING, fault_make_model, resize, NULL, 0,
     NULL},
    {"mae_model_set_class_names", "", MAKES_NOTHING, fault_make_classifier,
     name_classes, NULL, 0, NULL},
    {"mae_model_set_normalization", "", MAKES_NOTHING, fault_make_model,
     normalize, NULL, 0, NULL},
    WRITER("mae_model_save", "", make_saving, save),
    WRITER("mae_model_save", "classifier", make_saving_classifier, save),
    WRITER("mae_model_export", "f16", make_saving, export_f16),
    {"mae_model_export", "folder", MAKES_NOTHING, make_exporting, export_folder,
     NULL, FAULT_TWO_FILES, NULL},
    READER("mae_model_load", "", make_loading, load),
    READER("mae_model_import", "mapped", make_loading, import_mapped),
    READER("mae_model_import", "resized", make_loading, import_resized),
    {"mae_model_import", "incomplete", MAKES_NOTHING, make_incomplete,
     import_refused, report_of, 0, NULL},
    {"mae_model_import", "foreign", MAKES_NOTHING, make_foreign, import_refused,
     report_of, 0, NULL},
    READER("mae_model_import", "folder", nothing, import_folder),
    READER("mae_model_import", "timm", nothing, import_timm),
    /* libzip 1.7.3 loses a block when it gets no memory for the next one, so
     * leaks are looked for with its own allocations left alone. */
    {"mae_model_import", "torch", MAKES_MODEL, nothing, import_torch, report_of,
     FAULT_LEAKS, NULL},
    {"mae_model_import", "torch, but libzip's", MAKES_MODEL, nothing,
     import_torch, report_of, 0, "libzip."},
    {"mae_model_import", "torch bf16", MAKES_MODEL, nothing, import_views,
     report_of, 0, "libzip."},
    {"mae_model_import", "torch across", MAKES_MODEL, nothing, import_across,
     report_of, 0, "libzip."},
    {0}};

/* ------------------------------------------------------------- sessions --- */

static mae_status make_parts(fault_world *w) {
  MAE_TRY(fault_make_context(w));
  MAE_TRY(fault_make_model(w));
  return fault_make_images(w);
}

static mae_session_options session_options(void) {
  mae_session_options o;
  mae_session_options_init(&o, sizeof o);
  o.batch_size = FAULT_BATCH;
  return o;
}

static mae_status make_session(fault_world *w) {
  mae_session_options o = session_options();
  MAE_TRY(make_parts(w));
  o.image_height = 12; /* a view of the model */
  o.image_width = FAULT_SIDE;
  return mae_session_create(w->context, w->model, &o, &w->session);
}

static mae_status make_plain_session(fault_world *w) {
  const mae_session_options o = session_options();
  MAE_TRY(make_parts(w));
  return mae_session_create(w->context, w->model, &o, &w->session);
}

/* Several lanes, each with threads and plans of its own. */
static mae_status make_throughput(fault_world *w) {
  mae_session_options o = session_options();
  mae_context_options c;
  mae_context_options_init(&c, sizeof c);
  c.threads = 2;
  MAE_TRY(mae_context_create(&c, &w->context));
  MAE_TRY(make_parts(w));
  o.mode = MAE_MODE_THROUGHPUT;
  o.batch_size = 1;
  return mae_session_create(w->context, w->model, &o, &w->session);
}

static mae_status create_session(fault_world *w) {
  mae_session_options o = session_options();
  o.image_height = o.image_width = 12;
  o.mode = MAE_MODE_THROUGHPUT;
  return mae_session_create(w->context, w->model, &o, &w->made.session);
}

static mae_status create_packed(fault_world *w) {
  mae_session_options o = session_options();
  o.precision = MAE_PRECISION_BF16;
  o.pack_weights = 1;
  return mae_session_create(w->context, w->model, &o, &w->made.session);
}

static mae_status features(fault_world *w) {
  return mae_session_features(w->session, w->images, 1, NULL, w->out);
}

static mae_status features_of_two(fault_world *w) {
  return mae_session_features(w->session, w->images, FAULT_BATCH, NULL, w->out);
}

static const uint8_t pixels[20 * 30] = {200, 100, 50, 25};
static const mae_image picture = {pixels, 20, 30, 1, 0};

static mae_status features_u8(fault_world *w) {
  return mae_features_u8(w->session, &picture, 1, w->out);
}

static mae_status preprocess(fault_world *w) {
  return mae_session_preprocess(w->session, &picture, w->out);
}

static mae_status forward(fault_world *w) {
  double loss = 0;
  MAE_TRY(mae_session_forward(w->session, w->images, 1, NULL, &loss,
                              w->out + 1, NULL));
  w->out[0] = (float)loss;
  return MAE_OK;
}

static mae_status reconstruct(fault_world *w) {
  return mae_session_reconstruct(w->session, w->images, 1, NULL, w->out, NULL);
}

#define CALL(call, how, make, run) \
  {call, how, MAKES_NOTHING, make, run, NULL, 0, NULL}
const fault_case fault_sessions[] = {
    {"mae_session_create", "", MAKES_SESSION, make_parts, create_session, NULL,
     0, NULL},
    {"mae_session_create", "packed", MAKES_SESSION, make_parts, create_packed,
     NULL, 0, NULL},
    CALL("mae_session_features", "", make_session, features),
    {"mae_session_features", "lanes", MAKES_NOTHING, make_throughput,
     features_of_two, NULL, FAULT_FILLS_PARTLY, NULL},
    CALL("mae_features_u8", "", make_session, features_u8),
    CALL("mae_features_u8", "own size", make_plain_session, features_u8),
    CALL("mae_session_preprocess", "", make_plain_session, preprocess),
    CALL("mae_session_forward", "", make_plain_session, forward),
    CALL("mae_session_reconstruct", "", make_plain_session, reconstruct),
    {0}};
