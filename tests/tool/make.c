/* Models, images, frames, and features by the library. */
#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* After stdio.h, which it does not include itself. */
#include <jpeglib.h>
#include <webp/encode.h>

#include "helper.h"

void make_model(int n, char **arguments) {
  mae_config c;
  mae_model *model;
  (void)n;
  need(mae_config_init(&c, sizeof c, NULL));
  c.image_height = c.image_width = 32;
  c.patch_size = 8;
  c.embed_dim = 48;
  c.depth = 3;
  c.num_heads = 4;
  c.decoder_embed_dim = 32;
  c.decoder_depth = 1;
  c.decoder_num_heads = 2;
  if (!strcmp(arguments[1], "grey")) c.in_chans = 1;
  if (!strcmp(arguments[1], "encoder"))
    c.decoder_embed_dim = c.decoder_depth = c.decoder_num_heads = 0;
  const bool classifies = !strcmp(arguments[1], "classifier");
  if (classifies) {
    c.decoder_embed_dim = c.decoder_depth = c.decoder_num_heads = 0;
    c.num_classes = 2;
  }
  need(mae_model_create(&c, 7, &model));
  if (classifies) {
    static const char *const names[] = {"cat", "dog"};
    static const float mean[] = {0.5f, 0.25f, 0.125f}, std[] = {1, 2, 3};
    need(mae_model_set_class_names(model, names));
    need(mae_model_set_normalization(model, mean, std));
  }
  /* A new class token and new biases are near zero: make them tell. */
  for (int32_t i = 0; i < mae_model_num_tensors(model); i++) {
    const mae_tensor *t = mae_model_tensor(model, i);
    if (strstr(mae_model_tensor_name(model, i), "bias") ||
        strstr(mae_model_tensor_name(model, i), "token"))
      need(mae_random_uniform(11, (uint64_t)i, 0, (size_t)mae_tensor_size(t),
                              mae_tensor_data(t)));
  }
  need(mae_model_save(model, arguments[0]));
  mae_model_destroy(model);
}

static void write_png(const char *path, const unsigned char *p, int w, int h) {
  png_image image;
  memset(&image, 0, sizeof image);
  image.version = PNG_IMAGE_VERSION;
  image.width = (png_uint_32)w;
  image.height = (png_uint_32)h;
  image.format = PNG_FORMAT_RGB;
  if (!png_image_write_to_file(&image, path, 0, p, 0, NULL))
    die("%s: %s", path, image.message);
}

static void write_jpeg(const char *path, const unsigned char *p, int w, int h) {
  struct jpeg_compress_struct jpeg;
  struct jpeg_error_mgr errors; /* ends the program by itself */
  unsigned char *bytes = NULL;
  unsigned long size = 0;
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  jpeg_mem_dest(&jpeg, &bytes, &size);
  jpeg.image_width = (JDIMENSION)w;
  jpeg.image_height = (JDIMENSION)h;
  jpeg.input_components = 3;
  jpeg.in_color_space = JCS_RGB;
  jpeg_set_defaults(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  while (jpeg.next_scanline < jpeg.image_height) {
    JSAMPROW row = (JSAMPROW)p + (size_t)jpeg.next_scanline * (size_t)w * 3;
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  write_file(path, bytes, size);
  free(bytes);
}

static void write_webp(const char *path, const unsigned char *p, int w, int h) {
  uint8_t *bytes;
  size_t size = WebPEncodeRGB(p, w, h, 3 * w, 90, &bytes);
  if (!size) die("%s: no WebP", path);
  write_file(path, bytes, size);
  WebPFree(bytes);
}

/* Waves of colour that depend on the seed. */
void make_image(int n, char **arguments) {
  const char *path = arguments[0], *suffix = strrchr(path, '.');
  int seed = atoi(arguments[1]), w = atoi(arguments[2]), h = atoi(arguments[3]);
  unsigned char *p = need_memory((size_t)w * (size_t)h * 3);
  (void)n;
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++)
      for (int k = 0; k < 3; k++) {
        double wave = (seed + k) * 4.2 * x / w + 9. * y / h + seed * (k + 1);
        p[(y * w + x) * 3 + k] = (unsigned char)(127.5 + 127 * sin(wave));
      }
  if (suffix && !strcmp(suffix, ".jpg"))
    write_jpeg(path, p, w, h);
  else if (suffix && !strcmp(suffix, ".webp"))
    write_webp(path, p, w, h);
  else
    write_png(path, p, w, h);
  free(p);
}

void make_frames(int n, char **arguments) {
  FILE *out = fopen(arguments[0], "wb");
  for (int i = 1; out && i < n; i++) {
    mae_image image;
    need(mae_image_load(arguments[i], &image));
    if (image.channels != 3 ||
        (image.stride && image.stride != image.width * 3))
      die("%s is not RGB", arguments[i]);
    fwrite(image.data, 3, (size_t)image.width * (size_t)image.height, out);
    mae_image_free(&image);
  }
  if (!out || fclose(out)) die("cannot write %s", arguments[0]);
}

static void set_options(const char *what, mae_session_options *o) {
  static const int32_t blocks[] = {0, 2, -1};
  mae_session_options_init(o, sizeof *o);
  if (strstr(what, "mean")) o->features = MAE_FEATURES_MEAN;
  if (strstr(what, "tokens")) o->features = MAE_FEATURES_TOKENS;
  if (strstr(what, "attention")) o->features = MAE_FEATURES_ATTENTION;
  if (strstr(what, "l2")) o->l2_normalize = 1;
  if (strstr(what, "nonorm")) o->final_norm = 0;
  if (strstr(what, "first")) o->block = 0;
  if (strstr(what, "bf16")) o->precision = MAE_PRECISION_BF16;
  if (strstr(what, "blocks")) {
    o->blocks = blocks;
    o->num_blocks = 3;
  }
  if (strstr(what, "size")) {
    o->image_height = 48;
    o->image_width = 32;
    o->crop_ratio = 1;
  }
  if (strstr(what, "half")) {
    static const float half[] = {0.5f, 0.5f, 0.5f};
    o->mean = o->std = half;
  }
}

void make_features(int n, char **arguments) {
  mae_context *context;
  mae_model *model;
  mae_session *session;
  mae_session_options o;
  int count = n - 3;
  mae_image *images = need_memory((size_t)count * sizeof *images);
  set_options(arguments[2], &o);
  need(mae_context_create(NULL, &context));
  need(mae_model_load(arguments[1], &model));
  need(mae_session_create(context, model, &o, &session));
  for (int i = 0; i < count; i++)
    need(mae_image_load(arguments[3 + i], &images[i]));
  size_t bytes =
      (size_t)(mae_session_feature_size(session) * count) * sizeof(float);
  float *features = need_memory(bytes);
  need(mae_features_u8(session, images, count, features));
  write_file(arguments[0], features, bytes);
  for (int i = 0; i < count; i++) mae_image_free(&images[i]);
  free(images);
  free(features);
  mae_session_destroy(session);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
