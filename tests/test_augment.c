/* Random crops and flips: torchvision's boxes and pixels, their distribution,
 * and boxes of images decoded at a fraction of their size. */
#include "data/augment.h"

#include "count_alloc.h"
#include "data/image.h"
#include "image/preprocess.h"
#include "kernels/kernels.h"
#include "pictures.h"
#include "suites.h"

static const mae_augment DEFAULT = {0.2, 1, 3.0 / 4, 4.0 / 3, 0.5};

/* ------------------------------------------------------------- goldens --- */

/* golden_augment.bin (make_augment.py): counts, rules, draws, crops. */
typedef struct draw_case {
  uint64_t seed, number;
  int32_t rule, width, height;
  int32_t left, top, box_width, box_height, flip;
} draw_case;

typedef struct crop_case {
  picture source;
  int32_t left, top, width, height, flip;
  int32_t out_width, out_height, chans;
} crop_case;

enum { RULES = 6, DRAWS = 900, CROPS = 12, MOST_OUT = 64 * 64 * 3 };
_Static_assert(sizeof(draw_case) == 48 && sizeof(crop_case) == 48,
               "as in the file");

static struct {
  mae_augment rules[RULES];
  draw_case draws[DRAWS];
  crop_case crops[CROPS];
  uint8_t pixels[CROPS][MOST_OUT];
} file;

static size_t out_size(const crop_case *c) {
  return (size_t)c->out_width * (size_t)c->out_height * (size_t)c->chans;
}

static void take(FILE *from, void *into, size_t size) {
  ck_assert_uint_eq(fread(into, 1, size, from), size);
}

static void read_goldens(void) {
  int32_t counts[3];
  FILE *from = fopen("tests/data/golden_augment.bin", "rb");
  ck_assert_ptr_nonnull(from);
  take(from, counts, sizeof counts);
  ck_assert_int_eq(counts[0], RULES);
  ck_assert_int_eq(counts[1], DRAWS);
  ck_assert_int_eq(counts[2], CROPS);
  take(from, file.rules, sizeof file.rules);
  take(from, file.draws, sizeof file.draws);
  for (int i = 0; i < CROPS; i++) {
    take(from, &file.crops[i], sizeof file.crops[i]);
    ck_assert_uint_le(out_size(&file.crops[i]), MOST_OUT);
    take(from, file.pixels[i], out_size(&file.crops[i]));
  }
  fclose(from);
}

/* --------------------------------------------------------------- boxes --- */

START_TEST(boxes_as_torchvision) {
  for (int i = 0; i < DRAWS; i++) {
    const draw_case *d = &file.draws[i];
    const mae_crop c = mae_augment_draw(&file.rules[d->rule], d->width,
                                        d->height, d->seed, d->number);
    if (c.left != d->left || c.top != d->top || c.width != d->box_width ||
        c.height != d->box_height || c.flip != d->flip)
      ck_abort_msg("draw %d, rule %d, %d x %d: %d x %d at (%d, %d), flip %d, "
                   "not %d x %d at (%d, %d), flip %d", i, d->rule, d->width,
                   d->height, c.width, c.height, c.left, c.top, c.flip,
                   d->box_width, d->box_height, d->left, d->top, d->flip);
  }
}
END_TEST

static bool same_crop(mae_crop a, mae_crop b) {
  return a.left == b.left && a.top == b.top && a.width == b.width &&
         a.height == b.height && a.flip == b.flip;
}

static mae_crop draw(uint64_t seed, uint64_t number) {
  return mae_augment_draw(&DEFAULT, 500, 375, seed, number);
}

/* No draw depends on those before; other seeds and numbers give others. */
START_TEST(pure) {
  enum { N = 1000 };
  static mae_crop forward[N];
  int repeated = 0, shared = 0;
  for (int i = 0; i < N; i++) forward[i] = draw(7, (uint64_t)i);
  for (int i = N - 1; i >= 0; i--) {
    ck_assert(same_crop(forward[i], draw(7, (uint64_t)i)));
    shared += same_crop(forward[i], draw(8, (uint64_t)i));
    if (i > 0) repeated += same_crop(forward[i], forward[i - 1]);
  }
  ck_assert_int_lt(shared, 5);
  ck_assert_int_lt(repeated, 5);
}
END_TEST

