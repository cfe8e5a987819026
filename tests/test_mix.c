/* Mixup and CutMix: timm's draws and batches, worked examples, the
 * distribution. */
#include "train/mix.h"

#include "golden.h"
#include "suites.h"

/* ------------------------------------------------------------- goldens --- */

/* golden_mix.bin (make_mix.py): counts, rules with their draws, batches. */
typedef struct drawn {
  double lam;
  int32_t cutmix, top, left, bottom, right, unused;
} drawn;

typedef struct rule {
  double mixup, cutmix, prob, switch_prob;
  int32_t height, width;
} rule;

typedef struct batch {
  int32_t n, chans, height, width, classes, unused;
  double smoothing;
  drawn mix;
} batch;

enum { MOST_FLOATS = 4096, MOST_LABELS = 16 };
_Static_assert(sizeof(drawn) == 32 && sizeof(rule) == 40 &&
                   sizeof(batch) == 64,
               "as in the file");

static void take(FILE *from, void *into, size_t size) {
  ck_assert_uint_eq(fread(into, 1, size, from), size);
}

static FILE *open_goldens(int32_t counts[4]) {
  FILE *from = fopen("tests/data/golden_mix.bin", "rb");
  ck_assert_ptr_nonnull(from);
  take(from, counts, 4 * sizeof *counts);
  ck_assert_int_ge(counts[0], 8);
  ck_assert_int_ge(counts[1], 40);
  ck_assert_int_ge(counts[2], 4);
  return from;
}

static void check_draw(const rule *r, uint64_t seed, uint64_t number,
                       const drawn *want) {
  const mae_mix m = mae_mix_draw(r->mixup, r->cutmix, r->prob, r->switch_prob,
                                 r->height, r->width, seed, number);
  const bool box = m.top == want->top && m.left == want->left &&
                   m.bottom == want->bottom && m.right == want->right;
  if (fabs(m.lam - want->lam) > 1e-9 || m.cutmix != want->cutmix || !box)
    ck_abort_msg("alphas %g, %g, batch %llu: lam %.12g, rows %d to %d, columns "
                 "%d to %d; not %.12g, %d to %d, %d to %d", r->mixup, r->cutmix,
                 (unsigned long long)number, m.lam, m.top, m.bottom, m.left,
                 m.right, want->lam, want->top, want->bottom, want->left,
                 want->right);
}

START_TEST(draws_as_timm) {
  int32_t counts[4];
  FILE *from = open_goldens(counts);
  for (int32_t i = 0; i < counts[0]; i++) {
    rule r;
    take(from, &r, sizeof r);
    for (int32_t j = 0; j < counts[1]; j++) {
      uint64_t at[2];
      drawn want;
      take(from, at, sizeof at);
      take(from, &want, sizeof want);
      check_draw(&r, at[0], at[1], &want);
    }
  }
  fclose(from);
}
END_TEST

/* Targets as the trainer makes them: 1 - s + s / C, and s / C elsewhere. */
static void smooth(const batch *b, const int32_t *labels, float *targets) {
  const double off = b->smoothing / b->classes;
  for (int32_t i = 0; i < b->n * b->classes; i++) targets[i] = (float)off;
  for (int32_t i = 0; i < b->n; i++)
    targets[i * b->classes + labels[i]] = (float)(1 - b->smoothing + off);
}

static void check_batch(FILE *from) {
  static float images[MOST_FLOATS], want[MOST_FLOATS];
  float targets[MOST_LABELS * 16], want_targets[MOST_LABELS * 16];
  int32_t labels[MOST_LABELS];
  batch b;
  take(from, &b, sizeof b);
  const size_t floats = (size_t)(b.n * b.chans * b.height * b.width);
  ck_assert_uint_le(floats, MOST_FLOATS);
  ck_assert(b.n <= MOST_LABELS && b.classes <= 16);
  take(from, labels, (size_t)b.n * sizeof *labels);
  take(from, images, floats * sizeof *images);
  take(from, want, floats * sizeof *want);
  take(from, want_targets, (size_t)(b.n * b.classes) * sizeof *targets);
  const mae_mix mix = {b.mix.cutmix, b.mix.lam,    b.mix.top,
                       b.mix.left,   b.mix.bottom, b.mix.right};
  smooth(&b, labels, targets);
  mae_mix_images(&mix, images, b.n, b.chans, b.height, b.width);
  mae_mix_targets(&mix, targets, b.n, b.classes);
  ck_assert_double_le(relative_error(images, want, (int64_t)floats), 1e-6);
  ck_assert_double_le(relative_error(targets, want_targets, b.n * b.classes),
                      1e-6);
}

START_TEST(batches_as_timm) {
  int32_t counts[4];
  FILE *from = open_goldens(counts);
  fseek(from, counts[0] * (long)(sizeof(rule) + (size_t)counts[1] *
                                 (16 + sizeof(drawn))), SEEK_CUR);
  for (int32_t i = 0; i < counts[2]; i++) check_batch(from);
  ck_assert_int_eq(fgetc(from), EOF);
  fclose(from);
}
END_TEST

/* ----------------------------------------------------- worked examples --- */

