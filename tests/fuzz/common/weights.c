#include "common/weights.h"

#include "common/input.h"

enum { MOST_VALUES = 1 << 14 };

mae_context *weights_context(void) {
  static mae_context *context;
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  o.threads = 1;
  if (!context) REQUIRE(mae_context_create(&o, &context) == MAE_OK);
  return context;
}

mae_config weights_config(int32_t classes) {
  mae_config c;
  REQUIRE(mae_config_init(&c, sizeof c, NULL) == MAE_OK);
  c.image_height = c.image_width = 4;
  c.patch_size = 2;
  c.in_chans = 1;
  c.embed_dim = c.decoder_embed_dim = 4;
  c.depth = c.decoder_depth = 1;
  c.num_heads = c.decoder_num_heads = 1;
  c.mlp_ratio = 2;
  if (!classes) return c;
  c.decoder_embed_dim = c.decoder_depth = c.decoder_num_heads = 0;
  c.num_classes = classes;
  return c;
}

mae_model *weights_model(int32_t classes) {
  mae_config c = weights_config(classes);
  mae_model *model;
  REQUIRE(mae_model_create(&c, 1, &model) == MAE_OK);
  return model;
}

/* Every byte of the weights is read. */
static void read_all(const mae_model *model) {
  for (int32_t i = 0; i < mae_model_num_tensors(model); i++) {
    const mae_tensor *t = mae_model_tensor(model, i);
    const uint8_t *bytes = (const uint8_t *)mae_tensor_data(t);
    const int64_t n = mae_tensor_size(t) * (int64_t)sizeof(float);
    for (int64_t k = 0; k < n; k++) (void)*(volatile const uint8_t *)&bytes[k];
    REQUIRE(mae_model_find(model, mae_model_tensor_name(model, i)) == t);
  }
}

static void compute(const mae_model *model) {
  static float image[MOST_VALUES], out[MOST_VALUES];
  mae_config c = {.struct_size = sizeof c};
  mae_session *session;
  REQUIRE(mae_model_config(model, &c) == MAE_OK);
  const int64_t side = (int64_t)c.image_height * c.image_width;
  if (side > MOST_VALUES / c.in_chans || c.embed_dim > 256 || c.depth > 4)
    return;
  if (mae_session_create(weights_context(), model, NULL, &session) != MAE_OK)
    return;
  if (mae_session_feature_size(session) <= MOST_VALUES)
    (void)mae_session_features(session, image, 1, NULL, out);
  mae_session_destroy(session);
}

static void use_report(const mae_load_report *report) {
  for (int k = 0; k < 3; k++)
    for (int32_t i = 0; i < mae_load_report_count(report, (mae_load_finding)k);
         i++)
      REQUIRE(mae_load_report_item(report, (mae_load_finding)k, i));
}

static void use_with(const char *path, const mae_load_options *options) {
  mae_model *model = NULL;
  mae_load_report *report = NULL;
  mae_status status = mae_model_import(path, options, &model, &report);
  REQUIRE((status == MAE_OK) == (model != NULL));
  REQUIRE(status != MAE_OK || report);
  REQUIRE(status == MAE_OK || *mae_last_error());
  use_report(report);
  if (model) read_all(model);
  if (model && options->image_height) compute(model);
  mae_load_report_destroy(report);
  mae_model_destroy(model);
}

void weights_use(const char *path) {
  mae_load_options options;
  mae_load_options_init(&options, sizeof options);
  use_with(path, &options);
  options.map = 1;
  use_with(path, &options);
  options.image_height = 8; /* positions are interpolated */
  options.image_width = 12;
  options.num_heads = 1;
  use_with(path, &options);
}
