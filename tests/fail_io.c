#undef _FORTIFY_SOURCE /* whose inline read() these would clash with */
#include "fail_io.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

/* 64-bit off_t alone, so that read64 and its like are the same call. */
#if defined(__GLIBC__) && defined(__LP64__) && !defined(SANITIZED)

static atomic_bool armed, all_after;
static atomic_int kinds, code;
static atomic_long left, failed;

/* They may be called before ASan has set up what its checks need. */
#define UNCHECKED __attribute__((no_sanitize("address")))
/* The names for programs and libraries with large files. */
#define ALSO(type, name, ...) \
  type name(__VA_ARGS__);     \
  UNCHECKED type name(__VA_ARGS__)

UNCHECKED static bool hit(int kind) {
  if (!atomic_load(&armed) || !(atomic_load(&kinds) & kind)) return false;
  const long before = atomic_fetch_sub(&left, 1);
  if (before > 1 || (before < 1 && !atomic_load(&all_after))) return false;
  atomic_fetch_add(&failed, 1);
  return true;
}

UNCHECKED static bool fails(int kind) {
  if (atomic_load(&code) == IO_SHORT || !hit(kind)) return false;
  errno = atomic_load(&code);
  return true;
}

/* Of how many bytes the call is to be; -1: it fails. */
UNCHECKED static ssize_t share(int kind, size_t size) {
  if (size < 2 && atomic_load(&code) == IO_SHORT) return (ssize_t)size;
  if (!hit(kind)) return (ssize_t)size;
  if (atomic_load(&code) == IO_SHORT) return (ssize_t)(size / 2);
  errno = atomic_load(&code);
  return -1;
}

/* The C library's, or ASan's. */
#define NEXT(type, name, ...)                                    \
  static type (*next)(__VA_ARGS__);                              \
  if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name)

/* ---------------------------------------------------------------- files --- */

#pragma GCC visibility push(default) /* seen by the libraries, too */

UNCHECKED static int open_as(int folder, const char *path, int flags,
                             mode_t mode) {
  if (fails(IO_OPEN)) return -1;
  return (int)syscall(SYS_openat, folder, path, flags, mode);
}

#define OPEN_MODE                                        \
  mode_t mode = 0;                                       \
  if (flags & (O_CREAT | O_TMPFILE)) {                   \
    va_list args;                                        \
    va_start(args, flags);                               \
    mode = va_arg(args, mode_t);                         \
    va_end(args);                                        \
  }

ALSO(int, open, const char *path, int flags, ...) {
  OPEN_MODE
  return open_as(AT_FDCWD, path, flags, mode);
}
ALSO(int, open64, const char *path, int flags, ...) {
  OPEN_MODE
  return open_as(AT_FDCWD, path, flags, mode);
}
ALSO(int, openat, int folder, const char *path, int flags, ...) {
  OPEN_MODE
  return open_as(folder, path, flags, mode);
}
ALSO(int, openat64, int folder, const char *path, int flags, ...) {
  OPEN_MODE
  return open_as(folder, path, flags, mode);
}
/* What _FORTIFY_SOURCE makes of it. */
ALSO(int, __open_2, const char *path, int flags) {
  return open_as(AT_FDCWD, path, flags, 0);
}
ALSO(int, __open64_2, const char *path, int flags) {
  return open_as(AT_FDCWD, path, flags, 0);
}

UNCHECKED static ssize_t do_read(int fd, void *into, size_t size) {
  const ssize_t n = share(IO_READ, size);
  return n < 0 ? n : syscall(SYS_read, fd, into, (size_t)n);
}
ALSO(ssize_t, read, int fd, void *into, size_t size) {
  return do_read(fd, into, size);
}
ALSO(ssize_t, __read_chk, int fd, void *into, size_t size, size_t room) {
  if (size > room) abort();
  return do_read(fd, into, size);
}

UNCHECKED static ssize_t do_pread(int fd, void *into, size_t size, off_t at) {
  const ssize_t n = share(IO_READ, size);
  return n < 0 ? n : syscall(SYS_pread64, fd, into, (size_t)n, at);
}
ALSO(ssize_t, pread, int fd, void *into, size_t size, off_t at) {
  return do_pread(fd, into, size, at);
}
ALSO(ssize_t, pread64, int fd, void *into, size_t size, off_t at) {
  return do_pread(fd, into, size, at);
}
ALSO(ssize_t, __pread_chk, int fd, void *into, size_t size, off_t at,
     size_t room) {
  if (size > room) abort();
  return do_pread(fd, into, size, at);
}
ALSO(ssize_t, __pread64_chk, int fd, void *into, size_t size, off_t at,
     size_t room) {
  if (size > room) abort();
  return do_pread(fd, into, size, at);
}

