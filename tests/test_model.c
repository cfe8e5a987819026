/* Config, initialisation, saving and loading. */
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "golden.h"
#include "io/checkpoint.h"
#include "model/config.h"
#include "suites.h"

static char path[64];

static void make_path(void) {
  strcpy(path, "/tmp/libmae-model-XXXXXX");
  close(mkstemp(path));
}
static void drop_path(void) { unlink(path); }

static void expect_counts(const char *preset, int64_t all, int64_t trained) {
  mae_config c;
  mae_model *model;
  ASSERT_OK(mae_config_init(&c, sizeof c, preset));
  ASSERT_OK(mae_model_create(&c, 1, &model));
  ck_assert_int_eq(mae_model_parameter_count(model, 0), all);
  ck_assert_int_eq(mae_model_parameter_count(model, 1), trained);
  mae_model_destroy(model);
}

START_TEST(parameter_counts) {
  expect_counts("vit_b16", 111907840, 111655680);
  expect_counts(NULL, 111907840, 111655680);
}
END_TEST

START_TEST(presets) {
  mae_config c;
  ASSERT_OK(mae_config_init(&c, sizeof c, "vit_h14"));
  ck_assert_int_eq(c.embed_dim, 1280);
  ck_assert_int_eq(c.depth, 32);
  ck_assert_int_eq(c.patch_size, 14);
  ASSERT_OK(mae_config_init(&c, sizeof c, "vit_l16"));
  ck_assert_int_eq(c.embed_dim, 1024);
  ck_assert_int_eq(c.decoder_embed_dim, 512);
  ck_assert_int_eq(c.decoder_depth, 8);
  ASSERT_FAILS(mae_config_init(&c, sizeof c, "vit_x"), MAE_ERROR_NOT_FOUND,
               "vit_x");
  ASSERT_FAILS(mae_config_init(NULL, 0, NULL), MAE_ERROR_INVALID_ARGUMENT,
               "config");
}
END_TEST

static const struct {
  size_t field;
  int32_t value;
  const char *word;
} bad_fields[] = {
    {offsetof(mae_config, image_height), 0, "image_height"},
    {offsetof(mae_config, image_height), 17, "patches of 4"},
    {offsetof(mae_config, image_width), -4, "image_width"},
    {offsetof(mae_config, image_width), 18, "patches of 4"},
    {offsetof(mae_config, patch_size), 0, "patch_size"},
    {offsetof(mae_config, in_chans), 0, "in_chans"},
    {offsetof(mae_config, embed_dim), 0, "embed_dim"},
    {offsetof(mae_config, embed_dim), 25, "embed_dim"},
    {offsetof(mae_config, embed_dim), 1 << 30, "embed_dim"},
    {offsetof(mae_config, depth), 0, "depth"},
    {offsetof(mae_config, depth), 1 << 30, "depth"},
    {offsetof(mae_config, num_heads), 0, "heads"},
    {offsetof(mae_config, num_heads), 5, "heads"},
    {offsetof(mae_config, decoder_embed_dim), 18, "decoder_embed_dim"},
    {offsetof(mae_config, decoder_embed_dim), 0, "decoder_embed_dim"},
    {offsetof(mae_config, decoder_depth), -1, "decoder_depth"},
    {offsetof(mae_config, decoder_num_heads), 3, "decoder_embed_dim"},
    {offsetof(mae_config, norm_pix_loss), 2, "norm_pix_loss"},
    {offsetof(mae_config, encoder_mask_tokens), 2, "encoder_mask_tokens"},
    {offsetof(mae_config, encoder_mask_tokens), -1, "encoder_mask_tokens"},
};

START_TEST(bad_config) {
  mae_config c = small_config();
  mae_model *model = NULL;
  memcpy((char *)&c + bad_fields[_i].field, &bad_fields[_i].value, 4);
  ASSERT_FAILS(mae_model_create(&c, 1, &model), MAE_ERROR_INVALID_ARGUMENT,
               bad_fields[_i].word);
  ck_assert_ptr_null(model);
}
END_TEST

/* A patch of one value has no deviation to divide by. */
START_TEST(patches_of_one_value) {
  mae_config c = small_config();
  mae_model *model = NULL;
  c.patch_size = c.in_chans = 1;
  ASSERT_FAILS(mae_model_create(&c, 1, &model), MAE_ERROR_INVALID_ARGUMENT,
               "norm_pix_loss needs patches of two values");
  ck_assert_ptr_null(model);
  c.norm_pix_loss = 0;
  ASSERT_OK(mae_model_create(&c, 1, &model));
  mae_model_destroy(model);
}
END_TEST

