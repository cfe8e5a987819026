/* The state dict in a file of PyTorch's torch.save (since torch 1.6): a zip
 * archive of a pickle and, stored plain, the tensors' storages. */
#ifndef MAE_IO_TORCH_FILE_H
#define MAE_IO_TORCH_FILE_H

#include "io/element.h"
#include "tensor/tensor.h"

typedef struct mae_torch_file mae_torch_file;

/* A view of a storage, checked against the archive. */
typedef struct mae_torch_tensor {
  char *name; /* without "module." before it */
  mae_element element;
  int64_t ndim, shape[MAE_MAX_DIMS]; /* of a larger ndim, the first of them */
  int64_t count;                     /* of elements */
  int64_t first, last;               /* of its elements in the storage */
  int64_t stride[MAE_MAX_DIMS];
  uint64_t entry; /* of the archive: the storage */
} mae_torch_tensor;

/* Reads the pickle and checks every tensor of the state dict, which is the top
 * value or under "model", "state_dict", "model_state_dict" or "model_state".
 * MAE_ERROR_NOT_FOUND, MAE_ERROR_IO, or MAE_ERROR_FORMAT with what is wrong;
 * MAE_ERROR_UNSUPPORTED: built without libzip, or a big-endian file. */
mae_status mae_torch_open(const char *path, mae_torch_file **file);
void mae_torch_close(mae_torch_file *file);

/* In alphabetical order. */
int32_t mae_torch_count(const mae_torch_file *file);
const mae_torch_tensor *mae_torch_tensor_at(const mae_torch_file *file,
                                            int32_t i);
/* All elements of a tensor that mae_element_is_real and has at most
 * MAE_MAX_DIMS dimensions, row-major, as f32.  Of one thread at a time. */
mae_status mae_torch_read(mae_torch_file *file, const mae_torch_tensor *tensor,
                          float *into);

#endif
