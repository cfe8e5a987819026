#include "io/layout.h"

#include <stdio.h>
#include <string.h>

static bool begins(const char *text, const char *with) {
  return !strncmp(text, with, strlen(with));
}

/* ------------------------------------------------------------ detection --- */

static const char official_patch[] = "patch_embed.proj.weight";
static const char hf_patch[] =
    "vit.embeddings.patch_embeddings.projection.weight";
static const char hf_decoder_5[] = "decoder.decoder_encoder.layer.";

bool mae_naming_detect(const mae_weights *weights, mae_naming *naming) {
  *naming = (mae_naming){.layout = MAE_LAYOUT_OFFICIAL};
  if (mae_weights_find(weights, official_patch)) return true;
  naming->vit = mae_weights_find(weights, hf_patch) != NULL;
  if (!naming->vit && !mae_weights_find(weights, hf_patch + strlen("vit.")))
    return false;
  naming->layout = MAE_LAYOUT_HUGGING_FACE;
  for (int32_t i = 0; i < mae_weights_count(weights); i++) {
    const char *name = mae_weights_at(weights, i)->name;
    if (strstr(name, ".attention.q_proj.")) naming->projections = true;
    if (begins(name, hf_decoder_5)) naming->decoder_encoder = true;
  }
  return true;
}

/* --------------------------------------------------------------- names --- */

/* Official stems, which ".weight" and ".bias" follow, and Hugging Face's. */
typedef struct stem {
  const char *official, *hf, *hf_5;
} stem;

static const stem encoder_stems[] = {
    {"cls_token", "embeddings.cls_token", NULL},
    {"pos_embed", "embeddings.position_embeddings", NULL},
    {"patch_embed.proj", "embeddings.patch_embeddings.projection", NULL},
    {"norm", "layernorm", NULL},
};

static const stem other_stems[] = {
    {"mask_token", "decoder.mask_token", NULL},
    {"decoder_pos_embed", "decoder.decoder_pos_embed", NULL},
    {"decoder_embed", "decoder.decoder_embed", NULL},
    {"decoder_norm", "decoder.decoder_norm", NULL},
    {"decoder_pred", "decoder.decoder_pred", NULL},
    {"head", "classifier", NULL},
};

static const char qkv[] = "attn.qkv";

static const stem block_stems[] = {
    {"norm1", "layernorm_before", "layernorm_before"},
    {"attn.proj", "attention.output.dense", "attention.o_proj"},
    {"norm2", "layernorm_after", "layernorm_after"},
    {"mlp.fc1", "intermediate.dense", "mlp.fc1"},
    {"mlp.fc2", "output.dense", "mlp.fc2"},
};

static const stem qkv_stems[] = {
    {qkv, "attention.attention.query", "attention.q_proj"},
    {qkv, "attention.attention.key", "attention.k_proj"},
    {qkv, "attention.attention.value", "attention.v_proj"},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Is the name this stem, alone or before a dot?  *rest is what follows it. */
static bool has_stem(const char *name, const char *with, const char **rest) {
  size_t length = strlen(with);
  if (strncmp(name, with, length) || (name[length] && name[length] != '.'))
    return false;
  *rest = name + length;
  return true;
}

static const stem *find_stem(const stem *stems, size_t n, const char *name,
                             const char **rest) {
  for (size_t i = 0; i < n; i++)
    if (has_stem(name, stems[i].official, rest)) return &stems[i];
  return NULL;
}

/* "blocks.N.REST": the number's text, of *length, and REST; NULL for none. */
static const char *block_rest(const char *name, bool *decoder,
                              const char **number, int *length) {
  *decoder = begins(name, "decoder_blocks.");
  if (!*decoder && !begins(name, "blocks.")) return NULL;
  *number = strchr(name, '.') + 1;
  const char *dot = strchr(*number, '.');
  if (!dot) return NULL;
  *length = (int)(dot - *number);
  return dot + 1;
}

mae_file_name mae_naming_blocks(const mae_naming *naming, bool decoder) {
  mae_file_name name;
  if (naming->layout == MAE_LAYOUT_OFFICIAL)
    snprintf(name.text, sizeof name.text,
             decoder ? "decoder_blocks." : "blocks.");
  else if (decoder)
    snprintf(
        name.text, sizeof name.text, "%s",
        naming->decoder_encoder ? hf_decoder_5 : "decoder.decoder_layers.");
  else
    snprintf(name.text, sizeof name.text, "%s%s", naming->vit ? "vit." : "",
             naming->projections ? "layers." : "encoder.layer.");
  return name;
}

static mae_file_name hf_block_name(const mae_naming *naming, bool decoder,
                                   const char *number, int length,
                                   const char *inner, int32_t part) {
  const char *rest = "";
  const stem *s =
      has_stem(inner, qkv, &rest)
          ? &qkv_stems[part]
          : find_stem(block_stems, COUNT(block_stems), inner, &rest);
  mae_file_name prefix = mae_naming_blocks(naming, decoder), name;
  snprintf(name.text, sizeof name.text, "%.48s%.*s.%s%s", prefix.text, length,
           number,
           !s                    ? inner
           : naming->projections ? s->hf_5
                                 : s->hf,
           s ? rest : "");
  return name;
}

static mae_file_name hf_name(const mae_naming *naming, const char *official,
                             int32_t part) {
  bool decoder;
  const char *number, *rest = "";
  int length;
  const char *inner = block_rest(official, &decoder, &number, &length);
  if (inner) return hf_block_name(naming, decoder, number, length, inner, part);
  mae_file_name name;
  const stem *s =
      find_stem(encoder_stems, COUNT(encoder_stems), official, &rest);
  const char *vit = s && naming->vit ? "vit." : "";
  if (!s) s = find_stem(other_stems, COUNT(other_stems), official, &rest);
  snprintf(name.text, sizeof name.text, "%s%s%s", vit, s ? s->hf : official,
           s ? rest : "");
  return name;
}

int32_t mae_naming_parts(const mae_naming *naming, const char *official) {
  return naming->layout == MAE_LAYOUT_HUGGING_FACE && strstr(official, qkv)
             ? (int32_t)COUNT(qkv_stems)
             : 1;
}

mae_file_name mae_naming_part(const mae_naming *naming, const char *official,
                              int32_t part) {
  if (naming->layout == MAE_LAYOUT_HUGGING_FACE)
    return hf_name(naming, official, part);
  mae_file_name name;
  snprintf(name.text, sizeof name.text, "%s", official);
  return name;
}
