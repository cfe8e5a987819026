/* An array written row by row, its length known only at the end: a .npy file
 * with the rows' names in a .txt beside it, or a .safetensors file with the
 * names in its metadata.  Crash-safe: nothing appears before rows_commit. */
#ifndef MAE_TOOL_ROWS_H
#define MAE_TOOL_ROWS_H

#include <stdbool.h>

#include "tool/interrupt.h"

enum { ROW_MAX_DIMS = 4 };

typedef struct rows_layout {
  mae_dtype dtype;
  int32_t ndim; /* of one row; 0: a row is one value */
  int64_t shape[ROW_MAX_DIMS];
} rows_layout;

typedef struct rows_file rows_file;

/* Whether the name ends in one of the two suffixes. */
bool rows_suffix_known(const char *path);
/* The name of the .txt for a .npy, which the caller frees; NULL for a
 * .safetensors, or without memory. */
char *rows_names_path(const char *path);

/* names: of every row that may come, so that the room for them is known.  They
 * must outlive the file. */
mae_status rows_begin(const char *path, const rows_layout *layout,
                      const char *const *names, size_t n_names,
                      rows_file **file);
/* n rows side by side, and the name of each. */
mae_status rows_add(rows_file *file, const void *data, const char *const *names,
                    size_t n);
/* Ends the file either way. */
mae_status rows_commit(rows_file *file);
void rows_abort(rows_file *file); /* NULL does nothing */

/* ---- the two headers; each result is freed by the caller ---- */

/* Always of the same length, whatever count is. */
char *npy_header(const rows_layout *layout, int64_t count, size_t *size);

/* The bytes to keep free for the header of these names. */
mae_status tensor_header_room(const rows_layout *layout,
                              const char *const *names, size_t n, size_t *size);
/* Padded with spaces to size, which tensor_header_room gave for at least
 * these names. */
mae_status tensor_header(const rows_layout *layout, const char *const *names,
                         size_t n, size_t size, char **header);

int64_t row_bytes(const rows_layout *layout);

#endif
