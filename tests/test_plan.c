/* What a trainer takes, said beforehand and measured. */
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "count_alloc.h"
#include "golden.h"
#include "suites.h"
#include "train/trainer.h"

static mae_trainer_options options_of(int32_t batch, int32_t recompute) {
  mae_trainer_options o;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = batch;
  o.recompute = recompute;
  return o;
}

static mae_training_plan plan_of(mae_context *context, const mae_config *config,
                                 const mae_trainer_options *o) {
  mae_training_plan p = {.struct_size = sizeof p};
  ASSERT_OK(mae_trainer_plan(context, config, o, &p));
  return p;
}

/* ---------------------------------------------------- what is created --- */

/* Sizes and batches that differ in everything. */
static mae_config config_of(int i) {
  mae_config c = small_config();
  if (i == 1) {
    c.image_height = 24;
    c.in_chans = 3;
    c.embed_dim = 36;
    c.num_heads = 3;
    c.decoder_depth = 3;
    c.mlp_ratio = 2.5;
  } else if (i == 2) {
    c.depth = 6;
    c.embed_dim = 64;
    c.patch_size = 2;
  }
  return c;
}
enum { CONFIGS = 3 };

static int64_t tensors_bytes(const mae_model *model, bool trainable) {
  size_t bytes = 0;
  for (int32_t i = 0; i < mae_model_num_tensors(model); i++) {
    const char *name = mae_model_tensor_name(model, i);
    if (!trainable || !strstr(name, "pos_embed"))
      bytes += mae_align(sizeof(float) * (size_t)mae_tensor_size(
                                             mae_model_tensor(model, i)));
  }
  return (int64_t)bytes;
}

/* Bytes the program has from malloc; -1 where that cannot be told. */
static int64_t allocated(void) {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
  if (count_alloc_calls() < 0) return -1;
  struct mallinfo2 m = mallinfo2();
  if (!m.arena && !m.hblkhd) return -1; /* another's malloc, as ASan's */
  return (int64_t)(m.uordblks + m.hblkhd);
#else
  return -1;
#endif
}

/* Case i: config i / 2, computing again if odd, f32 and then bf16; then once
 * more with updates in the backward pass. */
