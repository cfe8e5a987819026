/* Values of the metadata in this library's files: each line of the input is
 * the value of one key, in the order of `keys`; an empty line leaves it out. */
#include <jansson.h>
#include <string.h>

#include "common/input.h"
#include "common/weights.h"
#include "io/checkpoint.h"
#include "io/notes.h"
#include "model/model.h"
#include "train/fit_state.h"

static const char *const keys[] = {
    "mae.image_height",
    "mae.image_width",
    "mae.patch_size",
    "mae.in_chans",
    "mae.embed_dim",
    "mae.depth",
    "mae.num_heads",
    "mae.decoder_embed_dim",
    "mae.decoder_depth",
    "mae.decoder_num_heads",
    "mae.norm_pix_loss",
    "mae.mlp_ratio",
    "mae.layer_norm_eps",
    "mae.global_pool",
    "mae.num_classes",
    "mae.encoder_mask_tokens",
    "mae.class_names",
    "mae.mean",
    "mae.std",
    "mae.fit.images",
    "mae.fit.batches",
    "mae.fit.loss_sum",
    "mae.fit.best_loss",
};

/* NULL: a line is no UTF-8. */
static json_t *metadata_of(const char *at, size_t size) {
  json_t *metadata = json_object();
  bool ok = metadata != NULL;
  for (size_t k = 0; ok && size && k < sizeof keys / sizeof *keys; k++) {
    const char *end = memchr(at, '\n', size);
    const size_t n = end ? (size_t)(end - at) : size;
    if (n) ok = !json_object_set_new(metadata, keys[k], json_stringn(at, n));
    at += n + (end != NULL), size -= n + (end != NULL);
  }
  if (ok) return metadata;
  json_decref(metadata);
  return NULL;
}

/* A safetensors file of this metadata and no tensors. */
static const char *make_file(json_t *metadata) {
  json_t *header = json_pack("{s:o}", "__metadata__", metadata);
  char *text = json_dumps(header, JSON_COMPACT);
  REQUIRE(text);
  const uint64_t length = strlen(text);
  char *bytes = malloc(8 + length);
  REQUIRE(bytes);
  memcpy(bytes, &length, 8);
  memcpy(bytes + 8, text, length);
  const char *path = input_file("model.safetensors", bytes, 8 + length);
  free(bytes);
  free(text);
  json_decref(header);
  return path;
}

/* Sizes in range must not overflow anywhere. */
static void use_config(const mae_config *config) {
  mae_model *model = NULL;
  mae_training_plan plan = {.struct_size = sizeof plan};
  if (config->depth + config->decoder_depth > 16) return;
  REQUIRE(mae_model_describe(config, &model) == MAE_OK);
  REQUIRE(mae_model_parameter_count(model, 0) > 0);
  mae_model_destroy(model);
  if (mae_trainer_plan(weights_context(), config, NULL, &plan) == MAE_OK)
    REQUIRE(plan.total_bytes > 0 && plan.weight_bytes > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static mae_model *classifier;
  if (!classifier) classifier = weights_model(3);
  json_t *metadata = metadata_of((const char *)data, size);
  if (!metadata) return 0;
  const char *path = make_file(metadata);
  mae_safetensors *file = NULL;
  if (mae_safetensors_open(path, &file) != MAE_OK) return 0; /* "\0" */
  mae_config config;
  mae_fit_state fit;
  if (mae_checkpoint_config(file, &config) == MAE_OK) use_config(&config);
  (void)mae_fit_state_read(file, &fit);
  if (mae_notes_read(file, classifier) == MAE_OK)
    for (int32_t i = 0; i < 3; i++) (void)mae_model_class_name(classifier, i);
  mae_safetensors_close(file);
  weights_use(path);
  return 0;
}
