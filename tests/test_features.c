/* What features can be asked for, against PyTorch in double precision
 * (tests/data/make_features.py): blocks, attention weights, other image sizes,
 * fc_norm, f16, lengths of 1, modes.  The bar is 1e-5 relative to the largest
 * value of each tensor. */
#include "autograd/attention_weights.h"
#include "base/half.h"
#include "count_alloc.h"
#include "golden.h"
#include "suites.h"

static const double BAR = 1e-5;

typedef struct fixture {
  mae_safetensors *file, *wanted;
  mae_model *model;
  mae_context *context;
  mae_tensor *images;
  mae_config config;
  int64_t batch, tokens;
} fixture;

/* Case i: a model, and 1 or 2 threads. */
static fixture set_up(int i) {
  static const char *const wanted[] = {"tests/data/features_tiny.safetensors",
                                       "tests/data/features_odd.safetensors"};
  fixture f;
  ASSERT_OK(mae_safetensors_open(golden_paths[i % 2], &f.file));
  ASSERT_OK(mae_safetensors_open(wanted[i % 2], &f.wanted));
  ASSERT_OK(mae_model_load(golden_paths[i % 2], &f.model));
  f.context = make_context(1 + i / 2, MAE_ISA_AUTO);
  f.images = golden(f.file, "golden.images");
  f.batch = f.images->shape[0];
  ASSERT_OK(mae_config_init(&f.config, sizeof f.config, NULL));
  ASSERT_OK(mae_model_config(f.model, &f.config));
  f.tokens = 1 + mae_model_num_patches(f.model);
  return f;
}

static void tear_down(fixture *f) {
  mae_tensor_destroy(f->images);
  mae_context_destroy(f->context);
  mae_model_destroy(f->model);
  mae_safetensors_close(f->wanted);
  mae_safetensors_close(f->file);
}

static void expect(const fixture *f, const char *name, const float *got,
                   int64_t n) {
  mae_tensor *want = golden(f->wanted, name);
  ck_assert_int_eq(mae_tensor_size(want), n);
  double error = relative_error(got, want->data, n);
  if (getenv("MAE_SHOW_PARITY")) printf("features %-40s %.2e\n", name, error);
  ck_assert_msg(error <= BAR, "%s: relative error %g", name, error);
  mae_tensor_destroy(want);
}

static mae_session_options defaults(void) {
  mae_session_options o;
  mae_session_options_init(&o, sizeof o);
  return o;
}

/* All features of n images [n, feature_size]; free them. */
static void *extract(const fixture *f, const mae_model *model,
                     const mae_session_options *o, const float *images,
                     int64_t n, int64_t *size) {
  mae_session *s;
  ASSERT_OK(mae_session_create(f->context, model, o, &s));
  *size = n * mae_session_feature_size(s);
  void *out = malloc((size_t)*size * sizeof(float));
  ASSERT_OK(mae_session_features(s, images, n, NULL, out));
  mae_session_destroy(s);
  return out;
}

static float *features(const fixture *f, const mae_session_options *o,
                       int64_t *size) {
  return extract(f, f->model, o, f->images->data, f->batch, size);
}

/* ------------------------------------------------- blocks, attention --- */

static const int32_t first_three[] = {0, 1, 2};

START_TEST(all_blocks_at_once) {
  fixture f = set_up(_i);
  int64_t n;
  mae_session_options o = defaults();
  o.blocks = first_three;
  o.num_blocks = f.config.depth;
  o.features = MAE_FEATURES_TOKENS;
  o.batch_size = 2; /* odd has two images, tiny three */
  float *out = features(&f, &o, &n);
  expect(&f, "blocks", out, n);
  free(out);
  tear_down(&f);
}
END_TEST

/* Any order, repeats, and -1 for the last. */
START_TEST(blocks_in_order_asked) {
  fixture f = set_up(_i);
  const int32_t list[] = {-1, 0, -1};
  int64_t n, each;
  mae_session_options o = defaults();
  o.features = MAE_FEATURES_MEAN;
  o.blocks = list;
  o.num_blocks = 3;
  float *all = features(&f, &o, &n);
  const int64_t width = f.config.embed_dim;
  for (int k = 0; k < 3; k++) {
    mae_session_options one = defaults();
    one.features = MAE_FEATURES_MEAN;
    one.block = list[k];
    float *alone = features(&f, &one, &each);
    for (int64_t b = 0; b < f.batch; b++)
      ck_assert(relative_error(all + (b * 3 + k) * width, alone + b * width,
                               width) < 1e-6);
    free(alone);
  }
  ck_assert_int_eq(n, 3 * each);
  ck_assert(relative_error(all, all + width, width) > 0.01);
  free(all);
  tear_down(&f);
}
END_TEST

