#include "tool/pretrain_settings.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "tool/config_file.h"
#include "tool/parse.h"
#include "tool/say.h"

typedef enum kind {
  HEADING, /* no setting: a line of the help */
  PATH,
  PRESET,
  INT,    /* int32_t */
  REAL,   /* double */
  SEED,   /* uint64_t */
  SIZE,   /* two int32_t, height and width */
  VALUES, /* channel_values */
} kind;

typedef struct setting {
  const char *name;
  kind kind;
  size_t offset;
  double least, most;
  const char *help;
} setting;

#define AT(field) offsetof(pretrain_settings, field)

static const setting settings[] = {
    {"Images", HEADING, 0, 0, 0, NULL},
    {"data", PATH, AT(data), 0, 0,
     "a folder of images, a .tar shard or a folder of\n"
     "them, an IDX file, or a .txt of paths"},
    {"image-size", SIZE, AT(config.image_height), 0, 0,
     "multiples of the patch size (224)"},
    {"in-chans", INT, AT(config.in_chans), 1, SETTINGS_MOST_CHANNELS,
     "channels: 3 colour (the default), 1 grey"},
    {"augment", INT, AT(loader.augment), 0, 1,
     "1: random resized crop, flip (the default); 0: none"},
    {"scale-min", REAL, AT(loader.scale_min), 0, 1,
     "least part of the image that a crop has (0.2)"},
    {"scale-max", REAL, AT(loader.scale_max), 0, 1, "and the largest (1)"},
    {"ratio-min", REAL, AT(loader.ratio_min), 1e-3, 1e3,
     "width to height of the crop, the least (0.75)"},
    {"ratio-max", REAL, AT(loader.ratio_max), 1e-3, 1e3,
     "and the most (1.3333)"},
    {"flip", REAL, AT(loader.flip), 0, 1, "share of images mirrored (0.5)"},
    {"mean", VALUES, AT(mean), 0, 0,
     "R,G,B of pixels in 0..1 (ImageNet's)"},
    {"std", VALUES, AT(std), 0, 0, "likewise"},
    {"decoders", INT, AT(loader.threads), 0, 4096,
     "threads that decode; 0: one per CPU (the default)"},
    {"full-decode", INT, AT(loader.full_decode), 0, 1,
     "1: decode JPEGs at their full size always (0)"},
    {"prefetch", INT, AT(loader.prefetch), 1, 1024,
     "batches made ready ahead (2)"},
    {"Model", HEADING, 0, 0, 0, NULL},
    {"model", PRESET, AT(model), 0, 0,
     "vit_b16 (the default), vit_l16 or vit_h14; each\nsize of it may "
     "be changed:"},
    {"patch-size", INT, AT(config.patch_size), 1, 4096, "pixels"},
    {"embed-dim", INT, AT(config.embed_dim), 1, 65536, "width"},
    {"depth", INT, AT(config.depth), 1, 1024, "blocks"},
    {"num-heads", INT, AT(config.num_heads), 1, 65536, "attention heads"},
    {"decoder-embed-dim", INT, AT(config.decoder_embed_dim), 1, 65536, "width"},
    {"decoder-depth", INT, AT(config.decoder_depth), 1, 1024, "blocks"},
    {"decoder-num-heads", INT, AT(config.decoder_num_heads), 1, 65536,
     "attention heads"},
    {"mlp-ratio", REAL, AT(config.mlp_ratio), 1e-3, 64, "width of the MLPs (4)"},
    {"norm-pix-loss", INT, AT(config.norm_pix_loss), 0, 1,
     "1: predict normalised patches (the default)"},
    {"encoder-mask-tokens", INT, AT(config.encoder_mask_tokens), 0, 1,
     "1: the encoder sees mask tokens too, an ablation (0)"},
    {"layer-norm-eps", REAL, AT(config.layer_norm_eps), 1e-30, 0.99, "(1e-6)"},
    {"Training (defaults: the paper's)", HEADING, 0, 0, 0, NULL},
    {"epochs", INT, AT(epochs), 1, 1e9, "(800)"},
    {"warmup-epochs", REAL, AT(warmup_epochs), 0, 1e9,
     "of linear warm-up, before the cosine (40)"},
    {"batch", INT, AT(trainer.batch_size), 1, 65536,
     "images a pass, of all processes; bounds memory (64)"},
    {"accum", INT, AT(trainer.accum_steps), 1, 999999,
     "passes an update (effective-batch / batch)"},
    {"effective-batch", INT, AT(effective_batch), 1, 2147483647,
     "images an update (4096, or about)"},
    {"mask-ratio", REAL, AT(trainer.mask_ratio), 0, 1,
     "share of the patches removed (0.75)"},
    {"blr", REAL, AT(trainer.base_lr), 0, 1e6,
     "learning rate per 256 images of an update (1.5e-4)"},
    {"min-lr", REAL, AT(trainer.min_lr), 0, 1e6, "where the cosine ends (0)"},
    {"weight-decay", REAL, AT(trainer.weight_decay), 0, 1e6, "(0.05)"},
    {"beta1", REAL, AT(trainer.beta1), 0, 1, "of AdamW (0.9)"},
    {"beta2", REAL, AT(trainer.beta2), 0, 1, "(0.95)"},
    {"eps", REAL, AT(trainer.eps), 0, 1e6, "(1e-8)"},
    {"clip-grad", REAL, AT(trainer.clip_grad), 0, 1e30,
     "largest norm of the gradient; 0: any (the default)"},
    {"recompute", INT, AT(trainer.recompute), 0, 1,
     "1: keep only what goes into each block, compute the\n"
     "rest again: less memory, more time, same bits (0)"},
    {"seed", SEED, AT(trainer.seed), 0, 0,
     "of weights, masks, order and crops (0)"},
    {"threads", INT, AT(threads), 0, 4096,
     "that compute; 0: one per CPU (the default)"},
    {"Files", HEADING, 0, 0, 0, NULL},
    {"checkpoint-minutes", REAL, AT(fit.checkpoint_minutes), 0, 1e6,
     "between two checkpoints; 0: only the last (10)"},
    {"keep-checkpoints", INT, AT(fit.keep_checkpoints), 1, 1000000,
     "the newest that stay (3)"},
    {"samples", INT, AT(samples), 0, 100,
     "images drawn after each epoch (8)"},
};
enum { SETTINGS = sizeof settings / sizeof *settings };

