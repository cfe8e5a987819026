#include <string.h>

#include "seeds/seeds.h"
#include "tool/run_settings.h"

static void put_settings(const char *name, run_kind kind) {
  static run_settings s;
  text out = {0};
  settings_init(&s, kind);
  settings_write(&s, &out);
  seed_put("settings", name, out.bytes, out.size);
  text_free(&out);
}

static void put_text(const char *target, const char *name, const char *words) {
  seed_put(target, name, words, strlen(words));
}

void seed_tool(void) {
  static const unsigned char numbers[] = {
      0, 2, 0, 0, 0, 0, 0, 0, 0,   4,   0,   0,   0,   0, 0,    0,   0, 6,
      0, 0, 0, 0, 0, 0, 0, 8, 'a', '.', 'j', 'p', 'g', 0, 0xff, '"', 0};
  static const unsigned char image[] = {16, 20, 1,  3,   125, 9,  1,
                                        60, 7,  50, 250, 190, 80, 125,
                                        30, 20, 1,  200, 7,   99};
  put_settings("pretrain", RUN_PRETRAIN);
  put_settings("finetune", RUN_FINETUNE);
  put_text("settings", "short",
           "# a comment\ndata = photos # not a comment\nmodel = vit_l16 # one\n"
           "batch=64\naccum = 2\neffective-batch = 128\nmean = 0.5,0.5,0.5\n"
           "image-size = 64x32\npatch-size = 8\nmask-ratio = 0.6\n");
  put_text("settings", "scratch",
           "data = a\nval = b\nrecipe = scratch\nmodel = vit_b16\n"
           "depth = 2\nembed-dim = 96\nnum-heads = 3\nseed = 7\n");
  seed_put("rows", "two", numbers, sizeof numbers);
  seed_put("augment", "one", image, sizeof image);
}
