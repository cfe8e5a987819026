#include "io/hf_config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/config.h"

#ifdef MAE_HAVE_JSON

#include "io/json_text.h"

enum { MOST_BYTES = 1 << 20, MOST_NUMBER = 1 << 20 };

/* ------------------------------------------------------------- reading --- */

typedef struct reader {
  const char *path;
  const json_t *root;
  mae_status status; /* of the first failure: later reads do nothing */
} reader;

static void bad(reader *r, const char *key) {
  if (r->status == MAE_OK)
    r->status = mae_fail(MAE_ERROR_FORMAT,
                         "%s: \"%s\" is of the wrong kind or out of range",
                         r->path, key);
}

static int32_t as_size(reader *r, const char *key, const json_t *value) {
  json_int_t number = json_is_integer(value) ? json_integer_value(value) : 0;
  if (number >= 1 && number <= MOST_NUMBER) return (int32_t)number;
  bad(r, key);
  return 1;
}

static int32_t size_of(reader *r, const char *key, int32_t otherwise) {
  const json_t *value = json_object_get(r->root, key);
  return value ? as_size(r, key, value) : otherwise;
}

/* One number, or [height, width]. */
static void sizes_of(reader *r, const char *key, int32_t otherwise,
                     int32_t *height, int32_t *width) {
  const json_t *value = json_object_get(r->root, key);
  if (json_is_array(value)) {
    if (json_array_size(value) != 2) bad(r, key);
    *height = as_size(r, key, json_array_get(value, 0));
    *width = as_size(r, key, json_array_get(value, 1));
  } else {
    *height = *width = size_of(r, key, otherwise);
  }
}

static int32_t flag_of(reader *r, const char *key, int32_t otherwise) {
  const json_t *value = json_object_get(r->root, key);
  if (value && !json_is_boolean(value)) bad(r, key);
  return value ? json_is_true(value) : otherwise;
}

static double real_of(reader *r, const char *key, double otherwise) {
  const json_t *value = json_object_get(r->root, key);
  if (value && !json_is_number(value)) bad(r, key);
  return value ? json_number_value(value) : otherwise;
}

static const char *text_of(reader *r, const char *key, const char *otherwise) {
  const json_t *value = json_object_get(r->root, key);
  if (value && !json_is_string(value)) bad(r, key);
  const char *text = json_string_value(value);
  return text ? text : otherwise;
}

static void check_kind(reader *r, mae_hf_config *c) {
  const char *type = text_of(r, "model_type", "vit_mae");
  const char *activation = text_of(r, "hidden_act", "gelu");
  c->mae = !strcmp(type, "vit_mae");
  if (r->status != MAE_OK) return;
  if (!c->mae && strcmp(type, "vit"))
    r->status = mae_fail(MAE_ERROR_UNSUPPORTED,
                         "%s: model_type is \"%.40s\", not vit_mae or vit",
                         r->path, type);
  else if (strcmp(activation, "gelu"))
    r->status =
        mae_fail(MAE_ERROR_UNSUPPORTED, "%s: hidden_act is \"%.40s\", not gelu",
                 r->path, activation);
}

static void read_fields(reader *r, mae_hf_config *c) {
  int32_t patch_width;
  check_kind(r, c);
  sizes_of(r, "image_size", 224, &c->image_height, &c->image_width);
  sizes_of(r, "patch_size", 16, &c->patch_size, &patch_width);
  if (patch_width != c->patch_size) bad(r, "patch_size");
  c->num_channels = size_of(r, "num_channels", 3);
  c->hidden_size = size_of(r, "hidden_size", 768);
  c->num_hidden_layers = size_of(r, "num_hidden_layers", 12);
  c->num_attention_heads = size_of(r, "num_attention_heads", 12);
  c->intermediate_size = size_of(r, "intermediate_size", 3072);
  c->decoder_hidden_size = size_of(r, "decoder_hidden_size", 512);
  c->decoder_num_hidden_layers = size_of(r, "decoder_num_hidden_layers", 8);
  c->decoder_num_attention_heads =
      size_of(r, "decoder_num_attention_heads", 16);
  c->norm_pix_loss = flag_of(r, "norm_pix_loss", 0);
  c->layer_norm_eps = real_of(r, "layer_norm_eps", 1e-12);
}

