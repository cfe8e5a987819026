/* IDX files, plain and gzipped: as images, and as the labels of images. */
#include "libmae/mae.h"

#include "common/input.h"

static void use_idx(const char *path) {
  mae_idx *idx = NULL;
  if (mae_idx_load(path, &idx) != MAE_OK) return;
  int64_t n = 1;
  REQUIRE(mae_idx_ndim(idx) >= 1 && mae_idx_ndim(idx) <= 4);
  for (int32_t i = 0; i < mae_idx_ndim(idx); i++) n *= mae_idx_dim(idx, i);
  if (n) (void)*(volatile const uint8_t *)(mae_idx_data(idx) + n - 1);
  mae_idx_destroy(idx);
}

static void use_images(const char *path) {
  mae_dataset *d = NULL;
  if (mae_dataset_open(path, &d) != MAE_OK) return;
  const int64_t n = mae_dataset_size(d);
  for (int64_t i = 0; i<n; i += n> 4 ? n / 4 : 1) {
    mae_image image;
    REQUIRE(mae_dataset_load_image(d, i, &image) == MAE_OK);
    mae_image_free(&image);
  }
  mae_dataset_destroy(d);
}

static void use_labels(const uint8_t *data, size_t size) {
  static const uint8_t images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0,
                                   0, 0, 1, 0, 0, 0, 1, 5, 6};
  mae_dataset *d = NULL;
  const char *path = input_file("x-images-idx3-ubyte", images, sizeof images);
  (void)input_file("x-labels-idx1-ubyte", data, size);
  if (mae_dataset_open_labelled(path, NULL, 0, &d) != MAE_OK) return;
  for (int64_t i = 0; i < 2; i++)
    REQUIRE(mae_dataset_label(d, i) >= 0 &&
            mae_dataset_label(d, i) < mae_dataset_num_classes(d));
  mae_dataset_destroy(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *path = input_file("idx", data, size);
  use_idx(path);
  use_images(path);
  use_labels(data, size);
  return 0;
}
