/* Images drawn by formulas, as source() of tests/data/make_images.py does. */
#ifndef TESTS_PICTURES_H
#define TESTS_PICTURES_H

#include "golden.h"

enum { NOISE, PHOTO, HARD };

typedef struct picture {
  int32_t kind, width, height, channels;
} picture;

static inline uint32_t picture_noise(uint32_t x, uint32_t y, uint32_t c) {
  uint32_t v = x * 0x9E3779B1u ^ y * 0x85EBCA77u ^ c * 0xC2B2AE3Du;
  v = (v ^ v >> 15) * 0x2C1B3C6Du;
  return (v ^ v >> 12) * 0x297A2D39u >> 24;
}

static inline uint8_t picture_pixel(const picture *p, int x, int y, int c) {
  const int noise = (int)picture_noise((uint32_t)x, (uint32_t)y, (uint32_t)c);
  if (p->kind == NOISE) return (uint8_t)noise;
  if (p->kind == HARD) return noise > 127 ? 255 : 0;
  const int dx = x - p->width / 3, dy = y - p->height / 2, s = p->height / 4;
  const int wave = abs((5 * x + 3 * y + 40 * c) % 256 - 128);
  const int disc = dx * dx + dy * dy < s * s;
  const int v = x / 3 + 20 * c + wave / 2 + 90 * disc + noise / 16;
  return (uint8_t)(v < 255 ? v : 255);
}

/* The image with rows `stride` bytes apart, first where that is negative at
 * the end; all else is 77.  Free the block returned. */
static inline uint8_t *picture_draw(const picture *p, ptrdiff_t stride,
                                    mae_image *image) {
  const size_t size = (size_t)(labs(stride) * p->height);
  uint8_t *block = malloc(size);
  ck_assert_ptr_nonnull(block);
  memset(block, 77, size);
  uint8_t *data = block + (stride < 0 ? -stride * (p->height - 1) : 0);
  for (int y = 0; y < p->height; y++)
    for (int x = 0; x < p->width; x++)
      for (int c = 0; c < p->channels; c++)
        data[y * stride + x * p->channels + c] = picture_pixel(p, x, y, c);
  *image = (mae_image){data, p->width, p->height, p->channels, stride};
  return block;
}

#endif