START_TEST(equals_what_is_created) {
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  const int k = _i / 2 % CONFIGS;
  const bool in_backward = _i >= 4 * CONFIGS;
  mae_config config = config_of(k);
  mae_trainer_options o = options_of(3 + 20 * k, _i % 2);
  o.precision = (mae_precision)(_i / (2 * CONFIGS) % 2);
  o.update_in_backward = in_backward;
  mae_training_plan p = plan_of(context, &config, &o);
  mae_model *model;
  mae_trainer *trainer;
  const int64_t before = allocated();
  ASSERT_OK(mae_model_create(&config, 1, &model));
  ASSERT_OK(mae_trainer_create(context, model, &o, &trainer));
  const int64_t after = allocated();
  const size_t patches = (size_t)mae_model_num_patches(model);
  const size_t noise = (size_t)o.batch_size * patches * sizeof(float);
  const size_t keys = patches * sizeof(uint64_t);
  ck_assert_int_eq(p.parameters, mae_model_parameter_count(model, 0));
  ck_assert_int_eq(p.weight_bytes, tensors_bytes(model, false));
  const int64_t trained = tensors_bytes(model, true);
  ck_assert_int_eq(p.gradient_bytes, in_backward ? 0 : trained);
  ck_assert_int_eq(p.optimizer_bytes, 2 * trained);
  ck_assert_uint_eq((size_t)p.activation_bytes,
                    mae_tape_memory(trainer->graph.tape) + mae_align(noise) +
                        mae_align(keys));
  ck_assert_int_eq(p.total_bytes, p.weight_bytes + p.gradient_bytes +
                                      p.optimizer_bytes + p.activation_bytes);
  if (before >= 0) { /* and nothing was forgotten */
    ck_assert_int_ge(after - before, p.total_bytes);
    ck_assert_int_le(after - before, p.total_bytes + (1 << 20));
  }
  mae_trainer_destroy(trainer);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

/* A classifier; case i: of i / 2 - 1 trainable blocks, computing again if odd,
 * with all that takes memory from case 4 on. */
START_TEST(classifier_equals_what_is_created) {
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_config config = config_of(_i % 3);
  mae_trainer_options o = options_of(3 + 5 * _i, _i % 2);
  config.decoder_embed_dim = config.decoder_depth = 0;
  config.decoder_num_heads = 0;
  config.num_classes = 7;
  config.global_pool = _i % 2;
  o.trainable_blocks = _i / 2 - 1;
  o.ema_decay = _i < 4 ? 0 : 0.5;
  o.drop_path = o.mixup = _i < 4 ? 0 : 0.5;
  o.precision = _i % 4 == 2 ? MAE_PRECISION_BF16 : MAE_PRECISION_F32;
  mae_training_plan p = plan_of(context, &config, &o);
  mae_model *model;
  mae_trainer *trainer;
  const int64_t before = allocated();
  ASSERT_OK(mae_model_create(&config, 1, &model));
  ASSERT_OK(mae_trainer_create(context, model, &o, &trainer));
  const int64_t after = allocated();
  int64_t trained = 0;
  for (int32_t i = 0; i < mae_model_num_tensors(model); i++)
    if (mae_trainer_gradient(trainer, mae_model_tensor_name(model, i)))
      trained += (int64_t)mae_align(
          sizeof(float) *
          (size_t)mae_tensor_size(mae_model_tensor(model, i)));
  ck_assert_int_eq(p.weight_bytes, tensors_bytes(model, false));
  ck_assert_int_eq(p.gradient_bytes, trained);
  ck_assert_int_eq(p.optimizer_bytes, (_i < 4 ? 2 : 3) * trained);
  ck_assert_uint_eq((size_t)p.activation_bytes,
                    mae_tape_memory(trainer->graph.tape));
  ck_assert_int_eq(p.total_bytes, p.weight_bytes + p.gradient_bytes +
                                      p.optimizer_bytes + p.activation_bytes);
  ck_assert_double_gt(p.encoder_flops, 0);
  if (before >= 0) {
    ck_assert_int_ge(after - before, p.total_bytes);
    ck_assert_int_le(after - before, p.total_bytes + (1 << 20));
  }
  mae_trainer_destroy(trainer);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

/* The fewer blocks are trained, the less it takes of everything. */
START_TEST(freezing_takes_less) {
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_config config = config_of(2);
  mae_training_plan last = {.struct_size = sizeof last};
  config.decoder_embed_dim = config.decoder_depth = 0;
  config.decoder_num_heads = 0;
  config.num_classes = 7;
  for (int32_t k = 0; k <= config.depth + 1; k++) {
    mae_trainer_options o = options_of(16, 0);
    o.trainable_blocks = k <= config.depth ? k : -1;
    mae_training_plan p = plan_of(context, &config, &o);
    ck_assert_int_gt(p.gradient_bytes, last.gradient_bytes);
    ck_assert_int_ge(p.activation_bytes, last.activation_bytes);
    ck_assert_double_gt(p.step_flops, last.step_flops);
    ck_assert(!k || p.encoder_flops == last.encoder_flops);
    last = p;
  }
  mae_context_destroy(context);
}
END_TEST

/* Of ten numbers kept of a token in a block seven are then half as long. */
START_TEST(bf16_takes_less) {
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_config config;
  ASSERT_OK(mae_config_init(&config, sizeof config, NULL));
  mae_trainer_options o = options_of(64, 0);
  const mae_training_plan p = plan_of(context, &config, &o);
  o.precision = MAE_PRECISION_BF16;
  const mae_training_plan q = plan_of(context, &config, &o);
  ck_assert_double_lt((double)q.activation_bytes,
                      0.7 * (double)p.activation_bytes);
  ck_assert_int_eq(q.weight_bytes, p.weight_bytes);
  ck_assert_int_eq(q.optimizer_bytes, p.optimizer_bytes);
  mae_context_destroy(context);
}
END_TEST

START_TEST(recomputing_takes_less) {
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  for (int i = 0; i < CONFIGS; i++) {
    mae_config config = config_of(i);
    mae_trainer_options o = options_of(16, 0), less = options_of(16, 1);
    mae_training_plan p = plan_of(context, &config, &o);
    mae_training_plan q = plan_of(context, &config, &less);
    ck_assert_int_lt(q.activation_bytes, p.activation_bytes);
    ck_assert_int_eq(q.weight_bytes, p.weight_bytes);
    ck_assert_double_gt(q.step_flops, p.step_flops);
    ck_assert_double_eq(q.encoder_flops, p.encoder_flops);
    ck_assert_double_eq(q.decoder_flops, p.decoder_flops);
  }
  mae_context_destroy(context);
}
END_TEST

/* The largest of the paper, at its batch per device, on a machine of 24 GiB;
 * without computing again ViT-H takes most of it. */
START_TEST(large_models_fit) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  static const char *const names[] = {"vit_l16", "vit_h14"};
  const int64_t most = (int64_t)24 << 30;
  for (int i = 0; i < 2; i++) {
    mae_config config;
    ASSERT_OK(mae_config_init(&config, sizeof config, names[i]));
    mae_trainer_options o = options_of(64, 1);
    ck_assert_int_lt(plan_of(context, &config, &o).total_bytes, most / 2);
    o.recompute = 0;
    int64_t as_is = plan_of(context, &config, &o).total_bytes;
    ck_assert_int_lt(as_is, most);
    ck_assert_int_eq(as_is > most / 4 * 3, i);
  }
  mae_context_destroy(context);
}
END_TEST

/* --------------------------------------------------------------- FLOPs --- */

typedef struct stack {
  double tokens, width, hidden, depth;
} stack;

static double block_linear(stack s) { /* multiply-adds */
  return s.tokens * s.width * (4 * s.width + 2 * s.hidden);
}
static double block_attention(stack s) {
  return 2 * s.tokens * s.tokens * s.width;
}
static double forward_of(stack s) {
  return s.depth * (block_linear(s) + block_attention(s));
}
/* Twice the linear layers; attention: 5 products instead of 2. */
static double backward_of(stack s) {
  return s.depth * (2 * block_linear(s) + 2.5 * block_attention(s));
}
/* All of a block but its last layer, whose output nobody needs. */
static double again_of(stack s) {
  return forward_of(s) - s.depth * s.tokens * s.width * s.hidden;
}

START_TEST(flops_by_hand) {
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_config c = config_of(_i);
  const double patches = (c.image_height / c.patch_size) *
                         (c.image_width / c.patch_size);
  const double kept = patches / 4, values = c.patch_size * c.patch_size *
                                            c.in_chans;
  const stack e = {1 + kept, c.embed_dim, c.embed_dim * c.mlp_ratio, c.depth};
  const stack d = {1 + patches, c.decoder_embed_dim,
                   c.decoder_embed_dim * c.mlp_ratio, c.decoder_depth};
  const double embed = kept * values * e.width;
  const double rest = e.tokens * e.width * d.width +
                      (patches - kept) * d.width * values; /* in and out */
  /* In the first block qkv of mask tokens is made once for all images, in the
   * last all but qkv and attention of removed patches alone. */
  const double shared = patches - kept - (1 + patches) / 8;
  const double fc2 = (1 + kept) * d.width * d.hidden;
  const double less =
      shared * 3 * d.width * d.width + (1 + kept) * d.width * d.width + 2 * fc2;
  for (int32_t recompute = 0; recompute < 2; recompute++) {
    mae_trainer_options o = options_of(8, recompute);
    mae_training_plan p = plan_of(context, &c, &o);
    ck_assert_double_eq(p.encoder_flops, 2 * (embed + forward_of(e)));
    ck_assert_double_eq(p.decoder_flops, 2 * (rest + forward_of(d) - less));
    /* Images take no gradient. */
    double step = 2 * embed + 3 * rest + forward_of(e) + forward_of(d) +
                  backward_of(e) + backward_of(d) - 3 * less;
    if (recompute) step += again_of(e) + again_of(d) - (less - fc2);
    ck_assert_double_eq(p.step_flops, 2 * 8 * step);
  }
  mae_context_destroy(context);
}
END_TEST

/* ---------------------------------------------------------------- peak --- */

/* A line of /proc/self/status, in bytes. */
static int64_t status_bytes(const char *key) {
  FILE *in = fopen("/proc/self/status", "r");
  char line[128];
  long long kilobytes = -1;
  while (in && fgets(line, sizeof line, in))
    if (!strncmp(line, key, strlen(key)))
      sscanf(line + strlen(key), ": %lld", &kilobytes);
  if (in) fclose(in);
  return kilobytes * 1024;
}

/* Some 600 MB, or 300 computing again. */
static mae_config medium_config(void) {
  mae_config c;
  ASSERT_OK(mae_config_init(&c, sizeof c, NULL));
  c.image_height = c.image_width = 96;
  c.embed_dim = 384;
  c.depth = 10;
  c.num_heads = 6;
  c.decoder_embed_dim = 256;
  c.decoder_depth = 4;
  c.decoder_num_heads = 4;
  return c;
}

/* Two steps in this process; the bytes of memory they took at most, or -1. */
static int64_t peak_of_steps(const mae_config *config,
                             const mae_trainer_options *o) {
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  const size_t n = (size_t)o->batch_size * (size_t)config->in_chans *
                   (size_t)config->image_height * (size_t)config->image_width;
  float *images = malloc(n * sizeof *images);
  mae_model *model;
  mae_trainer *trainer;
  if (!images || mae_random_normal(1, 1, 0, n, images)) return -1;
  const int64_t before = status_bytes("VmRSS");
  if (mae_model_create(config, 1, &model) ||
      mae_trainer_create(context, model, o, &trainer) ||
      mae_trainer_step(trainer, images, NULL, NULL) ||
      mae_trainer_step(trainer, images, NULL, NULL))
    return -1;
  return status_bytes("VmHWM") - before; /* and the process ends */
}

static int64_t peak_in_child(const mae_config *config,
                             const mae_trainer_options *o) {
  int ends[2], status;
  int64_t peak = -1;
  ck_assert_int_eq(pipe(ends), 0);
  pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (!child) {
    peak = peak_of_steps(config, o);
    _exit(write(ends[1], &peak, sizeof peak) != sizeof peak);
  }
  close(ends[1]);
  ck_assert_int_eq(read(ends[0], &peak, sizeof peak), sizeof peak);
  close(ends[0]);
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert_int_eq(status, 0);
  ck_assert_int_gt(peak, 0);
  return peak;
}

START_TEST(measured_peak) {
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_config config = medium_config();
  mae_trainer_options o = options_of(48, _i);
  mae_training_plan p = plan_of(context, &config, &o);
  const double planned = (double)p.total_bytes;
  const double peak = (double)peak_in_child(&config, &o);
  ck_assert_double_gt(planned, 300e6); /* beside which a process is little */
  ck_assert_msg(fabs(peak - planned) <= 0.1 * planned,
                "%.1f MB planned, %.1f MB taken", planned / 1e6, peak / 1e6);
  mae_context_destroy(context);
}
END_TEST

/* -------------------------------------------------------------- misuse --- */

START_TEST(refusals) {
  const mae_status bad = MAE_ERROR_INVALID_ARGUMENT;
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_config c = small_config();
  mae_trainer_options o = options_of(4, 0);
  mae_training_plan p = {.struct_size = sizeof p, .parameters = 77};
  mae_training_plan unset = {0};
  ASSERT_FAILS(mae_trainer_plan(NULL, &c, &o, &p), bad, "context");
  ASSERT_FAILS(mae_trainer_plan(context, NULL, &o, &p), bad, "config");
  ASSERT_FAILS(mae_trainer_plan(context, &c, &o, NULL), bad, "plan");
  ASSERT_FAILS(mae_trainer_plan(context, &c, &o, &unset), bad, "struct_size");
  o.recompute = 2;
  ASSERT_FAILS(mae_trainer_plan(context, &c, &o, &p), bad, "recompute");
  o = options_of(0, 0);
  ASSERT_FAILS(mae_trainer_plan(context, &c, &o, &p), bad, "batch_size");
  o = options_of(4, 0), o.mask_ratio = 1;
  ASSERT_FAILS(mae_trainer_plan(context, &c, &o, &p), bad, "ratio");
  o = options_of(4, 0), c.patch_size = 5;
  ASSERT_FAILS(mae_trainer_plan(context, &c, &o, &p), bad, "patches");
  c = small_config();
  c.decoder_embed_dim = c.decoder_depth = c.decoder_num_heads = 0;
  ASSERT_FAILS(mae_trainer_plan(context, &c, &o, &p), MAE_ERROR_STATE,
               "decoder");
  ck_assert_int_eq(p.parameters, 77);
  c = small_config();
  ASSERT_OK(mae_trainer_plan(context, &c, NULL, &p)); /* the defaults */
  ck_assert_int_gt(p.parameters, 77);
  mae_context_destroy(context);
}
END_TEST

/* Beyond any memory, it still says how much. */
START_TEST(huge_is_no_trouble) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_config config;
  ASSERT_OK(mae_config_init(&config, sizeof config, "vit_h14"));
  config.depth = 1024;
  mae_trainer_options o = options_of(2048, 0);
  ck_assert_int_gt(plan_of(context, &config, &o).total_bytes,
                   (int64_t)1 << 42);
  mae_context_destroy(context);
}
END_TEST

Suite *plan_suite(void) {
  Suite *suite = suite_create("plan");
  TCase *tc = tcase_create("plan");
  tcase_set_timeout(tc, 240);
  tcase_add_loop_test(tc, equals_what_is_created, 0, 8 * CONFIGS);
  tcase_add_loop_test(tc, classifier_equals_what_is_created, 0, 8);
  tcase_add_test(tc, freezing_takes_less);
  tcase_add_test(tc, bf16_takes_less);
  tcase_add_test(tc, recomputing_takes_less);
  tcase_add_test(tc, large_models_fit);
  tcase_add_loop_test(tc, flops_by_hand, 0, CONFIGS);
  /* Sanitizers take memory of their own. */
  if (count_alloc_calls() >= 0) tcase_add_loop_test(tc, measured_peak, 0, 2);
  tcase_add_test(tc, refusals);
  tcase_add_test(tc, huge_is_no_trouble);
  suite_add_tcase(suite, tc);
  return suite;
}
