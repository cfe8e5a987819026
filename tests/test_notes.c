/* What a model says of its classes and images: class names, normalisation. */
#include <float.h>
#include <unistd.h>

#include "golden.h"
#include "io/checkpoint.h"
#include "suites.h"

enum { CLASSES = 3, CHANS = 2 };

static const char *const names[CLASSES] = {"T-shirt, \"top\"", "",
                                           "\\ \xc3\xa9t\xc3\xa9 \xf0\x9f\x90\xa8"};
/* Nothing that seven digits would tell. */
static const float mean[CHANS] = {1.0f / 3, -0.0f};
static const float std[CHANS] = {FLT_MAX, 1e-45f};

static char path[64];
static void make_path(void) {
  snprintf(path, sizeof path, "/tmp/mae-notes-%d.safetensors", (int)getpid());
}
static void drop_path(void) { remove(path); }

static mae_model *classifier(void) {
  mae_config c = small_config();
  mae_model *model;
  c.in_chans = CHANS;
  c.decoder_embed_dim = c.decoder_depth = c.decoder_num_heads = 0;
  c.num_classes = CLASSES;
  ASSERT_OK(mae_model_create(&c, 1, &model));
  return model;
}

static mae_model *noted(void) {
  mae_model *model = classifier();
  ASSERT_OK(mae_model_set_class_names(model, names));
  ASSERT_OK(mae_model_set_normalization(model, mean, std));
  return model;
}

static void check_names(const mae_model *model) {
  for (int32_t i = 0; i < CLASSES; i++) {
    ck_assert_ptr_nonnull(mae_model_class_name(model, i));
    ck_assert_str_eq(mae_model_class_name(model, i), names[i]);
  }
  ck_assert_ptr_null(mae_model_class_name(model, CLASSES));
  ck_assert_ptr_null(mae_model_class_name(model, -1));
}

static void check_normalization(const mae_model *model) {
  float m[CHANS], s[CHANS];
  ASSERT_OK(mae_model_normalization(model, m, s));
  ck_assert_mem_eq(m, mean, sizeof mean);
  ck_assert_mem_eq(s, std, sizeof std);
}

static void check_notes(const mae_model *model) {
  check_names(model);
  check_normalization(model);
}

/* The file's model has them; it is deleted. */
static void check_file(const char *file) {
  mae_model *model;
  ASSERT_OK(mae_model_load(file, &model));
  check_notes(model);
  mae_model_destroy(model);
  remove(file);
}

START_TEST(unknown) {
  mae_model *model = classifier();
  float m[CHANS] = {7, 7}, s[CHANS] = {7, 7};
  ck_assert_ptr_null(mae_model_class_name(model, 0));
  ck_assert_ptr_null(mae_model_class_name(NULL, 0));
  ASSERT_FAILS(mae_model_normalization(model, m, s), MAE_ERROR_NOT_FOUND,
               "normalised");
  ck_assert(m[0] == 7 && s[1] == 7);
  ASSERT_OK(mae_model_set_class_names(model, names));
  ASSERT_OK(mae_model_set_normalization(model, mean, std));
  check_notes(model);
  ASSERT_OK(mae_model_set_class_names(model, NULL));
  ASSERT_OK(mae_model_set_normalization(model, NULL, NULL));
  ASSERT_OK(mae_model_save(model, path));
  mae_model_destroy(model);
  ASSERT_OK(mae_model_load(path, &model));
  ck_assert_ptr_null(mae_model_class_name(model, 0));
  ASSERT_FAILS(mae_model_normalization(model, m, s), MAE_ERROR_NOT_FOUND,
               "normalised");
  mae_model_destroy(model);
}
END_TEST

