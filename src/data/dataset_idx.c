/* The images in an IDX file. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "data/dataset.h"

/* Each image has a name, which takes more memory than a tiny image does: in a
 * gzipped file of tiny ones a hundred thousand times the file. */
enum { MOST_IMAGES = 1 << 24 };

static mae_status fetch(const mae_dataset *d, int64_t i, mae_item *item) {
  const mae_idx *idx = d->own;
  const int64_t height = mae_idx_dim(idx, 1), width = mae_idx_dim(idx, 2);
  const int64_t channels = mae_idx_ndim(idx) == 4 ? 3 : 1;
  item->pixels = (mae_image){
      .data = mae_idx_data(idx) + i * height * width * channels,
      .width = (int32_t)width,
      .height = (int32_t)height,
      .channels = (int32_t)channels};
  return MAE_OK;
}

static void destroy(mae_dataset *d) { mae_idx_destroy(d->own); }

static const mae_dataset_class class = {.fetch = fetch,
                                        .destroy = destroy,
                                        .find_labels = mae_labels_of_idx};

static mae_status add_names(mae_dataset *d, const char *path, int64_t n) {
  const size_t size = strlen(path) + 24;
  for (int64_t i = 0; i < n; i++) {
    char *name = mae_calloc(size, 1);
    if (!name) return MAE_ERROR_OUT_OF_MEMORY;
    snprintf(name, size, "%s#%lld", path, (long long)i);
    MAE_TRY(mae_dataset_add(d, name));
  }
  return MAE_OK;
}

mae_status mae_dataset_idx(mae_dataset *dataset, const char *path) {
  mae_idx *idx;
  MAE_TRY(mae_idx_load(path, &idx));
  dataset->class = &class;
  dataset->own = idx;
  const int32_t ndim = mae_idx_ndim(idx);
  if (ndim < 3 || (ndim == 4 && mae_idx_dim(idx, 3) != 3))
    return mae_fail(MAE_ERROR_FORMAT,
                    "%s: not [n, height, width] or [n, height, width, 3]",
                    path);
  if (mae_idx_dim(idx, 1) < 1 || mae_idx_dim(idx, 1) > 65536 ||
      mae_idx_dim(idx, 2) < 1 || mae_idx_dim(idx, 2) > 65536)
    return mae_fail(MAE_ERROR_FORMAT, "%s: images of %lld x %lld pixels", path,
                    (long long)mae_idx_dim(idx, 2),
                    (long long)mae_idx_dim(idx, 1));
  if (mae_idx_dim(idx, 0) > MOST_IMAGES)
    return mae_fail(MAE_ERROR_UNSUPPORTED, "%s: more than %d images", path,
                    MOST_IMAGES);
  return add_names(dataset, path, mae_idx_dim(idx, 0));
}
