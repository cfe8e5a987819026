/* RandAugment and random erasing: each operation to the bit as Pillow's by
 * timm, draws as timm's from the same numbers, worked examples, and both in a
 * loader. */
#include <check.h>

#include "count_alloc.h"
#include "data/affine.h"
#include "data/augmenter.h"
#include "data/blend.h"
#include "data/dataset.h"
#include "data/erase.h"
#include "data/rand_augment.h"
#include "data/tone.h"
#include "folder.h"
#include "pictures.h"
#include "suites.h"

/* ------------------------------------------------------------- goldens --- */

/* golden_rand_augment.bin (make_rand_augment.py). */
typedef struct op_case {
  picture source;
  int32_t kind, increasing, negative, unused;
  double magnitude;
  uint64_t hash;
} op_case;

typedef struct run_case {
  picture source;
  int32_t increasing, ops;
  uint64_t seed, number;
  double magnitude, std;
  uint64_t hash;
} run_case;

typedef struct erase_case {
  uint64_t seed, number;
  double probability;
  int32_t height, width;
  mae_erase_box box;
} erase_case;

_Static_assert(sizeof(op_case) == 48 && sizeof(run_case) == 64 &&
               sizeof(erase_case) == 48, "as in the file");

static struct {
  int32_t counts[3];
  op_case *ops;
  run_case *runs;
  erase_case *erasures;
} file;

static void *take(FILE *from, int32_t n, size_t size) {
  void *into = malloc((size_t)n * size);
  ck_assert_ptr_nonnull(into);
  ck_assert_uint_eq(fread(into, size, (size_t)n, from), (size_t)n);
  return into;
}

static void read_goldens(void) {
  FILE *from = fopen("tests/data/golden_rand_augment.bin", "rb");
  ck_assert_ptr_nonnull(from);
  ck_assert_uint_eq(fread(file.counts, 4, 3, from), 3);
  ck_assert_int_gt(file.counts[0], 1000);
  ck_assert_int_gt(file.counts[1], 100);
  ck_assert_int_gt(file.counts[2], 100);
  file.ops = take(from, file.counts[0], sizeof *file.ops);
  file.runs = take(from, file.counts[1], sizeof *file.runs);
  file.erasures = take(from, file.counts[2], sizeof *file.erasures);
  ck_assert_int_eq(fgetc(from), EOF);
  fclose(from);
}

static void free_goldens(void) {
  free(file.ops);
  free(file.runs);
  free(file.erasures);
}

/* ------------------------------------------------------------- pictures --- */

static const uint8_t *fill_for(int32_t chans) {
  static const uint8_t colour[] = {124, 116, 104}, grey[] = {114};
  return chans == 1 ? grey : colour;
}

static mae_planes planes_of(const picture *p) {
  mae_planes planes = {0};
  ASSERT_OK(mae_planes_init(&planes, p->channels, p->height, p->width));
  uint8_t *out = planes.data;
  for (int c = 0; c < p->channels; c++)
    for (int y = 0; y < p->height; y++)
      for (int x = 0; x < p->width; x++) *out++ = picture_pixel(p, x, y, c);
  return planes;
}

/* FNV-1a, of 64 bits. */
static uint64_t hash_of(const mae_planes *p) {
  uint64_t hash = 0xCBF29CE484222325;
  for (int64_t i = 0; i < p->chans * mae_planes_area(p); i++)
    hash = (hash ^ p->data[i]) * 0x100000001B3;
  return hash;
}

/* ---------------------------------------------------------------- parity --- */

START_TEST(operations_as_pillow) {
  for (int i = 0; i < file.counts[0]; i++) {
    const op_case *c = &file.ops[i];
    const mae_rand_op op = {(mae_rand_kind)c->kind, true, c->negative != 0,
                            c->magnitude};
    mae_planes planes = planes_of(&c->source);
    mae_rand_op_apply(&op, c->increasing != 0, fill_for(c->source.channels),
                      &planes);
    if (hash_of(&planes) != c->hash)
      ck_abort_msg("case %d: operation %d at %g, increasing %d, negative %d, "
                   "picture %d of %d x %d x %d", i, c->kind, c->magnitude,
                   c->increasing, c->negative, c->source.kind,
                   c->source.channels, c->source.height, c->source.width);
    mae_planes_free(&planes);
  }
}
END_TEST

