#include <string.h>

#include "common/input.h"
#include "common/weights.h"
#include "seeds/seeds.h"

static void need(mae_status status) {
  if (status != MAE_OK) fprintf(stderr, "%s\n", mae_last_error());
  REQUIRE(status == MAE_OK);
}

static void put_models(void) {
  static const char *const names[] = {"cat", "a \"dog\"", "\xc3\xa9lan"};
  const float mean[] = {0.25f}, std[] = {0.5f};
  mae_model *model = weights_model(0), *classifier = weights_model(3);
  need(mae_model_save(model, seed_path("safetensors", "model")));
  need(mae_model_export(model, MAE_LAYOUT_OFFICIAL, MAE_DTYPE_F16,
                        seed_path("safetensors", "f16")));
  need(mae_model_export(model, MAE_LAYOUT_HUGGING_FACE, MAE_DTYPE_F32,
                        seed_path("safetensors", "hf.safetensors")));
  need(mae_model_set_class_names(classifier, names));
  need(mae_model_set_normalization(classifier, mean, std));
  need(mae_model_save(classifier, seed_path("safetensors", "classifier")));
  mae_model_destroy(model);
  mae_model_destroy(classifier);
}

/* Without our metadata the config is told by the shapes. */
static void put_foreign(void) {
  size_t size;
  char *data = seed_slurp(seed_path("safetensors", "model"), &size);
  for (char *at = data;
       (at = memmem(at, size - (size_t)(at - data), "mae.", 4));)
    memcpy(at, "eam.", 4);
  seed_put("safetensors", "foreign", data, size);
  free(data);
}

static void put_checkpoints(void) {
  mae_trainer_options o;
  mae_trainer *trainer;
  mae_model *model = weights_model(2);
  const float image[16] = {1, 2, 3};
  const int32_t label = 1;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = 1;
  o.accum_steps = 2;
  o.ema_decay = 0.5;
  need(mae_trainer_create(weights_context(), model, &o, &trainer));
  need(mae_trainer_step_labels(trainer, image, &label, NULL, NULL));
  need(mae_trainer_save(trainer, seed_path("checkpoint", "gathered")));
  need(mae_trainer_step_labels(trainer, image, &label, NULL, NULL));
  need(mae_trainer_save(trainer, seed_path("checkpoint", "updated")));
  mae_trainer_destroy(trainer);
  mae_model_destroy(model);
}

static void put_metadata(void) {
  static const char *const texts[] = {
      "224\n224\n16\n3\n768\n12\n12\n512\n8\n16\n1\n4\n1e-06\n\n\n0",
      ("4\n4\n2\n1\n4\n1\n1\n0\n0\n0\n0\n2\n1e-06\n1\n3\n0\n"
       "[\"a\",\"\\u00e9\",\"c\"]\n[0.5]\n[0.25]\n12\n3\n0x1.8p+1\n0x1p-3"),
      "65536\n65536\n4096\n4096\n65536\n16\n1\n65536\n1\n1\n1\n64\n0.5",
      "8\n4\n1\n2\n4\n2\n1\n\n\n\n0\n0.25\n0.9\n\n16777216"};
  for (int i = 0; i < 4; i++) {
    char name[8];
    snprintf(name, sizeof name, "%d", i);
    seed_put("metadata", name, texts[i], strlen(texts[i]));
  }
}

static void put_hf_configs(void) {
  static const char *const names[] = {"hf_mae", "hf_vit", "hf_classifier",
                                      "hf_encoder_bf16"};
  static const char fitting[] =
      "{\"model_type\": \"vit_mae\", \"hidden_act\": \"gelu\", "
      "\"image_size\": [4, 4], \"patch_size\": 2, \"num_channels\": 1, "
      "\"hidden_size\": 4, \"num_hidden_layers\": 1, "
      "\"num_attention_heads\": 1, \"intermediate_size\": 8, "
      "\"decoder_hidden_size\": 4, \"decoder_num_hidden_layers\": 1, "
      "\"decoder_num_attention_heads\": 1, \"norm_pix_loss\": true, "
      "\"layer_norm_eps\": 1e-6}";
  for (int i = 0; i < 4; i++) {
    char path[128];
    snprintf(path, sizeof path, "tests/data/import/%s/config.json", names[i]);
    seed_copy("hf_config", names[i], path);
  }
  seed_put("hf_config", "fitting", fitting, strlen(fitting));
}

void seed_weights(void) {
  put_models();
  put_foreign();
  put_checkpoints();
  put_metadata();
  put_hf_configs();
}
