#include "seeds/seeds.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "common/input.h"

static const char *out;

const char *seed_path(const char *target, const char *name) {
  static char path[512];
  snprintf(path, sizeof path, "%s/%s", out, target);
  REQUIRE(!mkdir(path, 0777) || errno == EEXIST);
  snprintf(path, sizeof path, "%s/%s/%s", out, target, name);
  return path;
}

void seed_put(const char *target, const char *name, const void *data,
              size_t size) {
  FILE *file = fopen(seed_path(target, name), "wb");
  REQUIRE(file);
  REQUIRE(fwrite(data, 1, size, file) == size);
  REQUIRE(!fclose(file));
}

void *seed_slurp(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  REQUIRE(file && !fseek(file, 0, SEEK_END));
  *size = (size_t)ftell(file);
  rewind(file);
  char *data = malloc(*size + 1);
  REQUIRE(data && fread(data, 1, *size, file) == *size);
  fclose(file);
  return data;
}

void seed_copy(const char *target, const char *name, const char *path) {
  size_t size;
  void *data = seed_slurp(path, &size);
  seed_put(target, name, data, size);
  free(data);
}

int main(int argc, char **argv) {
  REQUIRE(argc == 2);
  out = argv[1];
  seed_weights();
  seed_torch();
  seed_pictures();
  seed_data();
  seed_tool();
  return 0;
}
