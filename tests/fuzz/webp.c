#include "common/input.h"
#include "common/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  picture_use("RIFF", 4, data, size);
  return 0;
}
