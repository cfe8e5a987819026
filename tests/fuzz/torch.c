/* Whole files of torch.save: the archive itself, and older formats. */
#include "common/input.h"
#include "common/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  weights_use(input_file("model.pth", data, size));
  return 0;
}
