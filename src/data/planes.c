#include "data/planes.h"

#include <stdlib.h>

#include "base/memory.h"

mae_status mae_planes_init(mae_planes *planes, int32_t chans, int32_t height,
                           int32_t width) {
  int64_t size;
  if (!mae_mul(height, width, &size) || !mae_mul(size, chans, &size))
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY,
                    "no memory for %d x %d x %d pixels", chans, height, width);
  planes->chans = chans;
  planes->height = height;
  planes->width = width;
  planes->data = mae_calloc((size_t)size, 1);
  planes->spare = mae_calloc((size_t)size, 1);
  return planes->data && planes->spare ? MAE_OK : MAE_ERROR_OUT_OF_MEMORY;
}

void mae_planes_free(mae_planes *planes) {
  free(planes->data);
  free(planes->spare);
  *planes = (mae_planes){0};
}