/* The file's text, of at most MOST_BYTES, for free(); *size is 0 before. */
static mae_status slurp(int fd, const char *path, char **text, size_t *size) {
  struct stat info;
  if (fstat(fd, &info)) return mae_io_fail("read", path, errno);
  if (!S_ISREG(info.st_mode) || info.st_size > MOST_BYTES)
    return mae_fail(MAE_ERROR_FORMAT, "%s: no file, or too large a one", path);
  *text = malloc((size_t)info.st_size + 1);
  if (!*text)
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for %s", path);
  while (*size < (size_t)info.st_size) {
    ssize_t n = read(fd, *text + *size, (size_t)info.st_size - *size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return mae_io_fail("read", path, errno);
    if (n == 0) break;
    *size += (size_t)n;
  }
  return MAE_OK;
}

static mae_status parse(const char *path, const char *text, size_t size,
                        mae_hf_config *out) {
  json_error_t error;
  bool no_memory;
  json_t *root = mae_json_read(text, size, &error, &no_memory);
  if (no_memory)
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for %s", path);
  if (!json_is_object(root)) {
    json_decref(root);
    return mae_fail(MAE_ERROR_FORMAT, "%s: no JSON object: %.100s", path,
                    root ? "" : error.text);
  }
  reader r = {path, root, MAE_OK};
  mae_hf_config made = {.present = true};
  read_fields(&r, &made);
  json_decref(root);
  if (r.status == MAE_OK) *out = made;
  return r.status;
}

mae_status mae_hf_config_read(const char *path, mae_hf_config *config) {
  *config = (mae_hf_config){.present = false};
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) return MAE_OK;
  if (fd < 0) return mae_io_fail("open", path, errno);
  char *text = NULL;
  size_t size = 0;
  mae_status status = slurp(fd, path, &text, &size);
  close(fd);
  if (status == MAE_OK) status = parse(path, text, size, config);
  free(text);
  return status;
}

/* ------------------------------------------------------------- writing --- */

static json_t *image_size(const mae_config *c) {
  if (c->image_height == c->image_width) return json_integer(c->image_height);
  return json_pack("[i, i]", c->image_height, c->image_width);
}

/* A NULL value, for want of memory, makes json_pack fail as a whole. */
static json_t *encoder_fields(const mae_config *c, mae_dtype dtype,
                              const char *architecture) {
  const int hidden = (int)mae_config_mlp_hidden(c, c->embed_dim);
  return json_pack(
      "{s:[s], s:s, s:s, s:s, s:f, s:f, s:i, s:o, s:i, s:f, s:f, s:i, s:i, s:i,"
      " s:i, s:b}",
      "architectures", architecture, "model_type", "vit_mae", "torch_dtype",
      dtype == MAE_DTYPE_F16 ? "float16" : "float32", "hidden_act", "gelu",
      "attention_probs_dropout_prob", 0.0, "hidden_dropout_prob", 0.0,
      "hidden_size", c->embed_dim, "image_size", image_size(c),
      "intermediate_size", hidden, "initializer_range", 0.02, "layer_norm_eps",
      c->layer_norm_eps, "num_attention_heads", c->num_heads, "num_channels",
      c->in_chans, "num_hidden_layers", c->depth, "patch_size", c->patch_size,
      "qkv_bias", 1);
}

static json_t *decoder_fields(const mae_config *c) {
  const int hidden = (int)mae_config_mlp_hidden(c, c->decoder_embed_dim);
  return json_pack("{s:i, s:i, s:i, s:i, s:f, s:b}", "decoder_hidden_size",
                   c->decoder_embed_dim, "decoder_intermediate_size", hidden,
                   "decoder_num_attention_heads", c->decoder_num_heads,
                   "decoder_num_hidden_layers", c->decoder_depth, "mask_ratio",
                   0.75, "norm_pix_loss", c->norm_pix_loss);
}

static char *config_text(const mae_config *c, mae_dtype dtype) {
  const bool decodes = mae_config_has_decoder(c);
  json_t *root = encoder_fields(
      c, dtype, decodes ? "ViTMAEForPreTraining" : "ViTMAEModel");
  json_t *decoder = decodes ? decoder_fields(c) : json_object();
  const bool sound = root && decoder && !json_object_update(root, decoder);
  char *text =
      sound ? mae_json_write(root, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
  json_decref(root);
  json_decref(decoder);
  return text;
}

static mae_status write_text(mae_atomic_file *out, const char *text) {
  MAE_TRY(mae_atomic_write(out, text, strlen(text)));
  MAE_TRY(mae_atomic_write(out, "\n", 1));
  return mae_atomic_flush(out);
}

mae_status mae_hf_config_begin(const char *path, mae_dtype dtype,
                               const mae_config *config,
                               mae_atomic_file *file) {
  mae_atomic_file out;
  char *text = config_text(config, dtype);
  if (!text) return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for %s", path);
  mae_status status = mae_atomic_begin(path, &out);
  if (status == MAE_OK) {
    status = write_text(&out, text);
    if (status == MAE_OK)
      *file = out;
    else
      mae_atomic_abort(&out);
  }
  free(text);
  return status;
}

#else /* built with JSON=none */

mae_status mae_hf_config_read(const char *path, mae_hf_config *config) {
  *config = (mae_hf_config){.present = false};
  if (access(path, F_OK)) return MAE_OK;
  return mae_fail(MAE_ERROR_UNSUPPORTED,
                  "%s: this libmae was built without a JSON library", path);
}

mae_status mae_hf_config_begin(const char *path, mae_dtype dtype,
                               const mae_config *config,
                               mae_atomic_file *file) {
  (void)dtype, (void)config, (void)file;
  return mae_fail(MAE_ERROR_UNSUPPORTED,
                  "%s: this libmae was built without a JSON library", path);
}

#endif
