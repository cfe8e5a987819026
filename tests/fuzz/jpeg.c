#include "common/input.h"
#include "common/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  picture_use("\xff\xd8\xff", 3, data, size);
  return 0;
}
