/* 8-bit images, a plane per channel, for operations on pixels. */
#ifndef MAE_DATA_PLANES_H
#define MAE_DATA_PLANES_H

#include "base/error.h"

typedef struct mae_planes {
  int32_t chans, height, width; /* chans is 1 (grey) or 3 (RGB) */
  uint8_t *data;                /* [chans, height, width] */
  uint8_t *spare; /* as large; an operation may write there and swap the two */
} mae_planes;

/* Pixels of a plane. */
static inline int64_t mae_planes_area(const mae_planes *p) {
  return (int64_t)p->height * p->width;
}

static inline void mae_planes_swap(mae_planes *p) {
  uint8_t *data = p->data;
  p->data = p->spare;
  p->spare = data;
}

/* Take memory for an image of this size into a zeroed struct; on failure
 * mae_planes_free is still due. */
mae_status mae_planes_init(mae_planes *planes, int32_t chans, int32_t height,
                           int32_t width);
void mae_planes_free(mae_planes *planes);

/* Brightness as Pillow makes grey of RGB. */
static inline uint8_t mae_luma(uint8_t red, uint8_t green, uint8_t blue) {
  return (uint8_t)((19595u * red + 38470u * green + 7471u * blue + 0x8000u) >>
                   16);
}

#endif