START_TEST(bad_ratio_and_null) {
  mae_config c = small_config();
  mae_model *model = NULL;
  const double ratios[] = {0, -1, 65, NAN, INFINITY};
  for (size_t i = 0; i < sizeof ratios / sizeof *ratios; i++) {
    c.mlp_ratio = ratios[i];
    ASSERT_FAILS(mae_model_create(&c, 1, &model), MAE_ERROR_INVALID_ARGUMENT,
                 "mlp_ratio");
  }
  ASSERT_FAILS(mae_model_create(NULL, 1, &model), MAE_ERROR_INVALID_ARGUMENT,
               "config");
  c = small_config();
  ASSERT_FAILS(mae_model_create(&c, 1, NULL), MAE_ERROR_INVALID_ARGUMENT,
               "out");
  c.struct_size = 0;
  ASSERT_FAILS(mae_model_create(&c, 1, &model), MAE_ERROR_INVALID_ARGUMENT,
               "struct_size");
  c.struct_size = (size_t)-1; /* as if never set */
  ASSERT_FAILS(mae_model_create(&c, 1, &model), MAE_ERROR_INVALID_ARGUMENT,
               "struct_size");
  ASSERT_FAILS(mae_model_config(NULL, &c), MAE_ERROR_INVALID_ARGUMENT,
               "model is NULL");
  model = small_model(1);
  ASSERT_FAILS(mae_model_config(model, NULL), MAE_ERROR_INVALID_ARGUMENT,
               "config is NULL");
  mae_model_destroy(model);
  ck_assert_int_eq(mae_model_num_tensors(NULL), 0);
  ck_assert_ptr_null(mae_model_find(NULL, "x"));
  mae_model_destroy(NULL);
}
END_TEST

static double mean_square(const mae_tensor *t) {
  double sum = 0;
  for (int64_t i = 0; i < mae_tensor_size(t); i++)
    sum += (double)t->data[i] * t->data[i];
  return sum / (double)mae_tensor_size(t);
}

static double largest(const mae_tensor *t) {
  double most = 0;
  for (int64_t i = 0; i < mae_tensor_size(t); i++)
    most = fmax(most, fabs((double)t->data[i]));
  return most;
}

START_TEST(initialisation) {
  mae_config c;
  mae_model *m;
  ASSERT_OK(mae_config_init(&c, sizeof c, NULL));
  c.depth = c.decoder_depth = 1;
  ASSERT_OK(mae_model_create(&c, 5, &m));
  const mae_tensor *qkv = mae_model_find(m, "blocks.0.attn.qkv.weight");
  double bound = sqrt(6.0 / (768 + 3 * 768));
  ck_assert_double_le(largest(qkv), bound);
  ck_assert_double_gt(largest(qkv), 0.999 * bound);
  ck_assert_double_eq_tol(mean_square(qkv), bound * bound / 3, 0.01 * bound * bound);
  const mae_tensor *patch = mae_model_find(m, "patch_embed.proj.weight");
  ck_assert_double_le(largest(patch), sqrt(6.0 / (768 + 768)));
  ck_assert_double_gt(largest(patch), 0.999 * sqrt(6.0 / (768 + 768)));
  ck_assert_double_gt(largest(mae_model_find(m, "patch_embed.proj.bias")), 0);
  ck_assert_double_le(largest(mae_model_find(m, "patch_embed.proj.bias")),
                      1 / sqrt(768));
  ck_assert_double_eq_tol(sqrt(mean_square(mae_model_find(m, "cls_token"))),
                          0.02, 0.003);
  ck_assert_double_eq_tol(sqrt(mean_square(mae_model_find(m, "mask_token"))),
                          0.02, 0.003);
  ck_assert_double_eq(mean_square(mae_model_find(m, "norm.weight")), 1);
  ck_assert_double_eq(mean_square(mae_model_find(m, "norm.bias")), 0);
  ck_assert_double_eq(
      mean_square(mae_model_find(m, "blocks.0.mlp.fc1.bias")), 0);
  ck_assert_ptr_null(mae_model_find(m, "blocks.1.norm1.weight"));
  mae_model_destroy(m);
}
END_TEST