void settings_init(pretrain_settings *s) {
  memset(s, 0, sizeof *s);
  strcpy(s->model, "vit_b16");
  mae_trainer_options_init(&s->trainer, sizeof s->trainer);
  mae_loader_options_init(&s->loader, sizeof s->loader);
  mae_fit_options_init(&s->fit, sizeof s->fit);
  s->config.norm_pix_loss = -1;
  s->trainer.accum_steps = 0;
  s->epochs = (int32_t)s->fit.epochs;
  s->warmup_epochs = 40;
  s->samples = 8;
  s->source = 1;
}

int settings_count(void) { return SETTINGS; }

const char *settings_name(int i) {
  return settings[i].kind == HEADING ? NULL : settings[i].name;
}

static void *place(const pretrain_settings *s, const setting *x) {
  return (char *)(uintptr_t)s + x->offset;
}

/* --------------------------------------------------------------- help --- */

static const char *argument_of(const setting *x) {
  switch (x->kind) {
    case PATH: return "PATH";
    case PRESET: return "NAME";
    case REAL: return "X";
    case SIZE: return "N|HxW";
    case VALUES: return "R,G,B";
    default: return "N";
  }
}

void settings_print_help(void) {
  for (int i = 0; i < SETTINGS; i++) {
    const setting *x = &settings[i];
    if (x->kind == HEADING) {
      printf("%s%s:\n", i ? "\n" : "", x->name);
      continue;
    }
    int n = printf("  --%s %s", x->name, argument_of(x));
    for (const char *at = x->help; at;) {
      const char *end = strchr(at, '\n');
      int size = end ? (int)(end - at) : (int)strlen(at);
      printf("%*s%.*s\n", n < 28 ? 28 - n : 2, "", size, at);
      n = 0;
      at = end ? end + 1 : NULL;
    }
  }
}

/* ------------------------------------------------------------ reading --- */

static int wrong(const setting *x, const char *where, const char *value) {
  if (x->kind == INT || x->kind == REAL)
    return fail_usage("%s%s: '%s' is not %.10g to %.10g", where, x->name, value,
                      x->least, x->most);
  return fail_usage("%s%s: '%s' is not %s", where, x->name, value,
                    argument_of(x));
}

static bool set_text(char *to, size_t room, const char *value) {
  if (!*value || strlen(value) >= room || strpbrk(value, "\n\r")) return false;
  strcpy(to, value);
  return true;
}

