#include "faults.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef MAE_HAVE_PNG
#include <png.h>
#endif

char fault_folder[64];

void fault_path(fault_world *w, const char *name) {
  snprintf(w->path, sizeof w->path, "%s/%s", fault_folder, name);
}

/* -------------------------------------------------------------- makers --- */

mae_config fault_config(void) {
  mae_config c;
  mae_config_init(&c, sizeof c, NULL);
  c.image_height = c.image_width = FAULT_SIDE;
  c.patch_size = 4;
  c.in_chans = 1;
  c.embed_dim = 8;
  c.depth = 1;
  c.num_heads = 2;
  c.decoder_embed_dim = 4;
  c.decoder_depth = 1;
  c.decoder_num_heads = 2;
  c.mlp_ratio = 2;
  return c;
}

mae_status fault_make_context(fault_world *w) {
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  o.threads = 1;
  o.profile = 1;
  return w->context ? MAE_OK : mae_context_create(&o, &w->context);
}

mae_status fault_make_model(fault_world *w) {
  const mae_config c = fault_config();
  const float mean[] = {0.25f}, std[] = {0.5f};
  MAE_TRY(mae_model_create(&c, 1, &w->model));
  return mae_model_set_normalization(w->model, mean, std);
}

mae_status fault_make_classifier(fault_world *w) {
  static const char *const names[FAULT_CLASSES] = {"a", "b", "c"};
  MAE_TRY(fault_make_model(w));
  w->other = w->model;
  w->model = NULL;
  MAE_TRY(mae_model_classifier(w->other, FAULT_CLASSES, 1, 2, &w->model));
  return mae_model_set_class_names(w->model, names);
}

mae_status fault_make_images(fault_world *w) {
  const size_t n = FAULT_BATCH * FAULT_VALUES;
  w->images = malloc(n * sizeof *w->images);
  if (!w->images) return MAE_ERROR_OUT_OF_MEMORY;
  return mae_random_normal(3, 99, 0, n, w->images);
}

mae_trainer_options fault_trainer_options(void) {
  mae_trainer_options o;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = FAULT_BATCH;
  o.base_lr = 0.1;
  o.ema_decay = 0.5;
  return o;
}

static mae_status make_trainer(fault_world *w) {
  const mae_trainer_options o = fault_trainer_options();
  MAE_TRY(fault_make_context(w));
  MAE_TRY(fault_make_images(w));
  return mae_trainer_create(w->context, w->model, &o, &w->trainer);
}

mae_status fault_make_trainer(fault_world *w) {
  MAE_TRY(fault_make_model(w));
  return make_trainer(w);
}

mae_status fault_make_classifier_trainer(fault_world *w) {
  MAE_TRY(fault_make_classifier(w));
  return make_trainer(w);
}

static mae_status fetch(void *arg, int64_t i, float *out) {
  (void)arg;
  return mae_random_uniform(5, 0, (uint64_t)i * FAULT_VALUES, FAULT_VALUES,
                            out);
}

mae_status fault_make_dataset(fault_world *w) {
  static const int32_t labels[] = {0, 1, 2, 0, 1};
  MAE_TRY(mae_dataset_from_callback(5, fetch, NULL, &w->dataset));
  return mae_dataset_set_labels(w->dataset, labels, FAULT_CLASSES, NULL);
}

mae_loader_options fault_loader_options(void) {
  mae_loader_options o;
  mae_loader_options_init(&o, sizeof o);
  o.batch_size = FAULT_BATCH;
  o.image_height = o.image_width = FAULT_SIDE;
  o.in_chans = 1;
  o.threads = 1;
  o.prefetch = 1;
  o.rand_augment_ops = 2;
  o.erase = 1;
  return o;
}

/* --------------------------------------------------------------- files --- */

