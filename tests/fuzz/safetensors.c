/* safetensors files: the reader, then whatever mae_model_import makes of
 * them. */
#include "io/safetensors.h"

#include <string.h>

#include "common/header.h"
#include "common/input.h"
#include "common/weights.h"

static void read_tensor(const mae_safetensors *file, const char *name) {
  mae_tensor shape, *tensor;
  if (mae_safetensors_shape(file, name, &shape) != MAE_OK) return;
  REQUIRE(mae_tensor_create(shape.ndim, shape.shape, &tensor) == MAE_OK);
  REQUIRE(mae_safetensors_read(file, name, tensor) == MAE_OK);
  mae_tensor_destroy(tensor);
}

static void read_file(const char *path, size_t size) {
  mae_safetensors *file = NULL;
  if (mae_safetensors_open(path, &file) != MAE_OK) return;
  const char *last = NULL;
  for (int32_t i = 0; i < mae_safetensors_count(file); i++) {
    const mae_safetensors_info info = mae_safetensors_info_at(file, i);
    const char *name = mae_safetensors_name(file, i);
    REQUIRE(!last || strcmp(last, name) < 0);
    REQUIRE(info.offset >= 0 && info.bytes >= 0);
    REQUIRE((uint64_t)info.offset + (uint64_t)info.bytes <= size);
    read_tensor(file, name);
    last = name;
  }
  (void)mae_safetensors_metadata(file, "format");
  mae_safetensors_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *path = input_file("model.safetensors", data, size);
  read_file(path, size);
  weights_use(path);
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most,
                               unsigned seed) {
  size = LLVMFuzzerMutate(data, size, most);
  if (seed % 8) header_mend(data, size);
  return size;
}
