/* A golden file of tests/data: a model, and what PyTorch makes of it. */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/safetensors.h"

#define ASSERT_OK(call)                                                    \
  do {                                                                     \
    mae_status ok_status = (call);                                         \
    ck_assert_msg(ok_status == MAE_OK, "%s: %s", mae_status_name(ok_status), \
                  mae_last_error());                                       \
  } while (0)

/* The status, and a word of the message. */
#define ASSERT_FAILS(call, expected, word)                                  \
  do {                                                                      \
    mae_status bad_status = (call);                                         \
    ck_assert_msg(bad_status == (expected), "%s instead of %s (%s)",        \
                  mae_status_name(bad_status), #expected, mae_last_error()); \
    ck_assert_msg(strstr(mae_last_error(), word), "\"%s\" lacks \"%s\"",    \
                  mae_last_error(), word);                                  \
  } while (0)

static const char *const golden_paths[] = {
    "tests/data/golden_tiny.safetensors", "tests/data/golden_odd.safetensors"};

/* A tensor of the file; destroy it. */
static inline mae_tensor *golden(const mae_safetensors *file,
                                 const char *name) {
  mae_tensor shape, *t;
  ASSERT_OK(mae_safetensors_shape(file, name, &shape));
  ASSERT_OK(mae_tensor_create(shape.ndim, shape.shape, &t));
  ASSERT_OK(mae_safetensors_read(file, name, t));
  return t;
}

/* Largest difference over the largest expected magnitude. */
static inline double relative_error(const float *got, const float *want,
                                    int64_t n) {
  double most = 0, scale = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = fabs((double)got[i] - want[i]);
    if (!(d <= most)) most = d; /* NaN stays */
    if (fabs((double)want[i]) > scale) scale = fabs((double)want[i]);
  }
  return most / (scale > 0 ? scale : 1);
}

/* The tensor prefix + name of a golden file; MAE_SHOW_PARITY=1 prints what was
 * reached. */
static inline void expect_golden(const mae_safetensors *file,
                                 const char *prefix, const char *name,
                                 const float *got, int64_t n, double bar) {
  char full[128];
  snprintf(full, sizeof full, "%s%s", prefix, name);
  mae_tensor *want = golden(file, full);
  ck_assert_int_eq(mae_tensor_size(want), n);
  double error = relative_error(got, want->data, n);
  if (getenv("MAE_SHOW_PARITY")) printf("parity %-40s %.2e\n", full, error);
  ck_assert_msg(error <= bar, "%s: relative error %g", full, error);
  mae_tensor_destroy(want);
}

/* A key bias adds the same to all scores of a query, so softmax drops it and
 * its true gradient is zero.  Adam scales whatever rounding leaves there up to
 * a step of the learning rate, in any f32 program; so the queries' and values'
 * thirds of qkv.bias are held to the bar, the keys' to the sum of the rates. */
static inline void expect_qkv_bias(const mae_safetensors *file,
                                   const char *full, const float *got,
                                   int64_t n, double sum_of_rates, double bar) {
  mae_tensor *want = golden(file, full);
  ck_assert_int_eq(mae_tensor_size(want), n);
  for (int64_t i = 0; i < n; i++) {
    double most = i / (n / 3) == 1 ? sum_of_rates
                                   : bar * 0.05; /* values are ~0.05 */
    double error = fabs((double)got[i] - want->data[i]);
    ck_assert_msg(error <= most, "%s[%d]: error %g", full, (int)i, error);
  }
  mae_tensor_destroy(want);
}

/* A parameter after some steps of AdamW. */
static inline void expect_trained(const mae_safetensors *file,
                                  const char *prefix, const char *name,
                                  const mae_tensor *value, double sum_of_rates,
                                  double bar) {
  const int64_t n = mae_tensor_size(value);
  char full[128];
  snprintf(full, sizeof full, "%s%s", prefix, name);
  if (strstr(name, "qkv.bias"))
    expect_qkv_bias(file, full, value->data, n, sum_of_rates, bar);
  else
    expect_golden(file, prefix, name, value->data, n, bar);
}

static inline mae_context *make_context(int32_t threads, mae_isa isa) {
  mae_context_options o;
  mae_context *context;
  mae_context_options_init(&o, sizeof o);
  o.threads = threads;
  o.isa = isa;
  ASSERT_OK(mae_context_create(&o, &context));
  return context;
}

/* Instruction sets, of which this processor has the first isa_count(). */
static const mae_isa isas[] = {MAE_ISA_PORTABLE, MAE_ISA_AVX2,
                               MAE_ISA_AVX512, MAE_ISA_AMX};
enum { ISAS = sizeof isas / sizeof *isas };

static inline int isa_count(void) {
  int n = 1;
  for (; n < ISAS; n++) {
    mae_context_options o;
    mae_context *context = NULL;
    mae_context_options_init(&o, sizeof o);
    o.threads = 1;
    o.isa = isas[n];
    if (mae_context_create(&o, &context) != MAE_OK) break;
    mae_context_destroy(context);
  }
  return n;
}

/* A small model of 16 patches for tests that need no golden numbers. */
static inline mae_config small_config(void) {
  mae_config c;
  ASSERT_OK(mae_config_init(&c, sizeof c, NULL));
  c.image_height = c.image_width = 16;
  c.patch_size = 4;
  c.in_chans = 1;
  c.embed_dim = 32; /* OpenBLAS 0.3.21 allocates in products 24 wide */
  c.depth = 2;
  c.num_heads = 4;
  c.decoder_embed_dim = 16;
  c.decoder_depth = 1;
  c.decoder_num_heads = 2;
  return c;
}

/* The same tensors in the same order, bit for bit. */
static inline bool same_weights(const mae_model *a, const mae_model *b) {
  bool same = mae_model_num_tensors(a) == mae_model_num_tensors(b);
  for (int32_t i = 0; same && i < mae_model_num_tensors(a); i++) {
    const mae_tensor *x = mae_model_tensor(a, i), *y = mae_model_tensor(b, i);
    const size_t bytes = (size_t)mae_tensor_size(x) * sizeof(float);
    same = mae_tensor_size(x) == mae_tensor_size(y) &&
           !memcmp(x->data, y->data, bytes);
  }
  return same;
}

static inline mae_model *small_model(uint64_t seed) {
  mae_config c = small_config();
  mae_model *model;
  ASSERT_OK(mae_model_create(&c, seed, &model));
  return model;
}

enum { SMALL_IMAGE = 16 * 16, SMALL_PATCHES = 16 };

/* n images for the small model; free them. */
static inline float *small_images(size_t n, uint64_t seed) {
  float *images = malloc(n * SMALL_IMAGE * sizeof *images);
  ck_assert_ptr_nonnull(images);
  ASSERT_OK(mae_random_normal(seed, 99, 0, n * SMALL_IMAGE, images));
  return images;
}

#endif