START_TEST(copied) {
  char text[CLASSES][8] = {"a", "b", "c"};
  const char *given[CLASSES] = {text[0], text[1], text[2]};
  float m[CHANS] = {0.5f, 0.25f}, s[CHANS] = {1, 2}, got[2][CHANS];
  mae_model *model = classifier();
  ASSERT_OK(mae_model_set_class_names(model, given));
  ASSERT_OK(mae_model_set_normalization(model, m, s));
  memset(text, 'x', sizeof text);
  m[0] = s[0] = 9;
  ck_assert_str_eq(mae_model_class_name(model, 0), "a");
  ck_assert_str_eq(mae_model_class_name(model, 2), "c");
  ASSERT_OK(mae_model_normalization(model, got[0], got[1]));
  ck_assert(got[0][0] == 0.5f && got[1][0] == 1);
  mae_model_destroy(model);
}
END_TEST

/* Through every file a model can be written to, and a change of size. */
START_TEST(files) {
  mae_model *model = noted();
  ASSERT_OK(mae_model_save(model, path));
  check_file(path);
  ASSERT_OK(
      mae_model_export(model, MAE_LAYOUT_OFFICIAL, MAE_DTYPE_F32, path));
  check_file(path);
  ASSERT_OK(mae_model_resize(model, 8, 32));
  check_notes(model);
  ASSERT_OK(
      mae_model_export(model, MAE_LAYOUT_OFFICIAL, MAE_DTYPE_F16, path));
  mae_load_options o;
  mae_load_options_init(&o, sizeof o);
  o.map = 1;
  o.image_height = o.image_width = 24;
  mae_model *loaded;
  ASSERT_OK(mae_model_import(path, &o, &loaded, NULL));
  check_notes(loaded);
  mae_model_destroy(loaded);
  mae_model_destroy(model);
}
END_TEST

START_TEST(trainer) {
  mae_model *model = classifier();
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_trainer_options o;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = 2;
  o.ema_decay = 0.5;
  mae_trainer *t;
  ASSERT_OK(mae_trainer_create(context, model, &o, &t));
  /* The average has what the model says, also when that comes later. */
  ASSERT_OK(mae_model_set_class_names(model, names));
  ASSERT_OK(mae_model_set_normalization(model, mean, std));
  check_notes(mae_trainer_ema_model(t));
  ASSERT_OK(mae_model_save(mae_trainer_ema_model(t), path));
  check_file(path);
  ASSERT_OK(mae_trainer_save(t, path));
  ASSERT_OK(mae_trainer_resume(t, path));
  check_notes(model);
  check_file(path);
  ASSERT_OK(mae_trainer_save(t, path));
  const char *const others[CLASSES] = {names[1], names[0], names[2]};
  ASSERT_OK(mae_model_set_class_names(model, others));
  ASSERT_FAILS(mae_trainer_resume(t, path), MAE_ERROR_MISMATCH, "order");
  ASSERT_OK(mae_model_set_class_names(model, NULL)); /* knows no better */
  ASSERT_OK(mae_trainer_resume(t, path));
  mae_trainer_destroy(t);
  mae_context_destroy(context);
  mae_model_destroy(model);
}
END_TEST

/* An encoder's normalisation goes with it, its class names do not. */
START_TEST(new_classifier) {
  mae_model *model = noted(), *made;
  ASSERT_OK(mae_model_classifier(model, 5, 0, 1, &made));
  mae_model_destroy(model);
  check_normalization(made);
  ck_assert_ptr_null(mae_model_class_name(made, 0));
  mae_model_destroy(made);
}
END_TEST

/* A model without a head says how its images are normalised, too. */
START_TEST(autoencoder) {
  mae_config c = small_config();
  c.in_chans = CHANS;
  mae_model *model, *loaded;
  ASSERT_OK(mae_model_create(&c, 1, &model));
  ASSERT_FAILS(mae_model_set_class_names(model, names), MAE_ERROR_STATE,
               "no head");
  ASSERT_OK(mae_model_set_class_names(model, NULL));
  ASSERT_OK(mae_model_set_normalization(model, mean, std));
  ASSERT_OK(
      mae_model_export(model, MAE_LAYOUT_HUGGING_FACE, MAE_DTYPE_F32, path));
  ASSERT_OK(mae_model_load(path, &loaded));
  check_normalization(loaded);
  mae_model_destroy(loaded);
  mae_model_destroy(model);
}
END_TEST