/* Of these rules every first try fits, so what is drawn stays uniform. */
START_TEST(distribution) {
  enum { N = 40000, BINS = 10, SIDE = 2000 };
  const mae_augment rules = {0.2, 0.5, 3.0 / 4, 4.0 / 3, 0.3};
  int areas[BINS] = {0}, ratios[BINS] = {0}, lefts[BINS] = {0};
  int tops[BINS] = {0}, flips = 0;
  for (int i = 0; i < N; i++) {
    const mae_crop c = mae_augment_draw(&rules, SIDE, SIDE, 3, (uint64_t)i);
    const double area = (double)c.width * c.height / SIDE / SIDE;
    const double ratio = log((double)c.width / c.height) / log(4.0 / 3);
    const double u[] = {(area - 0.2) / 0.3, (ratio + 1) / 2,
                        c.left / (SIDE - c.width + 1.0),
                        c.top / (SIDE - c.height + 1.0)};
    int *bins[] = {areas, ratios, lefts, tops};
    for (int k = 0; k < 4; k++) {
      ck_assert_double_ge(u[k], -0.01);
      ck_assert_double_lt(u[k], 1.01);
      bins[k][(int)fmin(fmax(u[k], 0) * BINS, BINS - 1)]++;
    }
    flips += c.flip;
  }
  for (int k = 0; k < BINS; k++) /* five standard deviations */
    for (int which = 0; which < 4; which++) {
      const int *bins[] = {areas, ratios, lefts, tops};
      ck_assert_int_le(abs(bins[which][k] - N / BINS), 300);
    }
  ck_assert_int_le(abs(flips - 3 * N / 10), 460);
}
END_TEST

static void assert_inside(mae_crop c, int32_t width, int32_t height) {
  if (c.left < 0 || c.top < 0 || c.width < 1 || c.height < 1 ||
      c.left + c.width > width || c.top + c.height > height)
    ck_abort_msg("%d x %d at (%d, %d) of %d x %d", c.width, c.height, c.left,
                 c.top, width, height);
}

START_TEST(boxes_are_inside) {
  static const mae_augment rules[] = {
      {0.2, 1, 0.75, 1.5, 0.5},       {1, 1, 1, 1, 0},
      {1e-300, 1e-300, 1, 1, 1},      {1e-9, 1, 1 / 65536.0, 65536, 0.5},
      {1, 1, 65536, 65536, 0.5},      {1, 1, 1 / 65536.0, 1 / 65536.0, 0.5},
      {0.5, 1, 300, 300.0000001, 0.5}};
  static const int32_t sides[] = {1, 2, 3, 10, 299, 65535, 65536};
  for (int r = 0; r < 7; r++) {
    ASSERT_OK(mae_augment_check(&rules[r]));
    for (int w = 0; w < 7; w++)
      for (int h = 0; h < 7; h++)
        for (uint64_t i = 0; i < 40; i++)
          assert_inside(mae_augment_draw(&rules[r], sides[w], sides[h], i,
                                         UINT64_MAX - i * i),
                        sides[w], sides[h]);
  }
}
END_TEST

START_TEST(bad_rules) {
  static const struct {
    mae_augment rules;
    const char *word;
  } bad[] = {{{0, 1, 1, 1, 0}, "scale"},      {{-1, 1, 1, 1, 0}, "scale"},
             {{0.6, 0.5, 1, 1, 0}, "scale"},  {{0.5, 1.1, 1, 1, 0}, "scale"},
             {{NAN, 1, 1, 1, 0}, "scale"},    {{0.5, NAN, 1, 1, 0}, "scale"},
             {{0.5, 1, 0, 1, 0}, "ratio"},    {{0.5, 1, 1e-9, 1, 0}, "ratio"},
             {{0.5, 1, 2, 1, 0}, "ratio"},    {{0.5, 1, 1, 1e9, 0}, "ratio"},
             {{0.5, 1, NAN, 1, 0}, "ratio"},  {{0.5, 1, 1, NAN, 0}, "ratio"},
             {{0.5, 1, 1, INFINITY, 0}, "ratio"},
             {{0.5, 1, 1, 1, -0.1}, "flip"},  {{0.5, 1, 1, 1, 1.1}, "flip"},
             {{0.5, 1, 1, 1, NAN}, "flip"}};
  ASSERT_OK(mae_augment_check(&DEFAULT));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    ASSERT_FAILS(mae_augment_check(&bad[i].rules), MAE_ERROR_INVALID_ARGUMENT,
                 bad[i].word);
  ASSERT_FAILS(mae_augment_check(NULL), MAE_ERROR_INVALID_ARGUMENT, "NULL");
}
END_TEST

/* -------------------------------------------------------------- pixels --- */

static const float ZEROS[4] = {0}, ONES[4] = {1, 1, 1, 1};

static mae_preprocess *target(int32_t chans, int32_t height, int32_t width) {
  mae_preprocess *p;
  ASSERT_OK(mae_preprocess_create(chans, height, width, 0, ZEROS, ONES, &p));
  return p;
}

