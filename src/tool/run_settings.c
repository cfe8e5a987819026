#include "tool/run_settings.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/config_file.h"
#include "tool/parse.h"
#include "tool/precision.h"
#include "tool/say.h"
#include "tool/settings_table.h"

void settings_init(run_settings *s, run_kind kind) {
  memset(s, 0, sizeof *s);
  s->kind = kind;
  mae_trainer_options_init(&s->trainer, sizeof s->trainer);
  mae_loader_options_init(&s->loader, sizeof s->loader);
  mae_fit_options_init(&s->fit, sizeof s->fit);
  s->config.norm_pix_loss = -1;
  s->trainer.accum_steps = 0;
  s->epochs = (int32_t)s->fit.epochs;
  s->warmup_epochs = 40;
  s->samples = 8;
  s->source = 1;
}

int settings_count(void) {
  int n = 0;
  while (settings_table[n].kinds) n++;
  return n;
}

const char *settings_name(run_kind kind, int i) {
  const setting *x = &settings_table[i];
  return x->type == SETTING_HEADING || !(x->kinds & (int)kind) ? NULL : x->name;
}

static void *place(const run_settings *s, const setting *x) {
  return (char *)(uintptr_t)s + x->offset;
}

bool settings_given(const run_settings *s, const char *name) {
  for (int i = 0; settings_table[i].kinds; i++)
    if (s->given[i] && !strcmp(settings_table[i].name, name)) return true;
  return false;
}

void settings_default(run_settings *s, const run_settings *from) {
  for (int i = 0; settings_table[i].kinds; i++) {
    const setting *x = &settings_table[i];
    if (settings_name(s->kind, i) && !s->given[i])
      memcpy(place(s, x), place(from, x), x->size);
  }
}

/* --------------------------------------------------------------- help --- */

static const char *argument_of(const setting *x) {
  switch (x->type) {
    case SETTING_PATH: return "PATH";
    case SETTING_NAME: return "NAME";
    case SETTING_REAL: return "X";
    case SETTING_SIZE: return "N|HxW";
    case SETTING_VALUES: return "R,G,B";
    case SETTING_PRECISION: return "NAME";
    default: return "N";
  }
}

static void print_setting(const setting *x) {
  int n = printf("  --%s %s", x->name, argument_of(x));
  for (const char *at = x->help; at;) {
    const char *end = strchr(at, '\n');
    int size = end ? (int)(end - at) : (int)strlen(at);
    printf("%*s%.*s\n", n < 28 ? 28 - n : 2, "", size, at);
    n = 0;
    at = end ? end + 1 : NULL;
  }
}

void settings_print_help(run_kind kind) {
  for (int i = 0; settings_table[i].kinds; i++) {
    const setting *x = &settings_table[i];
    if (!(x->kinds & (int)kind)) continue;
    if (x->type == SETTING_HEADING)
      printf("%s%s:\n", i ? "\n" : "", x->name);
    else
      print_setting(x);
  }
}

/* ------------------------------------------------------------ reading --- */

static int wrong(const setting *x, const char *where, const char *value) {
  if (x->type == SETTING_INT || x->type == SETTING_REAL)
    return fail_usage("%s%s: '%s' is not %.10g to %.10g", where, x->name, value,
                      x->least, x->most);
  if (x->type == SETTING_PRECISION)
    return fail_usage("%s%s: '%s' is not f32 or bf16", where, x->name, value);
  return fail_usage("%s%s: '%s' is not %s", where, x->name, value,
                    argument_of(x));
}

static bool set_text(char *to, size_t room, const char *value) {
  if (!*value || strlen(value) >= room || strpbrk(value, "\n\r")) return false;
  strcpy(to, value);
  return true;
}

static bool set_value(const setting *x, void *at, const char *value) {
  int32_t *whole = at;
  channel_values *list = at;
  switch (x->type) {
    case SETTING_PATH:
    case SETTING_NAME: return set_text(at, x->size, value);
    case SETTING_INT:
      return parse_int(value, (int64_t)x->least, (int64_t)x->most, whole);
    case SETTING_REAL: return parse_real(value, x->least, x->most, at);
    case SETTING_SEED: return parse_seed(value, at);
    case SETTING_SIZE: return parse_size(value, whole, whole + 1);
    case SETTING_VALUES:
      return parse_reals(value, SETTINGS_MOST_CHANNELS, list->values,
                         &list->count);
    case SETTING_PRECISION: return precision_parse(value, at);
    default: return false;
  }
}

