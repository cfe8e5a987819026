#include "model/config.h"

#include <string.h>

#include "base/options.h"
#include "nn/masking.h"

typedef struct preset {
  const char *name;
  int32_t patch_size, embed_dim, depth, num_heads;
} preset;

static const preset presets[] = {{"vit_b16", 16, 768, 12, 12},
                                 {"vit_l16", 16, 1024, 24, 16},
                                 {"vit_h14", 14, 1280, 32, 16}};

mae_status mae_config_init(mae_config *config, size_t struct_size,
                           const char *name) {
  MAE_REQUIRE(config);
  if (!name) name = "vit_b16";
  for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
    const preset *p = &presets[i];
    if (strcmp(p->name, name)) continue;
    mae_config made = {.struct_size = sizeof made,
                       .image_height = 224,
                       .image_width = 224,
                       .patch_size = p->patch_size,
                       .in_chans = 3,
                       .embed_dim = p->embed_dim,
                       .depth = p->depth,
                       .num_heads = p->num_heads,
                       .decoder_embed_dim = 512,
                       .decoder_depth = 8,
                       .decoder_num_heads = 16,
                       .norm_pix_loss = 1,
                       .mlp_ratio = 4,
                       .layer_norm_eps = 1e-6};
    mae_options_write(config, struct_size, &made, sizeof made);
    return MAE_OK;
  }
  return mae_fail(MAE_ERROR_NOT_FOUND, "no preset \"%s\"", name);
}

/* Far beyond any model, and small enough that no size can overflow. */
enum {
  MOST_SIDE = 65536,
  MOST_WIDTH = 65536,
  MOST_DEPTH = 1024,
  MOST_CLASSES = 1 << 24
};

static mae_status check_range(const char *what, int32_t value, int32_t most) {
  if (value >= 1 && value <= most) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "config: %s is %d, not 1 to %d",
                  what, value, most);
}

static mae_status check_width(const char *what, int32_t width, int32_t heads) {
  if (heads >= 1 && width % heads == 0 && width % 4 == 0) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                  "config: %s %d is not a multiple of 4 and of %d heads", what,
                  width, heads);
}

static mae_status check_flag(const char *what, int32_t value) {
  if (value == 0 || value == 1) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "config: %s is %d, not 0 or 1",
                  what, value);
}

bool mae_config_has_decoder(const mae_config *c) {
  return c->decoder_embed_dim || c->decoder_depth || c->decoder_num_heads;
}

static mae_status check_decoder(const mae_config *c) {
  if (!mae_config_has_decoder(c)) {
    if (!c->encoder_mask_tokens) return MAE_OK;
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "config: encoder_mask_tokens go with a decoder");
  }
  if (c->global_pool || c->num_classes)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "config: global_pool and num_classes go without a decoder");
  MAE_TRY(check_range("decoder_embed_dim", c->decoder_embed_dim, MOST_WIDTH));
  MAE_TRY(check_range("decoder_depth", c->decoder_depth, MOST_DEPTH));
  return check_width("decoder_embed_dim", c->decoder_embed_dim,
                     c->decoder_num_heads);
}

static mae_status check_hidden(const mae_config *c) {
  if (c->mlp_ratio > 0 && c->mlp_ratio <= 64 &&
      mae_config_mlp_hidden(c, c->embed_dim) >= 1 &&
      (!mae_config_has_decoder(c) ||
       mae_config_mlp_hidden(c, c->decoder_embed_dim) >= 1))
    return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "config: mlp_ratio is %g",
                  c->mlp_ratio);
}

mae_status mae_config_check(const mae_config *c) {
  MAE_TRY(check_range("image_height", c->image_height, MOST_SIDE));
  MAE_TRY(check_range("image_width", c->image_width, MOST_SIDE));
  MAE_TRY(check_range("patch_size", c->patch_size, 4096));
  MAE_TRY(check_range("in_chans", c->in_chans, 4096));
  MAE_TRY(check_range("embed_dim", c->embed_dim, MOST_WIDTH));
  MAE_TRY(check_range("depth", c->depth, MOST_DEPTH));
  MAE_TRY(check_width("embed_dim", c->embed_dim, c->num_heads));
  MAE_TRY(check_flag("global_pool", c->global_pool));
  MAE_TRY(check_flag("encoder_mask_tokens", c->encoder_mask_tokens));
  if (c->num_classes) /* 0: no head */
    MAE_TRY(check_range("num_classes", c->num_classes, MOST_CLASSES));
  MAE_TRY(check_decoder(c));
  if (c->image_height % c->patch_size || c->image_width % c->patch_size)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "config: %d x %d does not cut into patches of %d",
                    c->image_height, c->image_width, c->patch_size);
  MAE_TRY(check_hidden(c));
  if (!(c->layer_norm_eps > 0 && c->layer_norm_eps < 1))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "config: layer_norm_eps is %g, not in (0, 1)",
                    c->layer_norm_eps);
  MAE_TRY(check_flag("norm_pix_loss", c->norm_pix_loss));
  if (c->norm_pix_loss && mae_config_patch_values(c) < 2)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "config: norm_pix_loss needs patches of two values");
  return MAE_OK;
}

mae_status mae_config_read(mae_config *ours, const mae_config *theirs) {
  mae_config made;
  MAE_TRY(mae_config_init(&made, sizeof made, NULL));
  MAE_TRY(mae_options_read("mae_config", &made, sizeof made, theirs));
  MAE_TRY(mae_config_check(&made));
  *ours = made;
  return MAE_OK;
}

bool mae_config_same(const mae_config *a, const mae_config *b) {
  return a->image_height == b->image_height &&
         a->image_width == b->image_width && a->patch_size == b->patch_size &&
         a->in_chans == b->in_chans && a->embed_dim == b->embed_dim &&
         a->depth == b->depth && a->num_heads == b->num_heads &&
         a->decoder_embed_dim == b->decoder_embed_dim &&
         a->decoder_depth == b->decoder_depth &&
         a->decoder_num_heads == b->decoder_num_heads &&
         a->norm_pix_loss == b->norm_pix_loss &&
         a->mlp_ratio == b->mlp_ratio &&
         a->layer_norm_eps == b->layer_norm_eps &&
         a->global_pool == b->global_pool && a->num_classes == b->num_classes &&
         a->encoder_mask_tokens == b->encoder_mask_tokens;
}

int64_t mae_config_patches(const mae_config *c) {
  return (int64_t)(c->image_height / c->patch_size) *
         (c->image_width / c->patch_size);
}

int64_t mae_config_patch_values(const mae_config *c) {
  return (int64_t)c->patch_size * c->patch_size * c->in_chans;
}

int64_t mae_config_image_values(const mae_config *c) {
  return (int64_t)c->in_chans * c->image_height * c->image_width;
}

int64_t mae_config_mlp_hidden(const mae_config *c, int64_t width) {
  return (int64_t)((double)width * c->mlp_ratio);
}

mae_status mae_config_kept(const mae_config *c, double ratio, bool removes,
                           int64_t *kept) {
  int64_t patches = mae_config_patches(c);
  if (!(ratio >= 0 && ratio < 1))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "mask ratio is %g, not in [0, 1)", ratio);
  *kept = mae_masking_kept(patches, ratio);
  if (*kept < 1 || (removes && *kept == patches))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "mask ratio %g keeps %lld of %lld patches", ratio,
                    (long long)*kept, (long long)patches);
  return MAE_OK;
}
