#include "tool/config_file.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "tool/say.h"

/* A path, and what stands around it. */
enum { MOST_LINE = PATH_MAX + 256 };

/* Without the spaces at both ends; cuts the text. */
static char *trim(char *text) {
  while (isspace((unsigned char)*text)) text++;
  char *end = text + strlen(text);
  while (end > text && isspace((unsigned char)end[-1])) end--;
  *end = '\0';
  return text;
}

static int take_line(const char *where, char *line, config_take take,
                     void *arg) {
  char *key = trim(line);
  if (!*key || *key == '#') return TOOL_OK;
  char *equals = strchr(key, '=');
  if (!equals) return fail("%s: this is not 'key = value': %s", where, key);
  *equals = '\0';
  key = trim(key);
  if (!*key) return fail("%s: a value without a key", where);
  return take(arg, where, key, trim(equals + 1));
}

static int read_lines(const char *path, FILE *in, config_take take, void *arg) {
  char line[MOST_LINE], where[PATH_MAX + 32];
  for (int n = 1; fgets(line, sizeof line, in); n++) {
    snprintf(where, sizeof where, "%s:%d", path, n);
    if (strlen(line) == sizeof line - 1 && line[sizeof line - 2] != '\n')
      return fail("%s: the line is too long", where);
    int status = take_line(where, line, take, arg);
    if (status != TOOL_OK) return status;
  }
  if (ferror(in)) return fail("cannot read %s: %s", path, strerror(errno));
  return TOOL_OK;
}

int config_file_read(const char *path, config_take take, void *arg) {
  FILE *in = fopen(path, "r");
  if (!in) return fail("cannot open %s: %s", path, strerror(errno));
  int status = read_lines(path, in, take, arg);
  fclose(in);
  return status;
}
