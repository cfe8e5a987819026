/* A filter for pipelines: raw video frames in, features out.
 *
 *   filter WEIGHTS WIDTH HEIGHT
 *
 * reads frames of WIDTH x HEIGHT pixels of 3 bytes (RGB) from stdin and writes
 * for each the class token, f32 as this machine stores it, to stdout as soon
 * as it is known.  A last frame that is cut short is an error.
 *
 *   ffmpeg -i film.mp4 -f rawvideo -pix_fmt rgb24 - |
 *     filter vit_base.safetensors 1280 720 > features.f32
 *   gst-launch-1.0 -q filesrc location=film.mp4 ! decodebin ! videoconvert !
 *     videoscale ! video/x-raw,format=RGB,width=320,height=240 !
 *     fdsink fd=1 | filter vit_base.safetensors 320 240 > features.f32
 *
 * (In GStreamer a row of pixels is padded to 4 bytes: choose a width that is a
 * multiple of 4.)  Build:
 *
 *   cc filter.c $(pkg-config --cflags --libs libmae) -o filter */
#include <libmae/mae.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const char *why) {
  fprintf(stderr, "filter: %s\n", why);
  return 1;
}

/* One frame after the other, until the input ends. */
static int run(mae_session *session, mae_image *frame, uint8_t *pixels,
               float *features) {
  size_t bytes = (size_t)frame->width * (size_t)frame->height * 3;
  size_t values = (size_t)mae_session_feature_size(session);
  frame->data = pixels;
  for (;;) {
    /* fread goes on past the short reads of a pipe. */
    size_t got = fread(pixels, 1, bytes, stdin);
    if (ferror(stdin)) return perror("filter: stdin"), 1;
    if (got == 0) return 0;
    if (got < bytes) return fail("the last frame is cut short");
    if (mae_features_u8(session, frame, 1, features) != MAE_OK)
      return fail(mae_last_error());
    if (fwrite(features, sizeof *features, values, stdout) < values ||
        fflush(stdout))
      return perror("filter: stdout"), 1;
  }
}

static int with_buffers(mae_session *session, mae_image *frame) {
  size_t bytes = (size_t)frame->width * (size_t)frame->height * 3;
  size_t values = (size_t)mae_session_feature_size(session);
  uint8_t *pixels = malloc(bytes);
  float *features = malloc(values * sizeof *features);
  int failed = pixels && features ? run(session, frame, pixels, features)
                                  : fail("no memory");
  free(pixels);
  free(features);
  return failed;
}

int main(int argc, char **argv) {
  mae_context *context = NULL;
  mae_model *model = NULL;
  mae_session *session = NULL;
  long width = argc == 4 ? strtol(argv[2], NULL, 10) : 0;
  long height = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
  if (width < 1 || height < 1 || width > 32768 || height > 32768)
    return fputs("usage: filter WEIGHTS WIDTH HEIGHT\n", stderr), 2;
  mae_image frame = {0};
  frame.width = (int32_t)width;
  frame.height = (int32_t)height;
  frame.channels = 3;
  int failed = 0;
  if (mae_context_create(NULL, &context) != MAE_OK ||
      mae_model_load(argv[1], &model) != MAE_OK ||
      mae_session_create(context, model, NULL, &session) != MAE_OK)
    failed = fail(mae_last_error());
  else
    failed = with_buffers(session, &frame);
  mae_session_destroy(session);
  mae_model_destroy(model);
  mae_context_destroy(context);
  return failed;
}
