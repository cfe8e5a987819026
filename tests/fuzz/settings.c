/* The tool's files of settings, for both kinds of runs.  What is read must come
 * back the same from what is written of it. */
#include <string.h>

#include "common/input.h"
#include "tool/run_settings.h"
#include "tool/say.h"
#include "tool/settle.h"

static void read_again(run_kind kind, const text *written) {
  static run_settings s;
  text again = {0};
  settings_init(&s, kind);
  const char *path = input_file("again.txt", written->bytes, written->size);
  REQUIRE(settings_read(&s, path) == TOOL_OK);
  settings_write(&s, &again);
  REQUIRE(again.size == written->size &&
          !memcmp(again.bytes, written->bytes, again.size));
  text_free(&again);
}

/* What was not given is filled in. */
static int settle(run_settings *s) {
  if (s->kind == RUN_PRETRAIN) return settle_pretraining(s, 0, 1);
  int status = settle_sources(s);
  if (status != TOOL_OK || !settle_is_scratch(s)) return TOOL_FAILED;
  return settle_finetuning(s, NULL, 0, 1);
}

static void use(run_kind kind, const char *path) {
  static run_settings s;
  text written = {0};
  settings_init(&s, kind);
  if (settings_read(&s, path) != TOOL_OK || settle(&s) != TOOL_OK) return;
  settings_write(&s, &written);
  read_again(kind, &written);
  text_free(&written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  say_nothing(true);
  const char *path = input_file("config.txt", data, size);
  use(RUN_PRETRAIN, path);
  use(RUN_FINETUNE, path);
  return 0;
}