START_TEST(draws_as_timm) {
  for (int i = 0; i < file.counts[1]; i++) {
    const run_case *c = &file.runs[i];
    const mae_rand_augment rules = {c->ops, c->magnitude, c->std,
                                    c->increasing != 0};
    mae_planes planes = planes_of(&c->source);
    mae_rand_augment_run(&rules, c->seed, c->number,
                         fill_for(c->source.channels), &planes);
    if (hash_of(&planes) != c->hash) ck_abort_msg("run %d", i);
    mae_planes_free(&planes);
  }
}
END_TEST

START_TEST(boxes_as_timm) {
  for (int i = 0; i < file.counts[2]; i++) {
    const erase_case *c = &file.erasures[i];
    const mae_erase_box b = mae_erase_draw(c->probability, c->height, c->width,
                                           c->seed, c->number);
    const bool none = !b.width || !b.height;
    if (none ? c->box.width != 0 : memcmp(&b, &c->box, sizeof b) != 0)
      ck_abort_msg("box %d in %d x %d: %d x %d at (%d, %d), not %d x %d at "
                   "(%d, %d)", i, c->width, c->height, b.width, b.height,
                   b.left, b.top, c->box.width, c->box.height, c->box.left,
                   c->box.top);
  }
}
END_TEST

/* ------------------------------------------------------- worked examples --- */

enum { N = 6 };

/* A grey row of N pixels. */
static mae_planes row_of(const uint8_t values[N]) {
  mae_planes p = {0};
  ASSERT_OK(mae_planes_init(&p, 1, 1, N));
  memcpy(p.data, values, N);
  return p;
}

static void assert_row(const char *what, mae_planes *p, const uint8_t want[N]) {
  for (int i = 0; i < N; i++)
    if (p->data[i] != want[i])
      ck_abort_msg("%s: pixel %d is %d, not %d", what, i, p->data[i], want[i]);
  mae_planes_free(p);
}

