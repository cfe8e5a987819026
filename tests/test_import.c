/* Other people's weights against what their own libraries compute
 * (tests/data/make_import.py), what does not fit, mapping, and export. */
#include "folder.h"
#include "golden.h"
#include "suites.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/weights.h"
#include "model/model.h"

#define DATA "tests/data/import/"

/* ------------------------------------------------------------- folders --- */

static char path[128];

static void make_import_folder(void) {
  make_folder();
  snprintf(path, sizeof path, "%s/file.safetensors", folder);
}

static size_t slurp(const char *from, char **bytes) {
  FILE *file = fopen(from, "rb");
  ck_assert_msg(file != NULL, "%s", from);
  fseek(file, 0, SEEK_END);
  size_t n = (size_t)ftell(file);
  rewind(file);
  *bytes = malloc(n + 1);
  ck_assert_uint_eq(fread(*bytes, 1, n, file), n);
  (*bytes)[n] = 0;
  fclose(file);
  return n;
}

static void spit(const char *to, const void *bytes, size_t n) {
  FILE *file = fopen(to, "wb");
  ck_assert_ptr_nonnull(file);
  ck_assert_uint_eq(fwrite(bytes, 1, n, file), n);
  fclose(file);
}

#ifdef MAE_HAVE_JSON

static const double BAR = 1e-5; /* relative to the largest value */

/* -------------------------------------------------------------- models --- */

static mae_load_options options_of(int32_t num_heads) {
  mae_load_options o;
  mae_load_options_init(&o, sizeof o);
  o.num_heads = o.decoder_num_heads = num_heads;
  return o;
}

static mae_model *open_with(const char *from, mae_load_options o) {
  mae_model *model;
  ASSERT_OK(mae_model_import(from, &o, &model, NULL));
  return model;
}

/* The golden models have two heads; where their files say so, pass 0. */
static mae_model *open_two(const char *from) {
  return open_with(from, options_of(2));
}

static int same_named_weights(const mae_model *a, const mae_model *b) {
  int same = mae_model_num_tensors(a) == mae_model_num_tensors(b);
  for (int32_t i = 0; same && i < mae_model_num_tensors(a); i++) {
    const mae_tensor *x = mae_model_tensor(a, i);
    const mae_tensor *y = mae_model_find(b, mae_model_tensor_name(a, i));
    same =
        y && mae_tensor_same_shape(x, y) &&
        !memcmp(x->data, y->data, (size_t)mae_tensor_size(x) * sizeof(float));
  }
  return same;
}

static mae_config config_of(const mae_model *model) {
  mae_config c;
  ASSERT_OK(mae_config_init(&c, sizeof c, NULL));
  ASSERT_OK(mae_model_config(model, &c));
  return c;
}

static mae_safetensors *expected_file(void) {
  mae_safetensors *file;
  ASSERT_OK(mae_safetensors_open(DATA "expected.safetensors", &file));
  return file;
}

/* Features of the two images, for free(). */
static float *features_of(const mae_model *model, mae_features features,
                          const float *images, int64_t *size) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_session_options o;
  mae_session *session;
  mae_session_options_init(&o, sizeof o);
  o.features = features;
  ASSERT_OK(mae_session_create(context, model, &o, &session));
  *size = 2 * mae_session_feature_size(session);
  float *out = malloc((size_t)*size * sizeof *out);
  ASSERT_OK(mae_session_features(session, images, 2, NULL, out));
  mae_session_destroy(session);
  mae_context_destroy(context);
  return out;
}

/* -------------------------------------------------------------- golden --- */

typedef enum pooling { TOKENS, CLS, POOL } pooling;

/* Every file, as the library that wrote it computes. */
static const struct {
  const char *file, *name; /* in expected.safetensors */
  int32_t num_heads;       /* 0: the file says it */
  mae_layout layout;
  const char *format;
  pooling pooling;
  int decodes, classifies, extras;
  double eps;
} files[] = {
    {"official.pth", "official", 2, MAE_LAYOUT_OFFICIAL, "pytorch", TOKENS, 1,
     0, 0, 1e-6},
    {"official_encoder.pth", "official", 2, MAE_LAYOUT_OFFICIAL, "pytorch",
     TOKENS, 0, 0, 0, 1e-6},
    {"across.pth", "official", 2, MAE_LAYOUT_OFFICIAL, "pytorch", TOKENS, 0, 0,
     0, 1e-6},
    {"official_cls.pth", "official_cls", 2, MAE_LAYOUT_OFFICIAL, "pytorch", CLS,
     0, 3, 0, 1e-6},
    {"official_pool.pth", "official_pool", 2, MAE_LAYOUT_OFFICIAL, "pytorch",
     POOL, 0, 3, 0, 1e-6},
    {"plain_f16.pth", "plain_f16", 2, MAE_LAYOUT_OFFICIAL, "pytorch", TOKENS, 1,
     0, 0, 1e-6},
    {"trainer_bf16.pt", "trainer_bf16", 2, MAE_LAYOUT_OFFICIAL, "pytorch",
     TOKENS, 1, 0, 0, 1e-6},
    {"hf_state_dict.pth", "hf_mae", 2, MAE_LAYOUT_HUGGING_FACE, "pytorch",
     TOKENS, 1, 0, 0, 1e-5},
    {"timm_mae.safetensors", "timm_mae", 2, MAE_LAYOUT_OFFICIAL, "safetensors",
     TOKENS, 0, 0, 0, 1e-6},
    {"timm_vit.safetensors", "timm_vit", 2, MAE_LAYOUT_OFFICIAL, "safetensors",
     TOKENS, 0, 3, 0, 1e-6},
    {"timm_pool.safetensors", "timm_pool", 2, MAE_LAYOUT_OFFICIAL,
     "safetensors", POOL, 0, 3, 0, 1e-6},
    {"hf_mae", "hf_mae", 0, MAE_LAYOUT_HUGGING_FACE, "safetensors", TOKENS, 1,
     0, 0, 1e-5},
    {"hf_mae/model.safetensors", "hf_mae", 0, MAE_LAYOUT_HUGGING_FACE,
     "safetensors", TOKENS, 1, 0, 0, 1e-5},
    {"hf_encoder_bf16", "hf_encoder_bf16", 0, MAE_LAYOUT_HUGGING_FACE,
     "safetensors", TOKENS, 0, 0, 0, 1e-5},
    {"hf_vit", "hf_vit", 0, MAE_LAYOUT_HUGGING_FACE, "safetensors", TOKENS, 0,
     0, 2, 1e-12},
    {"hf_classifier", "hf_classifier", 0, MAE_LAYOUT_HUGGING_FACE,
     "safetensors", TOKENS, 0, 3, 0, 1e-12},
};

enum { FILES = sizeof files / sizeof *files };

static int left_out(const char *format) {
#ifndef MAE_HAVE_ZIP
  return !strcmp(format, "pytorch");
#else
  (void)format;
  return 0;
#endif
}

static void expect(const mae_safetensors *file, const char *name,
                   const char *what, const float *got, int64_t n) {
  char key[64];
  snprintf(key, sizeof key, "%s.%s", name, what);
  mae_tensor *want = golden(file, key);
  ck_assert_int_eq(mae_tensor_size(want), n);
  double error = relative_error(got, want->data, n);
  if (getenv("MAE_SHOW_PARITY")) printf("import %-32s %.2e\n", key, error);
  ck_assert_msg(error <= BAR, "%s: relative error %g", key, error);
  mae_tensor_destroy(want);
}

/* logits[i] = head.weight[i] . feature + head.bias[i] of both images. */
static void expect_logits(const mae_safetensors *file, const char *name,
                          const mae_model *model, const float *features,
                          int64_t apart) {
  const mae_tensor *w = mae_model_find(model, "head.weight");
  const mae_tensor *b = mae_model_find(model, "head.bias");
  float logits[2 * 3];
  for (int64_t i = 0; i < 6; i++) {
    double sum = b->data[i % 3];
    for (int64_t k = 0; k < w->shape[1]; k++)
      sum += w->data[i % 3 * w->shape[1] + k] * features[i / 3 * apart + k];
    logits[i] = (float)sum;
  }
  expect(file, name, "logits", logits, 6);
}

