/* Crops, RandAugment and erasing of small images of any shape. */
#include <string.h>

#include "common/input.h"
#include "common/weights.h"
#include "data/augmenter.h"

enum { MOST_SIDE = 24 };

typedef struct bytes {
  const uint8_t *at;
  size_t left;
} bytes;

static uint8_t take(bytes *b) { return b->left ? (b->left--, *b->at++) : 0; }

/* 0 to 1, now and then beyond. */
static double share(bytes *b) { return take(b) / 250.0; }

static mae_loader_options options_of(bytes *b) {
  mae_loader_options o;
  mae_loader_options_init(&o, sizeof o);
  o.image_height = 1 + take(b) % MOST_SIDE;
  o.image_width = 1 + take(b) % MOST_SIDE;
  o.in_chans = take(b) & 1 ? 3 : 1;
  o.rand_augment_ops = take(b) % 18;
  o.rand_augment_magnitude = 10 * share(b);
  o.rand_augment_std = 100 * share(b);
  o.rand_augment_increasing = take(b) & 1;
  o.erase = share(b);
  o.seed = take(b);
  return o;
}

/* Its pixels are what is left of the input, again and again. */
static mae_image image_of(bytes *b, uint8_t *pixels, size_t room) {
  static const int32_t channels[] = {1, 3, 4};
  mae_image image = {pixels, 1 + take(b) % 40, 1 + take(b) % 40,
                     channels[take(b) % 3], 0};
  for (size_t i = 0; i < room; i++)
    pixels[i] = b->left ? b->at[i % b->left] : (uint8_t)i;
  return image;
}

static mae_augment crops_of(bytes *b) {
  mae_augment a = {share(b), share(b), share(b) + 0.01, 4 * share(b), share(b)};
  return a;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static uint8_t pixels[40 * 40 * 4];
  static float out[3 * MOST_SIDE * MOST_SIDE];
  bytes b = {data, size};
  mae_loader_options o = options_of(&b);
  const mae_augment crops = crops_of(&b);
  const mae_image image = image_of(&b, pixels, sizeof pixels);
  mae_augmenter *a = NULL;
  if (mae_augment_check(&crops) != MAE_OK) return 0;
  if (mae_augmenter_create(&o, &a) != MAE_OK) return 0;
  for (uint64_t number = 0; number < 4; number++) {
    const mae_crop c =
        mae_augment_draw(&crops, image.width, image.height, o.seed, number);
    const mae_box box = mae_crop_box(&c, image.width, image.height, &image);
    REQUIRE(mae_augmenter_run(a, weights_context(), &image, box, c.flip, number,
                              out) == MAE_OK);
  }
  mae_augmenter_destroy(a);
  return 0;
}
