/* PNG by libpng: grey stays grey, colours and palettes become RGB, anything
 * with transparency RGBA; of 16 bits the upper 8 are kept (as in Pillow). */
#include "data/image.h"

#ifdef MAE_HAVE_PNG

#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

/* Bounds of what a chunk may make libpng keep. */
enum { MOST_CHUNKS = 128, MOST_CHUNK_BYTES = 8 << 20 };

/* All that outlives a longjmp is in here, not in locals. */
typedef struct decoder {
  png_structp png;
  png_infop info;
  jmp_buf failed;
  const mae_encoded *in;
  size_t at; /* bytes consumed */
  mae_image *image;
  mae_status status;
  bool no_memory; /* which libpng's messages tell in various ways */
} decoder;

static void fail_with(decoder *d, mae_status status, const char *what) {
  d->status = mae_fail(status, "%s: %s", d->in->name, what);
  longjmp(d->failed, 1);
}

static void on_error(png_structp png, png_const_charp what) {
  decoder *d = png_get_error_ptr(png);
  fail_with(d, d->no_memory ? MAE_ERROR_OUT_OF_MEMORY : MAE_ERROR_FORMAT,
            what);
}

/* For libpng and zlib. */
static png_voidp on_malloc(png_structp png, png_alloc_size_t size) {
  decoder *d = png_get_mem_ptr(png);
  void *block = malloc(size);
  if (!block) d->no_memory = true;
  return block;
}

static void on_free(png_structp png, png_voidp block) {
  (void)png;
  free(block);
}

static void on_warning(png_structp png, png_const_charp what) {
  (void)png, (void)what;
}

static void on_read(png_structp png, png_bytep into, size_t size) {
  decoder *d = png_get_io_ptr(png);
  if (size > d->in->size - d->at)
    fail_with(d, MAE_ERROR_FORMAT, "the PNG is truncated");
  memcpy(into, d->in->data + d->at, size);
  d->at += size;
}

static void start(decoder *d) {
  png_set_read_fn(d->png, d, on_read);
  png_set_chunk_cache_max(d->png, MOST_CHUNKS);
  png_set_chunk_malloc_max(d->png, MOST_CHUNK_BYTES);
  png_set_user_limits(d->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
#ifdef PNG_HANDLE_AS_UNKNOWN_SUPPORTED
  /* Skip profiles, texts and the like unread. */
  png_set_keep_unknown_chunks(d->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
#endif
  png_read_info(d->png, d->info);
}

static bool has_alpha(const decoder *d) {
  return png_get_color_type(d->png, d->info) & PNG_COLOR_MASK_ALPHA ||
         png_get_valid(d->png, d->info, PNG_INFO_tRNS);
}

/* Returns the channels that rows will have. */
static int32_t choose_colours(decoder *d) {
  const bool alpha = has_alpha(d);
  const bool grey = !(png_get_color_type(d->png, d->info) &
                      PNG_COLOR_MASK_COLOR);
  png_set_expand(d->png);
  png_set_strip_16(d->png);
  if (alpha && grey) png_set_gray_to_rgb(d->png);
  return alpha ? 4 : grey ? 1 : 3;
}

static void read_rows(decoder *d) {
  const int passes = png_set_interlace_handling(d->png);
  png_read_update_info(d->png, d->info);
  if (png_get_rowbytes(d->png, d->info) != (size_t)d->image->stride)
    fail_with(d, MAE_ERROR_FORMAT, "a PNG of an odd kind");
  for (int pass = 0; pass < passes; pass++)
    for (int32_t y = 0; y < d->image->height; y++)
      png_read_row(d->png,
                   (uint8_t *)d->image->data + y * d->image->stride, NULL);
}

/* Locals are not changed after setjmp. */
static mae_status run_header(decoder *d) {
  if (setjmp(d->failed)) return d->status;
  d->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, d, on_error,
                                    on_warning, d, on_malloc, on_free);
  if (d->png) d->info = png_create_info_struct(d->png);
  if (!d->info)
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for libpng");
  start(d);
  return mae_image_check(d->in->name, png_get_image_width(d->png, d->info),
                         png_get_image_height(d->png, d->info));
}

static mae_status run(decoder *d) {
  MAE_TRY(run_header(d));
  if (setjmp(d->failed)) return d->status;
  d->status = mae_image_begin(
      d->in->name, png_get_image_width(d->png, d->info),
      png_get_image_height(d->png, d->info), choose_colours(d), d->image);
  if (d->status != MAE_OK) return d->status;
  read_rows(d);
  png_read_end(d->png, NULL);
  return MAE_OK;
}

static mae_status read_size(const mae_encoded *in, int32_t *width,
                            int32_t *height) {
  decoder d = {.in = in};
  mae_status status = run_header(&d);
  if (status == MAE_OK) {
    *width = (int32_t)png_get_image_width(d.png, d.info);
    *height = (int32_t)png_get_image_height(d.png, d.info);
  }
  png_destroy_read_struct(&d.png, &d.info, NULL);
  return status;
}

static mae_status decode(const mae_encoded *in, int32_t shrink,
                         mae_image *image) {
  (void)shrink;
  decoder d = {.in = in, .image = image};
  mae_status status = run(&d);
  png_destroy_read_struct(&d.png, &d.info, NULL);
  if (status != MAE_OK) mae_image_free(image);
  return status;
}

#else

static mae_status missing(const mae_encoded *in) {
  return mae_fail(MAE_ERROR_UNSUPPORTED,
                  "%s: this libmae was built without PNG", in->name);
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

const mae_image_format mae_png = {read_size, decode};