static void check_pixels(int which, mae_context *context, ptrdiff_t stride) {
  const crop_case *c = &file.crops[which];
  static float out[MOST_OUT];
  mae_image image;
  mae_preprocess *p = target(c->chans, c->out_height, c->out_width);
  uint8_t *block = picture_draw(&c->source, stride, &image);
  const mae_box box = {c->left, c->top, c->width, c->height};
  ASSERT_OK(mae_preprocess_crop(p, context, &image, box, c->flip, out));
  for (size_t i = 0; i < out_size(c); i++)
    if (!(out[i] == (float)file.pixels[which][i] / 255.0f))
      ck_abort_msg("crop %d, value %zu: %g, not %d", which, i,
                   (double)out[i] * 255, file.pixels[which][i]);
  free(block);
  mae_preprocess_destroy(p);
}

START_TEST(pixels_as_torchvision) {
  for (int32_t threads = 1; threads <= 3; threads++)
    for (int isa = MAE_ISA_PORTABLE; isa <= MAE_ISA_AMX; isa++) {
      if (!mae_kernels_for((mae_isa)isa)) continue;
      mae_context *context = make_context(threads, (mae_isa)isa);
      for (int i = 0; i < CROPS; i++) {
        const picture *s = &file.crops[i].source;
        const ptrdiff_t row = (ptrdiff_t)s->width * s->channels;
        check_pixels(i, context, row);
        check_pixels(i, context, row + 5);
        check_pixels(i, context, -row);
      }
      mae_context_destroy(context);
    }
}
END_TEST

START_TEST(crops_allocate_nothing_more) {
  const picture source = {PHOTO, 300, 200, 3};
  static float out[3 * 64 * 64];
  mae_image image;
  if (count_alloc_calls() < 0) return;
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_preprocess *p = target(3, 64, 64);
  uint8_t *block = picture_draw(&source, 900, &image);
  const mae_box whole = {0, 0, 300, 200};
  ASSERT_OK(mae_preprocess_crop(p, context, &image, whole, true, out));
  int failed = 0; /* Check's own assertions allocate */
  const long before = count_alloc_calls();
  for (uint64_t i = 0; i < 50; i++) {
    const mae_crop c = mae_augment_draw(&DEFAULT, 300, 200, 1, i);
    failed |= mae_preprocess_crop(p, context, &image,
                                  mae_crop_box(&c, 300, 200, &image), c.flip,
                                  out);
  }
  const long after = count_alloc_calls();
  ck_assert_int_eq(failed, MAE_OK);
  ck_assert_int_eq(after, before);
  free(block);
  mae_preprocess_destroy(p);
  mae_context_destroy(context);
}
END_TEST

START_TEST(bad_boxes) {
  static const mae_box bad[] = {
      {-1, 0, 5, 5},  {0, -1, 5, 5},        {0, 0, 0, 5}, {0, 0, 5, 0},
      {0, 0, -1, 5},  {0, 0, 5, INT32_MIN}, {0, 0, 9, 1}, {0, 0, 1, 7},
      {8, 0, 1, 1},   {0, 6, 1, 1},         {7, 5, 2, 1}, {7, 5, 1, 2},
      {1e300, 0, 1e300, 1},  {1, 1, INFINITY, 1}, {NAN, 0, 1, 1},
      {0, 0, NAN, 1},        {0, NAN, 1, 1},      {0.5, 0, 7.75, 1}};
  uint8_t data[8 * 6] = {0};
  float out[4] = {5, 5, 5, 5};
  const mae_image image = {data, 8, 6, 1, 0}, none = {NULL, 8, 6, 1, 0};
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_preprocess *p = target(1, 2, 2);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    ASSERT_FAILS(mae_preprocess_crop(p, context, &image, bad[i], false, out),
                 MAE_ERROR_INVALID_ARGUMENT, "image of 8 x 6");
  const mae_box first = {0, 0, 1, 1}, last = {7, 5, 1, 1};
  ASSERT_FAILS(mae_preprocess_crop(p, context, &none, first, false, out),
               MAE_ERROR_INVALID_ARGUMENT, "NULL");
  ASSERT_FAILS(mae_preprocess_crop(p, context, NULL, first, false, out),
               MAE_ERROR_INVALID_ARGUMENT, "NULL");
  ck_assert_float_eq(out[0], 5);
  ASSERT_OK(mae_preprocess_crop(p, context, &image, last, false, out));
  ck_assert_float_eq(out[0], 0);
  mae_preprocess_destroy(p);
  mae_context_destroy(context);
}
END_TEST

/* -------------------------------------------------------------- shrink --- */

