/* Calls of the system that fail.  The program's own open, read, write and so
 * on come before the C library's, for libmae and the libraries it uses, pass
 * on, or fail. */
#ifndef TESTS_FAIL_IO_H
#define TESTS_FAIL_IO_H

#include <stdbool.h>

/* Which calls: a sum of these. */
enum {
  IO_OPEN = 1,    /* open, fopen */
  IO_READ = 2,    /* read, pread */
  IO_WRITE = 4,   /* write, pwrite */
  IO_SYNC = 8,    /* fsync, fdatasync */
  IO_CLOSE = 16,  /* of a file that was written, which closes it nonetheless */
  IO_RENAME = 32, /* rename */
  IO_STAT = 64,   /* stat, lstat, fstat */
  IO_FOLDER = 128, /* mkdir, opendir, readdir */
  IO_MAP = 256,   /* mmap of a file */
  IO_STREAM = 512, /* fread; never short, nor interrupted */
  IO_READING = IO_OPEN | IO_READ | IO_STREAM | IO_STAT | IO_FOLDER | IO_MAP,
  IO_WRITING = IO_OPEN | IO_WRITE | IO_SYNC | IO_CLOSE | IO_RENAME | IO_FOLDER
};

/* In place of an errno: reads and writes do half of what they are asked. */
enum { IO_SHORT = -1 };

/* False without glibc and under sanitizers that need these places. */
bool fail_io_works(void);

/* The n-th of these calls from now on fails with the error (1: the next), with
 * `after` all that come after it, too. */
void fail_io(int which, long n, int error, bool after);
/* Ends that.  Returns how many calls have failed. */
long fail_io_end(void);

#endif