int settings_set(run_settings *s, int i, const char *where, const char *value) {
  const setting *x = &settings_table[i];
  void *at = place(s, x);
  if (!set_value(x, at, value)) return wrong(x, where, value);
  s->given[i] = true;
  if (at == &s->trainer.batch_size) s->batch_source = s->source;
  if (at == &s->trainer.accum_steps) s->accum_source = s->source;
  if (at == &s->effective_batch) s->effective_source = s->source;
  return TOOL_OK;
}

/* A comment after a value; a path may have a # in it. */
static void cut_comment(char *value) {
  for (char *at = value; (at = strchr(at, '#')); at++)
    if (at > value && isspace((unsigned char)at[-1])) {
      while (at > value && isspace((unsigned char)at[-1])) at--;
      *at = '\0';
      return;
    }
}

static int take(void *arg, const char *where, const char *key, char *value) {
  run_settings *s = arg;
  for (int i = 0; settings_table[i].kinds; i++) {
    const char *name = settings_name(s->kind, i);
    if (!name || strcmp(name, key)) continue;
    if (settings_table[i].type != SETTING_PATH) cut_comment(value);
    char begin[PATH_MAX + 64];
    snprintf(begin, sizeof begin, "%s: ", where);
    return settings_set(s, i, begin, value);
  }
  return fail_usage("%s: there is no setting '%s'", where, key);
}

int settings_read(run_settings *s, const char *path) {
  int status = config_file_read(path, take, s);
  s->source++;
  return status;
}

/* ------------------------------------------------------------ writing --- */

/* As short as gives the same number again. */
static void write_real(text *out, double value) {
  char digits[40];
  for (int n = 6; n <= 17; n++) {
    snprintf(digits, sizeof digits, "%.*g", n, value);
    if (strtod(digits, NULL) == value) break;
  }
  text_add(out, "%s", digits);
}

static void write_values(text *out, const channel_values *list) {
  char digits[40];
  for (int32_t k = 0; k < list->count; k++) {
    for (int n = 6; n <= 9; n++) {
      snprintf(digits, sizeof digits, "%.*g", n, (double)list->values[k]);
      if (strtof(digits, NULL) == list->values[k]) break;
    }
    text_add(out, "%s%s", k ? "," : "", digits);
  }
}

void settings_write_value(const run_settings *s, int i, text *out) {
  const setting *x = &settings_table[i];
  const void *at = place(s, x);
  const int32_t *whole = at;
  switch (x->type) {
    case SETTING_HEADING: break;
    case SETTING_PATH:
    case SETTING_NAME: text_add(out, "%s", (const char *)at); break;
    case SETTING_INT: text_add(out, "%d", (int)*whole); break;
    case SETTING_REAL: write_real(out, *(const double *)at); break;
    case SETTING_SEED:
      text_add(out, "%llu", (unsigned long long)*(const uint64_t *)at);
      break;
    case SETTING_SIZE:
      text_add(out, "%dx%d", (int)whole[0], (int)whole[1]);
      break;
    case SETTING_VALUES: write_values(out, at); break;
    case SETTING_PRECISION:
      text_add(out, "%s", precision_name(*(const mae_precision *)at));
      break;
  }
}

/* A path or a size that there is none of. */
static bool is_absent(const setting *x, const void *at) {
  return (x->type == SETTING_PATH && !*(const char *)at) ||
         (x->type == SETTING_SIZE && !*(const int32_t *)at);
}

void settings_write(const run_settings *s, text *out) {
  text_add(out, "# The settings in effect, for mae %s --config or --resume.\n",
           s->kind == RUN_PRETRAIN ? "pretrain" : "finetune");
  for (int i = 0; settings_table[i].kinds; i++) {
    const setting *x = &settings_table[i];
    if (!(x->kinds & (int)s->kind)) continue;
    if (x->type == SETTING_HEADING) text_add(out, "\n# %s\n", x->name);
    if (x->type == SETTING_HEADING) continue;
    if (is_absent(x, place(s, x))) continue;
    text_add(out, "%s = ", x->name);
    settings_write_value(s, i, out);
    text_add(out, "\n");
  }
}