START_TEST(seeds) {
  mae_model *a = small_model(1), *b = small_model(1), *c = small_model(2);
  ck_assert(same_weights(a, b));
  ck_assert(!same_weights(a, c));
  mae_model_destroy(a);
  mae_model_destroy(b);
  mae_model_destroy(c);
}
END_TEST

START_TEST(round_trip) {
  mae_model *a = small_model(3), *b;
  ASSERT_OK(mae_model_save(a, path));
  ASSERT_OK(mae_model_load(path, &b));
  ck_assert(same_weights(a, b));
  mae_config c = small_config(), d = small_config();
  d.depth = 9;
  ASSERT_OK(mae_model_config(b, &d));
  ck_assert(mae_config_same(&c, &d));
  mae_model_destroy(a);
  mae_model_destroy(b);
}
END_TEST

static size_t slurp(char **bytes) {
  FILE *f = fopen(path, "rb");
  ck_assert_ptr_nonnull(f);
  fseek(f, 0, SEEK_END);
  size_t n = (size_t)ftell(f);
  rewind(f);
  *bytes = malloc(n + 1);
  ck_assert_uint_eq(fread(*bytes, 1, n, f), n);
  (*bytes)[n] = 0;
  fclose(f);
  return n;
}

static void spit(const char *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
  fclose(f);
}

START_TEST(truncated_checkpoint) {
  mae_model *a = small_model(3), *b = NULL;
  char *bytes;
  ASSERT_OK(mae_model_save(a, path));
  size_t n = slurp(&bytes);
  for (size_t cut = 0; cut < n; cut += cut < 300 ? 1 : n / 97) {
    spit(bytes, cut);
    ck_assert_int_eq(mae_model_load(path, &b), MAE_ERROR_FORMAT);
    ck_assert_ptr_null(b);
  }
  free(bytes);
  mae_model_destroy(a);
}
END_TEST

static const struct {
  const char *from, *to; /* of one length */
  mae_status status;
  const char *word;
} edits[] = {
    {"mae.embed_dim\":\"32\"", "mae.embed_dim\":\"36\"", MAE_ERROR_MISMATCH,
     "shape"},
    {"mae.embed_dim\":\"32\"", "mae.embed_dim\":\"-4\"", MAE_ERROR_FORMAT,
     "embed_dim"},
    {"mae.embed_dim\":\"32\"", "mae.embed_dim\":\"25\"", MAE_ERROR_FORMAT,
     "embed_dim"},
    {"mae.embed_dim\":\"32\"", "mae.embed_dXm\":\"32\"", MAE_ERROR_FORMAT,
     "mae.embed_dim"},
    {"mae.embed_dim\":\"32\"", "mae.embed_dim\":\":2\"", MAE_ERROR_FORMAT,
     "\"mae.embed_dim\" is \":2\""},
    {"mae.embed_dim\":\"32\"", "mae.embed_dim\":\"3x\"", MAE_ERROR_FORMAT,
     "\"mae.embed_dim\" is \"3x\""},
    {"mae.depth\":\"2\"", "mae.depth\":\"3\"", MAE_ERROR_MISMATCH, "blocks.2"},
    {"mae.mlp_ratio\":\"4\"", "mae.mlp_ratio\":\"x\"", MAE_ERROR_FORMAT,
     "mlp_ratio"},
    {"mae.mlp_ratio\":\"4\"", "mae.mlp_rXtio\":\"4\"", MAE_ERROR_FORMAT,
     "no \"mae.mlp_ratio\""},
    {"\"norm.weight\"", "\"norm.weighs\"", MAE_ERROR_MISMATCH, "norm.weight"},
    {"\"dtype\":\"F32\"", "\"dtype\":\"U32\"", MAE_ERROR_MISMATCH, "F32"},
};

START_TEST(edited_checkpoint) {
  mae_model *a = small_model(3), *b = NULL;
  char *bytes;
  ASSERT_OK(mae_model_save(a, path));
  size_t n = slurp(&bytes), length = strlen(edits[_i].from);
  char *at = memmem(bytes, n, edits[_i].from, length);
  ck_assert_ptr_nonnull(at);
  memcpy(at, edits[_i].to, length);
  spit(bytes, n);
  ASSERT_FAILS(mae_model_load(path, &b), edits[_i].status, edits[_i].word);
  ck_assert_ptr_null(b);
  free(bytes);
  mae_model_destroy(a);
}
END_TEST