/* Of the deepest block the class token alone is computed, of others all. */
START_TEST(class_tokens_of_blocks) {
  fixture f = set_up(_i);
  const int32_t list[] = {-1, 0, -1};
  int64_t n, all;
  mae_session_options o = defaults();
  o.blocks = list;
  o.num_blocks = 3;
  float *class_tokens = features(&f, &o, &n);
  o.features = MAE_FEATURES_TOKENS;
  float *tokens = features(&f, &o, &all);
  const int64_t width = f.config.embed_dim;
  ck_assert_int_eq(n, f.batch * 3 * width);
  ck_assert_int_eq(all, f.tokens * n);
  for (int64_t i = 0; i < f.batch * 3; i++)
    ck_assert(relative_error(class_tokens + i * width,
                             tokens + i * f.tokens * width, width) < 1e-6);
  free(class_tokens);
  free(tokens);
  tear_down(&f);
}
END_TEST

START_TEST(attention_weights) {
  fixture f = set_up(_i);
  int64_t n;
  mae_session_options o = defaults();
  o.features = MAE_FEATURES_ATTENTION;
  o.blocks = first_three;
  o.num_blocks = f.config.depth;
  float *out = features(&f, &o, &n);
  expect(&f, "attention", out, n);
  /* Of the last block alone, which is then not run itself. */
  o.blocks = NULL;
  o.num_blocks = 0;
  int64_t each, of_block = f.config.num_heads * f.tokens * f.tokens;
  float *last = features(&f, &o, &each);
  ck_assert_int_eq(each, f.batch * of_block);
  for (int64_t b = 0; b < f.batch; b++)
    ck_assert(relative_error(
                  last + b * of_block,
                  out + ((b + 1) * f.config.depth - 1) * of_block,
                  of_block) < 1e-6);
  free(last);
  free(out);
  tear_down(&f);
}
END_TEST

/* Nothing trained may hang on them. */
START_TEST(attention_weights_are_forward_only) {
  const int64_t shape[] = {1, 3, 12};
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_tape *tape;
  mae_var x, out;
  ASSERT_OK(mae_tape_create(context, &tape));
  ASSERT_OK(mae_tape_input(tape, 3, shape, 1, &x));
  ASSERT_FAILS(mae_tape_attention_weights(tape, x, 2, &out),
               MAE_ERROR_INVALID_ARGUMENT, "forward only");
  mae_tape_destroy(tape);
  mae_context_destroy(context);
}
END_TEST

/* --------------------------------------------------- other image sizes --- */

START_TEST(session_of_another_size) {
  fixture f = set_up(_i);
  mae_tensor *images = golden(f.wanted, "resized.images");
  mae_tensor *noise = golden(f.wanted, "resized.noise");
  mae_tensor *pred = golden(f.wanted, "resized.pred");
  mae_session_options o = defaults();
  o.features = MAE_FEATURES_TOKENS;
  o.mask_ratio =
      atof(mae_safetensors_metadata(f.file, "golden.mask_ratio"));
  o.image_height = (int32_t)images->shape[2];
  o.image_width = (int32_t)images->shape[3];
  int64_t n;
  float *out = extract(&f, f.model, &o, images->data, images->shape[0], &n);
  expect(&f, "resized.features", out, n);
  mae_session *s;
  double loss;
  ASSERT_OK(mae_session_create(f.context, f.model, &o, &s));
  ASSERT_OK(mae_session_forward(s, images->data, images->shape[0], noise->data,
                                &loss, pred->data, NULL));
  expect(&f, "resized.loss", &(float){(float)loss}, 1);
  expect(&f, "resized.pred", pred->data, mae_tensor_size(pred));
  mae_session_destroy(s);
  /* The model itself has not changed. */
  ck_assert_int_eq(mae_model_num_patches(f.model), f.tokens - 1);
  free(out);
  mae_tensor_destroy(pred);
  mae_tensor_destroy(noise);
  mae_tensor_destroy(images);
  tear_down(&f);
}
END_TEST

