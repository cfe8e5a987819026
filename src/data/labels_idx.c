/* The labels of an IDX file of images: the file of labels beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/dataset.h"

/* The last place of a word in a file's name; NULL: it is not there. */
static char *find_last(char *path, const char *word) {
  char *slash = strrchr(path, '/'), *found = NULL;
  for (char *at = slash ? slash : path; (at = strstr(at, word)); at++)
    found = at;
  return found;
}

/* ".../X-images-idx3-ubyte.gz" becomes ".../X-labels-idx1-ubyte.gz". */
static bool label_path(char *path) {
  char *images = find_last(path, "images");
  if (!images) return false;
  memcpy(images, "labels", 6);
  char *dimensions = strstr(images, "idx");
  if (dimensions && (dimensions[3] == '3' || dimensions[3] == '4'))
    dimensions[3] = '1';
  return true;
}

/* One of the two may be gzipped, the other not.  path has room for ".gz". */
static mae_status load(char *path, mae_idx **idx) {
  const size_t n = strlen(path);
  mae_status status = mae_idx_load(path, idx);
  if (status != MAE_ERROR_NOT_FOUND) return status;
  if (n > 3 && !strcmp(path + n - 3, ".gz"))
    path[n - 3] = '\0';
  else
    strcpy(path + n, ".gz");
  status = mae_idx_load(path, idx);
  if (status != MAE_ERROR_NOT_FOUND) return status;
  return mae_fail(status, "there is no file of labels: %s", mae_last_error());
}

static mae_status check(const mae_dataset *d, const char *path,
                        const mae_idx *idx) {
  if (mae_idx_ndim(idx) != 1)
    return mae_fail(MAE_ERROR_FORMAT, "%s: labels of %d dimensions", path,
                    mae_idx_ndim(idx));
  if (mae_idx_dim(idx, 0) != d->count)
    return mae_fail(MAE_ERROR_MISMATCH, "%s: %lld labels for %lld images", path,
                    (long long)mae_idx_dim(idx, 0), (long long)d->count);
  return MAE_OK;
}

static mae_status take(const mae_dataset *d, const char *path,
                       const mae_idx *idx, int32_t least, mae_labels *labels) {
  int32_t n = least > 0 ? least : 1;
  MAE_TRY(check(d, path, idx));
  const uint8_t *of = mae_idx_data(idx);
  for (int64_t i = 0; i < d->count; i++)
    if (of[i] >= n) n = of[i] + 1;
  MAE_TRY(mae_labels_begin(labels, d->count, n));
  for (int64_t i = 0; i < d->count; i++) labels->of[i] = of[i];
  for (int32_t c = 0; c < n; c++)
    if (asprintf(&labels->names[c], "%d", c) < 0) {
      labels->names[c] = NULL;
      return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for a class name");
    }
  return MAE_OK;
}

static mae_status find(const mae_dataset *d, char *path, int32_t least,
                       mae_labels *labels) {
  mae_idx *idx;
  if (!label_path(path))
    return mae_fail(MAE_ERROR_NOT_FOUND,
                    "%s: a file of labels is found by putting 'labels' for "
                    "'images', which is not in its name",
                    path);
  MAE_TRY(load(path, &idx));
  mae_status status = take(d, path, idx, least, labels);
  mae_idx_destroy(idx);
  return status;
}

mae_status mae_labels_of_idx(const mae_dataset *d, const char *path,
                             int32_t least, mae_labels *labels) {
  char *copy = mae_calloc(strlen(path) + 4, 1);
  if (!copy) return MAE_ERROR_OUT_OF_MEMORY;
  strcpy(copy, path);
  mae_status status = find(d, copy, least, labels);
  free(copy);
  return status;
}
