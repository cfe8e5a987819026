/* Resize, crop and normalisation: against torchvision and Pillow, of any
 * stride, on any instruction set and number of threads. */
#include "image/preprocess.h"

#include "count_alloc.h"
#include "kernels/kernels.h"
#include "pictures.h"
#include "suites.h"

/* ------------------------------------------------- sources and goldens --- */

/* As the records of golden_resize.bin begin (make_images.py). */
typedef struct resize_case {
  int32_t kind, width, height, channels;
  int32_t out_width, out_height, chans, permille;
} resize_case;

static uint8_t *draw(const resize_case *r, ptrdiff_t stride, mae_image *image) {
  const picture p = {r->kind, r->width, r->height, r->channels};
  return picture_draw(&p, stride, image);
}

static size_t out_size(const resize_case *r) {
  return (size_t)r->out_width * (size_t)r->out_height * (size_t)r->chans;
}

static float *run(mae_context *context, const resize_case *r,
                  const mae_image *image, const float *mean, const float *std) {
  mae_preprocess *p;
  float *out = malloc(out_size(r) * sizeof *out);
  ck_assert_ptr_nonnull(out);
  ASSERT_OK(mae_preprocess_create(r->chans, r->out_height, r->out_width,
                                  r->permille / 1000.0, mean, std, &p));
  ASSERT_OK(mae_preprocess_run(p, context, image, out));
  mae_preprocess_destroy(p);
  return out;
}

static const float ZEROS[4] = {0}, ONES[4] = {1, 1, 1, 1};

typedef void (*case_check)(const resize_case *r, const uint8_t *want);

static void for_each_golden(case_check check) {
  static uint8_t want[224 * 224];
  resize_case r;
  int cases = 0;
  FILE *file = fopen("tests/data/golden_resize.bin", "rb");
  ck_assert_ptr_nonnull(file);
  while (fread(&r, sizeof r, 1, file) == 1) {
    ck_assert_uint_le(out_size(&r), sizeof want);
    ck_assert_uint_eq(fread(want, 1, out_size(&r), file), out_size(&r));
    check(&r, want);
    cases++;
  }
  fclose(file);
  ck_assert_int_eq(cases, 28);
}

/* -------------------------------------------------------------- values --- */

static void assert_equal(const resize_case *r, const uint8_t *want,
                         const float *got) {
  for (size_t i = 0; i < out_size(r); i++)
    if (!(got[i] == (float)want[i] / 255.0f))
      ck_abort_msg("%dx%dx%d to %dx%dx%d, value %zu: %g instead of %d",
                   r->width, r->height, r->channels, r->out_width,
                   r->out_height, r->chans, i, (double)got[i] * 255, want[i]);
}

static void check_values(const resize_case *r, const uint8_t *want) {
  for (int32_t threads = 1; threads <= 3; threads++)
    for (int isa = MAE_ISA_PORTABLE; isa <= MAE_ISA_AMX; isa++) {
      if (!mae_kernels_for((mae_isa)isa)) continue;
      mae_context *context = make_context(threads, (mae_isa)isa);
      mae_image image;
      uint8_t *block = draw(r, (ptrdiff_t)r->width * r->channels, &image);
      float *got = run(context, r, &image, ZEROS, ONES);
      assert_equal(r, want, got);
      free(got);
      free(block);
      mae_context_destroy(context);
    }
}

START_TEST(as_torchvision) { for_each_golden(check_values); }
END_TEST

static mae_context *shared;

static void assert_stride(const resize_case *r, const uint8_t *want,
                          ptrdiff_t stride) {
  mae_image image;
  uint8_t *block = draw(r, stride, &image);
  if (stride == (ptrdiff_t)r->width * r->channels) image.stride = 0;
  float *got = run(shared, r, &image, ZEROS, ONES);
  assert_equal(r, want, got);
  free(got);
  free(block);
}

static void check_strides(const resize_case *r, const uint8_t *want) {
  const ptrdiff_t row = (ptrdiff_t)r->width * r->channels;
  const ptrdiff_t strides[] = {row, row + 1, row + 7, 3 * row, -row, -row - 5};
  for (size_t i = 0; i < sizeof strides / sizeof *strides; i++)
    assert_stride(r, want, strides[i]);
}

START_TEST(any_stride) {
  shared = make_context(2, MAE_ISA_AUTO);
  for_each_golden(check_strides);
  mae_context_destroy(shared);
}
END_TEST

/* A window of a larger image is the same as a copy of it. */
START_TEST(window) {
  const resize_case whole = {PHOTO, 300, 200, 3, 48, 40, 3, 0};
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_image image, view, copy;
  uint8_t *block = draw(&whole, 900, &image), *pixels = malloc(101 * 77 * 3);
  view = (mae_image){image.data + 31 * 900 + 17 * 3, 101, 77, 3, 900};
  copy = (mae_image){pixels, 101, 77, 3, 0};
  for (int y = 0; y < 77; y++)
    memcpy(pixels + y * 303, view.data + y * 900, 303);
  float *a = run(context, &whole, &view, NULL, NULL);
  float *b = run(context, &whole, &copy, NULL, NULL);
  ck_assert_mem_eq(a, b, out_size(&whole) * sizeof *a);
  free(a);
  free(b);
  free(pixels);
  free(block);
  mae_context_destroy(context);
}
END_TEST

