#include "tool/failures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/say.h"

/* "PATH: REASON".  A reason that begins with the path, or has it in the
 * middle ("cannot open PATH: ..."), loses it there. */
static char *line_of(const char *path, const char *reason) {
  char *line;
  const char *at = *path ? strstr(reason, path) : NULL;
  const char *rest = at ? at + strlen(path) : "";
  int made;
  if (at && at == reason && !strncmp(rest, ": ", 2))
    made = asprintf(&line, "%s%s", path, rest);
  else if (at && at > reason && at[-1] == ' ' && *rest == ':')
    made = asprintf(&line, "%s: %.*s%s", path, (int)(at - 1 - reason), reason,
                    rest);
  else
    made = asprintf(&line, "%s: %s", path, reason);
  return made < 0 ? NULL : line;
}

int failures_add(failures *f, const char *path, const char *reason) {
  if (f->count == f->room) {
    size_t room = f->room ? 2 * f->room : 16;
    char **lines = realloc(f->lines, room * sizeof *lines);
    if (!lines) return fail("no memory for a report");
    f->lines = lines;
    f->room = room;
  }
  char *line = line_of(path, reason);
  if (!line) return fail("no memory for a report");
  f->lines[f->count++] = line;
  if (f->at_once) say("%s", line);
  return TOOL_OK;
}

void failures_report(const failures *f, size_t total) {
  if (!f->count) return;
  for (size_t i = 0; !f->at_once && i < f->count; i++) say("%s", f->lines[i]);
  say("%zu of %zu could not be read", f->count, total);
}

void failures_free(failures *f) {
  for (size_t i = 0; i < f->count; i++) free(f->lines[i]);
  free(f->lines);
  *f = (failures){0};
}