mae_status fault_write(const char *path, const void *bytes, size_t size) {
  FILE *file = fopen(path, "wb");
  if (!file) return MAE_ERROR_IO;
  const bool ok = fwrite(bytes, 1, size, file) == size;
  return !fclose(file) && ok ? MAE_OK : MAE_ERROR_IO;
}

mae_status fault_write_png(const char *path) {
#ifdef MAE_HAVE_PNG
  uint8_t pixels[10 * 12];
  for (int i = 0; i < 10 * 12; i++) pixels[i] = (uint8_t)(i * 37 % 251);
  png_image png = {.version = PNG_IMAGE_VERSION, .width = 12, .height = 10,
                   .format = PNG_FORMAT_GRAY};
  return png_image_write_to_file(&png, path, 0, pixels, 0, NULL) ? MAE_OK
                                                                 : MAE_ERROR_IO;
#else
  (void)path;
  return MAE_ERROR_UNSUPPORTED;
#endif
}

/* -------------------------------------------------------------- hashes --- */

uint64_t fault_hash(uint64_t hash, const void *bytes, size_t size) {
  const unsigned char *at = bytes;
  hash ^= 0xcbf29ce484222325u + size;
  for (; size; at++, size--) {
    uint64_t word = *at;
    if (size >= sizeof word) {
      memcpy(&word, at, sizeof word);
      at += sizeof word - 1;
      size -= sizeof word - 1;
    }
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  }
  return hash;
}

uint64_t fault_hash_text(uint64_t hash, const char *text) {
  return text ? fault_hash(hash, text, strlen(text) + 1) : hash * 31 + 1;
}

uint64_t fault_hash_model(uint64_t hash, const mae_model *model) {
  mae_config c;
  float mean[4] = {0}, std[4] = {0};
  memset(&c, 0, sizeof c);
  c.struct_size = sizeof c;
  if (!model || mae_model_config(model, &c) != MAE_OK) return hash * 31 + 2;
  hash = fault_hash(hash, &c.image_height, sizeof c.image_height);
  hash = fault_hash(hash, &c.num_classes, sizeof c.num_classes);
  for (int32_t i = 0; i < mae_model_num_tensors(model); i++) {
    const mae_tensor *t = mae_model_tensor(model, i);
    hash = fault_hash_text(hash, mae_model_tensor_name(model, i));
    hash = fault_hash(hash, mae_tensor_data(t),
                      (size_t)mae_tensor_size(t) * sizeof(float));
  }
  for (int32_t i = 0; i < c.num_classes; i++)
    hash = fault_hash_text(hash, mae_model_class_name(model, i));
  if (c.in_chans <= 4 && mae_model_normalization(model, mean, std) == MAE_OK)
    hash = fault_hash(fault_hash(hash, mean, sizeof mean), std, sizeof std);
  return hash;
}

uint64_t fault_hash_image(uint64_t hash, const mae_image *image) {
  const int32_t sizes[] = {image->width, image->height, image->channels};
  hash = fault_hash(hash, sizes, sizeof sizes);
  return fault_hash(hash, image->data,
                    (size_t)image->width * (size_t)image->height *
                        (size_t)image->channels);
}

uint64_t fault_hash_dataset(uint64_t hash, const mae_dataset *d) {
  const int64_t n = mae_dataset_size(d);
  const int32_t classes = mae_dataset_num_classes(d);
  hash = fault_hash(hash, &n, sizeof n);
  hash = fault_hash(hash, &classes, sizeof classes);
  for (int32_t c = 0; c < classes; c++)
    hash = fault_hash_text(hash, mae_dataset_class_name(d, c));
  for (int64_t i = 0; i < n; i++) {
    const int32_t label = mae_dataset_label(d, i);
    hash = fault_hash_text(hash, mae_dataset_name(d, i));
    hash = fault_hash(hash, &label, sizeof label);
  }
  return hash;
}

/* The sum does not depend on the order in which files are met. */
static uint64_t files_sum;

