/* Hugging Face's config.json, alone and beside a sound model. */
#include "io/hf_config.h"

#include <string.h>

#include "common/input.h"
#include "common/weights.h"

static void put_model(void) {
  mae_model *model = weights_model(0);
  char path[256];
  snprintf(path, sizeof path, "%s/made.safetensors", input_folder());
  REQUIRE(mae_model_export(model, MAE_LAYOUT_HUGGING_FACE, MAE_DTYPE_F32,
                           path) == MAE_OK);
  mae_model_destroy(model);
  static char bytes[1 << 16];
  FILE *in = fopen(path, "rb");
  REQUIRE(in);
  const size_t n = fread(bytes, 1, sizeof bytes, in);
  fclose(in);
  remove(path);
  (void)input_file("model.safetensors", bytes, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static int ready;
  if (!ready++) put_model();
  mae_hf_config config = {.hidden_size = -7};
  const char *path = input_file("config.json", data, size);
  if (mae_hf_config_read(path, &config) == MAE_OK)
    REQUIRE(config.present && config.image_height > 0 &&
            config.image_width > 0 && config.patch_size > 0 &&
            config.num_attention_heads > 0);
  weights_use(input_folder());
  return 0;
}