static void expect_forward(const mae_safetensors *file, const char *name,
                           const mae_model *model, const float *images) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_session *session;
  mae_tensor *noise = golden(file, "noise");
  const mae_config c = config_of(model);
  const int64_t n = 2 * mae_model_num_patches(model) * c.patch_size *
                    c.patch_size * c.in_chans;
  float *pred = malloc((size_t)n * sizeof *pred);
  double loss;
  ASSERT_OK(mae_session_create(context, model, NULL, &session));
  ASSERT_OK(
      mae_session_forward(session, images, 2, noise->data, &loss, pred, NULL));
  expect(file, name, "loss", &(float){(float)loss}, 1);
  expect(file, name, "pred", pred, n);
  free(pred);
  mae_session_destroy(session);
  mae_tensor_destroy(noise);
  mae_context_destroy(context);
}

static void check_features(const mae_safetensors *file, int i,
                           const mae_model *model) {
  static const mae_features kinds[] = {[TOKENS] = MAE_FEATURES_TOKENS,
                                       [CLS] = MAE_FEATURES_CLASS_TOKEN,
                                       [POOL] = MAE_FEATURES_MEAN};
  mae_tensor *images = golden(file, "images");
  const char *name = files[i].name;
  int64_t size;
  float *got = features_of(model, kinds[files[i].pooling], images->data, &size);
  expect(file, name, files[i].pooling == TOKENS ? "tokens" : "feature", got,
         size);
  if (files[i].classifies) expect_logits(file, name, model, got, size / 2);
  if (files[i].decodes &&
      (!strcmp(name, "official") || !strcmp(name, "hf_mae")))
    expect_forward(file, name, model, images->data);
  free(got);
  mae_tensor_destroy(images);
}

START_TEST(every_file) {
  mae_load_options o = options_of(files[_i].num_heads);
  mae_load_report *report = NULL;
  mae_model *model;
  if (left_out(files[_i].format)) return;
  if (files[_i].num_heads) o.layer_norm_eps = files[_i].eps == 1e-5 ? 1e-5 : 0;
  snprintf(path, sizeof path, DATA "%s", files[_i].file);
  ASSERT_OK(mae_model_import(path, &o, &model, &report));
  ck_assert_int_eq(mae_load_report_layout(report), files[_i].layout);
  ck_assert_str_eq(mae_load_report_format(report), files[_i].format);
  ck_assert_int_eq(mae_load_report_mapped_bytes(report), 0);
  ck_assert_int_eq(mae_load_report_count(report, MAE_LOAD_MISSING), 0);
  ck_assert_int_eq(mae_load_report_count(report, MAE_LOAD_MISSHAPEN), 0);
  ck_assert_int_eq(mae_load_report_count(report, MAE_LOAD_EXTRA),
                   files[_i].extras);
  const mae_config c = config_of(model);
  ck_assert_int_eq(c.image_height, 16);
  ck_assert_int_eq(c.patch_size, 4);
  ck_assert_int_eq(c.num_heads, 2);
  ck_assert_int_eq(c.depth, 2);
  ck_assert_double_eq(c.mlp_ratio, 2);
  ck_assert_double_eq(c.layer_norm_eps, files[_i].eps);
  ck_assert_int_eq(c.decoder_embed_dim, files[_i].decodes ? 8 : 0);
  ck_assert_int_eq(c.global_pool, files[_i].pooling == POOL);
  ck_assert_int_eq(c.num_classes, files[_i].classifies);
  mae_safetensors *file = expected_file();
  check_features(file, _i, model);
  mae_safetensors_close(file);
  mae_load_report_destroy(report);
  mae_model_destroy(model);
}
END_TEST

START_TEST(wide_grid) {
  mae_load_options o = options_of(2);
  mae_model *model = NULL;
  if (left_out("pytorch")) return;
  ASSERT_FAILS(mae_model_import(DATA "wide.pth", &o, &model, NULL),
               MAE_ERROR_MISMATCH, "grid_height");
  o.grid_height = 2, o.grid_width = 4;
  model = open_with(DATA "wide.pth", o);
  mae_safetensors *file = expected_file();
  mae_tensor *images = golden(file, "images");
  float *upper = malloc(2 * 3 * 8 * 16 * sizeof *upper);
  for (int i = 0; i < 6; i++) /* the upper half of each channel */
    memcpy(upper + i * 128, images->data + i * 256, 128 * sizeof *upper);
  int64_t size;
  float *got = features_of(model, MAE_FEATURES_TOKENS, upper, &size);
  expect(file, "wide", "tokens", got, size);
  free(got);
  free(upper);
  mae_tensor_destroy(images);
  mae_safetensors_close(file);
  mae_model_destroy(model);
}
END_TEST

/* ------------------------------------------------------------ mismatch --- */

/* A model's tensors as a safetensors file without our metadata, one of them
 * left out, renamed or of another shape. */
static void write_changed(const mae_model *model, const char *name,
                          const char *renamed, const mae_tensor *other) {
  mae_safetensors_entry entries[128];
  int32_t n = 0;
  for (int32_t i = 0; i < mae_model_num_tensors(model); i++) {
    const char *own = mae_model_tensor_name(model, i);
    entries[n] = (mae_safetensors_entry){own, mae_model_tensor(model, i)};
    if (name && !strcmp(own, name)) {
      if (!renamed && !other) continue;
      if (renamed) entries[n].name = renamed;
      if (other) entries[n].tensor = other;
    }
    n++;
  }
  if (!name && renamed) entries[n++] = (mae_safetensors_entry){renamed, other};
  ASSERT_OK(mae_safetensors_write(path, entries, n, NULL, 0));
}

static mae_load_report *failing_report(const char *word) {
  mae_load_options o = options_of(4);
  mae_load_report *report = NULL;
  mae_model *model = NULL;
  o.decoder_num_heads = 2;
  ASSERT_FAILS(mae_model_import(path, &o, &model, &report), MAE_ERROR_MISMATCH,
               word);
  ck_assert_ptr_nonnull(strstr(mae_last_error(), path));
  ck_assert_ptr_null(model);
  ck_assert_ptr_nonnull(report);
  return report;
}

static void assert_findings(const mae_load_report *r, mae_load_finding kind,
                            int32_t count, const char *first) {
  ck_assert_int_eq(mae_load_report_count(r, kind), count);
  if (count) ck_assert_str_eq(mae_load_report_item(r, kind, 0), first);
  ck_assert_ptr_null(mae_load_report_item(r, kind, count));
  ck_assert_ptr_null(mae_load_report_item(r, kind, -1));
}

START_TEST(missing_and_extra) {
  mae_model *model = small_model(4);
  write_changed(model, "blocks.1.norm2.bias", "blocks.x.norm2.bias", NULL);
  mae_load_report *r = failing_report("blocks.1.norm2.bias");
  assert_findings(r, MAE_LOAD_MISSING, 1, "blocks.1.norm2.bias");
  assert_findings(r, MAE_LOAD_EXTRA, 1, "blocks.x.norm2.bias");
  assert_findings(r, MAE_LOAD_MISSHAPEN, 0, NULL);
  mae_load_report_destroy(r);

  const mae_tensor *fc1 = mae_model_find(model, "blocks.1.mlp.fc1.weight");
  mae_tensor other = *fc1;
  other.shape[0] = fc1->shape[1], other.shape[1] = fc1->shape[0];
  write_changed(model, "blocks.1.mlp.fc1.weight", NULL, &other);
  r = failing_report("misshapen");
  assert_findings(r, MAE_LOAD_MISSING, 0, NULL);
  assert_findings(r, MAE_LOAD_EXTRA, 0, NULL);
  assert_findings(r, MAE_LOAD_MISSHAPEN, 1,
                  "blocks.1.mlp.fc1.weight: [32, 128], expected [128, 32]");
  mae_load_report_destroy(r);
  mae_model_destroy(model);
}
END_TEST