/* Later texts of one key win, so these are those of the file. */
START_TEST(metadata_out_of_range) {
  static const char *const numbers[] = {"2147483648", "18446744073709551616"};
  mae_model *a = small_model(3), *b = NULL;
  for (int i = 0; i < 2; i++) {
    const mae_safetensors_text text = {"mae.depth", numbers[i]};
    ASSERT_OK(mae_checkpoint_write(path, a, NULL, 0, &text, 1));
    ASSERT_FAILS(mae_model_load(path, &b), MAE_ERROR_FORMAT, numbers[i]);
    ASSERT_FAILS(mae_model_load(path, &b), MAE_ERROR_FORMAT, "mae.depth");
  }
  ck_assert_ptr_null(b);
  mae_model_destroy(a);
}
END_TEST

START_TEST(no_such_file) {
  mae_model *a = small_model(1), *b = NULL;
  ASSERT_FAILS(mae_model_load("/nowhere/at/all", &b), MAE_ERROR_NOT_FOUND,
               "/nowhere");
  ASSERT_FAILS(mae_model_save(a, "/nowhere/at/all"), MAE_ERROR_NOT_FOUND,
               "/nowhere");
  ASSERT_FAILS(mae_model_save(a, NULL), MAE_ERROR_INVALID_ARGUMENT, "path");
  ASSERT_FAILS(mae_model_save(NULL, path), MAE_ERROR_INVALID_ARGUMENT, "model");
  ASSERT_FAILS(mae_model_load(path, NULL), MAE_ERROR_INVALID_ARGUMENT, "model");
  mae_model_destroy(a);
}
END_TEST

/* A file-size limit stands for the full disk: writes fail half-way. */
START_TEST(full_disk) {
  mae_model *a = small_model(1), *b = small_model(2), *c;
  ASSERT_OK(mae_model_save(a, path));
  signal(SIGXFSZ, SIG_IGN);
  struct rlimit old, small = {20000, 20000};
  ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
  small.rlim_max = old.rlim_max;
  ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
  mae_status status = mae_model_save(b, path);
  ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
  ck_assert_int_eq(status, MAE_ERROR_NO_SPACE);
  ck_assert_ptr_nonnull(strstr(mae_last_error(), path));
  char temporary[80];
  snprintf(temporary, sizeof temporary, "%s.tmp-0", path);
  ck_assert_int_ne(access(temporary, F_OK), 0);
  ASSERT_OK(mae_model_load(path, &c));
  ck_assert(same_weights(a, c));
  ASSERT_OK(mae_model_save(b, path)); /* and the next save works */
  mae_model_destroy(a);
  mae_model_destroy(b);
  mae_model_destroy(c);
}
END_TEST

/* The other weights and the features are those of a model without. */
START_TEST(mask_tokens_of_the_encoder) {
  mae_config c = small_config();
  mae_model *plain = small_model(5), *model, *loaded;
  c.encoder_mask_tokens = 1;
  ASSERT_OK(mae_model_create(&c, 5, &model));
  const int32_t n = mae_model_num_tensors(plain);
  ck_assert_int_eq(mae_model_num_tensors(model), n + 1);
  ck_assert_str_eq(mae_model_tensor_name(model, n), "encoder_mask_token");
  const mae_tensor *token = mae_model_tensor(model, n);
  ck_assert_int_eq(mae_tensor_size(token), 32);
  ck_assert_double_gt(mean_square(token), 1e-5);
  for (int32_t i = 0; i < n; i++)
    ck_assert_mem_eq(mae_model_tensor(model, i)->data,
                     mae_model_tensor(plain, i)->data,
                     (size_t)mae_tensor_size(mae_model_tensor(plain, i)) *
                         sizeof(float));
  /* The decoder's own token, 16 wide, gives way to the encoder's, 32. */
  ck_assert_int_eq(mae_model_parameter_count(model, 1),
                   mae_model_parameter_count(plain, 1) - 16 + 32);
  ASSERT_OK(mae_model_save(model, path));
  ASSERT_OK(mae_model_load(path, &loaded));
  mae_config read = small_config();
  ASSERT_OK(mae_model_config(loaded, &read));
  ck_assert_int_eq(read.encoder_mask_tokens, 1);
  ck_assert(same_weights(model, loaded));
  ASSERT_FAILS(mae_model_export(model, MAE_LAYOUT_HUGGING_FACE, MAE_DTYPE_F32,
                                path),
               MAE_ERROR_UNSUPPORTED, "mask tokens");
  c.decoder_embed_dim = c.decoder_depth = c.decoder_num_heads = 0;
  mae_model *none = NULL;
  ASSERT_FAILS(mae_model_create(&c, 5, &none), MAE_ERROR_INVALID_ARGUMENT,
               "encoder_mask_tokens");
  mae_model_destroy(plain);
  mae_model_destroy(model);
  mae_model_destroy(loaded);
}
END_TEST

