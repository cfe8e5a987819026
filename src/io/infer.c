#include "io/infer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/config.h"

typedef struct source {
  const mae_weights *weights;
  const mae_naming *naming;
  const mae_hf_config *hf;
  const mae_load_options *options;
} source;

/* ------------------------------------------------------------- shapes --- */

static const mae_weight *find(const source *s, const char *official) {
  return mae_weights_find(s->weights,
                          mae_naming_part(s->naming, official, 0).text);
}

/* Dimension i of a tensor of ndim dimensions, as far as a config can hold it;
 * 0 when there is no such tensor. */
static int32_t dim(const source *s, const char *official, int64_t ndim,
                   int32_t i) {
  const mae_weight *w = find(s, official);
  if (!w || w->ndim != ndim || w->shape[i] > INT32_MAX) return 0;
  return (int32_t)w->shape[i];
}

/* One more than the largest number of a block, as far as it is sensible. */
static int32_t depth(const source *s, bool decoder) {
  const mae_file_name prefix = mae_naming_blocks(s->naming, decoder);
  const size_t length = strlen(prefix.text);
  int32_t most = 0;
  for (int32_t i = 0; i < mae_weights_count(s->weights); i++) {
    const char *name = mae_weights_at(s->weights, i)->name;
    int32_t number = 0, digits = 0;
    if (strncmp(name, prefix.text, length)) continue;
    for (name += length; *name >= '0' && *name <= '9' && digits < 6; name++)
      number = 10 * number + (*name - '0'), digits++;
    if (digits && *name == '.' && number >= most) most = number + 1;
  }
  return most;
}

/* The ratio of which int(width * ratio) is hidden. */
static double mlp_ratio(const source *s, int32_t width) {
  const int32_t hidden = dim(s, "blocks.0.mlp.fc1.weight", 2, 0);
  if (!hidden || !width) return 4;
  double ratio = (double)hidden / width;
  if ((int32_t)(width * ratio) < hidden) ratio = nextafter(ratio, INFINITY);
  return ratio;
}

static void set_decoder(const source *s, mae_config *c) {
  static const char *const marks[] = {
      "decoder_embed.weight", "decoder_pred.weight", "decoder_norm.weight",
      "decoder_pos_embed"};
  bool decodes = depth(s, true) > 0;
  for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
    decodes = decodes || find(s, marks[i]);
  c->decoder_embed_dim = c->decoder_depth = c->decoder_num_heads = 0;
  if (!decodes) return;
  int32_t width = dim(s, "decoder_embed.weight", 2, 0);
  if (!width) width = dim(s, "decoder_pred.weight", 2, 1);
  if (!width) width = dim(s, "decoder_norm.weight", 1, 0);
  if (!width) width = dim(s, "decoder_pos_embed", 3, 2);
  c->decoder_embed_dim = width;
  c->decoder_depth = depth(s, true);
  /* Part of a decoder is a decoder, of which the rest is missing. */
  if (!c->decoder_depth) c->decoder_depth = 1;
}

static void set_shapes(const source *s, mae_config *c) {
  c->embed_dim = dim(s, "patch_embed.proj.weight", 4, 0);
  c->in_chans = dim(s, "patch_embed.proj.weight", 4, 1);
  c->patch_size = dim(s, "patch_embed.proj.weight", 4, 3);
  c->depth = depth(s, false);
  c->mlp_ratio = mlp_ratio(s, c->embed_dim);
  set_decoder(s, c);
  if (c->decoder_embed_dim) {
    c->encoder_mask_tokens = find(s, "encoder_mask_token") != NULL;
    return;
  }
  c->global_pool = find(s, "fc_norm.weight") != NULL;
  c->num_classes = dim(s, "head.weight", 2, 0);
}

/* --------------------------------------------------- what shapes lack --- */

static int32_t square_root(int32_t n) {
  int32_t root = (int32_t)lround(sqrt((double)n));
  return n > 0 && root * root == n ? root : 0;
}

