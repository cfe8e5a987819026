#include "study_results.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[STUDY_FIELDS] = {
    "top1",    "top5",       "test_loss", "loss",
    "step_ms", "step_flops", "steps",     "seconds"};

static void stop(const char *path, const char *why) {
  fprintf(stderr, "study: %s: %s\n", path, why);
  exit(1);
}

static void keep(study_results *r, const study_result *result) {
  if (r->count == r->room) {
    r->room = r->room ? 2 * r->room : 128;
    r->items = realloc(r->items, (size_t)r->room * sizeof *r->items);
    if (!r->items) stop("results", "no memory");
  }
  r->items[r->count++] = *result;
}

static bool parse(const char *line, const char *settings,
                  study_result *result) {
  const char *variant, *protocol, *of;
  int seed;
  json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
  bool sound = !json_unpack(object, "{s:s, s:s, s:i, s:s}", "variant", &variant,
                            "protocol", &protocol, "seed", &seed, "settings",
                            &of) &&
               !strcmp(of, settings);
  if (sound)
    result->cell = (study_cell){study_variant_find(variant),
                                study_protocol_find(protocol), seed};
  for (int f = 0; f < STUDY_FIELDS; f++) {
    const json_t *value = json_object_get(object, names[f]);
    result->values[f] = value ? json_number_value(value) : NAN;
  }
  json_decref(object);
  return sound && result->cell.variant && result->cell.protocol && seed > 0;
}

/* Take off what follows the last newline. */
static void drop_torn_line(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) {
    if (errno != ENOENT) stop(path, strerror(errno));
    return;
  }
  off_t whole = 0, at = 0;
  for (int c; (c = getc(file)) != EOF;) {
    at++;
    if (c == '\n') whole = at;
  }
  fclose(file);
  if (whole < at && truncate(path, whole)) stop(path, strerror(errno));
}

study_results study_results_read(const char *path, const char *settings) {
  study_results r = {NULL, 0, 0};
  char *line = NULL;
  size_t room = 0;
  drop_torn_line(path);
  FILE *file = fopen(path, "r");
  if (!file) return r;
  while (getline(&line, &room, file) > 0) {
    study_result result;
    if (!parse(line, settings, &result))
      stop(path, "a line is damaged, or of other settings; move it away");
    keep(&r, &result);
  }
  free(line);
  fclose(file);
  return r;
}

static char *to_line(const char *settings, const study_result *result) {
  const study_cell *cell = &result->cell;
  json_t *object =
      json_pack("{s:s, s:s, s:i, s:s}", "variant", cell->variant->name,
                "protocol", cell->protocol->name, "seed", cell->seed,
                "settings", settings);
  for (int f = 0; f < STUDY_FIELDS; f++)
    if (!isnan(result->values[f]))
      json_object_set_new(object, names[f], json_real(result->values[f]));
  char *line = json_dumps(object, JSON_REAL_PRECISION(9));
  json_decref(object);
  if (!line) stop("results", "no memory");
  return line;
}

void study_results_add(study_results *r, const char *path, const char *settings,
                       const study_result *result) {
  char *line = to_line(settings, result);
  FILE *file = fopen(path, "a");
  if (!file) stop(path, strerror(errno));
  int failed = fprintf(file, "%s\n", line) < 0;
  if (fclose(file) || failed) stop(path, strerror(errno));
  free(line);
  keep(r, result);
}

const study_result *study_results_find(const study_results *r,
                                       const char *variant,
                                       const char *protocol, int32_t seed) {
  for (int32_t i = r->count; i-- > 0;) {
    const study_cell *cell = &r->items[i].cell;
    if (cell->seed == seed && !strcmp(cell->variant->name, variant) &&
        !strcmp(cell->protocol->name, protocol))
      return &r->items[i];
  }
  return NULL;
}

void study_results_free(study_results *r) {
  free(r->items);
  *r = (study_results){NULL, 0, 0};
}