START_TEST(resized_model) {
  fixture f = set_up(_i);
  mae_tensor *images = golden(f.wanted, "resized.images");
  const int32_t h = (int32_t)images->shape[2], w = (int32_t)images->shape[3];
  ASSERT_OK(mae_model_resize(f.model, h, w));
  mae_config c = f.config;
  ASSERT_OK(mae_model_config(f.model, &c));
  ck_assert_int_eq(c.image_height, h);
  ck_assert_int_eq(c.image_width, w);
  const char *const tables[] = {"pos_embed", "decoder_pos_embed"};
  for (int i = 0; i < 2; i++) {
    char name[64];
    snprintf(name, sizeof name, "resized.%s", tables[i]);
    const mae_tensor *t = mae_model_find(f.model, tables[i]);
    expect(&f, name, t->data, mae_tensor_size(t));
  }
  int64_t n;
  mae_session_options o = defaults();
  o.features = MAE_FEATURES_TOKENS;
  float *out = extract(&f, f.model, &o, images->data, images->shape[0], &n);
  expect(&f, "resized.features", out, n);
  free(out);
  /* It can be saved, loaded, trained and resized again. */
  const char *path = "build/resized.safetensors";
  mae_model *loaded;
  ASSERT_OK(mae_model_save(f.model, path));
  ASSERT_OK(mae_model_load(path, &loaded));
  ck_assert_int_eq(mae_model_num_patches(loaded),
                   mae_model_num_patches(f.model));
  mae_model_destroy(loaded);
  remove(path);
  mae_trainer_options to;
  mae_trainer *trainer;
  mae_trainer_options_init(&to, sizeof to);
  to.batch_size = (int32_t)images->shape[0];
  ASSERT_OK(mae_trainer_create(f.context, f.model, &to, &trainer));
  ASSERT_OK(mae_trainer_step(trainer, images->data, NULL, NULL));
  mae_trainer_destroy(trainer);
  ASSERT_OK(mae_model_resize(f.model, c.patch_size, c.patch_size));
  ck_assert_int_eq(mae_model_num_patches(f.model), 1);
  mae_tensor_destroy(images);
  tear_down(&f);
}
END_TEST

START_TEST(resize_to_the_same_changes_nothing) {
  fixture f = set_up(_i);
  mae_tensor *before = golden(f.file, "pos_embed");
  ASSERT_OK(mae_model_resize(f.model, f.config.image_height,
                             f.config.image_width));
  const mae_tensor *after = mae_model_find(f.model, "pos_embed");
  ck_assert(mae_tensor_size(after) == mae_tensor_size(before));
  ck_assert_mem_eq(after->data, before->data,
                   (size_t)mae_tensor_size(before) * sizeof(float));
  mae_tensor_destroy(before);
  tear_down(&f);
}
END_TEST

START_TEST(bad_sizes) {
  fixture f = set_up(0);
  const int32_t sizes[][2] = {{-8, 8}, {0, 8}, {33, 32}, {32, 65544}};
  const float *table = mae_model_find(f.model, "pos_embed")->data;
  for (int i = 0; i < 4; i++) {
    mae_session *s = NULL;
    mae_session_options o = defaults();
    ASSERT_FAILS(mae_model_resize(f.model, sizes[i][0], sizes[i][1]),
                 MAE_ERROR_INVALID_ARGUMENT, "config");
    o.image_height = sizes[i][0];
    o.image_width = sizes[i][1];
    if (sizes[i][0] == 0) continue; /* the model's */
    ASSERT_FAILS(mae_session_create(f.context, f.model, &o, &s),
                 MAE_ERROR_INVALID_ARGUMENT, "config");
    ck_assert_ptr_null(s);
  }
  ck_assert_ptr_eq(mae_model_find(f.model, "pos_embed")->data, table);
  ASSERT_FAILS(mae_model_resize(NULL, 8, 8), MAE_ERROR_INVALID_ARGUMENT,
               "model");
  tear_down(&f);
}
END_TEST

/* ------------------------------------------------- without a decoder --- */

