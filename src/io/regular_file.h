/* Opening files to read. */
#ifndef MAE_IO_REGULAR_FILE_H
#define MAE_IO_REGULAR_FILE_H

#include "base/error.h"

/* Open a file and tell its size in bytes; the caller closes *fd.  A pipe or
 * device is refused (MAE_ERROR_IO), not waited for.  On failure *fd is -1. */
mae_status mae_open_regular(const char *path, int *fd, int64_t *size);

#endif