int settings_set(pretrain_settings *s, int i, const char *where,
                 const char *value) {
  const setting *x = &settings[i];
  int32_t *whole = place(s, x);
  channel_values *list = place(s, x);
  bool ok = false;
  switch (x->kind) {
    case HEADING: break;
    case PATH: ok = set_text(s->data, sizeof s->data, value); break;
    case PRESET: ok = set_text(s->model, sizeof s->model, value); break;
    case INT:
      ok = parse_int(value, (int64_t)x->least, (int64_t)x->most, whole);
      break;
    case REAL: ok = parse_real(value, x->least, x->most, place(s, x)); break;
    case SEED: ok = parse_seed(value, place(s, x)); break;
    case SIZE: ok = parse_size(value, whole, whole + 1); break;
    case VALUES:
      ok = parse_reals(value, SETTINGS_MOST_CHANNELS, list->values,
                       &list->count);
      break;
  }
  if (x->offset == AT(trainer.batch_size)) s->batch_source = s->source;
  if (x->offset == AT(trainer.accum_steps)) s->accum_source = s->source;
  if (x->offset == AT(effective_batch)) s->effective_source = s->source;
  return ok ? TOOL_OK : wrong(x, where, value);
}

/* A comment after a value; a path may have a # in it. */
static void cut_comment(char *value) {
  for (char *at = value; (at = strchr(at, '#')); at++)
    if (at > value && isspace((unsigned char)at[-1])) {
      while (at > value && isspace((unsigned char)at[-1])) at--;
      *at = '\0';
      return;
    }
}

static int take(void *arg, const char *where, const char *key, char *value) {
  for (int i = 0; i < SETTINGS; i++) {
    const setting *x = &settings[i];
    if (x->kind == HEADING || strcmp(x->name, key)) continue;
    if (x->kind != PATH) cut_comment(value);
    char begin[PATH_MAX + 64];
    snprintf(begin, sizeof begin, "%s: ", where);
    return settings_set(arg, i, begin, value);
  }
  return fail_usage("%s: there is no setting '%s'", where, key);
}

int settings_read(pretrain_settings *s, const char *path) {
  int status = config_file_read(path, take, s);
  s->source++;
  return status;
}

/* ----------------------------------------------------------- settling --- */

/* The preset's, where a size was not given. */
static int settle_config(pretrain_settings *s) {
  mae_config preset, *c = &s->config;
  if (mae_config_init(&preset, sizeof preset, s->model) != MAE_OK)
    return fail_usage("model: '%s' is not vit_b16, vit_l16 or vit_h14",
                      s->model);
#define FILL(field) \
  if (c->field) preset.field = c->field
  FILL(image_height);
  FILL(image_width);
  FILL(patch_size);
  FILL(in_chans);
  FILL(embed_dim);
  FILL(depth);
  FILL(num_heads);
  FILL(decoder_embed_dim);
  FILL(decoder_depth);
  FILL(decoder_num_heads);
  FILL(mlp_ratio);
  FILL(layer_norm_eps);
  FILL(encoder_mask_tokens);
#undef FILL
  if (c->norm_pix_loss >= 0) preset.norm_pix_loss = c->norm_pix_loss;
  *c = preset;
  return TOOL_OK;
}

/* Of batch x accum = effective, what was given first gives way. */
static void drop_older(pretrain_settings *s) {
  if (!s->accum_source || !s->effective_source) return;
  if (s->accum_source > s->effective_source)
    s->effective_batch = 0;
  else if (s->effective_source > s->accum_source ||
           s->batch_source > s->accum_source)
    s->trainer.accum_steps = 0;
}

/* Passes an update: as asked, or as near to the paper's 4096 images as whole
 * passes come. */
static int settle_batch(pretrain_settings *s, int32_t ranks) {
  enum { PAPER = 4096 };
  drop_older(s);
  mae_trainer_options *t = &s->trainer;
  int32_t batch = t->batch_size, asked = s->effective_batch;
  if (batch % ranks)
    return fail_usage("batch: %d images cannot be shared out among %d processes",
                      (int)batch, (int)ranks);
  if (asked && asked % batch)
    return fail_usage("effective-batch: %d is not a multiple of batch, %d",
                      (int)asked, (int)batch);
  if (asked && t->accum_steps && asked / batch != t->accum_steps)
    return fail_usage("effective-batch %d is not batch %d x accum %d",
                      (int)asked, (int)batch, (int)t->accum_steps);
  if (!t->accum_steps)
    t->accum_steps = asked ? asked / batch : (PAPER + batch / 2) / batch;
  if (t->accum_steps < 1) t->accum_steps = 1;
  int64_t effective = (int64_t)batch * t->accum_steps;
  if (effective > INT32_MAX)
    return fail_usage("batch x accum: %lld images an update are too many",
                      (long long)effective);
  s->effective_batch = (int32_t)effective;
  return TOOL_OK;
}