static int add_file(const char *path, const struct stat *info, int type,
                    struct FTW *walk) {
  (void)walk;
  uint64_t hash = fault_hash_text(info->st_mode & 0777, path);
  FILE *file = type == FTW_F ? fopen(path, "rb") : NULL;
  char bytes[4096];
  for (size_t n; file && (n = fread(bytes, 1, sizeof bytes, file));)
    hash = fault_hash(hash, bytes, n);
  if (file) fclose(file);
  files_sum += hash;
  return 0;
}

uint64_t fault_hash_files(void) {
  files_sum = 0;
  nftw(fault_folder, add_file, 8, FTW_PHYS);
  return files_sum;
}

static uint64_t hash_made(uint64_t hash, const fault_world *w,
                          fault_kind kind) {
  switch (kind) {
    case MAKES_CONTEXT: {
      const int32_t threads = mae_context_threads(w->made.context);
      return fault_hash(hash, &threads, sizeof threads);
    }
    case MAKES_TENSOR:
      return fault_hash(hash, mae_tensor_data(w->made.tensor),
                        (size_t)mae_tensor_size(w->made.tensor) * 4);
    case MAKES_MODEL: return fault_hash_model(hash, w->made.model);
    case MAKES_IDX:
      return fault_hash(hash, mae_idx_data(w->made.idx),
                        (size_t)mae_idx_dim(w->made.idx, 0));
    case MAKES_DATASET: return fault_hash_dataset(hash, w->made.dataset);
    default: return hash;
  }
}

uint64_t fault_hash_world(const fault_world *w, fault_kind kind) {
  uint64_t hash = fault_hash(0, w->out, sizeof w->out);
  if (w->model) hash = fault_hash_model(hash, w->model);
  if (w->other) hash = fault_hash_model(hash, w->other);
  if (w->dataset) hash = fault_hash_dataset(hash, w->dataset);
  if (w->image.data) hash = fault_hash_image(hash, &w->image);
  if (w->trainer) {
    const int64_t steps = mae_trainer_steps(w->trainer);
    const mae_model *ema = mae_trainer_ema_model(w->trainer);
    hash = fault_hash(hash, &steps, sizeof steps);
    if (ema) hash = fault_hash_model(hash, ema);
  }
  return hash_made(hash, w, kind) + fault_hash_files();
}

/* ---------------------------------------------------------- destroying --- */

void fault_destroy_made(fault_world *w, fault_kind kind) {
  switch (kind) {
    case MAKES_NOTHING: break;
    case MAKES_CONTEXT: mae_context_destroy(w->made.context); break;
    case MAKES_TENSOR: mae_tensor_destroy(w->made.tensor); break;
    case MAKES_MODEL: mae_model_destroy(w->made.model); break;
    case MAKES_SESSION: mae_session_destroy(w->made.session); break;
    case MAKES_TRAINER: mae_trainer_destroy(w->made.trainer); break;
    case MAKES_IDX: mae_idx_destroy(w->made.idx); break;
    case MAKES_DATASET: mae_dataset_destroy(w->made.dataset); break;
    case MAKES_LOADER: mae_loader_destroy(w->made.loader); break;
    case MAKES_EVALUATION: mae_evaluation_destroy(w->made.evaluation); break;
  }
  w->made.any = NULL;
}

void fault_destroy_world(fault_world *w, fault_kind kind) {
  fault_destroy_made(w, kind);
  mae_load_report_destroy(w->report);
  mae_tensor_destroy(w->rows);
  mae_image_free(&w->image);
  free(w->images);
  mae_evaluation_destroy(w->evaluation);
  mae_tape_destroy(w->tape);
  mae_loader_destroy(w->loader);
  mae_dataset_destroy(w->dataset);
  mae_trainer_destroy(w->trainer);
  mae_session_destroy(w->session);
  mae_model_destroy(w->model);
  mae_model_destroy(w->other);
  mae_context_destroy(w->context);
}
