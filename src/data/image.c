/* Image files: whole into memory, then the decoder their first bytes name. */
#include "data/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/regular_file.h"

enum { MOST_PIXELS = 178956970, MOST_SIDE = 65536, MOST_BYTES = 1 << 30 };

mae_status mae_image_check(const char *name, int64_t width, int64_t height) {
  int64_t pixels;
  if (width < 1 || height < 1 || width > MOST_SIDE || height > MOST_SIDE ||
      !mae_mul(width, height, &pixels) || pixels > MOST_PIXELS)
    return mae_fail(MAE_ERROR_FORMAT,
                    "%s: %lld x %lld pixels; sides may be %d, all pixels %d",
                    name, (long long)width, (long long)height, MOST_SIDE,
                    MOST_PIXELS);
  return MAE_OK;
}

mae_status mae_image_begin(const char *name, int64_t width, int64_t height,
                           int32_t channels, mae_image *image) {
  MAE_TRY(mae_image_check(name, width, height));
  uint8_t *data =
      mae_realloc(NULL, (size_t)(width * height), (size_t)channels);
  if (!data) return MAE_ERROR_OUT_OF_MEMORY;
  *image = (mae_image){.data = data, .width = (int32_t)width,
                       .height = (int32_t)height, .channels = channels,
                       .stride = (ptrdiff_t)width * channels};
  return MAE_OK;
}

void mae_image_free(mae_image *image) {
  if (!image) return;
  free((void *)image->data);
  *image = (mae_image){0};
}

static bool starts_with(const mae_encoded *in, size_t at, const char *bytes,
                        size_t size) {
  return in->size >= at + size && !memcmp(in->data + at, bytes, size);
}

static mae_status find_format(const mae_encoded *in,
                              const mae_image_format **format) {
  if (starts_with(in, 0, "\xff\xd8\xff", 3))
    *format = &mae_jpeg;
  else if (starts_with(in, 0, "\x89PNG\r\n\x1a\n", 8))
    *format = &mae_png;
  else if (starts_with(in, 0, "RIFF", 4) && starts_with(in, 8, "WEBP", 4))
    *format = &mae_webp;
  else
    return mae_fail(MAE_ERROR_FORMAT, "%s: neither JPEG, PNG nor WebP",
                    in->name);
  return MAE_OK;
}

mae_status mae_image_size(const mae_encoded *in, int32_t *width,
                          int32_t *height) {
  const mae_image_format *format = NULL;
  int32_t w = 0, h = 0;
  MAE_REQUIRE(in);
  MAE_REQUIRE(width);
  MAE_REQUIRE(height);
  MAE_TRY(find_format(in, &format));
  MAE_TRY(format->size(in, &w, &h));
  *width = w;
  *height = h;
  return MAE_OK;
}

mae_status mae_image_decode_shrunk(const mae_encoded *in, int32_t shrink,
                                   mae_image *image) {
  const mae_image_format *format = NULL;
  mae_image decoded = {0};
  MAE_REQUIRE(in);
  MAE_REQUIRE(image);
  if (shrink != 1 && shrink != 2 && shrink != 4 && shrink != 8)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "%s: shrink is %d, not 1, 2, 4 or 8", in->name, shrink);
  MAE_TRY(find_format(in, &format));
  MAE_TRY(format->decode(in, shrink, &decoded));
  *image = decoded;
  return MAE_OK;
}

int32_t mae_image_best_shrink(int32_t box_width, int32_t box_height,
                              int32_t width, int32_t height) {
  int32_t shrink = 8;
  while (shrink > 1 && (box_width < (int64_t)shrink * width ||
                        box_height < (int64_t)shrink * height))
    shrink /= 2;
  return shrink;
}

mae_status mae_image_decode(const void *data, size_t size, mae_image *image) {
  MAE_REQUIRE(data);
  MAE_REQUIRE(image);
  const mae_encoded in = {data, size, "image"};
  return mae_image_decode_shrunk(&in, 1, image);
}

static mae_status open_file(const char *path, int *fd, size_t *size) {
  int64_t bytes = 0;
  MAE_TRY(mae_open_regular(path, fd, &bytes));
  if (bytes > MOST_BYTES)
    return mae_fail(MAE_ERROR_FORMAT, "%s: more than %d bytes", path,
                    MOST_BYTES);
  *size = (size_t)bytes;
  return MAE_OK;
}

static mae_status read_bytes(int fd, const char *path, uint8_t *data,
                             size_t size) {
  for (size_t have = 0; have < size;) {
    ssize_t n = read(fd, data + have, size - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return mae_io_fail("read", path, errno);
    if (n == 0)
      return mae_fail(MAE_ERROR_FORMAT, "%s: truncated while read", path);
    have += (size_t)n;
  }
  return MAE_OK;
}

mae_status mae_image_read_file(const char *path, uint8_t **data,
                               size_t *size) {
  MAE_REQUIRE(path);
  MAE_REQUIRE(data);
  MAE_REQUIRE(size);
  int fd = -1;
  size_t bytes = 0;
  uint8_t *block = NULL;
  mae_status status = open_file(path, &fd, &bytes);
  if (status == MAE_OK && !(block = mae_realloc(NULL, bytes, 1)))
    status = MAE_ERROR_OUT_OF_MEMORY;
  if (status == MAE_OK) status = read_bytes(fd, path, block, bytes);
  if (fd >= 0) close(fd);
  if (status != MAE_OK) {
    free(block);
    return status;
  }
  *data = block;
  *size = bytes;
  return MAE_OK;
}

mae_status mae_image_load(const char *path, mae_image *image) {
  uint8_t *data = NULL;
  size_t size = 0;
  MAE_REQUIRE(image);
  MAE_TRY(mae_image_read_file(path, &data, &size));
  const mae_encoded in = {data, size, path};
  mae_status status = mae_image_decode_shrunk(&in, 1, image);
  free(data);
  return status;
}
