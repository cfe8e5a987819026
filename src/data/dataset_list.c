/* The images that a text file names, one a line. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/dataset.h"

enum { MOST_PATH = 4096 };

/* folder is a path's beginning up to its last slash. */
static mae_status add_path(mae_dataset *d, const char *folder, size_t folder_n,
                           const uint8_t *line, size_t n) {
  if (n && line[0] == '/') folder_n = 0;
  char *name = mae_calloc(folder_n + n + 1, 1);
  if (!name) return MAE_ERROR_OUT_OF_MEMORY;
  memcpy(name, folder, folder_n);
  memcpy(name + folder_n, line, n);
  return mae_dataset_add(d, name);
}

static mae_status read_lines(mae_dataset *d, const char *path,
                             const uint8_t *text, size_t size) {
  const char *slash = strrchr(path, '/');
  const size_t folder = slash ? (size_t)(slash + 1 - path) : 0;
  int64_t number = 0;
  for (size_t at = 0; at < size;) {
    const uint8_t *line = text + at, *end = memchr(line, '\n', size - at);
    size_t n = end ? (size_t)(end - line) : size - at;
    at += n + (end != NULL);
    number++;
    if (n && line[n - 1] == '\r') n--;
    if (n > MOST_PATH || memchr(line, '\0', n))
      return mae_fail(MAE_ERROR_FORMAT, "%s: line %lld is no path", path,
                      (long long)number);
    if (n) MAE_TRY(add_path(d, path, folder, line, n));
  }
  return MAE_OK;
}

mae_status mae_dataset_list(mae_dataset *dataset, const char *path) {
  uint8_t *text = NULL;
  size_t size = 0;
  MAE_TRY(mae_image_read_file(path, &text, &size));
  dataset->class = &mae_dataset_files;
  mae_status status = read_lines(dataset, path, text, size);
  free(text);
  return status;
}