/* The encoder of f's model, with norm as fc_norm if asked, and a head. */
static mae_model *encoder_of(const fixture *f, int32_t global_pool) {
  mae_config c = f->config;
  mae_model *model;
  c.decoder_embed_dim = c.decoder_depth = c.decoder_num_heads = 0;
  c.global_pool = global_pool;
  c.num_classes = 5;
  ASSERT_OK(mae_model_create(&c, 1, &model));
  for (int32_t i = 0; i < mae_model_num_tensors(model); i++) {
    const char *name = mae_model_tensor_name(model, i);
    mae_tensor *to = mae_model_tensor(model, i);
    if (!strncmp(name, "head.", 5)) continue;
    const mae_tensor *from = mae_model_find(
        f->model, strncmp(name, "fc_norm.", 8) ? name : name + 3);
    ck_assert_msg(from != NULL, "no %s", name);
    ck_assert(mae_tensor_same_shape(from, to));
    memcpy(to->data, from->data, (size_t)mae_tensor_size(to) * sizeof(float));
  }
  return model;
}

START_TEST(encoder_alone) {
  fixture f = set_up(_i);
  mae_model *model = encoder_of(&f, 0), *loaded;
  const char *path = "build/encoder.safetensors";
  ASSERT_OK(mae_model_save(model, path));
  ASSERT_OK(mae_model_load(path, &loaded));
  remove(path);
  mae_config c = f.config;
  ASSERT_OK(mae_model_config(loaded, &c));
  ck_assert_int_eq(c.decoder_depth, 0);
  ck_assert_int_eq(c.num_classes, 5);
  ck_assert_ptr_null(mae_model_find(loaded, "mask_token"));
  ck_assert_int_eq(mae_model_find(loaded, "head.weight")->shape[0], 5);
  mae_session_options o = defaults();
  o.features = MAE_FEATURES_TOKENS;
  o.blocks = first_three;
  o.num_blocks = f.config.depth;
  int64_t n;
  float *out = extract(&f, loaded, &o, f.images->data, f.batch, &n);
  expect(&f, "blocks", out, n);
  free(out);
  mae_session *s;
  double loss;
  ASSERT_OK(mae_session_create(f.context, loaded, NULL, &s));
  ASSERT_FAILS(mae_session_forward(s, f.images->data, 1, NULL, &loss, NULL,
                                   NULL),
               MAE_ERROR_STATE, "no decoder");
  mae_session_destroy(s);
  mae_model_destroy(loaded);
  mae_model_destroy(model);
  tear_down(&f);
}
END_TEST

START_TEST(global_pool) {
  fixture f = set_up(_i);
  mae_model *model = encoder_of(&f, 1);
  ck_assert_ptr_null(mae_model_find(model, "norm.weight"));
  mae_session_options o = defaults();
  int64_t n;
  o.features = MAE_FEATURES_MEAN;
  float *out = extract(&f, model, &o, f.images->data, f.batch, &n);
  expect(&f, "pooled", out, n);
  free(out);
  /* Tokens have no norm; the other model's without its norm are the same. */
  o.features = MAE_FEATURES_TOKENS;
  out = extract(&f, model, &o, f.images->data, f.batch, &n);
  o.final_norm = 0;
  float *raw = features(&f, &o, &n);
  ck_assert(relative_error(out, raw, n) < 1e-6);
  free(raw);
  free(out);
  mae_model_destroy(model);
  tear_down(&f);
}
END_TEST

START_TEST(bad_configs) {
  mae_config good = small_config(), c;
  mae_model *model = NULL;
  c = good, c.global_pool = 1; /* with a decoder */
  ASSERT_FAILS(mae_model_create(&c, 1, &model), MAE_ERROR_INVALID_ARGUMENT,
               "decoder");
  c = good, c.num_classes = 3;
  ASSERT_FAILS(mae_model_create(&c, 1, &model), MAE_ERROR_INVALID_ARGUMENT,
               "decoder");
  c = good, c.decoder_depth = 0; /* but a width */
  ASSERT_FAILS(mae_model_create(&c, 1, &model), MAE_ERROR_INVALID_ARGUMENT,
               "decoder_depth");
  const double eps[] = {0, -1e-6, 1, NAN};
  for (int i = 0; i < 4; i++) {
    c = good, c.layer_norm_eps = eps[i];
    ASSERT_FAILS(mae_model_create(&c, 1, &model), MAE_ERROR_INVALID_ARGUMENT,
                 "layer_norm_eps");
  }
  c = good, c.decoder_depth = c.decoder_embed_dim = c.decoder_num_heads = 0;
  c.num_classes = -1;
  ASSERT_FAILS(mae_model_create(&c, 1, &model), MAE_ERROR_INVALID_ARGUMENT,
               "num_classes");
  c.num_classes = 0, c.global_pool = 2;
  ASSERT_FAILS(mae_model_create(&c, 1, &model), MAE_ERROR_INVALID_ARGUMENT,
               "global_pool");
  ck_assert_ptr_null(model);
}
END_TEST

