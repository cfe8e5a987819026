/* Draws original | masked | reconstruction of Fashion-MNIST's test images:
 *
 *   reconstruct CHECKPOINT OUT.png [FIRST [COUNT]] */
#include <stdio.h>
#include <stdlib.h>

#include "fashion.h"
#include "grid.h"

int main(int argc, char **argv) {
  int first = argc > 3 ? atoi(argv[3]) : 0;
  int count = argc > 4 ? atoi(argv[4]) : 8;
  if (argc < 3 || first < 0 || count < 1 || count > 1000 ||
      first > 10000 - count) {
    fprintf(stderr, "usage: reconstruct CHECKPOINT OUT.png [FIRST [COUNT]]\n");
    return 2;
  }
  mae_context *context;
  mae_model *model;
  mae_config config;
  need(mae_context_create(NULL, &context));
  need(mae_model_load(argv[1], &model));
  need(mae_config_init(&config, sizeof config, NULL));
  need(mae_model_config(model, &config));
  if (config.in_chans != 1 || config.image_height != FASHION_SIDE ||
      config.image_width != FASHION_SIDE) {
    fprintf(stderr, "%s is of no model for 28 x 28 grey images\n", argv[1]);
    return 1;
  }
  fashion test = fashion_load("t10k");
  int error = grid_write(context, model,
                         test.images + (size_t)first * FASHION_PIXELS, count,
                         FASHION_MEAN, FASHION_STD, argv[2]);
  if (error) fprintf(stderr, "cannot write %s\n", argv[2]);
  fashion_free(&test);
  mae_model_destroy(model);
  mae_context_destroy(context);
  return error ? 1 : 0;
}