static void check_normalised(const resize_case *r, const uint8_t *want) {
  static const float rgb[2][3] = {{0.485f, 0.456f, 0.406f},
                                  {0.229f, 0.224f, 0.225f}};
  static const float own[2][4] = {{0.1f, 0.7f, -2, 0}, {3, 0.01f, 1, 0.5f}};
  mae_image image;
  uint8_t *block = draw(r, (ptrdiff_t)r->width * r->channels, &image);
  float *imagenet = run(shared, r, &image, NULL, NULL);
  float *given = run(shared, r, &image, own[0], own[1]);
  const size_t plane = out_size(r) / (size_t)r->chans;
  for (size_t i = 0; i < out_size(r); i++) {
    const size_t c = i / plane;
    const float v = (float)want[i] / 255.0f;
    const bool grey = r->chans == 1, other = r->chans == 4;
    const float mean = grey ? 0.449f : other ? 0.5f : rgb[0][c];
    const float std = grey ? 0.226f : other ? 0.5f : rgb[1][c];
    if (imagenet[i] != (v - mean) / std ||
        given[i] != (v - own[0][c]) / own[1][c])
      ck_abort_msg("channel %zu: %g and %g", c, (double)imagenet[i],
                   (double)given[i]);
  }
  free(imagenet);
  free(given);
  free(block);
}

START_TEST(normalised) {
  shared = make_context(2, MAE_ISA_AUTO);
  for_each_golden(check_normalised);
  mae_context_destroy(shared);
}
END_TEST

/* Two pixels of five channels to a model of five. */
START_TEST(many_channels) {
  const uint8_t pixels[] = {1, 2, 3, 4, 5, 11, 12, 13, 14, 15};
  const resize_case r = {0, 2, 1, 5, 2, 1, 5, 1000};
  const float mean[5] = {0}, std[5] = {1, 1, 1, 1, 1};
  const mae_image image = {pixels, 2, 1, 5, 0};
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  float *got = run(context, &r, &image, mean, std);
  for (int i = 0; i < 10; i++)
    ck_assert_float_eq(got[i], (float)pixels[i % 2 * 5 + i / 2] / 255.0f);
  free(got);
  mae_context_destroy(context);
}
END_TEST

/* ------------------------------------------------------------- promises --- */

START_TEST(steady_state_allocates_nothing) {
  const resize_case sizes[] = {{PHOTO, 300, 200, 3, 0, 0, 0, 0},
                               {NOISE, 61, 47, 1, 0, 0, 0, 0},
                               {NOISE, 47, 61, 4, 0, 0, 0, 0}};
  if (count_alloc_calls() < 0) return;
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_preprocess *p;
  mae_image images[3];
  uint8_t *blocks[3];
  static float out[3 * 64 * 64];
  ASSERT_OK(mae_preprocess_create(3, 64, 64, 0, NULL, NULL, &p));
  for (int i = 0; i < 3; i++) {
    blocks[i] = draw(&sizes[i], sizes[i].width * sizes[i].channels, &images[i]);
    ASSERT_OK(mae_preprocess_run(p, context, &images[i], out));
  }
  int failed = 0; /* Check's own assertions allocate */
  const long before = count_alloc_calls();
  for (int i = 0; i < 30; i++)
    failed |= mae_preprocess_run(p, context, &images[i % 3], out);
  const long after = count_alloc_calls();
  ck_assert_int_eq(failed, MAE_OK);
  ck_assert_int_eq(after, before);
  for (int i = 0; i < 3; i++) free(blocks[i]);
  mae_preprocess_destroy(p);
  mae_context_destroy(context);
}
END_TEST

/* A strip whose resized image would have 14 million columns. */
START_TEST(extreme_aspect) {
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_preprocess *p;
  static uint8_t strip[65536];
  static float out[224 * 224];
  memset(strip, 51, sizeof strip);
  ASSERT_OK(mae_preprocess_create(1, 224, 224, 0, ZEROS, ONES, &p));
  for (int down = 0; down < 2; down++) {
    const mae_image image = {strip, down ? 1 : 65536, down ? 65536 : 1, 1, 0};
    ASSERT_OK(mae_preprocess_run(p, context, &image, out));
    int wrong = 0;
    for (int i = 0; i < 224 * 224; i++) wrong += out[i] != 0.2f;
    ck_assert_int_eq(wrong, 0);
  }
  mae_preprocess_destroy(p);
  mae_context_destroy(context);
}
END_TEST

/* --------------------------------------------------------------- errors --- */

#define CREATE_FAILS(word, ...)                                        \
  ASSERT_FAILS(mae_preprocess_create(__VA_ARGS__, &p),                 \
               MAE_ERROR_INVALID_ARGUMENT, word)