/* Part of a decoder is a decoder, and the rest is missing. */
START_TEST(partial_decoder) {
  mae_model *model = small_model(4);
  write_changed(model, "decoder_pos_embed", NULL, NULL);
  mae_load_report *r = failing_report("decoder_pos_embed");
  assert_findings(r, MAE_LOAD_MISSING, 1, "decoder_pos_embed");
  mae_load_report_destroy(r);
  write_changed(model, "decoder_embed.weight", NULL, NULL);
  r = failing_report("decoder_embed.weight");
  assert_findings(r, MAE_LOAD_MISSING, 1, "decoder_embed.weight");
  mae_load_report_destroy(r);
  mae_model_destroy(model);
}
END_TEST

/* Tensors that the file's own model would compute with. */
START_TEST(other_models) {
  static const char *const names[] = {"blocks.0.ls1.gamma",
                                      "blocks.1.attn.q_norm.weight",
                                      "decoder_blocks.0.other",
                                      "reg_token",
                                      "dist_token",
                                      "norm_pre.weight",
                                      "fc_norm.weight",
                                      "patch_embed.norm.weight"};
  mae_model *model = small_model(4);
  const mae_tensor *some = mae_model_find(model, "norm.weight");
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    write_changed(model, NULL, names[i], some);
    mae_load_report *r = failing_report("another kind of model");
    assert_findings(r, MAE_LOAD_EXTRA, 1, names[i]);
    mae_load_report_destroy(r);
  }
  write_changed(model, NULL, "something.else", some);
  mae_load_options o = options_of(4);
  o.decoder_num_heads = 2;
  mae_model *loaded = open_with(path, o);
  ck_assert(same_named_weights(model, loaded));
  mae_model_destroy(loaded);
  mae_model_destroy(model);
}
END_TEST

START_TEST(no_model_at_all) {
  const mae_load_options o = options_of(0);
  mae_load_report *r = NULL;
  mae_model *model = NULL;
  ASSERT_OK(mae_safetensors_write(path, NULL, 0, NULL, 0));
  ASSERT_FAILS(mae_model_import(path, &o, &model, &r), MAE_ERROR_MISMATCH,
               "patch_embed.proj.weight");
  assert_findings(r, MAE_LOAD_MISSING, 1, "patch_embed.proj.weight");
  mae_load_report_destroy(r);
  mae_model *small = small_model(4);
  for (int k = 0; k < 3; k++) { /* of sizes that no config has */
    static const char *const names[] = {"patch_embed.proj.weight",
                                        "blocks.9999.norm1.weight",
                                        "blocks.1024.norm1.weight"};
    mae_tensor *flat = mae_model_find(small, "norm.weight");
    write_changed(small, k ? NULL : names[0], k ? names[k] : NULL, flat);
    mae_load_options given = options_of(4);
    given.decoder_num_heads = 2;
    ASSERT_FAILS(mae_model_import(path, &given, &model, NULL),
                 MAE_ERROR_MISMATCH, path);
  }
  mae_model_destroy(small);
}
END_TEST

/* No dimensions, or more than a tensor here may have. */
START_TEST(wrong_dimensions) {
  static float values[256];
  static const struct {
    mae_tensor written;
    const char *from, *to, *finding;
  } cases[] = {
      {{.data = values, .ndim = 1, .shape = {1}}, "[1]", "[ ]",
       "norm.bias: 0 dimensions, expected [32]"},
      {{.data = values, .ndim = 4, .shape = {1, 1, 1, 256}}, "[1,1,1,256]",
       "[4,4,4,4,1]", "norm.bias: 5 dimensions, expected [32]"},
  };
  mae_model *model = small_model(4);
  for (int k = 0; k < 2; k++) {
    char *bytes, *at, entry[64];
    write_changed(model, "norm.bias", NULL, &cases[k].written);
    const size_t n = slurp(path, &bytes);
    const int length =
        snprintf(entry, sizeof entry,
                 "\"norm.bias\":{\"dtype\":\"F32\",\"shape\":%s", cases[k].from);
    at = memmem(bytes, n, entry, (size_t)length);
    ck_assert_ptr_nonnull(at);
    memcpy(at + length - strlen(cases[k].to), cases[k].to, strlen(cases[k].to));
    spit(path, bytes, n);
    free(bytes);
    mae_load_report *r = failing_report("norm.bias");
    assert_findings(r, MAE_LOAD_MISSHAPEN, 1, cases[k].finding);
    mae_load_report_destroy(r);
  }
  mae_model_destroy(model);
}
END_TEST

/* Weights of a type that is no real number. */
START_TEST(wrong_dtype) {
  mae_model *model = small_model(4);
  char *bytes, *at;
  write_changed(model, NULL, NULL, NULL);
  size_t n = slurp(path, &bytes);
  at = memmem(bytes, n, "\"norm.bias\":{\"dtype\":\"F32\"", 26);
  ck_assert_ptr_nonnull(at);
  memcpy(at + 22, "I32", 3);
  spit(path, bytes, n);
  mae_load_report *r = failing_report("norm.bias");
  assert_findings(r, MAE_LOAD_MISSHAPEN, 1,
                  "norm.bias: I32, expected F32, F16, BF16 or F64");
  mae_load_report_destroy(r);
  free(bytes);
  mae_model_destroy(model);
}
END_TEST

/* ------------------------------------------------------------- options --- */

