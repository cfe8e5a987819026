#include "tool/model_options.h"

#include <stddef.h>

#include "tool/parse.h"
#include "tool/say.h"

/* In the order of the codes from MODEL_FIELDS. */
static const struct {
  const char *option;
  size_t offset;
} fields[MODEL_FIELD_COUNT] = {
    {"patch-size", offsetof(mae_config, patch_size)},
    {"in-chans", offsetof(mae_config, in_chans)},
    {"embed-dim", offsetof(mae_config, embed_dim)},
    {"depth", offsetof(mae_config, depth)},
    {"num-heads", offsetof(mae_config, num_heads)},
    {"decoder-embed-dim", offsetof(mae_config, decoder_embed_dim)},
    {"decoder-depth", offsetof(mae_config, decoder_depth)},
    {"decoder-num-heads", offsetof(mae_config, decoder_num_heads)},
    {"norm-pix-loss", offsetof(mae_config, norm_pix_loss)},
    {"encoder-mask-tokens", offsetof(mae_config, encoder_mask_tokens)}};

void model_options_init(model_options *m) {
  *m = (model_options){.preset = NULL};
  for (int i = 0; i < MODEL_FIELD_COUNT; i++) m->fields[i] = -1;
}

static int read_field(model_options *m, int i, const char *value) {
  if (parse_int(value, 0, INT32_MAX, &m->fields[i])) return TOOL_OK;
  return fail_usage("--%s: '%s' is no count", fields[i].option, value);
}

int model_option(model_options *m, int code, const char *value) {
  bool ok;
  switch (code) {
    case MODEL_PRESET: m->preset = value; return TOOL_OK;
    case MODEL_IMAGE_SIZE:
      ok = parse_size(value, &m->height, &m->width);
      return ok ? TOOL_OK
                : fail_usage("--image-size: '%s' is not N or HxW", value);
    case MODEL_MLP_RATIO:
      ok = parse_real(value, 1e-3, 1e3, &m->mlp_ratio);
      return ok ? TOOL_OK : fail_usage("--mlp-ratio: '%s' is no ratio", value);
    case MODEL_NORM_EPS:
      ok = parse_real(value, 1e-20, 1, &m->norm_eps);
      return ok ? TOOL_OK
                : fail_usage("--layer-norm-eps: '%s' is not between 0 and 1", value);
    default: break;
  }
  if (code < MODEL_FIELDS || code >= MODEL_FIELDS + MODEL_FIELD_COUNT)
    return -1;
  return read_field(m, code - MODEL_FIELDS, value);
}

int model_options_config(const model_options *m, mae_config *config) {
  mae_config c;
  if (mae_config_init(&c, sizeof c, m->preset) != MAE_OK)
    return fail_usage("--model: %s", mae_last_error());
  if (m->height) {
    c.image_height = m->height;
    c.image_width = m->width;
  }
  if (m->mlp_ratio > 0) c.mlp_ratio = m->mlp_ratio;
  if (m->norm_eps > 0) c.layer_norm_eps = m->norm_eps;
  for (int i = 0; i < MODEL_FIELD_COUNT; i++)
    if (m->fields[i] >= 0)
      *(int32_t *)((char *)&c + fields[i].offset) = m->fields[i];
  *config = c;
  return TOOL_OK;
}