/* Three quarters of the image stay: sqrt(1 / 4) of 8 x 8 is a box of 4 x 4. */
START_TEST(boxes_by_hand) {
  mae_mix m = mae_mix_box(0.75, 4, 5, 8, 8);
  ck_assert(m.cutmix && m.top == 2 && m.bottom == 6);
  ck_assert(m.left == 3 && m.right == 7);
  ck_assert_double_eq(m.lam, 0.75);
  m = mae_mix_box(0.75, 0, 7, 8, 8); /* cut by the corner to 2 x 3 */
  ck_assert(m.top == 0 && m.bottom == 2 && m.left == 5 && m.right == 8);
  ck_assert_double_eq(m.lam, 1 - 6.0 / 64);
  ck_assert_double_eq(mae_mix_box(0.999, 0, 0, 8, 8).lam, 1); /* no pixel */
  ck_assert_double_eq(mae_mix_box(0, 4, 4, 8, 8).lam, 0);
}
END_TEST

START_TEST(mixup_by_hand) {
  const mae_mix mix = {.lam = 0.75};
  float x[] = {0, 4, 1, 2, 8, 0}; /* three images of two pixels */
  const float want[] = {2, 3, 1, 2, 6, 1};
  mae_mix_images(&mix, x, 3, 1, 1, 2);
  for (int i = 0; i < 6; i++) ck_assert_float_eq(x[i], want[i]);
  float t[] = {1, 0, 0, 1};
  mae_mix_targets(&mix, t, 2, 2);
  ck_assert(t[0] == 0.75f && t[1] == 0.25f && t[2] == 0.25f && t[3] == 0.75f);
}
END_TEST

START_TEST(cutmix_by_hand) {
  const mae_mix mix = {true, 0.5, 0, 1, 2, 2}; /* the right column of 2 x 2 */
  float x[] = {1, 2, 3, 4, 10, 20, 30, 40, 5, 6, 7, 8, 50, 60, 70, 80};
  const float want[] = {1, 6,  3,  8,  10, 60, 30, 80,
                        5, 2,  7,  4,  50, 20, 70, 40};
  mae_mix_images(&mix, x, 2, 2, 2, 2);
  for (int i = 0; i < 16; i++) ck_assert_float_eq(x[i], want[i]);
}
END_TEST

START_TEST(nothing_mixed) {
  const mae_mix none = mae_mix_draw(0.8, 1, 0, 0.5, 8, 8, 1, 2);
  ck_assert_double_eq(none.lam, 1);
  ck_assert_double_eq(mae_mix_draw(0, 0, 1, 0.5, 8, 8, 1, 2).lam, 1);
  float x[] = {0.1f, 0.7f, 0.3f, 0.9f}, same[4];
  memcpy(same, x, sizeof x);
  mae_mix_images(&none, x, 4, 1, 1, 1);
  mae_mix_targets(&none, x, 2, 2);
  ck_assert_mem_eq(x, same, sizeof x);
}
END_TEST

/* -------------------------------------------------------- distribution --- */

enum { MANY = 20000 };

/* Beta(a, a) has mean 1 / 2 and variance 1 / (4 (2 a + 1)). */
static void check_moments(double alpha) {
  double sum = 0, squares = 0;
  for (uint64_t i = 0; i < MANY; i++) {
    double lam = mae_mix_draw(alpha, 0, 1, 0, 8, 8, 3, i).lam - 0.5;
    ck_assert(lam >= -0.5 && lam <= 0.5);
    sum += lam;
    squares += lam * lam;
  }
  const double variance = 1 / (4 * (2 * alpha + 1));
  const double error = sqrt(variance / MANY);
  ck_assert_double_le(fabs(sum / MANY), 4 * error);
  ck_assert_double_le(fabs(squares / MANY / variance - 1), 0.03);
}

START_TEST(beta_distribution) {
  const double alphas[] = {0.05, 0.2, 0.8, 1, 3, 40};
  for (size_t i = 0; i < sizeof alphas / sizeof *alphas; i++)
    check_moments(alphas[i]);
  int tenths[10] = {0}; /* Beta(1, 1) is uniform */
  for (uint64_t i = 0; i < MANY; i++)
    tenths[(int)(10 * mae_mix_draw(1, 0, 1, 0, 8, 8, 4, i).lam)]++;
  for (int i = 0; i < 10; i++)
    ck_assert_int_le(abs(tenths[i] - MANY / 10), 180);
}
END_TEST

START_TEST(how_often) {
  int mixed = 0, cut = 0;
  for (uint64_t i = 0; i < MANY; i++) {
    const mae_mix m = mae_mix_draw(0.8, 1, 0.7, 0.25, 224, 224, 5, i);
    mixed += m.lam < 1;
    cut += m.cutmix;
  }
  ck_assert_int_le(abs(mixed - MANY * 7 / 10), 300);
  ck_assert_int_le(abs(cut - MANY * 7 / 40), 250);
}
END_TEST

Suite *mix_suite(void) {
  Suite *suite = suite_create("mix");
  TCase *tests = tcase_create("mix");
  tcase_add_test(tests, draws_as_timm);
  tcase_add_test(tests, batches_as_timm);
  tcase_add_test(tests, boxes_by_hand);
  tcase_add_test(tests, mixup_by_hand);
  tcase_add_test(tests, cutmix_by_hand);
  tcase_add_test(tests, nothing_mixed);
  tcase_add_test(tests, beta_distribution);
  tcase_add_test(tests, how_often);
  suite_add_tcase(suite, tests);
  return suite;
}
