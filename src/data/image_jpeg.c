/* JPEG by libjpeg-turbo: baseline and progressive; grey, or RGB of whatever
 * colours the file has. */
#include "data/image.h"

#ifdef MAE_HAVE_JPEG

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>

#include <jpeglib.h>
/* Its list of codes depends on what jpeglib.h defines. */
#include <jerror.h>

/* A file of very many scans would take very long; encoders write about ten. */
enum { MOST_SCANS = 500 };

/* All that outlives a longjmp is in here, not in locals. */
typedef struct decoder {
  struct jpeg_decompress_struct jpeg;
  struct jpeg_error_mgr errors;
  struct jpeg_progress_mgr progress;
  jmp_buf failed;
  const mae_encoded *in;
  int32_t shrink;
  mae_image *image;
  mae_status status;
} decoder;

static void fail_with(decoder *d, mae_status status, const char *what) {
  d->status = mae_fail(status, "%s: %s", d->in->name, what);
  longjmp(d->failed, 1);
}

static void on_error(j_common_ptr jpeg) {
  char text[JMSG_LENGTH_MAX];
  const bool memory = jpeg->err->msg_code == JERR_OUT_OF_MEMORY;
  jpeg->err->format_message(jpeg, text);
  fail_with(jpeg->client_data,
            memory ? MAE_ERROR_OUT_OF_MEMORY : MAE_ERROR_FORMAT, text);
}

/* libjpeg paints what it cannot read grey and warns; that is no picture. */
static void on_message(j_common_ptr jpeg, int level) {
  if (level >= 0) return;
  switch (jpeg->err->msg_code) {
    case JWRN_JPEG_EOF:
      fail_with(jpeg->client_data, MAE_ERROR_FORMAT, "the JPEG is truncated");
      break;
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC: on_error(jpeg); break;
    default: break; /* odd, but nothing is lost */
  }
}

static void on_progress(j_common_ptr jpeg) {
  decoder *d = jpeg->client_data;
  if (d->jpeg.input_scan_number > MOST_SCANS)
    fail_with(d, MAE_ERROR_FORMAT, "a JPEG of too many scans");
}

static void silent(j_common_ptr jpeg) { (void)jpeg; }

static void start(decoder *d) {
  d->jpeg.err = jpeg_std_error(&d->errors);
  d->errors.error_exit = on_error;
  d->errors.emit_message = on_message;
  d->errors.output_message = silent;
  d->jpeg.client_data = d;
  jpeg_create_decompress(&d->jpeg);
  d->progress.progress_monitor = on_progress;
  d->jpeg.progress = &d->progress;
  jpeg_mem_src(&d->jpeg, (unsigned char *)d->in->data,
               (unsigned long)d->in->size);
  jpeg_read_header(&d->jpeg, TRUE);
}

static void choose_colours(decoder *d) {
  switch (d->jpeg.jpeg_color_space) {
    case JCS_GRAYSCALE: d->jpeg.out_color_space = JCS_GRAYSCALE; break;
    case JCS_RGB:
    case JCS_YCbCr: d->jpeg.out_color_space = JCS_RGB; break;
    case JCS_CMYK:
    case JCS_YCCK: d->jpeg.out_color_space = JCS_CMYK; break;
    default:
      fail_with(d, MAE_ERROR_UNSUPPORTED, "a JPEG neither grey, RGB nor CMYK");
  }
}

/* a * b / 255, rounded. */
static int product(int a, int b) {
  const int v = a * b + 128;
  return (v + (v >> 8)) >> 8;
}

/* Inks are stored inverted, as Adobe does and Pillow takes for granted. */
static void cmyk_to_rgb(uint8_t *rgb, const uint8_t *cmyk, int32_t width) {
  for (int32_t x = 0; x < width; x++, rgb += 3, cmyk += 4)
    for (int c = 0; c < 3; c++)
      rgb[c] = (uint8_t)(cmyk[3] - product(255 - cmyk[c], cmyk[3]));
}

static void read_rows(decoder *d) {
  const bool inks = d->jpeg.out_color_space == JCS_CMYK;
  JSAMPROW row = NULL;
  if (inks) /* libjpeg's own memory goes with the decoder */
    row = d->jpeg.mem->alloc_large((j_common_ptr)&d->jpeg, JPOOL_IMAGE,
                                   (size_t)d->jpeg.output_width * 4);
  while (d->jpeg.output_scanline < d->jpeg.output_height) {
    uint8_t *y = (uint8_t *)d->image->data +
                 (ptrdiff_t)d->jpeg.output_scanline * d->image->stride;
    if (!inks) row = y;
    jpeg_read_scanlines(&d->jpeg, &row, 1);
    if (inks) cmyk_to_rgb(y, row, d->image->width);
  }
}

/* Locals are not changed after setjmp. */
static mae_status run_header(decoder *d) {
  if (setjmp(d->failed)) return d->status;
  start(d);
  choose_colours(d);
  return mae_image_check(d->in->name, d->jpeg.image_width,
                         d->jpeg.image_height);
}

/* The inverse transform itself makes fewer pixels of each block. */
static mae_status run(decoder *d) {
  MAE_TRY(run_header(d));
  if (setjmp(d->failed)) return d->status;
  d->jpeg.scale_num = 1;
  d->jpeg.scale_denom = (unsigned)d->shrink;
  jpeg_calc_output_dimensions(&d->jpeg);
  d->status = mae_image_begin(
      d->in->name, d->jpeg.output_width, d->jpeg.output_height,
      d->jpeg.out_color_space == JCS_GRAYSCALE ? 1 : 3, d->image);
  if (d->status != MAE_OK) return d->status;
  jpeg_start_decompress(&d->jpeg);
  read_rows(d);
  jpeg_finish_decompress(&d->jpeg);
  return MAE_OK;
}

static mae_status read_size(const mae_encoded *in, int32_t *width,
                            int32_t *height) {
  decoder d = {.in = in};
  mae_status status = run_header(&d);
  *width = (int32_t)d.jpeg.image_width;
  *height = (int32_t)d.jpeg.image_height;
  jpeg_destroy_decompress(&d.jpeg);
  return status;
}

static mae_status decode(const mae_encoded *in, int32_t shrink,
                         mae_image *image) {
  decoder d = {.in = in, .shrink = shrink, .image = image};
  mae_status status = run(&d);
  jpeg_destroy_decompress(&d.jpeg);
  if (status != MAE_OK) mae_image_free(image);
  return status;
}

#else

static mae_status missing(const mae_encoded *in) {
  return mae_fail(MAE_ERROR_UNSUPPORTED,
                  "%s: this libmae was built without JPEG", in->name);
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

const mae_image_format mae_jpeg = {read_size, decode};
