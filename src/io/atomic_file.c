#include "io/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

mae_status mae_io_fail(const char *doing, const char *path, int error) {
  mae_status status = MAE_ERROR_IO;
  if (error == ENOENT || error == ENOTDIR) status = MAE_ERROR_NOT_FOUND;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG)
    status = MAE_ERROR_NO_SPACE;
  if (error == ENOMEM) status = MAE_ERROR_OUT_OF_MEMORY;
  char text[128] = "";
  /* GNU's strerror_r: the result may be text or a string of its own. */
  return mae_fail(status, "cannot %s %s: %s", doing, path,
                  strerror_r(error, text, sizeof text));
}

/* The file a chain of links leads to, or path itself when there is none; NULL
 * with errno set. */
static char *resolve(const char *path) {
  char *real = realpath(path, NULL);
  return real || errno != ENOENT ? real : strdup(path);
}

/* Open the first free name "PATH.tmp-N", with this mode less the umask. */
static int open_temporary(mae_atomic_file *f, mode_t mode) {
  size_t size = strlen(f->path) + 24;
  f->temporary = mae_calloc(size, 1);
  if (!f->temporary) return -1;
  for (int i = 0; i < 10000; i++) {
    snprintf(f->temporary, size, "%s.tmp-%d", f->path, i);
    int fd = open(f->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd >= 0 || errno != EEXIST) return fd;
  }
  return -1;
}

static void forget(mae_atomic_file *f) {
  free(f->path);
  free(f->temporary);
  *f = (mae_atomic_file){.fd = -1};
}

mae_status mae_atomic_begin(const char *path, mae_atomic_file *file) {
  mae_atomic_file f = {.fd = -1};
  struct stat old;
  f.path = resolve(path);
  if (!f.path) return mae_io_fail("create a file beside", path, errno);
  bool exists = !stat(f.path, &old);
  if (!exists && errno != ENOENT) {
    const int error = errno;
    forget(&f);
    return mae_io_fail("look at", path, error);
  }
  if (exists && !S_ISREG(old.st_mode)) {
    forget(&f);
    return mae_fail(MAE_ERROR_IO, "%s is not a regular file", path);
  }
  /* Never more open than the old file, not even while it is written. */
  mode_t mode = exists ? old.st_mode & 0777 : 0666;
  f.fd = open_temporary(&f, mode);
  if (f.fd < 0) {
    int error = f.temporary ? errno : ENOMEM;
    forget(&f);
    return mae_io_fail("create a file beside", path, error);
  }
  /* What the umask took off; without it the file is still sound. */
  if (exists) fchmod(f.fd, mode);
  *file = f;
  return MAE_OK;
}

mae_status mae_atomic_write(mae_atomic_file *file, const void *data,
                            size_t size) {
  const char *at = data;
  while (size) {
    ssize_t n = write(file->fd, at, size < SSIZE_MAX ? size : SSIZE_MAX);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return mae_io_fail("write", file->path, errno);
    at += n;
    size -= (size_t)n;
  }
  return MAE_OK;
}

mae_status mae_atomic_write_at(mae_atomic_file *file, int64_t offset,
                               const void *data, size_t size) {
  const char *at = data;
  while (size) {
    size_t most = size < SSIZE_MAX ? size : SSIZE_MAX;
    ssize_t n = pwrite(file->fd, at, most, (off_t)offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return mae_io_fail("write", file->path, errno);
    at += n;
    offset += n;
    size -= (size_t)n;
  }
  return MAE_OK;
}

/* Makes the rename survive a power cut.  A failure is no error: the file is
 * replaced by now, and either version is whole. */
static void sync_folder(char *path) {
  char *slash = strrchr(path, '/');
  if (slash) slash[slash == path] = '\0';
  int fd = open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

static int flush(int fd) {
  int failed;
  do {
    failed = fsync(fd);
  } while (failed && errno == EINTR);
  return failed;
}

mae_status mae_atomic_flush(mae_atomic_file *file) {
  int error = flush(file->fd) ? errno : 0;
  if (close(file->fd) && !error) error = errno;
  file->fd = -1;
  return error ? mae_io_fail("write", file->path, error) : MAE_OK;
}

mae_status mae_atomic_commit(mae_atomic_file *file) {
  mae_status status = file->fd >= 0 ? mae_atomic_flush(file) : MAE_OK;
  if (status == MAE_OK && rename(file->temporary, file->path))
    status = mae_io_fail("write", file->path, errno);
  if (status != MAE_OK) {
    mae_atomic_abort(file);
    return status;
  }
  sync_folder(file->path);
  forget(file);
  return MAE_OK;
}

void mae_atomic_abort(mae_atomic_file *file) {
  if (file->fd >= 0) close(file->fd);
  if (file->temporary) unlink(file->temporary);
  forget(file);
}
