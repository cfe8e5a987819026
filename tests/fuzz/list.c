/* Lists of paths: the library's, and the tool's in both its forms. */
#include <string.h>
#include <unistd.h>

#include "common/input.h"
#include "libmae/mae.h"
#include "tool/paths.h"
#include "tool/say.h"

static void use_library(const uint8_t *data, size_t size) {
  mae_dataset *d = NULL;
  if (mae_dataset_open(input_file("list.txt", data, size), &d) != MAE_OK)
    return;
  for (int64_t i = 0; i < mae_dataset_size(d); i++)
    REQUIRE(*mae_dataset_name(d, i));
  mae_dataset_destroy(d);
}

/* The tool goes into folders: no line may lead out of this empty one. */
static void use_tool(const uint8_t *data, size_t size) {
  uint8_t *tame = malloc(size + 1);
  REQUIRE(tame);
  for (size_t i = 0; i < size; i++)
    tame[i] = data[i] == '/' || data[i] == '.' ? '_' : data[i];
  const char *path = input_file("names", tame, size);
  for (int null = 0; null < 2; null++) {
    path_list list = {0};
    failures failed = {0};
    if (paths_add_from(&list, path, null, &failed) == TOOL_OK)
      for (size_t i = 0; i < list.count; i++) REQUIRE(*list.items[i]);
    paths_free(&list);
    failures_free(&failed);
  }
  free(tame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static int ready;
  if (!ready++) {
    say_nothing(true);
    REQUIRE(!chdir(input_folder()));
  }
  use_library(data, size);
  use_tool(data, size);
  return 0;
}
