/* Tar shards: indexed, and each image read. */
#include <string.h>

#include "common/input.h"
#include "libmae/mae.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mae_dataset *d = NULL;
  if (mae_dataset_open(input_file("shard.tar", data, size), &d) != MAE_OK)
    return 0;
  REQUIRE(mae_dataset_size(d) > 0);
  for (int64_t i = 0; i < mae_dataset_size(d) && i < 16; i++) {
    mae_image image = {0};
    REQUIRE(strstr(mae_dataset_name(d, i), "shard.tar!"));
    if (mae_dataset_load_image(d, i, &image) == MAE_OK)
      REQUIRE(image.data && image.width > 0);
    mae_image_free(&image);
  }
  mae_dataset_destroy(d);
  return 0;
}

/* The checksum of what looks like a header. */
static void mend(uint8_t *block) {
  unsigned sum = 8 * ' ';
  if (memcmp(block + 257, "ustar", 5)) return;
  for (int i = 0; i < 512; i++)
    if (i < 148 || i >= 156) sum += block[i];
  char text[8];
  snprintf(text, sizeof text, "%06o", sum & 0777777);
  memcpy(block + 148, text, 7);
  block[155] = ' ';
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most,
                               unsigned seed) {
  size = LLVMFuzzerMutate(data, size, most);
  for (size_t at = 0; seed % 8 && at + 512 <= size; at += 512) mend(data + at);
  return size;
}