/* ----------------------------------------------------------- sessions --- */

static float first_pixel(mae_context *context, const mae_model *model,
                         const mae_session_options *o) {
  uint8_t pixels[256];
  memset(pixels, 51, sizeof pixels); /* a fifth of 255 */
  const mae_image picture = {.data = pixels, .width = 16, .height = 16,
                             .channels = 1};
  float out[3 * 24 * 24];
  mae_session *s;
  ASSERT_OK(mae_session_create(context, model, o, &s));
  ASSERT_OK(mae_session_preprocess(s, &picture, out));
  mae_session_destroy(s);
  return out[0];
}

START_TEST(sessions) {
  mae_model *model = small_model(1); /* of one channel */
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  const float own_mean = 0.1f, own_std = 0.5f, other = 0.2f, wide = 0.25f;
  mae_session_options o;
  mae_session_options_init(&o, sizeof o);
  const float usual = first_pixel(context, model, &o);
  ck_assert_double_eq_tol(usual, (0.2 - 0.449) / 0.226, 1e-3);
  ASSERT_OK(mae_model_set_normalization(model, &own_mean, &own_std));
  ck_assert_double_eq_tol(first_pixel(context, model, &o), 0.2, 1e-6);
  o.image_height = o.image_width = 24; /* through a view */
  ck_assert_double_eq_tol(first_pixel(context, model, &o), 0.2, 1e-6);
  o.mean = &other; /* the caller's counts more */
  ck_assert_double_eq_tol(first_pixel(context, model, &o), 0, 1e-6);
  o.mean = NULL, o.std = &wide;
  ck_assert_double_eq_tol(first_pixel(context, model, &o), 0.4, 1e-6);
  mae_context_destroy(context);
  mae_model_destroy(model);
}
END_TEST

/* ----------------------------------------------------------- refusals --- */

static const char *const no_lines[] = {
    "a\nb",         "\x1b[31m",     "\x7f",         "\xc2\x85",
    "\xff",         "\x80",         "\xc3",         "\xc3(",
    "\xc0\xaf",     "\xe0\x80\xaf", "\xed\xa0\x80", "\xf0\x80\x80\xaf",
    "\xf4\x90\x80\x80", "\xe2\x82"};

START_TEST(bad_names) {
  mae_model *model = noted();
  const char *bad[CLASSES] = {"a", no_lines[_i], "c"};
  ASSERT_FAILS(mae_model_set_class_names(model, bad),
               MAE_ERROR_INVALID_ARGUMENT, "class name 1");
  check_names(model);
  mae_model_destroy(model);
}
END_TEST

/* The longest there may be can be written and read, and no longer ones. */
START_TEST(long_names) {
  mae_model *model = noted(), *loaded;
  const size_t most = (1 << 20) - CLASSES;
  char *text = malloc(most + 2);
  ck_assert_ptr_nonnull(text);
  memset(text, '"', most + 1);
  text[most + 1] = 0;
  const char *given[CLASSES] = {"", text, ""};
  ASSERT_FAILS(mae_model_set_class_names(model, given),
               MAE_ERROR_INVALID_ARGUMENT, "megabyte");
  check_names(model);
  text[most] = 0;
  ASSERT_OK(mae_model_set_class_names(model, given));
  ASSERT_OK(mae_model_save(model, path));
  ASSERT_OK(mae_model_load(path, &loaded));
  ck_assert_str_eq(mae_model_class_name(loaded, 1), text);
  free(text);
  mae_model_destroy(model);
  mae_model_destroy(loaded);
}
END_TEST

