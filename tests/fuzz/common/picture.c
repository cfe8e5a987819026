#include "common/picture.h"

#include <string.h>

#include "common/input.h"
#include "common/weights.h"
#include "data/augmenter.h"

enum { MOST_PIXELS = 1 << 20, SIDE = 12 };

/* What a loader does next. */
static void augment(const mae_image *image) {
  static mae_augmenter *augmenter;
  static float out[3 * SIDE * SIDE];
  mae_loader_options o;
  mae_loader_options_init(&o, sizeof o);
  o.image_height = o.image_width = SIDE;
  o.rand_augment_ops = 2;
  if (!augmenter) REQUIRE(mae_augmenter_create(&o, &augmenter) == MAE_OK);
  const mae_augment crops = {0.2, 1, 0.75, 4.0 / 3, 0.5};
  const uint64_t number = (uint64_t)image->width + (uint64_t)image->height;
  const mae_crop crop =
      mae_augment_draw(&crops, image->width, image->height, 1, number);
  const mae_box box = mae_crop_box(&crop, image->width, image->height, image);
  REQUIRE(mae_augmenter_run(augmenter, weights_context(), image, box, crop.flip,
                            number, out) == MAE_OK);
}

static void decode(const mae_encoded *in, int32_t shrink, int32_t width,
                   int32_t height) {
  mae_image image = {0};
  if (mae_image_decode_shrunk(in, shrink, &image) != MAE_OK) {
    REQUIRE(!image.data);
    return;
  }
  const int32_t w = (width + shrink - 1) / shrink,
                h = (height + shrink - 1) / shrink;
  REQUIRE((image.width == w && image.height == h) ||
          (image.width == width && image.height == height));
  REQUIRE(image.channels == 1 || image.channels == 3 || image.channels == 4);
  augment(&image);
  mae_image_free(&image);
  REQUIRE(!image.data);
}

void picture_use(const char *begin, size_t n, const uint8_t *data,
                 size_t size) {
  const mae_encoded in = {data, size, "image"};
  int32_t width = 0, height = 0;
  if (size < n || memcmp(data, begin, n)) return;
  if (mae_image_size(&in, &width, &height) != MAE_OK) {
    mae_image image = {0};
    REQUIRE(mae_image_decode(data, size, &image) != MAE_OK);
    return;
  }
  REQUIRE(width >= 1 && height >= 1);
  if ((int64_t)width * height > MOST_PIXELS) return;
  for (int32_t shrink = 1; shrink <= 8; shrink *= 2)
    decode(&in, shrink, width, height);
}
