#include "fashion.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char folder[] = "/usr/share/datasets/fashion-mnist";

void need(mae_status status) {
  if (status == MAE_OK) return;
  fprintf(stderr, "%s: %s\n", mae_status_name(status), mae_last_error());
  exit(1);
}

static mae_idx *load(const char *which, const char *what, int32_t ndim) {
  char path[256];
  mae_idx *idx;
  snprintf(path, sizeof path, "%s/%s-%s-ubyte.gz", folder, which, what);
  mae_status status = mae_idx_load(path, &idx);
  if (status == MAE_ERROR_NOT_FOUND)
    fprintf(stderr, "apt-get install dataset-fashion-mnist\n");
  need(status);
  if (mae_idx_ndim(idx) == ndim) return idx;
  fprintf(stderr, "%s: not the expected data\n", path);
  exit(1);
}

fashion fashion_load(const char *which) {
  mae_idx *images = load(which, "images-idx3", 3);
  mae_idx *labels = load(which, "labels-idx1", 1);
  fashion data = {.n = mae_idx_dim(images, 0)};
  size_t n = (size_t)data.n;
  data.images = malloc(n * FASHION_PIXELS * sizeof *data.images);
  data.labels = malloc(n);
  if (!data.images || !data.labels || mae_idx_dim(labels, 0) != data.n ||
      mae_idx_dim(images, 1) != FASHION_SIDE ||
      mae_idx_dim(images, 2) != FASHION_SIDE) {
    fprintf(stderr, "%s: no memory, or not the expected data\n", which);
    exit(1);
  }
  for (size_t i = 0; i < n * FASHION_PIXELS; i++)
    data.images[i] =
        ((float)mae_idx_data(images)[i] / 255 - FASHION_MEAN) / FASHION_STD;
  memcpy(data.labels, mae_idx_data(labels), n);
  mae_idx_destroy(images);
  mae_idx_destroy(labels);
  return data;
}

void fashion_free(fashion *data) {
  free(data->images);
  free(data->labels);
}
