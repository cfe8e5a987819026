#include "data/augmenter.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "data/erase.h"
#include "data/rand_augment.h"

enum { LEVELS = 256, MOST_CHANS = 3 /* of RandAugment */ };

struct mae_augmenter {
  mae_loader_options options; /* its mean and std are not used */
  mae_rand_augment rand;
  mae_preprocess *preprocess; /* normalises, unless there is RandAugment, */
  mae_planes planes;          /* which works on these, */
  uint8_t fill[MOST_CHANS];
  float table[MOST_CHANS][LEVELS]; /* and is normalised by this */
};

static mae_rand_augment rand_of(const mae_loader_options *o) {
  return (mae_rand_augment){o->rand_augment_ops, o->rand_augment_magnitude,
                            o->rand_augment_std,
                            o->rand_augment_increasing != 0};
}

mae_status mae_augmenter_check(const mae_loader_options *o) {
  const mae_rand_augment rand = rand_of(o);
  MAE_TRY(mae_rand_augment_check(&rand));
  if (o->rand_augment_increasing != 0 && o->rand_augment_increasing != 1)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "rand_augment_increasing is %d, not 0 or 1",
                    o->rand_augment_increasing);
  if (o->augment && o->rand_augment_ops && o->in_chans != 1 && o->in_chans != 3)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "rand_augment_ops: images of %d channels are neither grey "
                    "nor RGB", o->in_chans);
  if (!(o->erase >= 0 && o->erase <= 1))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "erase is %g, not in [0, 1]",
                    o->erase);
  return MAE_OK;
}

/* -------------------------------------------------------------- create --- */

/* The same arithmetic as the kernel that normalises, so the same bits. */
static void fill_tables(mae_augmenter *a, const float *mean,
                        const float *std) {
  for (int32_t c = 0; c < a->options.in_chans; c++) {
    a->fill[c] = (uint8_t)fmin(fmax(rint(255 * (double)mean[c]), 0), 255);
    for (int v = 0; v < LEVELS; v++)
      a->table[c][v] = ((float)v / 255.0f - mean[c]) / std[c];
  }
}

/* RandAugment works on pixels as they are; p tells how to normalise them. */
static mae_status use_pixels(mae_augmenter *a, mae_preprocess *p) {
  static const float zeros[MOST_CHANS], ones[MOST_CHANS] = {1, 1, 1};
  const mae_loader_options *o = &a->options;
  fill_tables(a, mae_preprocess_mean(p), mae_preprocess_std(p));
  MAE_TRY(mae_planes_init(&a->planes, o->in_chans, o->image_height,
                          o->image_width));
  return mae_preprocess_create(o->in_chans, o->image_height, o->image_width, 0,
                               zeros, ones, &a->preprocess);
}

static mae_status set_up(mae_augmenter *a) {
  const mae_loader_options *o = &a->options;
  mae_preprocess *p = NULL;
  MAE_TRY(mae_preprocess_create(o->in_chans, o->image_height, o->image_width, 0,
                                o->mean, o->std, &p));
  if (!o->rand_augment_ops) {
    a->preprocess = p;
    return MAE_OK;
  }
  mae_status status = use_pixels(a, p);
  mae_preprocess_destroy(p);
  return status;
}

mae_status mae_augmenter_create(const mae_loader_options *options,
                                mae_augmenter **augmenter) {
  MAE_REQUIRE(options);
  MAE_REQUIRE(augmenter);
  MAE_TRY(mae_augmenter_check(options));
  mae_augmenter *a = mae_calloc(1, sizeof *a);
  if (!a) return MAE_ERROR_OUT_OF_MEMORY;
  a->options = *options;
  a->rand = rand_of(options);
  mae_status status = set_up(a);
  if (status != MAE_OK) {
    mae_augmenter_destroy(a);
    return status;
  }
  a->options.mean = a->options.std = NULL;
  *augmenter = a;
  return MAE_OK;
}

void mae_augmenter_destroy(mae_augmenter *a) {
  if (!a) return;
  mae_preprocess_destroy(a->preprocess);
  mae_planes_free(&a->planes);
  free(a);
}

/* ----------------------------------------------------------------- run --- */

/* The values are v / 255 of whole numbers v, which so come back. */
static void to_pixels(const float *x, int64_t n, uint8_t *pixels) {
  for (int64_t i = 0; i < n; i++) pixels[i] = (uint8_t)(int)(x[i] * 255 + 0.5f);
}

static void normalise(const mae_augmenter *a, float *out) {
  const int64_t n = mae_planes_area(&a->planes);
  const uint8_t *x = a->planes.data;
  for (int32_t c = 0; c < a->planes.chans; c++)
    for (int64_t i = 0; i < n; i++) *out++ = a->table[c][*x++];
}

static void rand_augment(mae_augmenter *a, uint64_t number, float *out) {
  to_pixels(out, a->planes.chans * mae_planes_area(&a->planes),
            a->planes.data);
  mae_rand_augment_run(&a->rand, a->options.seed, number, a->fill, &a->planes);
  normalise(a, out);
}

static void erase(const mae_loader_options *o, uint64_t number, float *out) {
  const mae_erase_box box = mae_erase_draw(o->erase, o->image_height,
                                           o->image_width, o->seed, number);
  mae_erase_fill(box, o->in_chans, o->image_height, o->image_width, o->seed,
                 number, out);
}

mae_status mae_augmenter_run(mae_augmenter *a, mae_context *context,
                             const mae_image *image, mae_box box, bool flip,
                             uint64_t number, float *out) {
  MAE_TRY(mae_preprocess_crop(a->preprocess, context, image, box, flip, out));
  if (a->rand.ops) rand_augment(a, number, out);
  if (a->options.erase > 0) erase(&a->options, number, out);
  return MAE_OK;
}
