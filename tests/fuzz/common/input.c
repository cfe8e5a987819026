#include "common/input.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST_FILES = 8, MOST_PATH = 256 };

typedef struct file {
  char path[MOST_PATH];
  const char *name;
  int fd; /* of memory; the path is a link to it */
} file;

static file files[MOST_FILES];
static int count;
static char folder[MOST_PATH / 2];

static void remove_all(void) {
  for (int i = 0; i < count; i++) unlink(files[i].path);
  rmdir(folder);
}

const char *input_folder(void) {
  if (*folder) return folder;
  const char *root = getenv("TMPDIR");
  int n = snprintf(folder, sizeof folder, "%s/libmae-fuzz-XXXXXX",
                   root ? root : "/tmp");
  REQUIRE(n < (int)sizeof folder && mkdtemp(folder));
  atexit(remove_all);
  return folder;
}

static file *make(const char *name) {
  char link[64];
  REQUIRE(count < MOST_FILES);
  file *f = &files[count++];
  f->name = name;
  f->fd = memfd_create(name, MFD_CLOEXEC);
  REQUIRE(f->fd >= 0);
  snprintf(link, sizeof link, "/proc/self/fd/%d", f->fd);
  snprintf(f->path, sizeof f->path, "%s/%s", input_folder(), name);
  REQUIRE(!symlink(link, f->path));
  return f;
}

static file *find(const char *name) {
  for (int i = 0; i < count; i++)
    if (!strcmp(files[i].name, name)) return &files[i];
  return make(name);
}

const char *input_file(const char *name, const void *data, size_t size) {
  file *f = find(name);
  REQUIRE(!ftruncate(f->fd, 0));
  REQUIRE(pwrite(f->fd, data, size, 0) == (ssize_t)size);
  return f->path;
}
