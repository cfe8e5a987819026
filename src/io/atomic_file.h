/* Replacing a file so that a crash leaves the old one or the new one, whole. */
#ifndef MAE_IO_ATOMIC_FILE_H
#define MAE_IO_ATOMIC_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* The status for an errno of a call on path, with a message. */
mae_status mae_io_fail(const char *doing, const char *path, int error);

typedef struct mae_atomic_file {
  char *path;      /* what is replaced, symbolic links followed */
  char *temporary; /* beside it */
  int fd;
} mae_atomic_file;

/* Open a temporary file beside path.  After success, end with exactly one of
 * commit and abort. */
mae_status mae_atomic_begin(const char *path, mae_atomic_file *file);
mae_status mae_atomic_write(mae_atomic_file *file, const void *data,
                            size_t size);
/* Overwrite bytes written before, such as a header known only at the end. */
mae_status mae_atomic_write_at(mae_atomic_file *file, int64_t offset,
                               const void *data, size_t size);
/* To disk, so that all that is left to do is to rename; nothing can be written
 * any more. */
mae_status mae_atomic_flush(mae_atomic_file *file);
/* Flush to disk, rename over path, flush the folder.  On failure the old file
 * is as it was and the temporary one is gone. */
mae_status mae_atomic_commit(mae_atomic_file *file);
void mae_atomic_abort(mae_atomic_file *file);

#endif
