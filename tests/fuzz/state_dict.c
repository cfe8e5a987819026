/* The pickle of a state dict, in a sound archive with storages beside it. */
#include "common/archive.h"
#include "common/input.h"
#include "common/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  size_t n;
  uint8_t *archive = archive_of_pickle(data, size, &n);
  const char *path = input_file("model.pth", archive, n);
  free(archive);
  weights_use(path);
  return 0;
}