#define ROW(...) ((const uint8_t[N]){__VA_ARGS__})
#define ASSERT_ROW(call, values, want)  \
  do {                                  \
    mae_planes p = row_of(values);      \
    call;                               \
    assert_row(#call, &p, want);        \
  } while (0)

START_TEST(worked_examples) {
  const uint8_t *const row = ROW(50, 100, 127, 128, 150, 200);
  static const uint8_t fill[] = {9};
  ASSERT_ROW(mae_tone_invert(&p), row, ROW(205, 155, 128, 127, 105, 55));
  ASSERT_ROW(mae_tone_solarize(&p, 128), row,
             ROW(50, 100, 127, 127, 105, 55));
  ASSERT_ROW(mae_tone_solarize(&p, 256), row, row);
  ASSERT_ROW(mae_tone_solarize_add(&p, 110), row,
             ROW(160, 210, 237, 128, 150, 200));
  ASSERT_ROW(mae_tone_solarize_add(&p, 128), row,
             ROW(178, 228, 255, 128, 150, 200));
  ASSERT_ROW(mae_tone_posterize(&p, 1), row, ROW(0, 0, 0, 128, 128, 128));
  ASSERT_ROW(mae_tone_posterize(&p, 4), row, ROW(48, 96, 112, 128, 144, 192));
  ASSERT_ROW(mae_tone_posterize(&p, 0), row, ROW(0, 0, 0, 0, 0, 0));
  ASSERT_ROW(mae_tone_posterize(&p, 8), row, row);
  /* (v - 50) * 255 / 150, rounded down */
  ASSERT_ROW(mae_tone_auto_contrast(&p), row,
             ROW(0, 85, 130, 132, 170, 255));
  ASSERT_ROW(mae_tone_auto_contrast(&p), ROW(7, 7, 7, 7, 7, 7),
             ROW(7, 7, 7, 7, 7, 7));
  ASSERT_ROW(mae_tone_brightness(&p, 0.5), row, ROW(25, 50, 63, 64, 75, 100));
  ASSERT_ROW(mae_tone_brightness(&p, 1.5), row,
             ROW(75, 150, 190, 192, 225, 255));
  /* around the mean, 755 / 6 = 126 */
  ASSERT_ROW(mae_tone_contrast(&p, 0.5), row, ROW(88, 113, 126, 127, 138, 163));
  ASSERT_ROW(mae_tone_contrast(&p, 2), row, ROW(0, 74, 128, 130, 174, 255));
  ASSERT_ROW(mae_blend_colour(&p, 0.1), row, row);
  ASSERT_ROW(mae_tone_equalize(&p), row, row); /* too few pixels to spread */
  ASSERT_ROW(mae_affine_shift(&p, 2, 0, fill), row,
             ROW(127, 128, 150, 200, 9, 9));
  ASSERT_ROW(mae_affine_shift(&p, -1, 0, fill), row,
             ROW(9, 50, 100, 127, 128, 150));
  /* half way: (-a + 5 b + 5 c - d) / 8, edges repeated */
  ASSERT_ROW(mae_affine_shift(&p, 0.5, 0, fill), ROW(0, 80, 80, 0, 0, 0),
             ROW(40, 100, 40, 0, 0, 9));
  ASSERT_ROW(mae_affine_shift(&p, 0, 1, fill), row, ROW(9, 9, 9, 9, 9, 9));
  ASSERT_ROW(mae_affine_rotate(&p, 0, fill), row, row);
}
END_TEST

/* 510 pixels of three values: step (170 + 170) / 255 = 1, so the second has
 * 0 + 170 pixels below and half a step, the third 340, which is cut. */
START_TEST(equalize_example) {
  mae_planes p = {0};
  ASSERT_OK(mae_planes_init(&p, 1, 30, 17));
  for (int i = 0; i < 510; i++) p.data[i] = (uint8_t)(40 + i / 170 * 3);
  mae_tone_equalize(&p);
  ck_assert_int_eq(p.data[0], 0);
  ck_assert_int_eq(p.data[170], 170);
  ck_assert_int_eq(p.data[509], 255);
  mae_planes_free(&p);
}
END_TEST

/* A bright pixel on black: 5/13 remain of it, 1/13 goes to each neighbour. */
START_TEST(sharpness_example) {
  mae_planes p = {0};
  ASSERT_OK(mae_planes_init(&p, 1, 5, 5));
  p.data[12] = 130;
  mae_blend_sharpness(&p, 0);
  for (int i = 0; i < 25; i++) {
    const bool inside = i / 5 % 4 && i % 5 % 4;
    ck_assert_int_eq(p.data[i], i == 12 ? 50 : inside ? 10 : 0);
  }
  mae_planes_free(&p);
}
END_TEST

/* Grey of (100, 50, 200) is 0.299, 0.587 and 0.114 of them: 82. */
START_TEST(colour_example) {
  mae_planes p = {0};
  ASSERT_OK(mae_planes_init(&p, 3, 1, 1));
  memcpy(p.data, (const uint8_t[]){100, 50, 200}, 3);
  mae_blend_colour(&p, 0.5);
  ck_assert_int_eq(p.data[0], 91);
  ck_assert_int_eq(p.data[1], 66);
  ck_assert_int_eq(p.data[2], 141);
  mae_planes_free(&p);
}
END_TEST

/* The first two operations of image 5 by seed 3, out of their numbers. */
START_TEST(draw_example) {
  const mae_rand_augment rules = {2, 9, 0.5, true};
  const uint64_t stream = 0x72616e64617567;
  for (int32_t k = 0; k < 2; k++) {
    const uint64_t first = (5 * 16 + (uint64_t)k) * 8;
    const mae_rand_op op = mae_rand_augment_draw(&rules, 3, 5, k);
    float u[3], z;
    ASSERT_OK(mae_random_uniform(3, stream, first, 3, u));
    ASSERT_OK(mae_random_normal(3, stream, first + 4, 1, &z));
    ck_assert_int_eq((int)op.kind, (int)(u[0] * 15));
    ck_assert_int_eq(op.applied, u[1] < 0.5f);
    ck_assert_int_eq(op.negative, u[2] >= 0.5f);
    ck_assert_double_eq(op.magnitude, fmin(9 + 0.5 * (double)z, 10));
  }
}
END_TEST

/* ---------------------------------------------------------- distribution --- */

START_TEST(distribution) {
  enum { DRAWS = 30000 };
  const mae_rand_augment rules = {2, 9, 0.5, true};
  int kinds[MAE_RAND_KINDS] = {0}, applied = 0, negative = 0, cut = 0;
  double sum = 0;
  for (int i = 0; i < DRAWS; i++) {
    const mae_rand_op op =
        mae_rand_augment_draw(&rules, 1, (uint64_t)(i / 2), i % 2);
    kinds[op.kind]++;
    applied += op.applied;
    negative += op.negative;
    cut += op.magnitude == 10;
    sum += op.magnitude;
  }
  for (int k = 0; k < MAE_RAND_KINDS; k++) /* five standard deviations */
    ck_assert_int_le(abs(kinds[k] - DRAWS / MAE_RAND_KINDS), 216);
  ck_assert_int_le(abs(applied - DRAWS / 2), 433);
  ck_assert_int_le(abs(negative - DRAWS / 2), 433);
  ck_assert_int_le(abs(cut - (int)(0.02275 * DRAWS)), 130);
  ck_assert_double_lt(fabs(sum / DRAWS - 8.996), 0.015);
}
END_TEST

START_TEST(erased_pixels) {
  enum { C = 3, H = 20, W = 30, AREA = H * W };
  static float image[C * AREA], noise[C * AREA];
  int erased = 0, boxes = 0;
  for (uint64_t number = 0; number < 40; number++) {
    const mae_erase_box b = mae_erase_draw(0.25, H, W, 9, number);
    boxes += b.width > 0;
    ASSERT_OK(mae_random_normal(9, 0x6e6f697365, number * C * AREA, C * AREA,
                                noise));
    for (int i = 0; i < C * AREA; i++) image[i] = 100;
    mae_erase_fill(b, C, H, W, 9, number, image);
    for (int i = 0; i < C * AREA; i++) {
      const int y = i % AREA / W, x = i % W;
      const bool in = y >= b.top && y < b.top + b.height && x >= b.left &&
                      x < b.left + b.width;
      ck_assert_float_eq(image[i], in ? noise[i] : 100);
      erased += in;
    }
  }
  ck_assert_int_ge(boxes, 3);
  ck_assert_int_le(boxes, 20);
  ck_assert_int_gt(erased, boxes * C * AREA / 100);
}
END_TEST

/* ------------------------------------------------------------ odd images --- */

START_TEST(any_size) {
  static const int32_t sides[] = {1, 2, 3, 4, 5, 17, 300};
  const mae_rand_augment rules = {MAE_RAND_MOST_OPS, 9, 5, true};
  for (int h = 0; h < 7; h++)
    for (int w = 0; w < 7; w++)
      for (int32_t chans = 1; chans <= 3; chans += 2) {
        const picture source = {PHOTO, sides[w], sides[h], chans};
        mae_planes planes = planes_of(&source);
        for (uint64_t i = 0; i < 4; i++)
          mae_rand_augment_run(&rules, i, UINT64_MAX - i, fill_for(chans),
                               &planes);
        ck_assert_int_eq(planes.width, sides[w]);
        mae_planes_free(&planes);
      }
}
END_TEST

START_TEST(bad_rules) {
  static const struct {
    mae_rand_augment rules;
    const char *word;
  } bad[] = {{{-1, 9, 0, true}, "ops"},        {{17, 9, 0, true}, "ops"},
             {{2, -1, 0, true}, "magnitude"},  {{2, 11, 0, true}, "magnitude"},
             {{2, NAN, 0, true}, "magnitude"}, {{2, 9, -1, true}, "std"},
             {{2, 9, NAN, true}, "std"},       {{2, 9, INFINITY, true}, "std"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    ASSERT_FAILS(mae_rand_augment_check(&bad[i].rules),
                 MAE_ERROR_INVALID_ARGUMENT, bad[i].word);
}
END_TEST

/* ------------------------------------------------------------- augmenter --- */

static mae_loader_options options_of(int32_t chans) {
  mae_loader_options o;
  ASSERT_OK(mae_loader_options_recipe(&o, sizeof o, MAE_RECIPE_FINETUNE));
  o.image_height = 33;
  o.image_width = 40;
  o.in_chans = chans;
  o.seed = 4;
  return o;
}

enum { MOST_OUT = 3 * 33 * 40 };

static void augment(const mae_loader_options *o, const mae_image *image,
                    uint64_t number, float *out) {
  mae_augmenter *a;
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  const mae_box box = {3, 2, 70, 60};
  ASSERT_OK(mae_augmenter_create(o, &a));
  ASSERT_OK(mae_augmenter_run(a, context, image, box, number % 2, number, out));
  mae_augmenter_destroy(a);
  mae_context_destroy(context);
}

/* What the augmenter makes by its parts, one after the other. */
static void by_parts(const mae_loader_options *o, const mae_image *image,
                     uint64_t number, float *out) {
  static const float zeros[3], ones[] = {1, 1, 1};
  const mae_rand_augment rules = {2, 9, 0.5, true};
  const int32_t chans = o->in_chans, n = o->image_height * o->image_width;
  mae_loader_options plain = *o;
  mae_planes planes = {0};
  plain.rand_augment_ops = 0, plain.erase = 0;
  plain.mean = zeros, plain.std = ones;
  augment(&plain, image, number, out);
  ASSERT_OK(mae_planes_init(&planes, chans, o->image_height, o->image_width));
  for (int32_t i = 0; i < chans * n; i++)
    planes.data[i] = (uint8_t)lround((double)out[i] * 255);
  mae_rand_augment_run(&rules, o->seed, number, fill_for(chans), &planes);
  static const float mean[] = {0.485f, 0.456f, 0.406f};
  static const float std[] = {0.229f, 0.224f, 0.225f};
  for (int32_t i = 0; i < chans * n; i++)
    out[i] = chans == 1
                 ? ((float)planes.data[i] / 255 - 0.449f) / 0.226f
                 : ((float)planes.data[i] / 255 - mean[i / n]) / std[i / n];
  mae_planes_free(&planes);
  const mae_erase_box box =
      mae_erase_draw(0.25, o->image_height, o->image_width, o->seed, number);
  mae_erase_fill(box, chans, o->image_height, o->image_width, o->seed, number,
                 out);
}

/* Grey and colour, from pictures of both. */
START_TEST(augmenter_by_its_parts) {
  static float got[MOST_OUT], want[MOST_OUT];
  for (int32_t chans = 1; chans <= 3; chans += 2)
    for (int32_t from = 1; from <= 3; from += 2) {
      const picture source = {PHOTO, 80, 64, from};
      const mae_loader_options o = options_of(chans);
      mae_image image;
      uint8_t *block = picture_draw(&source, 80 * from, &image);
      for (uint64_t i = 0; i < 24; i++) {
        augment(&o, &image, i, got);
        by_parts(&o, &image, i, want);
        for (int k = 0; k < chans * 33 * 40; k++)
          if (!(got[k] == want[k]))
            ck_abort_msg("%d from %d channels, image %d, value %d: %g, not %g",
                         chans, from, (int)i, k, (double)got[k],
                         (double)want[k]);
      }
      free(block);
    }
}
END_TEST

/* Where no operation is applied the bits are those without RandAugment. */
START_TEST(unapplied_is_plain) {
  static float plain[MOST_OUT], got[MOST_OUT];
  const picture source = {NOISE, 80, 64, 3};
  mae_loader_options o = options_of(3);
  mae_image image;
  uint8_t *block = picture_draw(&source, 240, &image);
  int same = 0, changed = 0;
  o.erase = 0;
  const mae_rand_augment rules = {2, 9, 0.5, true};
  for (uint64_t i = 0; i < 40; i++) {
    bool applied = false;
    for (int32_t k = 0; k < 2; k++)
      applied |= mae_rand_augment_draw(&rules, o.seed, i, k).applied;
    o.rand_augment_ops = 0;
    augment(&o, &image, i, plain);
    o.rand_augment_ops = 2;
    augment(&o, &image, i, got);
    const bool equal = !memcmp(plain, got, sizeof got);
    if (!applied) ck_assert_msg(equal, "image %d", (int)i);
    same += equal && !applied;
    changed += !equal;
  }
  ck_assert_int_ge(same, 3);
  ck_assert_int_ge(changed, 15);
  free(block);
}
END_TEST

START_TEST(augmenter_allocates_nothing_more) {
  static float out[MOST_OUT];
  const picture source = {PHOTO, 80, 64, 3};
  const mae_box box = {0, 0, 80, 64};
  mae_loader_options o = options_of(3);
  mae_image image;
  mae_augmenter *a;
  if (count_alloc_calls() < 0) return;
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  uint8_t *block = picture_draw(&source, 240, &image);
  o.rand_augment_ops = MAE_RAND_MOST_OPS;
  o.erase = 1;
  ASSERT_OK(mae_augmenter_create(&o, &a));
  ASSERT_OK(mae_augmenter_run(a, context, &image, box, false, 0, out));
  int failed = 0; /* Check's own assertions allocate */
  const long before = count_alloc_calls();
  for (uint64_t i = 0; i < 20; i++)
    failed |= mae_augmenter_run(a, context, &image, box, i % 2, i, out);
  const long after = count_alloc_calls();
  ck_assert_int_eq(failed, MAE_OK);
  ck_assert_int_eq(after, before);
  mae_augmenter_destroy(a);
  mae_context_destroy(context);
  free(block);
}
END_TEST

/* ---------------------------------------------------------------- loader --- */

START_TEST(recipes) {
  mae_loader_options init, o;
  mae_loader_options_init(&init, sizeof init);
  memset(&o, 1, sizeof o);
  ASSERT_OK(mae_loader_options_recipe(&o, sizeof o, MAE_RECIPE_PRETRAIN));
  ck_assert_mem_eq(&o, &init, sizeof o);
  ck_assert_int_eq(o.rand_augment_ops, 0);
  ck_assert(o.erase == 0);
  ASSERT_OK(mae_loader_options_recipe(&o, sizeof o, MAE_RECIPE_FINETUNE));
  ck_assert(o.scale_min == 0.08 && o.scale_max == 1 && o.flip == 0.5);
  ck_assert(o.ratio_min == 3.0 / 4 && o.ratio_max == 4.0 / 3);
  ck_assert(o.rand_augment_ops == 2 && o.rand_augment_magnitude == 9);
  ck_assert(o.rand_augment_std == 0.5 && o.rand_augment_increasing == 1);
  ck_assert(o.erase == 0.25);
  ASSERT_OK(mae_loader_options_recipe(&o, sizeof o, MAE_RECIPE_SCRATCH));
  ck_assert(o.scale_min == 0.08 && o.rand_augment_ops == 2 && o.erase == 0);
  const mae_loader_options before = o;
  ASSERT_FAILS(mae_loader_options_recipe(&o, sizeof o, (mae_recipe)3),
               MAE_ERROR_INVALID_ARGUMENT, "recipe 3");
  ck_assert_mem_eq(&o, &before, sizeof o);
  ASSERT_FAILS(mae_loader_options_recipe(NULL, sizeof o, MAE_RECIPE_PRETRAIN),
               MAE_ERROR_INVALID_ARGUMENT, "NULL");
}
END_TEST

static mae_status fetch(void *arg, int64_t i, float *out) {
  (void)arg;
  for (int k = 0; k < MOST_OUT; k++) out[k] = (float)i;
  return MAE_OK;
}

START_TEST(bad_options) {
  mae_dataset *d;
  mae_loader *l = NULL;
  mae_loader_options bad[7];
  ASSERT_OK(mae_dataset_from_callback(4, fetch, NULL, &d));
  for (int i = 0; i < 7; i++) {
    bad[i] = options_of(3);
    bad[i].batch_size = 2;
  }
  bad[0].rand_augment_ops = 17;
  bad[1].rand_augment_magnitude = 10.5;
  bad[2].rand_augment_std = -1;
  bad[3].rand_augment_increasing = 2;
  bad[4].erase = 1.5;
  bad[5].erase = NAN;
  bad[6].in_chans = 4;
  static const char *const words[] = {"_ops is 17", "magnitude", "std",
                                      "increasing", "erase", "erase",
                                      "4 channels"};
  for (int i = 0; i < 7; i++)
    ASSERT_FAILS(mae_loader_create(d, &bad[i], &l), MAE_ERROR_INVALID_ARGUMENT,
                 words[i]);
  ck_assert_ptr_null(l);
  bad[6].augment = 0; /* then it matters no more */
  ASSERT_OK(mae_loader_create(d, &bad[6], &l));
  mae_loader_destroy(l);
  mae_dataset_destroy(d);
}
END_TEST

START_TEST(callbacks_are_left_alone) {
  mae_dataset *d;
  mae_loader *l;
  const float *images;
  mae_loader_options o = options_of(3);
  o.batch_size = 2;
  o.erase = 1;
  ASSERT_OK(mae_dataset_from_callback(2, fetch, NULL, &d));
  ASSERT_OK(mae_loader_create(d, &o, &l));
  for (int b = 0; b < 5; b++) {
    ASSERT_OK(mae_loader_next(l, &images));
    ck_assert_float_eq(images[0] + images[MOST_OUT], 1);
    for (int k = 0; k < 2 * MOST_OUT; k++)
      ck_assert_float_eq(images[k], images[k / MOST_OUT * MOST_OUT]);
  }
  mae_loader_destroy(l);
  mae_dataset_destroy(d);
}
END_TEST

#ifdef MAE_HAVE_ZLIB
enum { IMAGES = 9, SIDE = 20 };

/* An IDX file of grey pictures. */
static mae_dataset *make_dataset(void) {
  const unsigned char header[] = {0, 0, 8, 3, 0, 0, 0, IMAGES,
                                  0, 0, 0, SIDE, 0, 0, 0, SIDE};
  char path[100];
  mae_dataset *d;
  snprintf(path, sizeof path, "%s/images-idx3-ubyte", folder);
  FILE *out = fopen(path, "wb");
  ck_assert_ptr_nonnull(out);
  fwrite(header, 1, sizeof header, out);
  for (int i = 0; i < IMAGES; i++) {
    const picture p = {PHOTO, SIDE, SIDE, 1};
    for (int k = 0; k < SIDE * SIDE; k++)
      fputc(picture_pixel(&p, k % SIDE + i, k / SIDE, 0), out);
  }
  ck_assert_int_eq(fclose(out), 0);
  ASSERT_OK(mae_dataset_open(path, &d));
  return d;
}

/* What comes for a number is a function of it, whoever asks and in what order;
 * and without augmentation nothing of this is done. */
START_TEST(loader_is_pure) {
  enum { BATCHES = 12, BATCH = 3, VALUES = BATCH * 33 * 40 };
  static float first[BATCHES][VALUES];
  mae_dataset *d = make_dataset();
  mae_loader_options o = options_of(1);
  mae_loader *l;
  const float *images;
  o.batch_size = BATCH;
  o.threads = 1;
  ASSERT_OK(mae_loader_create(d, &o, &l));
  for (int b = 0; b < BATCHES; b++) {
    ASSERT_OK(mae_loader_next(l, &images));
    memcpy(first[b], images, sizeof first[b]);
  }
  mae_loader_destroy(l);
  o.threads = 3;
  ASSERT_OK(mae_loader_create(d, &o, &l));
  for (int b = BATCHES - 1; b >= 0; b--) {
    ASSERT_OK(mae_loader_seek(l, (uint64_t)(b * BATCH)));
    ASSERT_OK(mae_loader_next(l, &images));
    ck_assert_mem_eq(first[b], images, sizeof first[b]);
  }
  mae_loader_destroy(l);
  for (int with = 0; with < 2; with++) {
    o.augment = 0;
    o.rand_augment_ops = 2 * with;
    o.erase = with;
    ASSERT_OK(mae_loader_create(d, &o, &l));
    ASSERT_OK(mae_loader_next(l, &images));
    if (with) ck_assert_mem_eq(first[0], images, sizeof first[0]);
    memcpy(first[0], images, sizeof first[0]);
    mae_loader_destroy(l);
  }
  mae_dataset_destroy(d);
}
END_TEST

/* The augmenter gets the loader's box, seed and number. */
START_TEST(loader_by_augmenter) {
  static float want[33 * 40];
  mae_dataset *d = make_dataset();
  mae_loader_options o = options_of(1);
  const mae_augment crops = {o.scale_min, o.scale_max, o.ratio_min,
                             o.ratio_max, o.flip};
  mae_loader *l;
  mae_augmenter *a;
  const float *images;
  uint32_t order[IMAGES];
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  o.batch_size = IMAGES;
  ASSERT_OK(mae_loader_create(d, &o, &l));
  ASSERT_OK(mae_augmenter_create(&o, &a));
  ASSERT_OK(mae_loader_next(l, &images));
  ASSERT_OK(mae_random_permutation(o.seed, MAE_ORDER_STREAM, IMAGES, order));
  for (uint64_t i = 0; i < IMAGES; i++) {
    mae_item item = {0};
    ASSERT_OK(d->class->fetch(d, order[i], &item));
    const mae_crop c = mae_augment_draw(&crops, SIDE, SIDE, o.seed, i);
    const mae_box box = {c.left, c.top, c.width, c.height};
    ASSERT_OK(mae_augmenter_run(a, context, &item.pixels, box, c.flip, i,
                                want));
    ck_assert_mem_eq(images + i * 33 * 40, want, sizeof want);
    mae_item_free(&item);
  }
  mae_augmenter_destroy(a);
  mae_context_destroy(context);
  mae_loader_destroy(l);
  mae_dataset_destroy(d);
}
END_TEST
#endif

Suite *rand_augment_suite(void) {
  Suite *suite = suite_create("rand_augment");
  TCase *tests = tcase_create("rand_augment");
  tcase_add_unchecked_fixture(tests, read_goldens, free_goldens);
  tcase_add_checked_fixture(tests, make_folder, remove_folder);
  tcase_set_timeout(tests, 120);
  tcase_add_test(tests, operations_as_pillow);
  tcase_add_test(tests, draws_as_timm);
  tcase_add_test(tests, boxes_as_timm);
  tcase_add_test(tests, worked_examples);
  tcase_add_test(tests, equalize_example);
  tcase_add_test(tests, sharpness_example);
  tcase_add_test(tests, colour_example);
  tcase_add_test(tests, draw_example);
  tcase_add_test(tests, distribution);
  tcase_add_test(tests, erased_pixels);
  tcase_add_test(tests, any_size);
  tcase_add_test(tests, bad_rules);
  tcase_add_test(tests, augmenter_by_its_parts);
  tcase_add_test(tests, unapplied_is_plain);
  tcase_add_test(tests, augmenter_allocates_nothing_more);
  tcase_add_test(tests, recipes);
  tcase_add_test(tests, bad_options);
  tcase_add_test(tests, callbacks_are_left_alone);
#ifdef MAE_HAVE_ZLIB
  tcase_add_test(tests, loader_is_pure);
  tcase_add_test(tests, loader_by_augmenter);
#endif
  suite_add_tcase(suite, tests);
  return suite;
}
