/* Still WebP by libwebp: RGB, or RGBA when the file has alpha. */
#include "data/image.h"

#ifdef MAE_HAVE_WEBP

#include <errno.h>

#include <webp/decode.h>

/* What libwebp says when a malloc fails is now one code, now another, so
 * callers clear errno first. */
static mae_status bad(const mae_encoded *in, VP8StatusCode code) {
  if (errno == ENOMEM) code = VP8_STATUS_OUT_OF_MEMORY;
  switch (code) {
    case VP8_STATUS_OUT_OF_MEMORY:
      return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "%s: no memory to decode it",
                      in->name);
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
      return mae_fail(MAE_ERROR_FORMAT, "%s: the WebP is truncated", in->name);
    default:
      return mae_fail(MAE_ERROR_FORMAT, "%s: a corrupt WebP (libwebp's %d)",
                      in->name, (int)code);
  }
}

static mae_status decode_into(const mae_encoded *in, const mae_image *image) {
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config))
    return mae_fail(MAE_ERROR_UNSUPPORTED, "another libwebp than built for");
  config.output.colorspace = image->channels == 4 ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = (uint8_t *)image->data;
  config.output.u.RGBA.stride = (int)image->stride;
  config.output.u.RGBA.size = (size_t)image->stride * (size_t)image->height;
  errno = 0;
  VP8StatusCode code = WebPDecode(in->data, in->size, &config);
  return code == VP8_STATUS_OK ? MAE_OK : bad(in, code);
}

static mae_status read_header(const mae_encoded *in,
                              WebPBitstreamFeatures *features) {
  errno = 0;
  VP8StatusCode code = WebPGetFeatures(in->data, in->size, features);
  if (code != VP8_STATUS_OK) return bad(in, code);
  if (features->has_animation)
    return mae_fail(MAE_ERROR_UNSUPPORTED, "%s: an animated WebP", in->name);
  return mae_image_check(in->name, features->width, features->height);
}

static mae_status read_size(const mae_encoded *in, int32_t *width,
                            int32_t *height) {
  WebPBitstreamFeatures features;
  MAE_TRY(read_header(in, &features));
  *width = features.width;
  *height = features.height;
  return MAE_OK;
}

static mae_status decode(const mae_encoded *in, int32_t shrink,
                         mae_image *image) {
  (void)shrink;
  WebPBitstreamFeatures features;
  MAE_TRY(read_header(in, &features));
  MAE_TRY(mae_image_begin(in->name, features.width, features.height,
                          features.has_alpha ? 4 : 3, image));
  mae_status status = decode_into(in, image);
  if (status != MAE_OK) mae_image_free(image);
  return status;
}

#else

static mae_status missing(const mae_encoded *in) {
  return mae_fail(MAE_ERROR_UNSUPPORTED,
                  "%s: this libmae was built without WebP", in->name);
}

static mae_status read_size(const mae_encoded *in, int32_t *width,
                            int32_t *height) {
  (void)width, (void)height;
  return missing(in);
}

static mae_status decode(const mae_encoded *in, int32_t shrink,
                         mae_image *image) {
  (void)shrink, (void)image;
  return missing(in);
}

#endif

const mae_image_format mae_webp = {read_size, decode};