/* Along one axis; of the other all is taken. */
static void check_axis(int32_t side, int32_t shrink, int32_t begin,
                       int32_t length) {
  const int32_t decoded = (side + shrink - 1) / shrink;
  const mae_image image = {NULL, decoded, 2, 3, 0};
  const mae_crop crop = {begin, 0, length, 2, true};
  const mae_box b = mae_crop_box(&crop, side, 2, &image);
  ck_assert(b.top == 0 && b.height == 2);
  /* Of a very small image the size does not tell the shrink; then any will do
   * that lies in it. */
  const bool told = side > shrink * (decoded - 1) && decoded > 1;
  if (b.left < 0 || !(b.width > 0) || b.left + b.width > decoded ||
      (told && (b.left * shrink != begin || b.width * shrink != length)))
    ck_abort_msg("%d + %d of %d by %d: %g + %g", begin, length, side, shrink,
                 b.left, b.width);
}

START_TEST(every_shrunk_box) {
  for (int32_t shrink = 1; shrink <= 8; shrink *= 2)
    for (int32_t side = 1; side <= 50; side++)
      for (int32_t begin = 0; begin < side; begin++)
        for (int32_t length = 1; length <= side - begin; length++)
          check_axis(side, shrink, begin, length);
}
END_TEST

/* A box of an image drawn four times as large, and of the image: what comes is
 * the same part, wherever its edges lie in the coarser pixels. */
START_TEST(boxes_between_pixels) {
  enum { SIDE_PIXELS = 40, FINE = 4 * SIDE_PIXELS };
  static uint8_t coarse[SIDE_PIXELS * SIDE_PIXELS], fine[FINE * FINE];
  for (int y = 0; y < FINE; y++) /* a ramp, which shrinking keeps */
    for (int x = 0; x < FINE; x++) fine[y * FINE + x] = (uint8_t)(20 + x);
  for (int y = 0; y < SIDE_PIXELS; y++)
    for (int x = 0; x < SIDE_PIXELS; x++)
      coarse[y * SIDE_PIXELS + x] = (uint8_t)(20 + 4 * x + 2); /* 1.5 rounded */
  const mae_image large = {fine, FINE, FINE, 1, 0};
  const mae_image small = {coarse, SIDE_PIXELS, SIDE_PIXELS, 1, 0};
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_preprocess *p = target(1, 16, 16);
  for (int32_t left = 8; left < 40; left++) {
    const mae_crop crop = {left, left, 97, 101, false};
    float a[256], b[256];
    ASSERT_OK(mae_preprocess_crop(p, context, &large,
                                  mae_crop_box(&crop, FINE, FINE, &large),
                                  false, a));
    ASSERT_OK(mae_preprocess_crop(p, context, &small,
                                  mae_crop_box(&crop, FINE, FINE, &small),
                                  false, b));
    for (int y = 0; y < 16; y++) /* edges are repeated differently */
      for (int x = 1; x < 15; x++)
        ck_assert_msg(fabsf(a[y * 16 + x] - b[y * 16 + x]) * 255 < 2.01f,
                      "left %d: %g and %g", left,
                      (double)a[y * 16 + x] * 255, (double)b[y * 16 + x] * 255);
  }
  mae_preprocess_destroy(p);
  mae_context_destroy(context);
}
END_TEST

START_TEST(best_shrinks) {
  static const int32_t cases[][5] = { /* box, target, shrink */
      {224, 224, 224, 224, 1},   {447, 448, 224, 224, 1},
      {448, 448, 224, 224, 2},   {448, 447, 224, 224, 1},
      {895, 896, 224, 224, 2},   {896, 896, 224, 224, 4},
      {1791, 9999, 224, 224, 4}, {1792, 1792, 224, 224, 8},
      {65536, 65536, 1, 1, 8},   {100, 50, 224, 224, 1},
      {64, 32, 8, 4, 8},         {65536, 65536, INT32_MAX, 4, 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    ck_assert_int_eq(mae_image_best_shrink(cases[i][0], cases[i][1],
                                           cases[i][2], cases[i][3]),
                     cases[i][4]);
}
END_TEST

Suite *augment_suite(void) {
  Suite *suite = suite_create("augment");
  TCase *tests = tcase_create("augment");
  tcase_add_unchecked_fixture(tests, read_goldens, NULL);
  tcase_set_timeout(tests, 120);
  tcase_add_test(tests, boxes_as_torchvision);
  tcase_add_test(tests, pure);
  tcase_add_test(tests, distribution);
  tcase_add_test(tests, boxes_are_inside);
  tcase_add_test(tests, bad_rules);
  tcase_add_test(tests, pixels_as_torchvision);
  tcase_add_test(tests, crops_allocate_nothing_more);
  tcase_add_test(tests, bad_boxes);
  tcase_add_test(tests, every_shrunk_box);
  tcase_add_test(tests, boxes_between_pixels);
  tcase_add_test(tests, best_shrinks);
  suite_add_tcase(suite, tests);
  return suite;
}