/* ---------------------------------------------------- how it is written --- */

START_TEST(half_precision) {
  fixture f = set_up(_i);
  int64_t n;
  mae_session_options o = defaults();
  o.features = MAE_FEATURES_TOKENS;
  float *full = features(&f, &o, &n);
  o.dtype = MAE_DTYPE_F16;
  uint16_t *half = extract(&f, f.model, &o, f.images->data, f.batch, &n);
  for (int64_t i = 0; i < n; i++)
    ck_assert_uint_eq(half[i], mae_to_f16(full[i]));
  free(half);
  free(full);
  tear_down(&f);
}
END_TEST

START_TEST(unit_length) {
  fixture f = set_up(_i);
  int64_t n;
  mae_session_options o = defaults();
  o.features = MAE_FEATURES_TOKENS;
  float *plain = features(&f, &o, &n);
  o.l2_normalize = 1;
  float *unit = features(&f, &o, &n);
  const int64_t width = f.config.embed_dim;
  for (int64_t v = 0; v < n; v += width) {
    double squares = 0, length;
    for (int64_t i = v; i < v + width; i++)
      squares += (double)plain[i] * plain[i];
    length = sqrt(squares);
    for (int64_t i = v; i < v + width; i++)
      ck_assert_double_eq_tol(unit[i], plain[i] / length, 1e-6);
  }
  free(unit);
  free(plain);
  tear_down(&f);
}
END_TEST

/* All 65536 halves there and back, and the ties between them. */
START_TEST(half_is_exact) {
  for (uint32_t h = 0; h < 0x10000; h++) {
    float x = mae_from_f16((uint16_t)h);
    if ((h & 0x7fff) > 0x7c00) {
      ck_assert(isnan(x));
      ck_assert_uint_gt(mae_to_f16(x) & 0x7fff, 0x7c00);
      continue;
    }
    int exponent = (int)(h >> 10 & 31), fraction = (int)(h & 0x3ff);
    double want = exponent ? ldexp(1024 + fraction, exponent - 25)
                           : ldexp(fraction, -24);
    if (exponent == 31) want = INFINITY;
    ck_assert_double_eq(x, h & 0x8000 ? -want : want);
    ck_assert_uint_eq(mae_to_f16(x), h);
    if ((h & 0x7fff) >= 0x7bff) continue;
    /* Halfway to the next, the even one is taken; a little beyond, the next. */
    double next = mae_from_f16((uint16_t)(h + 1));
    float middle = (float)((x + next) / 2);
    ck_assert_uint_eq(mae_to_f16(middle), h + (h & 1));
    ck_assert_uint_eq(mae_to_f16(nextafterf(middle, (float)next)), h + 1);
    ck_assert_uint_eq(mae_to_f16(nextafterf(middle, x)), h);
  }
  ck_assert_uint_eq(mae_to_f16(65519.996f), 0x7bff);
  ck_assert_uint_eq(mae_to_f16(65520), 0x7c00);
  ck_assert_uint_eq(mae_to_f16(-1e30f), 0xfc00);
  ck_assert_float_eq(mae_from_bf16(0x3fc0), 1.5f);
  ck_assert(isnan(mae_from_bf16(0x7fc0)));
}
END_TEST

/* -------------------------------------------------------------- modes --- */

/* Case i: a batch size.  Images are shared out over the threads; what comes out
 * for each is the same. */
