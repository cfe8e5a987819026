/* The features of one image, by any weights file libmae can read:
 *
 *   features WEIGHTS IMAGE
 *
 * prints the class token, a number a line.  Build:
 *
 *   cc features.c $(pkg-config --cflags --libs libmae) -o features */
#include <libmae/mae.h>
#include <stdio.h>
#include <stdlib.h>

static int print_features(mae_session *session, const char *path) {
  int64_t size = mae_session_feature_size(session);
  float *features = malloc((size_t)size * sizeof *features);
  mae_image image;
  if (!features) return fputs("no memory\n", stderr), 1;
  int failed = mae_image_load(path, &image) != MAE_OK;
  if (!failed) {
    failed = mae_features_u8(session, &image, 1, features) != MAE_OK;
    mae_image_free(&image);
  }
  if (failed) fprintf(stderr, "%s: %s\n", path, mae_last_error());
  for (int64_t i = 0; i < size && !failed; i++)
    printf("%.9g\n", (double)features[i]);
  free(features);
  return failed;
}

int main(int argc, char **argv) {
  mae_context *context = NULL;
  mae_model *model = NULL;
  mae_session *session = NULL;
  if (argc != 3) return fputs("usage: features WEIGHTS IMAGE\n", stderr), 2;
  int failed = mae_context_create(NULL, &context) != MAE_OK ||
               mae_model_load(argv[1], &model) != MAE_OK ||
               mae_session_create(context, model, NULL, &session) != MAE_OK;
  if (failed)
    fprintf(stderr, "%s\n", mae_last_error());
  else
    failed = print_features(session, argv[2]);
  mae_session_destroy(session);
  mae_model_destroy(model);
  mae_context_destroy(context);
  return failed || fflush(stdout);
}
