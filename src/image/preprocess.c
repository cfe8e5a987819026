#include "image/preprocess.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "kernels/context.h"
#include "image/resample.h"

/* Along an axis of an image given or wanted, and of a target over its crop
 * ratio. */
enum { MOST_PIXELS = 65536, MOST_RESIZED = 1 << 20 };

struct mae_preprocess {
  int32_t chans, height, width;
  double crop_ratio;
  float *mean, *std; /* [chans] */
  mae_resample across, down;
  void *rows, *planes; /* scratch of mae_kernels.resize_across, its result */
  size_t rows_size, planes_size;
};

/* ------------------------------------------------------------- create --- */

static mae_status check_target(int32_t chans, int32_t height, int32_t width,
                               double crop_ratio) {
  if (chans < 1 || chans > MOST_PIXELS || height < 1 ||
      height > MOST_PIXELS || width < 1 || width > MOST_PIXELS)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "images of %d x %d x %d, not 1 to %d each", chans, height,
                    width, MOST_PIXELS);
  if (!(crop_ratio >= 0 && crop_ratio <= 1))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "crop_ratio is %g, not in [0, 1]", crop_ratio);
  if (crop_ratio > 0 && fmax(height, width) / crop_ratio > MOST_RESIZED)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "crop_ratio %g is too small", crop_ratio);
  return MAE_OK;
}

static float default_mean(int32_t chans, int32_t c) {
  static const float imagenet[] = {0.485f, 0.456f, 0.406f};
  if (chans == 1) return 0.449f; /* the mean of the three */
  return chans == 3 ? imagenet[c] : 0.5f;
}

static float default_std(int32_t chans, int32_t c) {
  static const float imagenet[] = {0.229f, 0.224f, 0.225f};
  if (chans == 1) return 0.226f;
  return chans == 3 ? imagenet[c] : 0.5f;
}

static mae_status set_normalisation(mae_preprocess *p, const float *mean,
                                    const float *std) {
  p->mean = mae_calloc((size_t)p->chans, sizeof *p->mean);
  p->std = mae_calloc((size_t)p->chans, sizeof *p->std);
  if (!p->mean || !p->std) return MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t c = 0; c < p->chans; c++) {
    p->mean[c] = mean ? mean[c] : default_mean(p->chans, c);
    p->std[c] = std ? std[c] : default_std(p->chans, c);
    if (!isfinite(p->mean[c]) || !isfinite(p->std[c]) || !(p->std[c] > 0))
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                      "channel %d: mean %g and std %g are not finite and "
                      "positive", c, (double)p->mean[c], (double)p->std[c]);
  }
  return MAE_OK;
}

/* The rule of the official evaluation. */
static double official_ratio(int32_t height, int32_t width) {
  return height <= 224 && width <= 224 ? 224.0 / 256 : 1;
}

mae_status mae_preprocess_create(int32_t chans, int32_t height, int32_t width,
                                 double crop_ratio, const float *mean,
                                 const float *std, mae_preprocess **out) {
  MAE_REQUIRE(out);
  MAE_TRY(check_target(chans, height, width, crop_ratio));
  mae_preprocess *p = mae_calloc(1, sizeof *p);
  if (!p) return MAE_ERROR_OUT_OF_MEMORY;
  p->chans = chans;
  p->height = height;
  p->width = width;
  p->crop_ratio = crop_ratio > 0 ? crop_ratio : official_ratio(height, width);
  mae_status status = set_normalisation(p, mean, std);
  if (status != MAE_OK) {
    mae_preprocess_destroy(p);
    return status;
  }
  *out = p;
  return MAE_OK;
}

void mae_preprocess_destroy(mae_preprocess *p) {
  if (!p) return;
  mae_resample_free(&p->across);
  mae_resample_free(&p->down);
  free(p->mean);
  free(p->std);
  free(p->rows);
  free(p->planes);
  free(p);
}

const float *mae_preprocess_mean(const mae_preprocess *p) { return p->mean; }

const float *mae_preprocess_std(const mae_preprocess *p) { return p->std; }

/* ---------------------------------------------------------------- run --- */

/* Bytes from row to row, when rows of that stride exist in any memory. */
static mae_status check_stride(const mae_image *image, int64_t *stride) {
  const int64_t row = (int64_t)image->width * image->channels;
  const int64_t given = image->stride ? image->stride : row;
  int64_t size;
  if (given == INT64_MIN || llabs(given) < row)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "a stride of %lld bytes for rows of %lld",
                    (long long)given, (long long)row);
  if (!mae_mul(llabs(given), image->height, &size) || size > PTRDIFF_MAX)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "%d rows of %lld bytes exceed memory", image->height,
                    (long long)given);
  *stride = given;
  return MAE_OK;
}

/* *checked is the image, its stride spelt out. */
static mae_status check_image(const mae_preprocess *p, const mae_image *image,
                              mae_image *checked) {
  int64_t stride = 0;
  const int32_t channels = image->channels;
  MAE_REQUIRE(image->data);
  if (image->width < 1 || image->height < 1 || image->width > MOST_PIXELS ||
      image->height > MOST_PIXELS || channels < 1)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "an image of %d x %d pixels, %d channels; sides are 1 to "
                    "%d", image->width, image->height, channels, MOST_PIXELS);
  const bool known = channels == 1 || channels == 3 || channels == 4;
  const bool wanted = p->chans == 1 || p->chans == 3;
  if (channels != p->chans && !(known && wanted))
    return mae_fail(MAE_ERROR_UNSUPPORTED,
                    "an image of %d channels for a model of %d", channels,
                    p->chans);
  MAE_TRY(check_stride(image, &stride));
  *checked = *image;
  checked->stride = (ptrdiff_t)stride;
  return MAE_OK;
}