START_TEST(throughput_mode) {
  enum { N = 11 };
  const int32_t batches[] = {1, 4, 16};
  mae_model *model = small_model(4);
  float *images = small_images(N, 5);
  float latency[N * 32], out[2][N * 32];
  mae_context *context = make_context(3, MAE_ISA_AUTO);
  mae_session_options o = defaults();
  mae_session *s;
  o.batch_size = batches[_i];
  ASSERT_OK(mae_session_create(context, model, &o, &s));
  ASSERT_OK(mae_session_features(s, images, N, NULL, latency));
  mae_session_destroy(s);
  o.mode = MAE_MODE_THROUGHPUT;
  ASSERT_OK(mae_session_create(context, model, &o, &s));
  for (int round = 0; round < 2; round++)
    ASSERT_OK(mae_session_features(s, images, N, NULL, out[round]));
  ck_assert_mem_eq(out[0], out[1], sizeof out[0]);
  ck_assert(relative_error(out[0], latency, N * 32) < 1e-5);
  for (int n = 0; n < N; n++) /* fewer images than threads, too */
    ASSERT_OK(mae_session_features(s, images, n, NULL, out[0]));
  ck_assert(relative_error(out[0], latency, (N - 1) * 32) < 1e-5);
  mae_session_destroy(s);
  mae_context_destroy(context);
  free(images);
  mae_model_destroy(model);
}
END_TEST

/* ----------------------------------------------------------- from bytes --- */

enum { SIDE = 40, PICTURES = 5 };

typedef struct pictures {
  uint8_t pixels[PICTURES][SIDE * SIDE * 3];
  mae_image images[PICTURES];
} pictures;

static void make_pictures(pictures *p) {
  uint32_t state = 1;
  for (int i = 0; i < PICTURES; i++) {
    for (int k = 0; k < SIDE * SIDE * 3; k++) {
      state = state * 1664525 + 1013904223;
      p->pixels[i][k] = (uint8_t)(state >> 24);
    }
    p->images[i] = (mae_image){.data = p->pixels[i], .width = SIDE - 3 * i,
                               .height = SIDE - i, .channels = 3,
                               .stride = SIDE * 3};
  }
}

/* In each mode: as preprocessing, then features. */
START_TEST(features_from_bytes) {
  fixture f = set_up(_i);
  pictures *p = malloc(sizeof *p);
  make_pictures(p);
  const int64_t values = f.config.in_chans * (int64_t)f.config.image_height *
                         f.config.image_width;
  const int64_t width = f.config.embed_dim;
  float *pixels = malloc((size_t)(PICTURES * values) * sizeof *pixels);
  float *want = malloc((size_t)(PICTURES * width) * sizeof *want);
  float *got = malloc((size_t)(PICTURES * width) * sizeof *got);
  for (int mode = 0; mode < 2; mode++) {
    mae_session_options o = defaults();
    mae_session *s;
    o.mode = (mae_mode)mode;
    o.batch_size = 2;
    ASSERT_OK(mae_session_create(f.context, f.model, &o, &s));
    for (int i = 0; i < PICTURES; i++)
      ASSERT_OK(mae_session_preprocess(s, &p->images[i], pixels + i * values));
    ASSERT_OK(mae_session_features(s, pixels, PICTURES, NULL, want));
    ASSERT_OK(mae_features_u8(s, p->images, PICTURES, got));
    ck_assert_mem_eq(got, want, (size_t)(PICTURES * width) * sizeof *got);
    ck_assert(relative_error(got, got + width, width) > 1e-3);
    mae_session_destroy(s);
  }
  free(got);
  free(want);
  free(pixels);
  free(p);
  tear_down(&f);
}
END_TEST

