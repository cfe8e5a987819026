/* What `mae pretrain` reads and writes. */
#include <jansson.h>
#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helper.h"

static void put_be32(unsigned char *to, long value) {
  for (int i = 0; i < 4; i++) to[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* OUT IN N: the first items of an IDX file of images of 28 x 28, or labels. */
void make_idx(int n, char **arguments) {
  mae_idx *idx;
  long count = atol(arguments[2]);
  (void)n;
  need(mae_idx_load(arguments[1], &idx));
  const int dims = mae_idx_ndim(idx);
  const size_t header = 4 + 4 * (size_t)dims;
  size_t size = (size_t)count;
  unsigned char *bytes = need_memory(header + size * 28 * 28);
  put_be32(bytes, 0x800 + dims);
  put_be32(bytes + 4, count);
  for (int a = 1; a < dims; a++) {
    put_be32(bytes + 4 + 4 * a, (long)mae_idx_dim(idx, a));
    size *= (size_t)mae_idx_dim(idx, a);
  }
  memcpy(bytes + header, mae_idx_data(idx), size);
  write_file(arguments[0], bytes, header + size);
  free(bytes);
  mae_idx_destroy(idx);
}

static int compare(const void *a, const void *b) { return memcmp(a, b, 3); }

/* FILE WIDTH HEIGHT COLOURS: a PNG of that size and at least so many colours. */
void check_png(int n, char **arguments) {
  png_image image;
  (void)n;
  memset(&image, 0, sizeof image);
  image.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_file(&image, arguments[0]))
    die("%s: %s", arguments[0], image.message);
  image.format = PNG_FORMAT_RGB;
  if (image.width != (unsigned)atoi(arguments[1]) ||
      image.height != (unsigned)atoi(arguments[2]))
    die("%u x %u", image.width, image.height);
  unsigned char *p = need_memory(PNG_IMAGE_SIZE(image));
  if (!png_image_finish_read(&image, NULL, p, 0, NULL)) die("%s", image.message);
  size_t pixels = (size_t)image.width * image.height;
  int colours = 1;
  qsort(p, pixels, 3, compare);
  for (size_t i = 1; i < pixels; i++)
    colours += compare(p + 3 * i, p + 3 * i - 3) != 0;
  if (colours < atoi(arguments[3])) die("%d colours", colours);
  free(p);
}

static double number(json_t *line, const char *key) {
  json_t *value = json_object_get(line, key);
  double v = json_number_value(value);
  if (!json_is_number(value) || !isfinite(v)) die("no number \"%s\"", key);
  return v;
}

/* A line of the test after an epoch, which comes after update `step`. */
static void check_test(json_t *line, long epoch, long step) {
  static const char *const shares[] = {"val_top1", "val_top5", "ema_top1",
                                       "ema_top5"};
  const size_t size = json_object_size(line);
  if (size != 5 && size != 8) die("%zu values of test %ld", size, epoch);
  if (number(line, "epoch") != epoch || number(line, "step") != step)
    die("test %ld after update %ld: %g, %g", epoch, step,
        number(line, "epoch"), number(line, "step"));
  for (size_t i = 0; i < (size == 8 ? 4 : 2); i++)
    if (number(line, shares[i]) < 0 || number(line, shares[i]) > 1)
      die("%s of test %ld", shares[i], epoch);
  if (number(line, "val_top1") > number(line, "val_top5") ||
      number(line, "val_loss") <= 0 ||
      (size == 8 && number(line, "ema_loss") <= 0))
    die("test %ld", epoch);
}

/* FILE STEPS EPOCHS [TESTS]: a line for each update from 1 to STEPS, of 1 to
 * EPOCHS, and for each of so many tests. */
void check_metrics(int n, char **arguments) {
  FILE *in = fopen(arguments[0], "r");
  char text[1024];
  long steps = 0, epoch = 1, tests = 0;
  double seconds = 0;
  if (!in) die("no %s", arguments[0]);
  while (fgets(text, sizeof text, in)) {
    json_error_t error;
    json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!line) die("line %ld: %s", steps + 1, error.text);
    if (json_object_get(line, "val_top1")) {
      check_test(line, ++tests, steps);
      json_decref(line);
      continue;
    }
    if (json_object_size(line) != 7) die("line %ld: %s", steps + 1, text);
    if (number(line, "step") != ++steps) die("line %ld: step", steps);
    long e = (long)number(line, "epoch");
    if (e != epoch && e != epoch + 1) die("line %ld: epoch %ld", steps, e);
    epoch = e;
    if (number(line, "loss") <= 0 || number(line, "lr") < 0 ||
        number(line, "grad_norm") <= 0 ||
        number(line, "images_per_second") <= 0 ||
        number(line, "seconds") < seconds)
      die("line %ld: %s", steps, text);
    seconds = number(line, "seconds");
    json_decref(line);
  }
  if (steps != atol(arguments[1]) || epoch != atol(arguments[2]))
    die("%ld updates in %ld epochs", steps, epoch);
  if (tests != (n > 3 ? atol(arguments[3]) : 0)) die("%ld tests", tests);
  fclose(in);
}
