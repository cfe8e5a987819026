#include <string.h>

#include "common/input.h"
#include "seeds/seeds.h"

/* As in tests/test_image.c; MOST is what is quick to mutate. */
typedef struct record {
  char name[24];
  int32_t status, tolerance;
  int32_t width, height, channels, size;
} record;

enum { MOST = 4096 };

/* The first word of the name is the format. */
static void put(const record *r, const void *data) {
  char target[24], name[40];
  size_t n = strcspn(r->name, " -_");
  if (n >= sizeof target || r->size > MOST) return;
  memcpy(target, r->name, n);
  target[n] = '\0';
  snprintf(name, sizeof name, "%.24s", r->name);
  for (char *at = name; (at = strpbrk(at, " /"));) *at = '-';
  seed_put(target, name, data, (size_t)r->size);
}

void seed_pictures(void) {
  record r;
  FILE *file = fopen("tests/data/golden_images.bin", "rb");
  REQUIRE(file);
  while (fread(&r, sizeof r, 1, file) == 1) {
    char *data = malloc((size_t)r.size + 1);
    REQUIRE(data);
    REQUIRE(fread(data, 1, (size_t)r.size, file) == (size_t)r.size);
    put(&r, data);
    free(data);
    if (!r.status)
      REQUIRE(!fseek(file, (long)r.width * r.height * r.channels, SEEK_CUR));
  }
  fclose(file);
}
