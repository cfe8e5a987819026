/* The class of an image is the folder, right below the root, that it lies in;
 * classes are numbered in the order of their names. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/dataset.h"

typedef struct part {
  const char *text;
  size_t size; /* 0: the image lies in no folder below the root */
} part;

static part class_of(const char *name, size_t root) {
  const char *below = name + root;
  while (*below == '/') below++;
  const char *slash = strchr(below, '/');
  return (part){below, slash ? (size_t)(slash - below) : 0};
}

static bool same(part a, part b) {
  return a.size == b.size && !memcmp(a.text, b.text, a.size);
}

/* The images are sorted by path, so those of a class come in a row.  Counts
 * these rows from *rows = 0 on; fills in labels, by row, unless NULL. */
static mae_status go_through(const mae_dataset *d, size_t root,
                             mae_labels *labels, int32_t *rows) {
  part last = {"", 0};
  for (int64_t i = 0; i < d->count; i++) {
    const part now = class_of(d->names[i], root);
    if (!now.size)
      return mae_fail(MAE_ERROR_FORMAT,
                      "%s: an image beside the folders of the classes",
                      d->names[i]);
    if (!same(now, last)) {
      last = now;
      if (labels && !(labels->names[*rows] = strndup(now.text, now.size)))
        return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for a class name");
      ++*rows;
    }
    if (labels) labels->of[i] = *rows - 1;
  }
  return MAE_OK;
}

/* "a-b/" comes before "a/", but class a before class a-b. */
static mae_status sort_classes(const mae_dataset *d, mae_labels *labels) {
  const size_t n = (size_t)labels->num_classes;
  int32_t *number = mae_calloc(n, sizeof *number);
  char **rows = mae_calloc(n, sizeof *rows), **names = labels->names;
  if (number && rows) {
    memcpy(rows, names, n * sizeof *rows);
    qsort(names, n, sizeof *names, mae_by_name);
    for (size_t i = 0; i < n; i++) {
      char **found = bsearch(&rows[i], names, n, sizeof *names, mae_by_name);
      number[i] = (int32_t)(found - names);
    }
    for (int64_t i = 0; i < d->count; i++)
      labels->of[i] = number[labels->of[i]];
  }
  mae_status status = number && rows ? MAE_OK : MAE_ERROR_OUT_OF_MEMORY;
  free(number);
  free(rows);
  return status;
}

mae_status mae_labels_of_folders(const mae_dataset *d, const char *path,
                                 int32_t least, mae_labels *labels) {
  size_t root = strlen(path);
  int32_t rows = 0, again = 0;
  (void)least;
  while (root > 1 && path[root - 1] == '/') root--;
  MAE_TRY(go_through(d, root, NULL, &rows));
  MAE_TRY(mae_labels_begin(labels, d->count, rows));
  MAE_TRY(go_through(d, root, labels, &again));
  return sort_classes(d, labels);
}