static mae_status set_grid(const source *s, mae_config *c) {
  const mae_load_options *o = s->options;
  int32_t rows = o->grid_height, columns = o->grid_width;
  int32_t positions = dim(s, "pos_embed", 3, 1);
  if (!positions) positions = dim(s, "decoder_pos_embed", 3, 1);
  if (!rows && s->hf->present && c->patch_size > 0) {
    rows = s->hf->image_height / c->patch_size;
    columns = s->hf->image_width / c->patch_size;
  }
  if (!rows) rows = columns = positions ? square_root(positions - 1) : 1;
  if (!rows || !columns)
    return mae_fail(MAE_ERROR_MISMATCH,
                    "%d positions after the class token's are no square; set "
                    "grid_height and grid_width",
                    positions - 1);
  int64_t height = (int64_t)rows * c->patch_size;
  int64_t width = (int64_t)columns * c->patch_size;
  if (height > INT32_MAX || width > INT32_MAX)
    return mae_fail(MAE_ERROR_MISMATCH,
                    "an image of so many patches overflows");
  c->image_height = (int32_t)height;
  c->image_width = (int32_t)width;
  return MAE_OK;
}

/* Those of the official models; else heads are 64 wide. */
static int32_t usual_heads(int32_t width) {
  if (width == 1280) return 16; /* ViT-H */
  return width % 64 ? 0 : width / 64;
}

static mae_status set_heads(const source *s, mae_config *c) {
  c->num_heads = s->options->num_heads;
  if (!c->num_heads)
    c->num_heads =
        s->hf->present ? s->hf->num_attention_heads : usual_heads(c->embed_dim);
  if (!c->num_heads)
    return mae_fail(MAE_ERROR_MISMATCH,
                    "how many heads share a width of %d is not in the file; "
                    "set num_heads",
                    c->embed_dim);
  if (!c->decoder_embed_dim) return MAE_OK;
  c->decoder_num_heads = s->options->decoder_num_heads;
  if (!c->decoder_num_heads)
    c->decoder_num_heads =
        s->hf->present ? s->hf->decoder_num_attention_heads : 16;
  return MAE_OK;
}

static void set_rest(const source *s, mae_config *c) {
  const mae_load_options *o = s->options;
  const bool hf = s->naming->layout == MAE_LAYOUT_HUGGING_FACE;
  c->norm_pix_loss = o->norm_pix_loss;
  if (c->norm_pix_loss < 0)
    c->norm_pix_loss = s->hf->present ? s->hf->norm_pix_loss : 1;
  c->layer_norm_eps = o->layer_norm_eps;
  if (c->layer_norm_eps == 0)
    c->layer_norm_eps = s->hf->present ? s->hf->layer_norm_eps
                        : hf           ? 1e-12
                                       : 1e-6;
}

/* ------------------------------------------------------------- checks --- */

static mae_status agree(const char *key, int32_t said, int64_t found) {
  if (said == found) return MAE_OK;
  return mae_fail(MAE_ERROR_MISMATCH,
                  "config.json: \"%s\" is %d, but the weights have %lld", key,
                  said, (long long)found);
}

static mae_status check_hf(const mae_hf_config *hf, const mae_config *c) {
  if (!hf->present) return MAE_OK;
  MAE_TRY(agree("patch_size", hf->patch_size, c->patch_size));
  MAE_TRY(agree("num_channels", hf->num_channels, c->in_chans));
  MAE_TRY(agree("hidden_size", hf->hidden_size, c->embed_dim));
  MAE_TRY(agree("num_hidden_layers", hf->num_hidden_layers, c->depth));
  MAE_TRY(agree("intermediate_size", hf->intermediate_size,
                mae_config_mlp_hidden(c, c->embed_dim)));
  if (!hf->mae || !c->decoder_embed_dim) return MAE_OK;
  MAE_TRY(agree("decoder_hidden_size", hf->decoder_hidden_size,
                c->decoder_embed_dim));
  return agree("decoder_num_hidden_layers", hf->decoder_num_hidden_layers,
               c->decoder_depth);
}

static mae_status check(const mae_config *c) {
  if (mae_config_check(c) == MAE_OK) return MAE_OK;
  return mae_fail(MAE_ERROR_MISMATCH, "the weights are no model: %s",
                  mae_last_error());
}

mae_status mae_infer_config(const mae_weights *weights,
                            const mae_naming *naming, const mae_hf_config *hf,
                            const mae_load_options *options,
                            mae_config *config) {
  const source s = {weights, naming, hf, options};
  mae_config made;
  MAE_TRY(mae_config_init(&made, sizeof made, NULL));
  set_shapes(&s, &made);
  MAE_TRY(set_grid(&s, &made));
  MAE_TRY(set_heads(&s, &made));
  set_rest(&s, &made);
  MAE_TRY(check(&made));
  MAE_TRY(check_hf(hf, &made));
  *config = made;
  return MAE_OK;
}