START_TEST(bad_images) {
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_model *model = small_model(4);
  pictures *p = malloc(sizeof *p);
  float out[PICTURES * 32];
  for (int mode = 0; mode < 2; mode++) {
    mae_session_options o = defaults();
    mae_session *s;
    make_pictures(p);
    o.mode = (mae_mode)mode;
    o.batch_size = 2; /* so that more are to come */
    ASSERT_OK(mae_session_create(context, model, &o, &s));
    p->images[3].height = 0;
    ASSERT_FAILS(mae_features_u8(s, p->images, PICTURES, out),
                 MAE_ERROR_INVALID_ARGUMENT, "image 3: ");
    ASSERT_OK(mae_features_u8(s, p->images, 3, out));
    ASSERT_OK(mae_features_u8(s, p->images, 0, out));
    ASSERT_FAILS(mae_features_u8(s, NULL, 1, out), MAE_ERROR_INVALID_ARGUMENT,
                 "images");
    ASSERT_FAILS(mae_features_u8(s, p->images, 1, NULL),
                 MAE_ERROR_INVALID_ARGUMENT, "out");
    ASSERT_FAILS(mae_session_preprocess(s, NULL, out),
                 MAE_ERROR_INVALID_ARGUMENT, "image");
    ASSERT_FAILS(mae_session_preprocess(s, p->images, NULL),
                 MAE_ERROR_INVALID_ARGUMENT, "out");
    mae_session_destroy(s);
  }
  free(p);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

/* Case i: a mode. */
START_TEST(steady_calls_allocate_nothing) {
  if (count_alloc_calls() < 0) return; /* another allocator: not countable */
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_model *model = small_model(4);
  pictures *p = malloc(sizeof *p);
  make_pictures(p);
  float out[PICTURES * 2 * 32];
  const int32_t blocks[] = {0, 1};
  mae_session_options o = defaults();
  mae_session *s;
  o.mode = (mae_mode)_i;
  o.batch_size = 2;
  o.blocks = blocks;
  o.num_blocks = 2;
  ASSERT_OK(mae_session_create(context, model, &o, &s));
  long counts[2];
  for (int round = 0; round < 2; round++) { /* the first one plans memory */
    long before = count_alloc_calls();
    int failed = 0; /* Check's own assertions allocate */
    for (int i = 0; i < 3; i++)
      failed |= mae_features_u8(s, p->images, PICTURES, out);
    counts[round] = count_alloc_calls() - before;
    ck_assert_int_eq(failed, 0);
  }
  ck_assert_int_gt(counts[0], 0); /* the counter counts */
  ck_assert_int_eq(counts[1], 0);
  mae_session_destroy(s);
  free(p);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

START_TEST(bad_options) {
  fixture f = set_up(0);
  const int32_t blocks[] = {0, 2}; /* tiny has two */
  const float zero[] = {0, 0, 0};
  mae_session_options bad[8];
  for (int i = 0; i < 8; i++) bad[i] = defaults();
  bad[0].blocks = blocks, bad[0].num_blocks = 2;
  bad[1].blocks = blocks;
  bad[2].num_blocks = 1;
  bad[3].dtype = (mae_dtype)2;
  bad[4].l2_normalize = 1, bad[4].features = MAE_FEATURES_ATTENTION;
  bad[5].mode = (mae_mode)2;
  bad[6].crop_ratio = 1.5;
  bad[7].std = zero;
  const char *const words[] = {"block 2", "num_blocks", "num_blocks", "dtype",
                               "l2_normalize", "mode", "crop_ratio", "std"};
  for (int i = 0; i < 8; i++) {
    mae_session *s = NULL;
    ASSERT_FAILS(mae_session_create(f.context, f.model, &bad[i], &s),
                 MAE_ERROR_INVALID_ARGUMENT, words[i]);
    ck_assert_ptr_null(s);
  }
  tear_down(&f);
}
END_TEST

Suite *features_suite(void) {
  Suite *suite = suite_create("features");
  TCase *tc = tcase_create("features");
  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, all_blocks_at_once, 0, 4);
  tcase_add_loop_test(tc, blocks_in_order_asked, 0, 4);
  tcase_add_loop_test(tc, class_tokens_of_blocks, 0, 4);
  tcase_add_loop_test(tc, attention_weights, 0, 4);
  tcase_add_test(tc, attention_weights_are_forward_only);
  tcase_add_loop_test(tc, session_of_another_size, 0, 4);
  tcase_add_loop_test(tc, resized_model, 0, 2);
  tcase_add_loop_test(tc, resize_to_the_same_changes_nothing, 0, 2);
  tcase_add_test(tc, bad_sizes);
  tcase_add_loop_test(tc, encoder_alone, 0, 2);
  tcase_add_loop_test(tc, global_pool, 0, 4);
  tcase_add_test(tc, bad_configs);
  tcase_add_loop_test(tc, half_precision, 0, 2);
  tcase_add_loop_test(tc, unit_length, 0, 2);
  tcase_add_test(tc, half_is_exact);
  tcase_add_loop_test(tc, throughput_mode, 0, 3);
  tcase_add_loop_test(tc, features_from_bytes, 0, 4);
  tcase_add_test(tc, bad_images);
  tcase_add_loop_test(tc, steady_calls_allocate_nothing, 0, 2);
  tcase_add_test(tc, bad_options);
  suite_add_tcase(suite, tc);
  return suite;
}
