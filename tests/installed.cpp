// Uses the installed header and library from C++.
#include <libmae/mae.h>

#include <cmath>
#include <cstdio>
#include <vector>

int main() {
  mae_config config;
  if (mae_config_init(&config, sizeof config, "vit_b16") != MAE_OK) return 1;
  config.image_height = config.image_width = 32;
  config.depth = config.decoder_depth = 1;
  config.embed_dim = config.decoder_embed_dim = 48;
  config.num_heads = config.decoder_num_heads = 3;
  mae_context *context = nullptr;
  mae_model *model = nullptr;
  mae_session *session = nullptr;
  if (mae_context_create(nullptr, &context) != MAE_OK ||
      mae_model_create(&config, 1, &model) != MAE_OK ||
      mae_session_create(context, model, nullptr, &session) != MAE_OK) {
    std::puts(mae_last_error());
    return 1;
  }
  std::vector<float> image(3 * 32 * 32, 0.5f);
  std::vector<float> out((size_t)mae_session_feature_size(session));
  if (mae_session_features(session, image.data(), 1, nullptr, out.data()))
    return 1;
  double sum = 0;
  for (float v : out) sum += std::fabs(v);
  mae_session_destroy(session);
  mae_model_destroy(model);
  mae_context_destroy(context);
  return sum > 0 && std::isfinite(sum) ? 0 : 1;
}