START_TEST(bad_targets) {
  const float nan3[] = {0, NAN, 0}, zero3[] = {1, 0, 1}, minus3[] = {1, 1, -1};
  const float inf3[] = {INFINITY, 1, 1};
  mae_preprocess *p = NULL;
  CREATE_FAILS("not 1 to", 0, 8, 8, 0, NULL, NULL);
  CREATE_FAILS("not 1 to", 3, 0, 8, 0, NULL, NULL);
  CREATE_FAILS("not 1 to", 3, 8, -1, 0, NULL, NULL);
  CREATE_FAILS("not 1 to", 3, 65537, 8, 0, NULL, NULL);
  CREATE_FAILS("crop_ratio", 3, 8, 8, -0.1, NULL, NULL);
  CREATE_FAILS("crop_ratio", 3, 8, 8, 1.1, NULL, NULL);
  CREATE_FAILS("crop_ratio", 3, 8, 8, NAN, NULL, NULL);
  CREATE_FAILS("too small", 3, 8, 8, 1e-300, NULL, NULL);
  CREATE_FAILS("channel 1", 3, 8, 8, 0, nan3, NULL);
  CREATE_FAILS("channel 0", 3, 8, 8, 0, inf3, NULL);
  CREATE_FAILS("channel 1", 3, 8, 8, 0, NULL, zero3);
  CREATE_FAILS("channel 2", 3, 8, 8, 0, NULL, minus3);
  CREATE_FAILS("channel 0", 3, 8, 8, 0, NULL, inf3);
  ASSERT_FAILS(mae_preprocess_create(3, 8, 8, 0, NULL, NULL, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "NULL");
  ck_assert_ptr_null(p);
}
END_TEST

START_TEST(bad_images) {
  static uint8_t data[64];
  static const struct {
    mae_image image;
    mae_status status;
    const char *word;
  } bad[] = {
      {{NULL, 4, 4, 3, 0}, MAE_ERROR_INVALID_ARGUMENT, "NULL"},
      {{data, 0, 4, 3, 0}, MAE_ERROR_INVALID_ARGUMENT, "0 x 4"},
      {{data, 4, -1, 3, 0}, MAE_ERROR_INVALID_ARGUMENT, "4 x -1"},
      {{data, 65537, 1, 1, 0}, MAE_ERROR_INVALID_ARGUMENT, "65537"},
      {{data, 1, INT32_MAX, 1, 0}, MAE_ERROR_INVALID_ARGUMENT, "sides"},
      {{data, 4, 4, 0, 0}, MAE_ERROR_INVALID_ARGUMENT, "0 channels"},
      {{data, 4, 4, -3, 0}, MAE_ERROR_INVALID_ARGUMENT, "-3 channels"},
      {{data, 4, 4, 2, 0}, MAE_ERROR_UNSUPPORTED, "2 channels"},
      {{data, 4, 4, 5, 0}, MAE_ERROR_UNSUPPORTED, "5 channels"},
      {{data, 4, 4, 3, 11}, MAE_ERROR_INVALID_ARGUMENT, "stride of 11"},
      {{data, 4, 4, 3, -11}, MAE_ERROR_INVALID_ARGUMENT, "stride of -11"},
      {{data, 4, 4, 3, PTRDIFF_MIN}, MAE_ERROR_INVALID_ARGUMENT, "stride"},
      {{data, 4, 4, 3, PTRDIFF_MAX}, MAE_ERROR_INVALID_ARGUMENT, "exceed"},
      {{data, 4, 4, 3, -PTRDIFF_MAX}, MAE_ERROR_INVALID_ARGUMENT, "exceed"},
  };
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_preprocess *p;
  float out[12];
  ASSERT_OK(mae_preprocess_create(3, 2, 2, 0, NULL, NULL, &p));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    ASSERT_FAILS(mae_preprocess_run(p, context, &bad[i].image, out),
                 bad[i].status, bad[i].word);
  ASSERT_FAILS(mae_preprocess_run(p, context, NULL, out),
               MAE_ERROR_INVALID_ARGUMENT, "image is NULL");
  mae_preprocess_destroy(p);
  ASSERT_OK(mae_preprocess_create(2, 2, 2, 0, NULL, NULL, &p));
  const mae_image rgb = {data, 4, 4, 3, 0};
  ASSERT_FAILS(mae_preprocess_run(p, context, &rgb, out),
               MAE_ERROR_UNSUPPORTED, "model of 2");
  mae_preprocess_destroy(p);
  mae_preprocess_destroy(NULL);
  mae_context_destroy(context);
}
END_TEST

Suite *preprocess_suite(void) {
  Suite *suite = suite_create("preprocess");
  TCase *tests = tcase_create("preprocess");
  tcase_set_timeout(tests, 120);
  tcase_add_test(tests, as_torchvision);
  tcase_add_test(tests, any_stride);
  tcase_add_test(tests, window);
  tcase_add_test(tests, normalised);
  tcase_add_test(tests, many_channels);
  tcase_add_test(tests, steady_state_allocates_nothing);
  tcase_add_test(tests, extreme_aspect);
  tcase_add_test(tests, bad_targets);
  tcase_add_test(tests, bad_images);
  suite_add_tcase(suite, tests);
  return suite;
}
