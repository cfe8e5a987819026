#include "tool/paths.h"

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "tool/say.h"

static int no_memory(void) { return fail("no memory for the list of files"); }

static int append(path_list *list, const char *path) {
  if (list->count == list->room) {
    size_t room = list->room ? 2 * list->room : 64;
    char **items = realloc(list->items, room * sizeof *items);
    if (!items) return no_memory();
    list->items = items;
    list->room = room;
  }
  char *copy = strdup(path);
  if (!copy) return no_memory();
  list->items[list->count++] = copy;
  return TOOL_OK;
}

static bool is_image_name(const char *name) {
  static const char *const suffixes[] = {".jpg", ".jpeg", ".png", ".webp"};
  const char *dot = strrchr(name, '.');
  for (size_t i = 0; dot && i < sizeof suffixes / sizeof *suffixes; i++)
    if (!strcasecmp(dot, suffixes[i])) return true;
  return false;
}

static int by_name(const FTSENT **a, const FTSENT **b) {
  return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* One file or folder that the walk has come to. */
static int visit(path_list *list, const FTSENT *at, failures *failed) {
  switch (at->fts_info) {
    case FTS_F:
    case FTS_SLNONE: /* a link to nothing: reading it will say so */
      return is_image_name(at->fts_name) ? append(list, at->fts_path) : TOOL_OK;
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
      return failures_add(failed, at->fts_path, strerror(at->fts_errno));
    case FTS_DC:
      return failures_add(failed, at->fts_path,
                          "this link leads to a folder it lies in");
    default: return TOOL_OK;
  }
}

static int walk(path_list *list, const char *folder, failures *failed) {
  char *root = strdup(folder);
  if (!root) return no_memory();
  /* "photos/" and "photos" name the same files. */
  for (size_t n = strlen(root); n > 1 && root[n - 1] == '/'; n--)
    root[n - 1] = '\0';
  char *roots[] = {root, NULL};
  FTS *tree = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, by_name);
  int status = tree ? TOOL_OK : no_memory();
  const FTSENT *at;
  errno = 0;
  while (status == TOOL_OK && (at = fts_read(tree))) {
    status = visit(list, at, failed);
    errno = 0;
  }
  if (status == TOOL_OK && errno)
    status = failures_add(failed, folder, strerror(errno));
  if (tree) fts_close(tree);
  free(root);
  return status;
}

int paths_add(path_list *list, const char *path, failures *failed) {
  struct stat info;
  if (!stat(path, &info) && S_ISDIR(info.st_mode))
    return walk(list, path, failed);
  return append(list, path);
}

static int add_lines(path_list *list, FILE *in, int delimiter,
                     failures *failed) {
  char *line = NULL;
  size_t room = 0;
  ssize_t length;
  int status = TOOL_OK;
  while (status == TOOL_OK &&
         (length = getdelim(&line, &room, delimiter, in)) > 0) {
    if (line[length - 1] == delimiter) line[--length] = '\0';
    if (delimiter == '\n' && length && line[length - 1] == '\r')
      line[--length] = '\0';
    if (strlen(line) != (size_t)length)
      status = fail("the list has zero bytes in it: is --null missing?");
    else if (length)
      status = paths_add(list, line, failed);
  }
  free(line);
  return status;
}

int paths_add_from(path_list *list, const char *file, bool null,
                   failures *failed) {
  bool standard = !strcmp(file, "-");
  FILE *in = standard ? stdin : fopen(file, "r");
  if (!in) return fail("cannot open the list %s: %s", file, strerror(errno));
  int status = add_lines(list, in, null ? '\0' : '\n', failed);
  if (status == TOOL_OK && ferror(in))
    status = fail("cannot read the list %s: %s", file, strerror(errno));
  if (!standard) fclose(in);
  return status;
}

void paths_free(path_list *list) {
  for (size_t i = 0; i < list->count; i++) free(list->items[i]);
  free(list->items);
  *list = (path_list){0};
}
