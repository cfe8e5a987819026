#include "tool/drawing.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tool/interrupt.h"

/* What libpng takes in its default limits. */
enum { MOST_SIDE = 1000000 };

mae_status drawing_create(int64_t height, int64_t width, int32_t channels,
                          drawing *out) {
  if (height < 1 || width < 1 || height > MOST_SIDE || width > MOST_SIDE)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "a picture of %lld x %lld is too large: give fewer images",
                    (long long)height, (long long)width);
  size_t size = (size_t)height * (size_t)width * (size_t)channels;
  uint8_t *samples = mae_calloc(size, 1);
  if (!samples) return MAE_ERROR_OUT_OF_MEMORY;
  memset(samples, 255, size);
  *out = (drawing){height, width, channels, samples};
  return MAE_OK;
}

void drawing_destroy(drawing *d) {
  free(d->samples);
  d->samples = NULL;
}

#ifdef MAE_HAVE_PNG

#include <png.h>

static mae_status write_bytes(const char *path, const void *data, size_t size) {
  mae_atomic_file file;
  MAE_TRY(guarded_begin(path, &file));
  mae_status status = mae_atomic_write(&file, data, size);
  if (status == MAE_OK) return guarded_commit(&file);
  guarded_abort(&file);
  return status;
}

static mae_status png_trouble(const char *path, const png_image *image) {
  return mae_fail(MAE_ERROR_IO, "%s: %s", path, image->message);
}

mae_status drawing_write(const drawing *d, const char *path) {
  png_image image;
  memset(&image, 0, sizeof image);
  image.version = PNG_IMAGE_VERSION;
  image.width = (png_uint_32)d->width;
  image.height = (png_uint_32)d->height;
  image.format = d->channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  void *bytes = mae_calloc(size, 1);
  if (!bytes) return MAE_ERROR_OUT_OF_MEMORY;
  bool made =
      png_image_write_to_memory(&image, bytes, &size, 0, d->samples, 0, NULL);
  mae_status status =
      made ? write_bytes(path, bytes, size) : png_trouble(path, &image);
  free(bytes);
  return status;
}

#else /* built with PNG=none */

mae_status drawing_write(const drawing *d, const char *path) {
  (void)d, (void)path;
  return mae_fail(MAE_ERROR_UNSUPPORTED,
                  "this build lacks libpng, which drawings need");
}

#endif
