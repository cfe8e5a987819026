/* Image files: whole into memory, then the decoder their first bytes name. */
#include "data/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/atomic_file.h"

enum { MOST_PIXELS = 178956970, MOST_SIDE = 65536, MOST_BYTES = 1 << 30 };

mae_status mae_image_begin(const char *name, int64_t width, int64_t height,
                           int32_t channels, mae_image *image) {
  int64_t pixels;
  if (width < 1 || height < 1 || width > MOST_SIDE || height > MOST_SIDE ||
      !mae_mul(width, height, &pixels) || pixels > MOST_PIXELS)
    return mae_fail(MAE_ERROR_FORMAT,
                    "%s: %lld x %lld pixels; sides may be %d, all pixels %d",
                    name, (long long)width, (long long)height, MOST_SIDE,
                    MOST_PIXELS);
  uint8_t *data = mae_realloc(NULL, (size_t)pixels, (size_t)channels);
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

/* On failure *image stays as it was. */
static mae_status decode(const mae_encoded *in, mae_image *image) {
  mae_image decoded = {0};
  if (starts_with(in, 0, "\xff\xd8\xff", 3))
    MAE_TRY(mae_jpeg_decode(in, &decoded));
  else if (starts_with(in, 0, "\x89PNG\r\n\x1a\n", 8))
    MAE_TRY(mae_png_decode(in, &decoded));
  else if (starts_with(in, 0, "RIFF", 4) && starts_with(in, 8, "WEBP", 4))
    MAE_TRY(mae_webp_decode(in, &decoded));
  else
    return mae_fail(MAE_ERROR_FORMAT, "%s: neither JPEG, PNG nor WebP",
                    in->name);
  *image = decoded;
  return MAE_OK;
}

mae_status mae_image_decode(const void *data, size_t size, mae_image *image) {
  MAE_REQUIRE(data);
  MAE_REQUIRE(image);
  const mae_encoded in = {data, size, "image"};
  return decode(&in, image);
}

/* A pipe or device is refused, not waited for. */
static mae_status open_file(const char *path, int *fd, size_t *size) {
  struct stat info;
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (*fd < 0 || fstat(*fd, &info)) return mae_io_fail("open", path, errno);
  if (!S_ISREG(info.st_mode))
    return mae_fail(MAE_ERROR_IO, "%s is not a regular file", path);
  if (info.st_size > MOST_BYTES)
    return mae_fail(MAE_ERROR_FORMAT, "%s: more than %d bytes", path,
                    MOST_BYTES);
  *size = (size_t)info.st_size;
  return MAE_OK;
}

static mae_status read_file(int fd, const char *path, uint8_t *data,
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

mae_status mae_image_load(const char *path, mae_image *image) {
  MAE_REQUIRE(path);
  MAE_REQUIRE(image);
  int fd = -1;
  size_t size = 0;
  uint8_t *data = NULL;
  mae_status status = open_file(path, &fd, &size);
  if (status == MAE_OK && !(data = mae_realloc(NULL, size, 1)))
    status = MAE_ERROR_OUT_OF_MEMORY;
  if (status == MAE_OK) status = read_file(fd, path, data, size);
  if (fd >= 0) close(fd);
  const mae_encoded in = {data, size, path};
  if (status == MAE_OK) status = decode(&in, image);
  free(data);
  return status;
}