/* A file without our metadata is known by its tensors. */
START_TEST(mask_tokens_inferred) {
  mae_config c = small_config(), read = c;
  mae_model *model, *loaded;
  c.encoder_mask_tokens = 1;
  ASSERT_OK(mae_model_create(&c, 5, &model));
  mae_safetensors_entry entries[128];
  const int32_t n = mae_model_num_tensors(model);
  ck_assert_int_le(n, 128);
  for (int32_t i = 0; i < n; i++)
    entries[i] = (mae_safetensors_entry){mae_model_tensor_name(model, i),
                                         mae_model_tensor(model, i)};
  ASSERT_OK(mae_safetensors_write(path, entries, n, NULL, 0));
  mae_load_options o;
  mae_load_options_init(&o, sizeof o);
  o.num_heads = 4;
  o.decoder_num_heads = 2;
  ASSERT_OK(mae_model_import(path, &o, &loaded, NULL));
  ASSERT_OK(mae_model_config(loaded, &read));
  ck_assert_int_eq(read.encoder_mask_tokens, 1);
  ck_assert(same_weights(model, loaded));
  mae_model_destroy(model);
  mae_model_destroy(loaded);
}
END_TEST

/* Weight decay leaves the token alone that is not used, and the encoder's
 * cost is that of all tokens. */
START_TEST(mask_tokens_trained) {
  mae_config c = small_config();
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_model *model;
  mae_trainer *trainer;
  mae_trainer_options o;
  mae_training_plan plan = {.struct_size = sizeof plan}, usual = plan;
  c.encoder_mask_tokens = 1;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = 4;
  o.weight_decay = 0.5;
  o.base_lr = 1;
  ASSERT_OK(mae_model_create(&c, 5, &model));
  float decoders[16], encoders[32];
  const mae_tensor *unused = mae_model_find(model, "mask_token");
  const mae_tensor *used = mae_model_find(model, "encoder_mask_token");
  memcpy(decoders, unused->data, sizeof decoders);
  memcpy(encoders, used->data, sizeof encoders);
  float *images = small_images(4, 6);
  ASSERT_OK(mae_trainer_create(context, model, &o, &trainer));
  ck_assert_ptr_null(mae_trainer_gradient(trainer, "mask_token"));
  ASSERT_OK(mae_trainer_step(trainer, images, NULL, NULL));
  ck_assert_mem_eq(unused->data, decoders, sizeof decoders);
  for (int i = 0; i < 32; i++) ck_assert(used->data[i] != encoders[i]);
  ASSERT_OK(mae_trainer_plan(context, &c, &o, &plan));
  c.encoder_mask_tokens = 0;
  ASSERT_OK(mae_trainer_plan(context, &c, &o, &usual));
  ck_assert_double_gt(plan.encoder_flops, 2.5 * usual.encoder_flops);
  mae_trainer_destroy(trainer);
  free(images);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

Suite *model_suite(void) {
  Suite *suite = suite_create("model");
  TCase *tc = tcase_create("model");
  tcase_set_timeout(tc, 120);
  tcase_add_checked_fixture(tc, make_path, drop_path);
  tcase_add_test(tc, parameter_counts);
  tcase_add_test(tc, presets);
  tcase_add_loop_test(tc, bad_config, 0,
                      sizeof bad_fields / sizeof *bad_fields);
  tcase_add_test(tc, bad_ratio_and_null);
  tcase_add_test(tc, patches_of_one_value);
  tcase_add_test(tc, initialisation);
  tcase_add_test(tc, seeds);
  tcase_add_test(tc, round_trip);
  tcase_add_test(tc, truncated_checkpoint);
  tcase_add_loop_test(tc, edited_checkpoint, 0, sizeof edits / sizeof *edits);
  tcase_add_test(tc, metadata_out_of_range);
  tcase_add_test(tc, no_such_file);
  tcase_add_test(tc, full_disk);
  tcase_add_test(tc, mask_tokens_of_the_encoder);
  tcase_add_test(tc, mask_tokens_inferred);
  tcase_add_test(tc, mask_tokens_trained);
  suite_add_tcase(suite, tc);
  return suite;
}