typedef struct placement {
  int64_t height, width; /* of the resized image */
  int64_t top, left;     /* of the crop in it */
  mae_stretch down, across; /* of the image, what is resized */
} placement;

/* Half of the margin; a half pixel goes to the even neighbour, as in Python's
 * round. */
static int64_t centre(int64_t margin) {
  const int64_t half = margin / 2;
  return half + (margin % 2 && half % 2);
}

/* The smallest image of the source's aspect that covers target / crop_ratio.
 * One side fits exactly; the other is cut to whole pixels.  Of a square target
 * that is torchvision's Resize. */
static placement place(const mae_preprocess *p, const mae_image *image) {
  const int64_t h = (int64_t)(p->height / p->crop_ratio);
  const int64_t w = (int64_t)(p->width / p->crop_ratio);
  placement at = {.height = h,
                  .width = w,
                  .down = {image->height, 0, image->height},
                  .across = {image->width, 0, image->width}};
  if (h * image->width >= w * image->height)
    at.width = (int64_t)((double)(h * image->width) / image->height);
  else
    at.height = (int64_t)((double)(w * image->height) / image->width);
  at.top = centre(at.height - p->height);
  at.left = centre(at.width - p->width);
  return at;
}

enum { PADDING = 16 }; /* kernels read whole vectors */

static mae_status make_room(mae_preprocess *p, int64_t planes, int64_t pitch,
                            int32_t threads, int64_t *row_size) {
  const int64_t columns = p->across.axis.end - p->across.axis.begin;
  const int64_t rows = p->down.axis.end - p->down.axis.begin;
  int64_t size;
  *row_size = (int64_t)mae_align((size_t)(columns + PADDING) *
                                 (planes == 1 ? 1 : 4));
  MAE_TRY(mae_grow(&p->rows, &p->rows_size, *row_size * threads));
  if (!mae_mul(rows * pitch, planes, &size))
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory to resize an image");
  return mae_grow(&p->planes, &p->planes_size, size);
}

/* What resize_across reads of the image. */
static mae_pixels pixels_of(const mae_preprocess *p, const mae_image *image) {
  const mae_axis *down = &p->down.axis;
  const bool grey = image->channels == 1 || p->chans == 1;
  return (mae_pixels){.data = image->data + down->begin * image->stride,
                      .rows = down->end - down->begin,
                      .stride = image->stride,
                      .channels = image->channels,
                      .planes = grey ? 1 : p->chans};
}

/* An image whose stride is known to be sound. */
static mae_status resize(mae_preprocess *p, mae_context *context,
                         const mae_image *image, placement at, bool mirror,
                         float *out) {
  int64_t row_size = 0;
  MAE_TRY(mae_resample_fit(&p->down, at.down, at.height, at.top, p->height, 1,
                           false));
  const mae_pixels pixels = pixels_of(p, image);
  MAE_TRY(mae_resample_fit(&p->across, at.across, at.width, at.left, p->width,
                           pixels.planes == 1 ? 1 : 4, mirror));
  const int64_t pitch = (int64_t)mae_align((size_t)p->width + PADDING);
  MAE_TRY(make_room(p, pixels.planes, pitch, mae_pool_threads(context->pool),
                    &row_size));
  const mae_kernels *k = context->kernels;
  k->resize_across(context->pool, &pixels, &p->across.axis, pitch, p->rows,
                   row_size, p->planes);
  k->resize_down(context->pool, pixels.planes, p->chans, p->width, pitch,
                 &p->down.axis, p->planes, p->mean, p->std, out);
  return MAE_OK;
}

mae_status mae_preprocess_run(mae_preprocess *p, mae_context *context,
                              const mae_image *image, float *out) {
  mae_image checked;
  MAE_REQUIRE(p);
  MAE_REQUIRE(context);
  MAE_REQUIRE(image);
  MAE_REQUIRE(out);
  MAE_TRY(check_image(p, image, &checked));
  return resize(p, context, &checked, place(p, image), false, out);
}

static mae_status check_box(const mae_image *image, mae_box b) {
  if (b.left >= 0 && b.top >= 0 && b.width > 0 && b.height > 0 &&
      b.left + b.width <= image->width && b.top + b.height <= image->height)
    return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                  "a box of %g x %g at (%g, %g) in an image of %d x %d", b.width,
                  b.height, b.left, b.top, image->width, image->height);
}

/* The pixels that a stretch touches; it then begins within the first. */
static mae_stretch touch(double begin, double length, int64_t *first) {
  *first = (int64_t)floor(begin);
  return (mae_stretch){(int64_t)ceil(begin + length) - *first,
                       begin - (double)*first, length};
}

mae_status mae_preprocess_crop(mae_preprocess *p, mae_context *context,
                               const mae_image *image, mae_box box, bool flip,
                               float *out) {
  mae_image part;
  int64_t left, top;
  MAE_REQUIRE(p);
  MAE_REQUIRE(context);
  MAE_REQUIRE(image);
  MAE_REQUIRE(out);
  MAE_TRY(check_image(p, image, &part));
  MAE_TRY(check_box(image, box));
  const placement whole = {.height = p->height,
                           .width = p->width,
                           .down = touch(box.top, box.height, &top),
                           .across = touch(box.left, box.width, &left)};
  part.data += top * part.stride + left * part.channels;
  part.height = (int32_t)whole.down.inputs;
  part.width = (int32_t)whole.across.inputs;
  return resize(p, context, &part, whole, flip, out);
}