START_TEST(bad_options) {
  const char *from = DATA "timm_mae.safetensors";
  mae_model *model = NULL;
  mae_load_report *report = NULL;
  mae_load_options o;
#define BAD(field, value, word)                             \
  o = options_of(2);                                        \
  o.field = value;                                          \
  ASSERT_FAILS(mae_model_import(from, &o, &model, &report), \
               MAE_ERROR_INVALID_ARGUMENT, word)
  BAD(map, 2, "map");
  BAD(image_height, 32, "image size");
  BAD(image_height, -1, "image size");
  BAD(image_width, 65537, "image size is 65537");
  BAD(grid_width, 4, "grid");
  BAD(num_heads, -1, "num_heads");
  BAD(decoder_num_heads, -1, "decoder_num_heads");
  BAD(norm_pix_loss, 2, "norm_pix_loss");
  BAD(layer_norm_eps, -1, "layer_norm_eps");
  BAD(layer_norm_eps, 1, "layer_norm_eps");
  BAD(layer_norm_eps, NAN, "layer_norm_eps");
  BAD(struct_size, 0, "struct_size");
  o = options_of(2);
  ASSERT_FAILS(mae_model_import(NULL, &o, &model, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "path");
  ASSERT_FAILS(mae_model_import(from, &o, NULL, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "model");
  o.num_heads = 3; /* 16 is not a multiple */
  ASSERT_FAILS(mae_model_import(from, &o, &model, &report), MAE_ERROR_MISMATCH,
               "3 heads");
  o.num_heads = 0; /* a width of 16 tells nothing */
  ASSERT_FAILS(mae_model_import(from, &o, &model, &report), MAE_ERROR_MISMATCH,
               "set num_heads");
  o = options_of(2);
  o.grid_height = 2, o.grid_width = 4;
  ASSERT_FAILS(mae_model_import(from, &o, &model, NULL), MAE_ERROR_MISMATCH,
               "pos_embed: [1, 17, 16], expected [1, 9, 16]");
  o = options_of(2);
  o.image_height = 17, o.image_width = 16;
  ASSERT_FAILS(mae_model_import(from, &o, &model, &report),
               MAE_ERROR_INVALID_ARGUMENT, "17 x 16");
  ck_assert_ptr_null(model);
  ck_assert_ptr_null(report);
  mae_load_report_destroy(NULL);
  ck_assert_int_eq(mae_load_report_count(NULL, MAE_LOAD_EXTRA), 0);
  ck_assert_ptr_null(mae_load_report_item(NULL, MAE_LOAD_EXTRA, 0));
}
END_TEST

/* Heads of the official widths, when nothing tells them. */
START_TEST(usual_heads) {
  static const int32_t widths[] = {768, 1024, 1280, 384};
  static const int32_t heads[] = {12, 16, 16, 6};
  for (int i = 0; i < 4; i++) {
    mae_config c;
    mae_model *model, *loaded;
    ASSERT_OK(mae_config_init(&c, sizeof c, NULL));
    c.image_height = c.image_width = c.patch_size = 4;
    c.embed_dim = widths[i], c.num_heads = heads[i];
    c.depth = 1, c.mlp_ratio = 0.1;
    c.decoder_embed_dim = 32, c.decoder_depth = 1;
    ASSERT_OK(mae_model_create(&c, 1, &model));
    write_changed(model, NULL, NULL, NULL);
    ASSERT_OK(mae_model_load(path, &loaded));
    const mae_config found = config_of(loaded);
    ck_assert_int_eq(found.num_heads, heads[i]);
    ck_assert_int_eq(found.decoder_num_heads, 16);
    ck_assert(same_named_weights(model, loaded)); /* and so the odd mlp_ratio */
    mae_model_destroy(model);
    mae_model_destroy(loaded);
  }
}
END_TEST

/* 15 / 44 * 44 is less than 15 in floating point. */
START_TEST(unround_ratio) {
  mae_config c = small_config();
  mae_model *model, *loaded;
  c.embed_dim = 44, c.mlp_ratio = nextafter(15.0 / 44, 1);
  ck_assert_int_eq((int)(15.0 / 44 * 44), 14);
  ASSERT_OK(mae_model_create(&c, 1, &model));
  ck_assert_int_eq(mae_model_find(model, "blocks.0.mlp.fc1.bias")->shape[0],
                   15);
  write_changed(model, NULL, NULL, NULL);
  mae_load_options o = options_of(4);
  o.decoder_num_heads = 2;
  loaded = open_with(path, o);
  ck_assert(same_named_weights(model, loaded));
  mae_model_destroy(model);
  mae_model_destroy(loaded);
}
END_TEST

START_TEST(overrides) {
  mae_model *small = small_model(4);
  mae_load_options o = options_of(8);
  ASSERT_OK(mae_model_save(small, path));
  o.decoder_num_heads = 0;
  o.norm_pix_loss = 0;
  o.layer_norm_eps = 1e-3;
  o.image_height = 20, o.image_width = 32;
  mae_model *model = open_with(path, o);
  const mae_config c = config_of(model);
  ck_assert_int_eq(c.num_heads, 8);
  ck_assert_int_eq(c.decoder_num_heads, 2);
  ck_assert_int_eq(c.norm_pix_loss, 0);
  ck_assert_double_eq(c.layer_norm_eps, 1e-3);
  ck_assert_int_eq(c.image_height, 20);
  ck_assert_int_eq(c.image_width, 32);
  ck_assert_int_eq(mae_model_find(model, "pos_embed")->shape[1], 1 + 5 * 8);
  ASSERT_OK(mae_model_resize(small, 20, 32));
  ck_assert(same_named_weights(small, model));
  mae_model_destroy(model);
  mae_model_destroy(small);
}
END_TEST

/* In a file of ours, too, where they do not fit the weights or no model. */
START_TEST(bad_overrides) {
  mae_model *small = small_model(4), *model = NULL;
  mae_load_options o = options_of(0);
  ASSERT_OK(mae_model_save(small, path));
  o.num_heads = 5;
  ASSERT_FAILS(mae_model_import(path, &o, &model, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "5 heads");
  ck_assert_ptr_nonnull(strstr(mae_last_error(), path));
  o = options_of(0), o.decoder_num_heads = 5;
  ASSERT_FAILS(mae_model_import(path, &o, &model, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "5 heads");
  o = options_of(0), o.grid_height = 1, o.grid_width = 2;
  ASSERT_FAILS(mae_model_import(path, &o, &model, NULL), MAE_ERROR_MISMATCH,
               "pos_embed");
  ck_assert_ptr_null(model);
  mae_model_destroy(small);
}
END_TEST

/* Patches as wide as no image, told by a tensor that has no values. */
START_TEST(endless_grid) {
  static const char header[] =
      "{\"patch_embed.proj.weight\":{\"dtype\":\"F32\",\"shape\":[0,1,1,65536],"
      "\"data_offsets\":[0,0]}}";
  const uint64_t size = sizeof header - 1;
  char bytes[8 + sizeof header];
  mae_model *model = NULL;
  mae_load_options o = options_of(2);
  memcpy(bytes, &size, 8);
  memcpy(bytes + 8, header, size);
  spit(path, bytes, 8 + size);
  for (int k = 0; k < 2; k++) {
    o.grid_height = k ? 65536 : 1, o.grid_width = k ? 1 : 65536;
    ASSERT_FAILS(mae_model_import(path, &o, &model, NULL), MAE_ERROR_MISMATCH,
                 "so many patches overflows");
  }
  ck_assert_ptr_null(model);
}
END_TEST

START_TEST(trainer_checkpoints) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_model *model = small_model(4), *loaded;
  mae_trainer *trainer;
  mae_load_report *r;
  ASSERT_OK(mae_trainer_create(context, model, NULL, &trainer));
  ASSERT_OK(mae_trainer_save(trainer, path));
  ASSERT_OK(mae_model_import(path, NULL, &loaded, &r));
  ck_assert(same_named_weights(model, loaded));
  ck_assert_int_eq(mae_load_report_count(r, MAE_LOAD_EXTRA), 0);
  mae_load_report_destroy(r);
  mae_trainer_destroy(trainer);
  mae_model_destroy(model);
  mae_model_destroy(loaded);
  mae_context_destroy(context);
}
END_TEST

/* --------------------------------------------------------- config.json --- */

/* "FIELD": VALUE of hf_mae's config.json becomes NEW. */
static const struct {
  const char *from, *to;
  mae_status status;
  const char *word;
} config_edits[] = {
    {"\"num_attention_heads\": 2", "\"num_attention_heads\": 3",
     MAE_ERROR_MISMATCH, "3 heads"},
    {"\"num_attention_heads\": 2", "\"num_attention_heads\": -2",
     MAE_ERROR_FORMAT, "num_attention_heads"},
    {"\"num_attention_heads\": 2", "\"num_attention_heads\": 1e9",
     MAE_ERROR_FORMAT, "num_attention_heads"},
    {"\"num_attention_heads\": 2", "\"num_attention_heads\": 4294967298",
     MAE_ERROR_FORMAT, "num_attention_heads"},
    {"\"num_attention_heads\": 2", "\"num_attention_heads\": null",
     MAE_ERROR_FORMAT, "num_attention_heads"},
    {"\"num_attention_heads\": 2,", "", MAE_ERROR_MISMATCH, "12 heads"},
    {"\"hidden_size\": 16", "\"hidden_size\": 32", MAE_ERROR_MISMATCH,
     "\"hidden_size\" is 32"},
    {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", MAE_ERROR_MISMATCH,
     "num_hidden_layers"},
    {"\"intermediate_size\": 32", "\"intermediate_size\": 64",
     MAE_ERROR_MISMATCH, "intermediate_size"},
    {"\"decoder_hidden_size\": 8", "\"decoder_hidden_size\": 16",
     MAE_ERROR_MISMATCH, "decoder_hidden_size"},
    {"\"num_channels\": 3", "\"num_channels\": 1", MAE_ERROR_MISMATCH,
     "num_channels"},
    {"\"patch_size\": 4", "\"patch_size\": [4, 8]", MAE_ERROR_FORMAT,
     "patch_size"},
    {"\"patch_size\": 4", "\"patch_size\": 8", MAE_ERROR_MISMATCH,
     "patch_size"},
    {"\"image_size\": 16", "\"image_size\": 32", MAE_ERROR_MISMATCH,
     "position_embeddings"},
    {"\"image_size\": 16", "\"image_size\": [16]", MAE_ERROR_FORMAT,
     "image_size"},
    {"\"image_size\": 16", "\"image_size\": [16, 16, 16]", MAE_ERROR_FORMAT,
     "image_size"},
    {"\"image_size\": 16", "\"image_size\": \"16\"", MAE_ERROR_FORMAT,
     "image_size"},
    {"\"layer_norm_eps\": 1e-05", "\"layer_norm_eps\": 2", MAE_ERROR_MISMATCH,
     "layer_norm_eps"},
    {"\"layer_norm_eps\": 1e-05", "\"layer_norm_eps\": \"\"", MAE_ERROR_FORMAT,
     "layer_norm_eps"},
    {"\"norm_pix_loss\": true", "\"norm_pix_loss\": 3", MAE_ERROR_FORMAT,
     "norm_pix_loss"},
    {"\"image_size\": 16", "\"image_size\": [16, 3]", MAE_ERROR_MISMATCH,
     "grid_height"},
    {"\"model_type\": \"vit_mae\"", "\"model_type\": \"bert\"",
     MAE_ERROR_UNSUPPORTED, "bert"},
    {"\"model_type\": \"vit_mae\"", "\"model_type\": 3", MAE_ERROR_FORMAT,
     "model_type"},
    {"\"hidden_act\": \"gelu\"", "\"hidden_act\": \"relu\"",
     MAE_ERROR_UNSUPPORTED, "relu"},
    {"{", "[", MAE_ERROR_FORMAT, "JSON"},
    {"{", "", MAE_ERROR_FORMAT, "JSON"},
    {"{", "{\"hidden_size\": 16,", MAE_ERROR_FORMAT, "JSON"},
    {"\"image_size\": 16", "\"image_size\": [16, 16]", MAE_OK, ""},
    {"\"norm_pix_loss\": true,", "", MAE_OK, ""},
};

/* A folder with the weights of hf_mae and this config. */
static void copy_hf_mae(const char *config, size_t n) {
  char *weights;
  size_t size = slurp(DATA "hf_mae/model.safetensors", &weights);
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  spit(path, weights, size);
  snprintf(path, sizeof path, "%s/config.json", folder);
  spit(path, config, n);
  free(weights);
}

START_TEST(edited_config) {
  char *config, edited[4096];
  slurp(DATA "hf_mae/config.json", &config);
  const char *from = config_edits[_i].from, *at = strstr(config, from);
  ck_assert_msg(at != NULL, "%s", from);
  int n = snprintf(edited, sizeof edited, "%.*s%s%s", (int)(at - config),
                   config, config_edits[_i].to, at + strlen(from));
  copy_hf_mae(edited, (size_t)n);
  mae_model *model = NULL;
  mae_status status = mae_model_load(folder, &model);
  ck_assert_msg(status == config_edits[_i].status, "%s: %s",
                config_edits[_i].to, mae_last_error());
  if (status == MAE_OK)
    ck_assert_int_eq(config_of(model).norm_pix_loss,
                     strncmp(from, "\"norm_pix", 9) != 0);
  else
    ck_assert_ptr_nonnull(strstr(mae_last_error(), config_edits[_i].word));
  mae_model_destroy(model);
  free(config);
}
END_TEST

START_TEST(large_config) {
  char *text = malloc(2 << 20);
  memset(text, ' ', 2 << 20);
  copy_hf_mae(text, 2 << 20);
  mae_model *model = NULL;
  ASSERT_FAILS(mae_model_load(folder, &model), MAE_ERROR_FORMAT, "too large");
  memset(text, '[', 1 << 20); /* deep */
  copy_hf_mae(text, 1 << 20);
  ASSERT_FAILS(mae_model_load(folder, &model), MAE_ERROR_FORMAT, "JSON");
  free(text);
}
END_TEST

static void expect_load_fails(mae_status status, const char *word) {
  mae_model *model = NULL;
  ASSERT_FAILS(mae_model_load(folder, &model), status, word);
  ck_assert_ptr_nonnull(strstr(mae_last_error(), path));
  ck_assert_ptr_null(model);
}

/* JSON, but no object; no file; what cannot be opened. */
START_TEST(odd_config) {
  copy_hf_mae("[1]", 3);
  expect_load_fails(MAE_ERROR_FORMAT, "no JSON object");
  ck_assert_int_eq(remove(path), 0);
  ck_assert_int_eq(mkdir(path, 0777), 0);
  expect_load_fails(MAE_ERROR_FORMAT, "no file");
  ck_assert_int_eq(rmdir(path), 0);
  ck_assert_int_eq(symlink("config.json", path), 0); /* to itself */
  expect_load_fails(MAE_ERROR_IO, "cannot open");
}
END_TEST

/* Without a config.json the options stand in for it. */
START_TEST(no_config) {
  copy_hf_mae("", 0);
  ck_assert_int_eq(remove(path), 0);
  mae_load_options o = options_of(0);
  mae_model *model = NULL;
  ASSERT_FAILS(mae_model_import(folder, &o, &model, NULL), MAE_ERROR_MISMATCH,
               "num_heads");
  model = open_with(folder, options_of(2));
  ck_assert_double_eq(config_of(model).layer_norm_eps, 1e-12);
  ck_assert_int_eq(config_of(model).norm_pix_loss, 1);
  mae_model_destroy(model);
}
END_TEST

/* As older transformers wrote it. */
START_TEST(folder_with_bin) {
  char *bytes;
  if (left_out("pytorch")) return;
  size_t n = slurp(DATA "hf_mae/config.json", &bytes);
  copy_hf_mae(bytes, n);
  free(bytes);
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  ck_assert_int_eq(remove(path), 0);
  n = slurp(DATA "hf_state_dict.pth", &bytes);
  snprintf(path, sizeof path, "%s/pytorch_model.bin", folder);
  spit(path, bytes, n);
  free(bytes);
  mae_model *a = open_with(folder, options_of(0));
  mae_model *b = open_with(DATA "hf_mae", options_of(0));
  const mae_config c = config_of(a), d = config_of(b);
  ck_assert(same_named_weights(a, b));
  ck_assert(mae_config_same(&c, &d));
  mae_model_destroy(a);
  mae_model_destroy(b);
}
END_TEST

/* A header of 640 bytes begins as pickles of protocol 2 do. */
START_TEST(header_like_a_pickle) {
  enum { HEADER = 0x280 };
  mae_weights *w;
  char bytes[8 + HEADER + 4] = "\x80\2";
  memset(bytes + 8, ' ', HEADER);
  static const char entry[] =
      "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
  memcpy(bytes + 8, entry, strlen(entry));
  spit(path, bytes, sizeof bytes);
  ASSERT_OK(mae_weights_open(path, false, &w));
  ck_assert_int_eq(mae_weights_count(w), 1);
  ck_assert_str_eq(mae_weights_at(w, 0)->name, "w");
  mae_weights_close(w);
}
END_TEST

/* The file shrinks between the look at its header and the reading. */
START_TEST(truncated_while_open) {
  for (int k = 0; k < 2; k++) {
    mae_model *model = small_model(4);
    mae_weights *w;
    float value[4096];
    ASSERT_OK(mae_model_export(model, MAE_LAYOUT_OFFICIAL,
                               k ? MAE_DTYPE_F16 : MAE_DTYPE_F32, path));
    ASSERT_OK(mae_weights_open(path, false, &w));
    ck_assert_int_eq(truncate(path, 64), 0);
    ASSERT_FAILS(mae_weights_read(w, mae_weights_find(w, "norm.weight"), value),
                 MAE_ERROR_FORMAT, "truncated");
    ck_assert_ptr_nonnull(strstr(mae_last_error(), path));
    mae_weights_close(w);
    mae_model_destroy(model);
  }
}
END_TEST

/* A path that no system takes is not copied about. */
START_TEST(long_path) {
  enum { LENGTH = 65537 };
  char *name = malloc(LENGTH + 1);
  mae_model *model = NULL;
  memset(name, 'x', LENGTH);
  name[LENGTH] = '\0';
  ASSERT_FAILS(mae_model_load(name, &model), MAE_ERROR_INVALID_ARGUMENT,
               "64 kilobytes");
  ASSERT_FAILS(mae_model_load(NULL, &model), MAE_ERROR_INVALID_ARGUMENT,
               "path is NULL");
  ck_assert_ptr_null(model);
  free(name);
}
END_TEST

START_TEST(nothing_there) {
  mae_model *model = NULL;
  ASSERT_FAILS(mae_model_load(folder, &model), MAE_ERROR_NOT_FOUND,
               "neither model.safetensors");
  ASSERT_FAILS(mae_model_load("/nowhere/at/all", &model), MAE_ERROR_NOT_FOUND,
               "/nowhere");
  ASSERT_FAILS(mae_model_load("/nowhere", &model), MAE_ERROR_NOT_FOUND,
               "/nowhere");
  ASSERT_FAILS(mae_model_load("/dev/null/at/all", &model), MAE_ERROR_NOT_FOUND,
               "/dev/null");
}
END_TEST

/* ------------------------------------------------------------- mapping --- */

static int64_t weight_bytes(const mae_model *model) {
  return mae_model_parameter_count(model, 0) * (int64_t)sizeof(float);
}

START_TEST(mapped_file) {
  static const char from[] = DATA "timm_vit.safetensors";
  mae_load_options o = options_of(2);
  mae_model *read = open_with(from, o), *mapped;
  mae_load_report *r;
  char *bytes, *after;
  size_t n = slurp(from, &bytes);
  spit(path, bytes, n);
  o.map = 1;
  ASSERT_OK(mae_model_import(path, &o, &mapped, &r));
  ck_assert_int_eq(mae_load_report_mapped_bytes(r), weight_bytes(mapped));
  ck_assert(same_named_weights(read, mapped));
  /* What is written stays with the model. */
  mae_model_find(mapped, "norm.weight")->data[0] = 77;
  ck_assert_uint_eq(slurp(path, &after), n);
  ck_assert_mem_eq(bytes, after, n);
  mae_model *again = open_with(path, o);
  ck_assert(same_named_weights(read, again));
  /* The file may be replaced and removed. */
  ASSERT_OK(mae_model_save(mapped, path));
  ck_assert(same_named_weights(read, again));
  ck_assert_int_eq(remove(path), 0);
  ck_assert(same_named_weights(read, again));
  ck_assert_float_eq(mae_model_find(mapped, "norm.weight")->data[0], 77);
  mae_load_report_destroy(r);
  mae_model_destroy(read);
  mae_model_destroy(mapped);
  mae_model_destroy(again);
  free(bytes);
  free(after);
}
END_TEST

/* Query, key and value must be joined; the rest lies in the file. */
START_TEST(mapped_hugging_face) {
  mae_load_options o = options_of(0);
  mae_model *read = open_with(DATA "hf_mae", o), *mapped;
  mae_load_report *r;
  o.map = 1;
  ASSERT_OK(mae_model_import(DATA "hf_mae", &o, &mapped, &r));
  ck_assert(same_named_weights(read, mapped));
  int64_t joined = 0;
  for (int32_t i = 0; i < mae_model_num_tensors(mapped); i++)
    if (strstr(mae_model_tensor_name(mapped, i), "attn.qkv"))
      joined += mae_tensor_size(mae_model_tensor(mapped, i)) * 4;
  ck_assert_int_gt(joined, 0);
  ck_assert_int_eq(mae_load_report_mapped_bytes(r),
                   weight_bytes(mapped) - joined);
  mae_load_report_destroy(r);
  mae_model_destroy(read);
  mae_model_destroy(mapped);
}
END_TEST

/* A trainer writes to a mapped model as to any other. */
START_TEST(mapped_training) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_model *saved = small_model(4), *models[2];
  float *images = small_images(64, 1);
  ASSERT_OK(mae_model_save(saved, path));
  for (int i = 0; i < 2; i++) {
    mae_load_options o = options_of(0);
    mae_trainer *trainer;
    o.map = i;
    models[i] = open_with(path, o);
    ASSERT_OK(mae_trainer_create(context, models[i], NULL, &trainer));
    ASSERT_OK(mae_trainer_step(trainer, images, NULL, NULL));
    mae_trainer_destroy(trainer);
  }
  ck_assert(same_named_weights(models[0], models[1]));
  ck_assert(!same_named_weights(models[0], saved));
  mae_model_destroy(models[0]);
  mae_model_destroy(models[1]);
  models[0] = open_with(path, options_of(0));
  ck_assert(same_named_weights(models[0], saved)); /* the file is as it was */
  mae_model_destroy(models[0]);
  mae_model_destroy(saved);
  free(images);
  mae_context_destroy(context);
}
END_TEST

/* One more byte in the header, and no value lies on its address. */
START_TEST(misaligned_file) {
  char *bytes;
  size_t n = slurp(DATA "timm_mae.safetensors", &bytes);
  uint64_t header;
  memcpy(&header, bytes, 8);
  char *longer = malloc(n + 1);
  memcpy(longer, bytes, 8 + header);
  longer[8 + header] = ' ';
  memcpy(longer + 9 + header, bytes + 8 + header, n - 8 - header);
  header++;
  memcpy(longer, &header, 8);
  spit(path, longer, n + 1);
  mae_load_options o = options_of(2);
  mae_model *read = open_with(DATA "timm_mae.safetensors", o), *mapped;
  mae_load_report *r;
  o.map = 1;
  ASSERT_OK(mae_model_import(path, &o, &mapped, &r));
  ck_assert_int_eq(mae_load_report_mapped_bytes(r), 0);
  ck_assert(same_named_weights(read, mapped));
  mae_load_report_destroy(r);
  mae_model_destroy(read);
  mae_model_destroy(mapped);
  free(bytes);
  free(longer);
}
END_TEST

/* Resident kilobytes of this process. */
static long resident(void) {
  long pages = 0, all;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file && fscanf(file, "%ld %ld", &all, &pages) != 2) pages = 0;
  if (file) fclose(file);
  return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* The safetensors header of a model without data, for free(). */
static char *sparse_header(const mae_model *model, int64_t *data) {
  const size_t room = 1 << 16;
  char *text = malloc(room);
  size_t n = 0;
  *data = 0;
  for (int32_t i = 0; i < mae_model_num_tensors(model); i++) {
    const mae_tensor *t = mae_model_tensor(model, i);
    const int64_t bytes = mae_tensor_size(t) * 4;
    n += (size_t)snprintf(text + n, room - n,
                          "%s\"%s\":{\"dtype\":\"F32\",\"shape\":%s,\"data_"
                          "offsets\":[%lld,%lld]}",
                          i ? "," : "{", mae_model_tensor_name(model, i),
                          mae_tensor_shape_text(t).text, (long long)*data,
                          (long long)(*data + bytes));
    *data += bytes;
  }
  n += (size_t)snprintf(text + n, room - n, "}");
  while (n % 8) n += (size_t)snprintf(text + n, room - n, " ");
  ck_assert_uint_lt(n, room);
  return text;
}

/* A file of the size of ViT-L, of holes: opening it costs next to nothing. */
START_TEST(mapped_vit_l) {
  mae_config c;
  mae_model *shapes, *model;
  mae_load_report *r;
  int64_t data;
  ASSERT_OK(mae_config_init(&c, sizeof c, "vit_l16"));
  ASSERT_OK(mae_model_describe(&c, &shapes));
  char *header = sparse_header(shapes, &data);
  const uint64_t length = strlen(header);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ck_assert_int_ge(fd, 0);
  ck_assert_int_eq(pwrite(fd, &length, 8, 0), 8);
  ck_assert_int_eq(pwrite(fd, header, length, 8), (ssize_t)length);
  struct stat info;
  const int sparse = !ftruncate(fd, (off_t)(8 + length) + data) &&
                     !fstat(fd, &info) && info.st_blocks < 1 << 16;
  close(fd);
  if (sparse) {
    mae_load_options o = options_of(0);
    o.map = 1;
    struct timespec begin, end;
    const long before = resident();
    clock_gettime(CLOCK_MONOTONIC, &begin);
    ASSERT_OK(mae_model_import(path, &o, &model, &r));
    clock_gettime(CLOCK_MONOTONIC, &end);
    const double seconds = (double)(end.tv_sec - begin.tv_sec) +
                           1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
    const long more = resident() - before;
    if (getenv("MAE_SHOW_PARITY"))
      printf("ViT-L mapped: %.1f ms, %ld kB of %lld kB resident\n",
             1e3 * seconds, more, (long long)data / 1024);
    ck_assert_int_eq(config_of(model).depth, 24);
    ck_assert_int_gt(data, 1300000000);
    ck_assert_int_eq(mae_load_report_mapped_bytes(r), data);
    ck_assert_int_lt(more, 32 * 1024);
    ck_assert_double_lt(seconds, 2);
    mae_load_report_destroy(r);
    mae_model_destroy(model);
  }
  free(header);
  mae_model_destroy(shapes);
}
END_TEST

/* -------------------------------------------------------------- export --- */

START_TEST(export_round_trip) {
  static const char *const names[] = {"hf", "one.safetensors",
                                      "official.safetensors"};
  mae_model *model = open_with(DATA "hf_mae", options_of(0)), *again;
  const mae_config c = config_of(model);
  for (int i = 0; i < 3; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    for (int twice = 0; twice < 2; twice++) /* the second replaces the first */
      ASSERT_OK(mae_model_export(
          model, i < 2 ? MAE_LAYOUT_HUGGING_FACE : MAE_LAYOUT_OFFICIAL,
          MAE_DTYPE_F32, path));
    mae_load_report *r;
    ASSERT_OK(mae_model_import(path, NULL, &again, &r));
    ck_assert(same_named_weights(model, again));
    const mae_config d = config_of(again);
    ck_assert(mae_config_same(&c, &d));
    ck_assert_int_eq(mae_load_report_layout(r),
                     i < 2 ? MAE_LAYOUT_HUGGING_FACE : MAE_LAYOUT_OFFICIAL);
    ck_assert_int_eq(mae_load_report_count(r, MAE_LOAD_EXTRA), 0);
    mae_load_report_destroy(r);
    mae_model_destroy(again);
  }
  mae_model_destroy(model);
}
END_TEST

/* Its config.json alone says it all, without our metadata in the weights. */
START_TEST(export_config) {
  mae_load_options o = options_of(0);
  o.image_height = 8, o.image_width = 16; /* a grid that is no square */
  mae_model *model = open_with(DATA "hf_mae", o), *again;
  char *bytes, *at;
  ASSERT_OK(
      mae_model_export(model, MAE_LAYOUT_HUGGING_FACE, MAE_DTYPE_F32, folder));
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  size_t n = slurp(path, &bytes);
  for (at = bytes; (at = memmem(at, n - (size_t)(at - bytes), "\"mae.", 5));)
    memcpy(at, "\"not.", 5);
  spit(path, bytes, n);
  ASSERT_OK(mae_model_load(folder, &again));
  const mae_config c = config_of(model), d = config_of(again);
  ck_assert(mae_config_same(&c, &d));
  ck_assert(same_named_weights(model, again));
  mae_model_destroy(model);
  mae_model_destroy(again);
  free(bytes);
}
END_TEST

/* The exported folder has what transformers' own has: names, shapes, bits. */
START_TEST(export_as_transformers) {
  static const struct {
    const char *ours, *theirs;
  } spelt[] = {{"decoder.decoder_layers.0", "decoder.decoder_encoder.layer.0"}};
  mae_model *model = open_with(DATA "hf_mae", options_of(0));
  mae_safetensors *ours, *theirs;
  ASSERT_OK(
      mae_model_export(model, MAE_LAYOUT_HUGGING_FACE, MAE_DTYPE_F32, folder));
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  ASSERT_OK(mae_safetensors_open(path, &ours));
  ASSERT_OK(mae_safetensors_open(DATA "hf_mae/model.safetensors", &theirs));
  ck_assert_int_eq(mae_safetensors_count(ours), mae_safetensors_count(theirs));
  for (int32_t i = 0; i < mae_safetensors_count(ours); i++) {
    const char *name = mae_safetensors_name(ours, i);
    const size_t skip = strlen(spelt[0].ours);
    char other[128];
    snprintf(other, sizeof other, "%s", name);
    if (!strncmp(name, spelt[0].ours, skip)) /* hub's name; transformers 5's */
      snprintf(other, sizeof other, "%s%s", spelt[0].theirs, name + skip);
    mae_tensor *a = golden(ours, name), *b = golden(theirs, other);
    ck_assert(mae_tensor_same_shape(a, b));
    ck_assert_mem_eq(a->data, b->data, (size_t)mae_tensor_size(a) * 4);
    mae_tensor_destroy(a);
    mae_tensor_destroy(b);
  }
  ck_assert_str_eq(mae_safetensors_metadata(ours, "format"), "pt");
  mae_safetensors_close(ours);
  mae_safetensors_close(theirs);
  mae_model_destroy(model);
}
END_TEST

START_TEST(export_encoders) {
  static const char *const names[] = {"timm_mae", "timm_vit", "timm_pool"};
  for (int i = 0; i < 3; i++) {
    char from[64];
    snprintf(from, sizeof from, DATA "%s.safetensors", names[i]);
    mae_model *model = open_two(from), *again;
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, names[i]);
    ASSERT_OK(
        mae_model_export(model, MAE_LAYOUT_OFFICIAL, MAE_DTYPE_F32, path));
    ASSERT_OK(mae_model_load(path, &again));
    ck_assert(same_named_weights(model, again));
    mae_model_destroy(again);
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    mae_status status =
        mae_model_export(model, MAE_LAYOUT_HUGGING_FACE, MAE_DTYPE_F32, path);
    if (i == 0) {
      ck_assert_int_eq(status, MAE_OK);
      again = open_with(path, options_of(0));
      ck_assert(same_named_weights(model, again));
      mae_model_destroy(again);
    } else { /* a head, global pooling */
      ck_assert_int_eq(status, MAE_ERROR_UNSUPPORTED);
      ck_assert_int_ne(access(path, F_OK), 0);
    }
    mae_model_destroy(model);
  }
}
END_TEST

START_TEST(export_f16) {
  mae_model *model = open_with(DATA "hf_mae", options_of(0)), *again, *third;
  for (int i = 0; i < 2; i++) {
    const mae_layout layout = i ? MAE_LAYOUT_OFFICIAL : MAE_LAYOUT_HUGGING_FACE;
    snprintf(path, sizeof path, "%s/%d.safetensors", folder, i);
    ASSERT_OK(mae_model_export(model, layout, MAE_DTYPE_F16, path));
    ASSERT_OK(mae_model_load(path, &again));
    for (int32_t k = 0; k < mae_model_num_tensors(model); k++) {
      const mae_tensor *a = mae_model_tensor(model, k);
      const mae_tensor *b = mae_model_tensor(again, k);
      for (int64_t j = 0; j < mae_tensor_size(a); j++) /* half a step */
        ck_assert_double_le(fabs((double)a->data[j] - b->data[j]),
                            fmax(fabs(a->data[j]) * 0x1p-11, 0x1p-25));
    }
    ASSERT_OK(mae_model_export(again, layout, MAE_DTYPE_F16, path));
    ASSERT_OK(mae_model_load(path, &third)); /* halves stay what they are */
    ck_assert(same_named_weights(again, third));
    mae_model_destroy(again);
    mae_model_destroy(third);
  }
  mae_model_find(model, "norm.bias")->data[3] = -INFINITY; /* f16 has it */
  ASSERT_OK(mae_model_export(model, MAE_LAYOUT_OFFICIAL, MAE_DTYPE_F16, path));
  ASSERT_OK(mae_model_load(path, &again));
  ck_assert_float_eq(mae_model_find(again, "norm.bias")->data[3], -INFINITY);
  mae_model_destroy(again);
  mae_model_find(model, "norm.bias")->data[3] = 65519;
  ASSERT_OK(mae_model_export(model, MAE_LAYOUT_OFFICIAL, MAE_DTYPE_F16, path));
  mae_model_find(model, "norm.bias")->data[3] = -65520;
  ASSERT_FAILS(
      mae_model_export(model, MAE_LAYOUT_OFFICIAL, MAE_DTYPE_F16, path),
      MAE_ERROR_INVALID_ARGUMENT, "norm.bias");
  mae_model_destroy(model);
}
END_TEST

START_TEST(bad_export) {
  mae_model *model = small_model(1);
  ASSERT_FAILS(mae_model_export(NULL, MAE_LAYOUT_OFFICIAL, MAE_DTYPE_F32, path),
               MAE_ERROR_INVALID_ARGUMENT, "model");
  ASSERT_FAILS(
      mae_model_export(model, MAE_LAYOUT_OFFICIAL, MAE_DTYPE_F32, NULL),
      MAE_ERROR_INVALID_ARGUMENT, "path");
  ASSERT_FAILS(mae_model_export(model, (mae_layout)7, MAE_DTYPE_F32, path),
               MAE_ERROR_INVALID_ARGUMENT, "layout");
  ASSERT_FAILS(mae_model_export(model, MAE_LAYOUT_OFFICIAL, (mae_dtype)7, path),
               MAE_ERROR_INVALID_ARGUMENT, "dtype");
  ASSERT_FAILS(mae_model_export(model, MAE_LAYOUT_HUGGING_FACE, MAE_DTYPE_F32,
                                "/nowhere/at/all"),
               MAE_ERROR_NOT_FOUND, "/nowhere");
  snprintf(path, sizeof path, "%s/plain", folder);
  spit(path, "x", 1);
  ASSERT_FAILS(
      mae_model_export(model, MAE_LAYOUT_HUGGING_FACE, MAE_DTYPE_F32, path),
      MAE_ERROR_NOT_FOUND, "plain");
  mae_model_destroy(model);
}
END_TEST

/* A file-size limit stands for the full disk. */
START_TEST(export_to_full_disk) {
  mae_model *a = small_model(1), *b = small_model(2), *again;
  ASSERT_OK(
      mae_model_export(a, MAE_LAYOUT_HUGGING_FACE, MAE_DTYPE_F32, folder));
  signal(SIGXFSZ, SIG_IGN);
  struct rlimit old, small;
  ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
  small = old, small.rlim_cur = 20000;
  ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
  mae_status status =
      mae_model_export(b, MAE_LAYOUT_HUGGING_FACE, MAE_DTYPE_F32, folder);
  ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
  ck_assert_int_eq(status, MAE_ERROR_NO_SPACE);
  ASSERT_OK(mae_model_load(folder, &again));
  ck_assert(same_named_weights(a, again));
  mae_model_destroy(a);
  mae_model_destroy(b);
  mae_model_destroy(again);
}
END_TEST

/* -------------------------------------------------------------- damage --- */

/* Flip a bit here and there in a whole file; import must refuse or work. */
static void flip_bits(const char *from, size_t end, size_t stride) {
  mae_load_options o = options_of(2);
  char *bytes;
  size_t n = slurp(from, &bytes);
  if (end > n) end = n;
  spit(path, bytes, n);
  int fd = open(path, O_WRONLY);
  ck_assert_int_ge(fd, 0);
  for (size_t at = 0; at < end; at += stride) {
    const char byte = bytes[at] ^ (char)(1 << at % 7);
    mae_model *model = NULL;
    mae_load_report *report = NULL;
    ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
    o.map = (int32_t)(at & 1);
    mae_status status = mae_model_import(path, &o, &model, &report);
    ck_assert_msg(
        status == MAE_OK || status == MAE_ERROR_FORMAT ||
            status == MAE_ERROR_MISMATCH || status == MAE_ERROR_UNSUPPORTED,
        "byte %zu: %s: %s", at, mae_status_name(status), mae_last_error());
    mae_load_report_destroy(report);
    mae_model_destroy(model);
    ck_assert_int_eq(pwrite(fd, &bytes[at], 1, (off_t)at), 1);
  }
  close(fd);
  free(bytes);
}

START_TEST(flipped_bits) {
  static const char *const names[] = {
      "official.pth", "trainer_bf16.pt", "hf_mae/model.safetensors",
      "timm_pool.safetensors", "hf_state_dict.pth"};
  char from[64];
  snprintf(from, sizeof from, DATA "%s", names[_i]);
  if (strstr(from, "safetensors"))
    flip_bits(from, 6000, 3); /* the header */
  else if (!left_out("pytorch"))
    flip_bits(from, SIZE_MAX, 13);
}
END_TEST

START_TEST(truncated_files) {
  static const char *const names[] = {"official_pool.pth",
                                      "timm_mae.safetensors"};
  for (int i = left_out("pytorch"); i < 2; i++) {
    char from[64], *bytes;
    snprintf(from, sizeof from, DATA "%s", names[i]);
    size_t n = slurp(from, &bytes);
    for (size_t cut = 0; cut < n; cut += cut < 200 ? 1 : 97) {
      mae_load_options o = options_of(2);
      mae_model *model = NULL;
      o.map = 1;
      spit(path, bytes, cut);
      ck_assert_int_eq(mae_model_import(path, &o, &model, NULL),
                       MAE_ERROR_FORMAT);
      ck_assert_ptr_null(model);
    }
    free(bytes);
  }
}
END_TEST

static void add_tests(TCase *tests) {
  tcase_add_loop_test(tests, every_file, 0, FILES);
  tcase_add_test(tests, wide_grid);
  tcase_add_test(tests, missing_and_extra);
  tcase_add_test(tests, partial_decoder);
  tcase_add_test(tests, other_models);
  tcase_add_test(tests, no_model_at_all);
  tcase_add_test(tests, wrong_dimensions);
  tcase_add_test(tests, wrong_dtype);
  tcase_add_test(tests, bad_options);
  tcase_add_test(tests, usual_heads);
  tcase_add_test(tests, unround_ratio);
  tcase_add_test(tests, overrides);
  tcase_add_test(tests, bad_overrides);
  tcase_add_test(tests, endless_grid);
  tcase_add_test(tests, trainer_checkpoints);
  tcase_add_loop_test(tests, edited_config, 0,
                      sizeof config_edits / sizeof *config_edits);
  tcase_add_test(tests, large_config);
  tcase_add_test(tests, odd_config);
  tcase_add_test(tests, no_config);
  tcase_add_test(tests, folder_with_bin);
  tcase_add_test(tests, header_like_a_pickle);
  tcase_add_test(tests, truncated_while_open);
  tcase_add_test(tests, long_path);
  tcase_add_test(tests, nothing_there);
  tcase_add_test(tests, mapped_file);
  tcase_add_test(tests, mapped_hugging_face);
  tcase_add_test(tests, mapped_training);
  tcase_add_test(tests, misaligned_file);
  tcase_add_test(tests, mapped_vit_l);
  tcase_add_test(tests, export_round_trip);
  tcase_add_test(tests, export_config);
  tcase_add_test(tests, export_as_transformers);
  tcase_add_test(tests, export_encoders);
  tcase_add_test(tests, export_f16);
  tcase_add_test(tests, bad_export);
  tcase_add_test(tests, export_to_full_disk);
  tcase_add_loop_test(tests, flipped_bits, 0, 5);
  tcase_add_test(tests, truncated_files);
}

#else /* JSON=none: PyTorch's files alone */

START_TEST(without_json) {
  mae_load_options o;
  mae_model *model = NULL;
  mae_load_options_init(&o, sizeof o);
  o.num_heads = o.decoder_num_heads = 2;
  ASSERT_FAILS(mae_model_import(DATA "timm_mae.safetensors", &o, &model, NULL),
               MAE_ERROR_UNSUPPORTED, "JSON");
#ifdef MAE_HAVE_ZIP
  ASSERT_OK(mae_model_import(DATA "official.pth", &o, &model, NULL));
  ASSERT_FAILS(
      mae_model_export(model, MAE_LAYOUT_OFFICIAL, MAE_DTYPE_F32, path),
      MAE_ERROR_UNSUPPORTED, "JSON");
  mae_model_destroy(model);
#endif
  (void)slurp, (void)spit;
}
END_TEST

static void add_tests(TCase *tests) { tcase_add_test(tests, without_json); }

#endif

Suite *import_suite(void) {
  Suite *suite = suite_create("import");
  TCase *tests = tcase_create("import");
  tcase_set_timeout(tests, 300);
  tcase_add_checked_fixture(tests, make_import_folder, remove_folder);
  add_tests(tests);
  suite_add_tcase(suite, tests);
  return suite;
}
