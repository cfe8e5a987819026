#include "io/regular_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/atomic_file.h"

mae_status mae_open_regular(const char *path, int *fd, int64_t *size) {
  struct stat info;
  mae_status status = MAE_OK;
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (*fd < 0) return mae_io_fail("open", path, errno);
  if (fstat(*fd, &info))
    status = mae_io_fail("open", path, errno);
  else if (!S_ISREG(info.st_mode))
    status = mae_fail(MAE_ERROR_IO, "%s is not a regular file", path);
  else
    *size = (int64_t)info.st_size;
  if (status != MAE_OK) {
    close(*fd);
    *fd = -1;
  }
  return status;
}
