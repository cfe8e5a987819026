#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

mae_status mae_tensor_init(mae_tensor *tensor, int32_t ndim,
                           const int64_t *shape) {
  if (ndim < 1 || ndim > MAE_MAX_DIMS)
    return mae_fail(MAE_ERROR_SHAPE, "a tensor has 1 to %d dimensions, not %d",
                    MAE_MAX_DIMS, ndim);
  mae_tensor made = {.ndim = ndim, .shape = {1, 1, 1, 1}};
  int64_t size = sizeof(float);
  for (int32_t i = 0; i < ndim; i++) {
    if (shape[i] < 1)
      return mae_fail(MAE_ERROR_SHAPE, "dimension %d is %lld, not positive", i,
                      (long long)shape[i]);
    if (!mae_mul(size, shape[i], &size))
      return mae_fail(MAE_ERROR_SHAPE, "a tensor of so many bytes overflows");
    made.shape[i] = shape[i];
  }
  *tensor = made;
  return MAE_OK;
}

mae_status mae_tensor_create(int32_t ndim, const int64_t *shape,
                             mae_tensor **tensor) {
  MAE_REQUIRE(shape);
  MAE_REQUIRE(tensor);
  mae_tensor made;
  MAE_TRY(mae_tensor_init(&made, ndim, shape));
  mae_tensor *t = mae_calloc(1, sizeof *t);
  if (!t) return MAE_ERROR_OUT_OF_MEMORY;
  *t = made;
  t->owned = true;
  t->data = mae_calloc((size_t)mae_tensor_size(t), sizeof(float));
  if (!t->data) {
    free(t);
    return MAE_ERROR_OUT_OF_MEMORY;
  }
  *tensor = t;
  return MAE_OK;
}

mae_status mae_tensor_borrow(float *data, int32_t ndim, const int64_t *shape,
                             mae_tensor **tensor) {
  MAE_REQUIRE(data);
  MAE_REQUIRE(shape);
  MAE_REQUIRE(tensor);
  if ((uintptr_t)data % MAE_ALIGNMENT)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "borrowed data must be %d-byte aligned", MAE_ALIGNMENT);
  mae_tensor made;
  MAE_TRY(mae_tensor_init(&made, ndim, shape));
  made.data = data;
  mae_tensor *t = mae_calloc(1, sizeof *t);
  if (!t) return MAE_ERROR_OUT_OF_MEMORY;
  *t = made;
  *tensor = t;
  return MAE_OK;
}

void mae_tensor_destroy(mae_tensor *tensor) {
  if (!tensor) return;
  if (tensor->owned) free(tensor->data);
  free(tensor);
}

float *mae_tensor_data(const mae_tensor *tensor) {
  return tensor ? tensor->data : NULL;
}

int32_t mae_tensor_ndim(const mae_tensor *tensor) {
  return tensor ? tensor->ndim : 0;
}

int64_t mae_tensor_dim(const mae_tensor *tensor, int32_t axis) {
  return tensor && axis >= 0 && axis < tensor->ndim ? tensor->shape[axis] : 0;
}

int64_t mae_tensor_size(const mae_tensor *tensor) {
  if (!tensor) return 0;
  int64_t size = 1;
  for (int32_t i = 0; i < tensor->ndim; i++) size *= tensor->shape[i];
  return size;
}

bool mae_tensor_same_shape(const mae_tensor *a, const mae_tensor *b) {
  return a->ndim == b->ndim &&
         !memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape);
}

mae_shape_text mae_tensor_shape_text(const mae_tensor *tensor) {
  mae_shape_text out;
  size_t n = 0;
  for (int32_t i = 0; i < tensor->ndim; i++)
    n += (size_t)snprintf(out.text + n, sizeof out.text - n, "%s%lld",
                          i ? ", " : "[", (long long)tensor->shape[i]);
  snprintf(out.text + n, sizeof out.text - n, "]");
  return out;
}