START_TEST(bad_arguments) {
  mae_model *model = noted();
  const char *missing[CLASSES] = {"a", "b", NULL};
  const float nan[CHANS] = {0, NAN}, none[CHANS] = {1, 0}, huge[CHANS] = {INFINITY};
  float m[CHANS], s[CHANS];
  ASSERT_FAILS(mae_model_set_class_names(NULL, names),
               MAE_ERROR_INVALID_ARGUMENT, "model");
  ASSERT_FAILS(mae_model_set_class_names(model, missing),
               MAE_ERROR_INVALID_ARGUMENT, "class name 2");
  ASSERT_FAILS(mae_model_set_normalization(NULL, mean, std),
               MAE_ERROR_INVALID_ARGUMENT, "model");
  ASSERT_FAILS(mae_model_set_normalization(model, mean, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "together");
  ASSERT_FAILS(mae_model_set_normalization(model, NULL, std),
               MAE_ERROR_INVALID_ARGUMENT, "together");
  ASSERT_FAILS(mae_model_set_normalization(model, nan, std),
               MAE_ERROR_INVALID_ARGUMENT, "channel 1");
  ASSERT_FAILS(mae_model_set_normalization(model, mean, none),
               MAE_ERROR_INVALID_ARGUMENT, "channel 1");
  ASSERT_FAILS(mae_model_set_normalization(model, mean, huge),
               MAE_ERROR_INVALID_ARGUMENT, "channel 0");
  ASSERT_FAILS(mae_model_normalization(NULL, m, s),
               MAE_ERROR_INVALID_ARGUMENT, "model");
  ASSERT_FAILS(mae_model_normalization(model, NULL, s),
               MAE_ERROR_INVALID_ARGUMENT, "mean");
  ASSERT_FAILS(mae_model_normalization(model, m, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "std");
  check_notes(model);
  mae_model_destroy(model);
}
END_TEST

/* ---------------------------------------------------- hostile metadata --- */

static const struct {
  const char *names, *mean, *std; /* NULL: left out */
  const char *word;               /* of the failure; NULL: sound */
} metadata[] = {
    {"[\"a\",\"b\",\"c\"]", "[0.5,0]", "[1,2]", NULL},
    {" [ \"a,[{\" , \"\\\"\" , \"\\u00e9\" ] ", " [ 1e-3 , -1 ] ", "[1e2,2]",
     NULL},
    {"", NULL, NULL, "class_names"},
    {"x", NULL, NULL, "class_names"},
    {"[\"a\",\"b\"]", NULL, NULL, "class_names"},
    {"[\"a\",\"b\",\"c\",\"d\"]", NULL, NULL, "class_names"},
    {"[\"a\",\"b\",\"c\"", NULL, NULL, "class_names"},
    {"[\"a\",\"b\",\"c\"]]", NULL, NULL, "class_names"},
    {"[\"a\",\"b\",\"c]", NULL, NULL, "class_names"},
    {"[\"a\",\"b\",3]", NULL, NULL, "class_names"},
    {"[1,\"b\",\"c\"]", NULL, NULL, "class_names"},
    {"[\"a\",\"b\",null]", NULL, NULL, "class_names"},
    {"[\"a\",\"b\",[\"c\"]]", NULL, NULL, "class_names"},
    {"{\"a\":1,\"b\":2,\"c\":3}", NULL, NULL, "class_names"},
    {"[\"a\",\"b\\u0000\",\"c\"]", NULL, NULL, "class_names"},
    {"[\"a\",\"b\\u001b[2J\",\"c\"]", NULL, NULL, "class name 1"},
    {"[\"a\",\"b\\ud800\",\"c\"]", NULL, NULL, "class_names"},
    {NULL, "[0.5,0.5]", NULL, "one of"},
    {NULL, NULL, "[0.5,0.5]", "one of"},
    {NULL, "[0.5]", "[0.5]", "mean"},
    {NULL, "[0.5,0.5,0.5]", "[1,1]", "mean"},
    {NULL, "0.5,0.5", "[1,1]", "mean"},
    {NULL, "[NaN,0.5]", "[1,1]", "mean"},
    {NULL, "[\"0\",0.5]", "[1,1]", "mean"},
    {NULL, "[true,0.5]", "[1,1]", "mean"},
    {NULL, "[1e39,0.5]", "[1,1]", "mean"},
    {NULL, "[1e999,0.5]", "[1,1]", "mean"},
    {NULL, "[0,0]", "[1,-1e39]", "std"},
    {NULL, "[0,0]", "[1,0]", "std"},
    {NULL, "[0,0]", "[1,-1]", "std"},
    {NULL, "[0,0]", "[1,1e-60]", "std"},
    {NULL, "[0,0]", "[1,]", "std"},
    {NULL, "[0,0]", "[1,[1]]", "std"},
};

static mae_status load_with(const mae_model *model, const char *class_names,
                            const char *m, const char *s, mae_model **loaded) {
  const char *const values[] = {class_names, m, s};
  static const char *const keys[] = {"mae.class_names", "mae.mean", "mae.std"};
  mae_safetensors_text texts[3];
  int32_t count = 0;
  for (int i = 0; i < 3; i++)
    if (values[i])
      texts[count++] = (mae_safetensors_text){keys[i], values[i]};
  ASSERT_OK(mae_checkpoint_write(path, model, NULL, 0, texts, count));
  return mae_model_load(path, loaded);
}

START_TEST(hostile) {
  mae_model *model = classifier(), *loaded = NULL;
  mae_status status = load_with(model, metadata[_i].names, metadata[_i].mean,
                                metadata[_i].std, &loaded);
  if (metadata[_i].word) {
    ASSERT_FAILS(status, MAE_ERROR_FORMAT, metadata[_i].word);
    ck_assert_ptr_null(loaded);
  } else {
    ASSERT_OK(status);
    ck_assert_ptr_nonnull(mae_model_class_name(loaded, 2));
  }
  mae_model_destroy(loaded);
  mae_model_destroy(model);
}
END_TEST

/* Long lists and deep ones are refused before a parser has them. */
START_TEST(huge) {
  const size_t n = 4 << 20;
  char *text = malloc(n + 1);
  mae_model *model = classifier(), *loaded = NULL;
  ck_assert_ptr_nonnull(text);
  for (size_t i = 0; i < n; i++)
    text[i] = _i == 0 ? '[' : _i == 1 ? "0,"[i % 2] : '\\';
  if (_i == 1) text[0] = '[';
  text[n] = 0;
  ASSERT_FAILS(load_with(model, text, NULL, NULL, &loaded), MAE_ERROR_FORMAT,
               "class_names");
  ASSERT_FAILS(load_with(model, NULL, text, "[1,1]", &loaded), MAE_ERROR_FORMAT,
               "mean");
  free(text);
  mae_model_destroy(model);
}
END_TEST

/* A model without a head has no names; what others call so is not ours. */
START_TEST(names_without_head) {
  mae_model *model = small_model(1), *loaded = NULL;
  ASSERT_FAILS(load_with(model, "[]", NULL, NULL, &loaded), MAE_ERROR_FORMAT,
               "class_names");
  mae_model_destroy(model);
}
END_TEST

Suite *notes_suite(void) {
  Suite *s = suite_create("notes");
  TCase *tc = tcase_create("notes");
  tcase_set_timeout(tc, 120);
  tcase_add_checked_fixture(tc, make_path, drop_path);
  tcase_add_test(tc, unknown);
  tcase_add_test(tc, copied);
  tcase_add_test(tc, files);
  tcase_add_test(tc, trainer);
  tcase_add_test(tc, new_classifier);
  tcase_add_test(tc, autoencoder);
  tcase_add_test(tc, sessions);
  tcase_add_loop_test(tc, bad_names, 0, sizeof no_lines / sizeof *no_lines);
  tcase_add_test(tc, long_names);
  tcase_add_test(tc, bad_arguments);
  tcase_add_loop_test(tc, hostile, 0, sizeof metadata / sizeof *metadata);
  tcase_add_loop_test(tc, huge, 0, 3);
  tcase_add_test(tc, names_without_head);
  suite_add_tcase(s, tc);
  return s;
}
