/* Makes what tests/tool.sh and tests/examples.sh work on, and checks what the
 * tool and the examples wrote; `usage` below lists how. */
#include "helper.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "model OUT.safetensors KIND        KIND: colour, grey, encoder\n"
    "image OUT SEED WIDTH HEIGHT       .jpg, .webp, else PNG\n"
    "frames OUT.rgb IMAGE...           raw RGB\n"
    "features OUT.f32 MODEL WHAT IMAGE...   by the library, WHAT as in\n"
    "                                  \"tokens,l2,blocks,size\"\n"
    "npy FILE TYPE SHAPE               the header, TYPE: <f4, <f2\n"
    "tensors FILE TYPE SHAPE PATH...   the same of a .safetensors\n"
    "same FILE EXPECTED.f32            values; FILE: .npy, .safetensors, .f32\n"
    "text FILE.f32                     the values as text, a line each\n"
    "picture FILE.png MODEL SEED RATIO IMAGE...    of mae reconstruct\n"
    "weights A B LEAST MOST            relative error of equal tensors\n"
    "idx OUT IN N                      the first items of an IDX file\n"
    "png FILE WIDTH HEIGHT COLOURS     of that size and so many colours\n"
    "metrics FILE STEPS EPOCHS [TESTS]     of a run\n";

void die(const char *format, ...) {
  va_list args;
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
  exit(1);
}

void need(mae_status status) {
  if (status != MAE_OK)
    die("%s: %s", mae_status_name(status), mae_last_error());
}

void *need_memory(size_t size) {
  void *p = calloc(1, size ? size : 1);
  if (!p) die("no memory");
  return p;
}

char *read_file(const char *path, size_t *size) {
  FILE *in = fopen(path, "rb");
  if (!in || fseek(in, 0, SEEK_END)) die("cannot open %s", path);
  *size = (size_t)ftell(in);
  char *bytes = need_memory(*size + 1);
  rewind(in);
  if (fread(bytes, 1, *size, in) != *size) die("cannot read %s", path);
  fclose(in);
  return bytes;
}

void write_file(const char *path, const void *data, size_t size) {
  FILE *out = fopen(path, "wb");
  if (!out || fwrite(data, 1, size, out) != size || fclose(out))
    die("cannot write %s", path);
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    int least; /* arguments */
    void (*run)(int n, char **arguments);
  } commands[] = {{"model", 2, make_model},      {"image", 4, make_image},
                  {"frames", 2, make_frames},    {"features", 4, make_features},
                  {"npy", 3, check_npy},         {"tensors", 3, check_tensors},
                  {"same", 2, check_same},       {"text", 1, print_text},
                  {"picture", 5, check_picture}, {"weights", 4, check_weights},
                  {"idx", 3, make_idx},          {"png", 4, check_png},
                  {"metrics", 3, check_metrics}};
  for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
    if (!strcmp(argv[1], commands[i].name) && argc - 2 >= commands[i].least)
      return commands[i].run(argc - 2, argv + 2), 0;
  die("usage: tool_helper\n%s", usage);
}