static int settle_channels(pretrain_settings *s) {
  static const float mean[] = {0.485f, 0.456f, 0.406f};
  static const float std[] = {0.229f, 0.224f, 0.225f};
  const int32_t n = s->config.in_chans;
  if ((s->mean.count && s->mean.count != n) ||
      (s->std.count && s->std.count != n))
    return fail_usage("%s: not one value for each of the %d channels",
                      s->mean.count && s->mean.count != n ? "mean" : "std",
                      (int)n);
  for (int32_t k = 0; k < n; k++) { /* grey: the means of the three */
    if (!s->mean.count) s->mean.values[k] = n == 3 ? mean[k] : 0.449f;
    if (!s->std.count) s->std.values[k] = n == 3 ? std[k] : 0.226f;
    if (!(s->std.values[k] > 0)) return fail_usage("std: not above 0");
  }
  s->mean.count = s->std.count = n;
  return TOOL_OK;
}

/* A run may be resumed from another folder. */
static void settle_path(pretrain_settings *s) {
  char *whole = realpath(s->data, NULL);
  if (whole && !strpbrk(whole, "\n\r") && strlen(whole) < sizeof s->data)
    strcpy(s->data, whole);
  free(whole);
}

int settings_settle(pretrain_settings *s, int32_t rank, int32_t ranks) {
  settle_path(s);
  int status = settle_config(s);
  if (status == TOOL_OK) status = settle_batch(s, ranks);
  if (status == TOOL_OK) status = settle_channels(s);
  if (status != TOOL_OK) return status;
  mae_loader_options *l = &s->loader;
  s->fit.epochs = s->epochs;
  l->batch_size = s->trainer.batch_size / ranks;
  l->image_height = s->config.image_height;
  l->image_width = s->config.image_width;
  l->in_chans = s->config.in_chans;
  l->mean = s->mean.values;
  l->std = s->std.values;
  l->seed = s->trainer.seed;
  l->rank = rank;
  l->ranks = ranks;
  return TOOL_OK;
}

/* ------------------------------------------------------------ writing --- */

/* As short as gives the same number again. */
static void write_real(text *out, double value) {
  char digits[40];
  for (int n = 6; n <= 17; n++) {
    snprintf(digits, sizeof digits, "%.*g", n, value);
    if (strtod(digits, NULL) == value) break;
  }
  text_add(out, "%s", digits);
}

static void write_values(text *out, const channel_values *list) {
  char digits[40];
  for (int32_t k = 0; k < list->count; k++) {
    for (int n = 6; n <= 9; n++) {
      snprintf(digits, sizeof digits, "%.*g", n, (double)list->values[k]);
      if (strtof(digits, NULL) == list->values[k]) break;
    }
    text_add(out, "%s%s", k ? "," : "", digits);
  }
}

void settings_write_value(const pretrain_settings *s, int i, text *out) {
  const setting *x = &settings[i];
  const int32_t *whole = place(s, x);
  switch (x->kind) {
    case HEADING: break;
    case PATH:
    case PRESET: text_add(out, "%s", (const char *)place(s, x)); break;
    case INT: text_add(out, "%d", (int)*whole); break;
    case REAL: write_real(out, *(const double *)place(s, x)); break;
    case SEED:
      text_add(out, "%llu", (unsigned long long)*(uint64_t *)place(s, x));
      break;
    case SIZE: text_add(out, "%dx%d", (int)whole[0], (int)whole[1]); break;
    case VALUES: write_values(out, place(s, x)); break;
  }
}

void settings_write(const pretrain_settings *s, text *out) {
  text_add(out, "# The settings in effect, for mae pretrain --config or "
                "--resume.\n");
  for (int i = 0; i < SETTINGS; i++) {
    const setting *x = &settings[i];
    if (x->kind == HEADING) {
      text_add(out, "\n# %s\n", x->name);
      continue;
    }
    text_add(out, "%s = ", x->name);
    settings_write_value(s, i, out);
    text_add(out, "\n");
  }
}