ALSO(ssize_t, write, int fd, const void *from, size_t size) {
  const ssize_t n = share(IO_WRITE, size);
  return n < 0 ? n : syscall(SYS_write, fd, from, (size_t)n);
}

UNCHECKED static ssize_t do_pwrite(int fd, const void *from, size_t size,
                                   off_t at) {
  const ssize_t n = share(IO_WRITE, size);
  return n < 0 ? n : syscall(SYS_pwrite64, fd, from, (size_t)n, at);
}
ALSO(ssize_t, pwrite, int fd, const void *from, size_t size, off_t at) {
  return do_pwrite(fd, from, size, at);
}
ALSO(ssize_t, pwrite64, int fd, const void *from, size_t size, off_t at) {
  return do_pwrite(fd, from, size, at);
}

/* No test asks what a power cut leaves, and to wait for the disk takes most of
 * the time. */
ALSO(int, fsync, int fd) {
  (void)fd;
  return fails(IO_SYNC) ? -1 : 0;
}
ALSO(int, fdatasync, int fd) {
  return fsync(fd);
}

ALSO(int, close, int fd) {
  const int flags = (int)syscall(SYS_fcntl, fd, F_GETFL);
  const bool written = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
  const int result = (int)syscall(SYS_close, fd);
  return written && fails(IO_CLOSE) ? -1 : result;
}

ALSO(int, rename, const char *from, const char *to) {
  if (fails(IO_RENAME)) return -1;
  return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

ALSO(void *, mmap, void *at, size_t size, int access, int flags, int fd,
     off_t offset) {
  if (fd >= 0 && fails(IO_MAP)) return MAP_FAILED;
  return (void *)syscall(SYS_mmap, at, size, access, flags, fd, offset);
}

/* ----------------------------------------------------------------- stat --- */

#define STAT(name, type, ...)                       \
  ALSO(int, name, __VA_ARGS__, struct type *info) { \
    NEXT(int, name, __VA_ARGS__, struct type *);    \
    return fails(IO_STAT) ? -1 : next(which, info); \
  }
STAT(stat, stat, const char *which)
STAT(stat64, stat64, const char *which)
STAT(lstat, stat, const char *which)
STAT(lstat64, stat64, const char *which)
STAT(fstat, stat, int which)
STAT(fstat64, stat64, int which)

/* -------------------------------------------------------------- folders --- */

ALSO(int, mkdir, const char *path, mode_t mode) {
  if (fails(IO_FOLDER)) return -1;
  return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

ALSO(DIR *, opendir, const char *path) {
  NEXT(DIR *, opendir, const char *);
  return fails(IO_FOLDER) ? NULL : next(path);
}

ALSO(struct dirent *, readdir, DIR *folder) {
  NEXT(struct dirent *, readdir, DIR *);
  return fails(IO_FOLDER) ? NULL : next(folder);
}

/* ---------------------------------------------------------------- stdio --- */

ALSO(FILE *, fopen, const char *path, const char *mode) {
  NEXT(FILE *, fopen, const char *, const char *);
  return fails(IO_OPEN) ? NULL : next(path, mode);
}
ALSO(FILE *, fopen64, const char *path, const char *mode) {
  NEXT(FILE *, fopen64, const char *, const char *);
  return fails(IO_OPEN) ? NULL : next(path, mode);
}

/* Fails as a stream does whose descriptor cannot be read. */
ALSO(size_t, fread, void *into, size_t size, size_t n, FILE *file) {
  NEXT(size_t, fread, void *, size_t, size_t, FILE *);
  if (!fails(IO_STREAM)) return next(into, size, n, file);
  file->_flags |= 0x20; /* _IO_ERR_SEEN, what ferror looks at */
  return 0;
}

#pragma GCC visibility pop

bool fail_io_works(void) { return true; }

void fail_io(int which, long n, int error, bool after) {
  atomic_store(&failed, 0);
  atomic_store(&kinds, which);
  atomic_store(&code, error);
  atomic_store(&all_after, after);
  atomic_store(&left, n);
  atomic_store(&armed, true);
}

long fail_io_end(void) {
  atomic_store(&armed, false);
  return atomic_load(&failed);
}

#else

bool fail_io_works(void) { return false; }
void fail_io(int which, long n, int error, bool after) {
  (void)which, (void)n, (void)error, (void)after;
}
long fail_io_end(void) { return 0; }

#endif
