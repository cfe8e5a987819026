/* The program's own malloc and its kin come before the C library's, count and
 * pass on, or fail.  ASan's are there under names of their own; the other
 * sanitizers need that place for themselves. */
#include "count_alloc.h"

#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#elif __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#elif defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#if defined(__GLIBC__) && !defined(SANITIZED)

/* Seen by the libraries, too. */
#pragma GCC visibility push(default)

/* They run before ASan has set up what its checks need. */
#ifdef ASAN
#define REAL(name) __interceptor_##name
#define UNCHECKED __attribute__((no_sanitize("address")))
#else
#define REAL(name) __libc_##name
#define UNCHECKED
#endif

extern void *REAL(malloc)(size_t);
extern void *REAL(calloc)(size_t, size_t);
extern void *REAL(realloc)(void *, size_t);
extern void *REAL(memalign)(size_t, size_t);
extern void REAL(free)(void *);
void *memalign(size_t alignment, size_t size);

static atomic_long calls, live, failed;
static atomic_long left; /* calls until one fails, that included */
static atomic_bool armed, all_after;

/* A part of the program, and whether it alone is meant, or all but it. */
static uintptr_t part, part_end;
static bool alone;

/* `from` is the place after the call. */
UNCHECKED static bool fails(const void *from) {
  atomic_fetch_add(&calls, 1);
  if (!atomic_load(&armed)) return false;
  const bool inside = (uintptr_t)from >= part && (uintptr_t)from < part_end;
  if (inside != alone) return false;
  const long before = atomic_fetch_sub(&left, 1);
  if (before > 1 || (before < 1 && !atomic_load(&all_after))) return false;
  atomic_fetch_add(&failed, 1);
  errno = ENOMEM;
  return true;
}

UNCHECKED static void *counted(void *block) {
  if (block) atomic_fetch_add(&live, 1);
  return block;
}

#define FAILS fails(__builtin_return_address(0))

UNCHECKED void *malloc(size_t size) {
  return FAILS ? NULL : counted(REAL(malloc)(size));
}

UNCHECKED void *calloc(size_t count, size_t size) {
  return FAILS ? NULL : counted(REAL(calloc)(count, size));
}

UNCHECKED void *realloc(void *old, size_t size) {
  if (FAILS) return NULL;
  void *block = REAL(realloc)(old, size);
  if (!old) return counted(block);
  if (!block && !size) atomic_fetch_sub(&live, 1);
  return block;
}

UNCHECKED void *memalign(size_t alignment, size_t size) {
  return FAILS ? NULL : counted(REAL(memalign)(alignment, size));
}

UNCHECKED void *aligned_alloc(size_t alignment, size_t size) {
  return memalign(alignment, size);
}

UNCHECKED int posix_memalign(void **out, size_t alignment, size_t size) {
  if (alignment % sizeof(void *) || !alignment || alignment & (alignment - 1))
    return EINVAL;
  void *p = memalign(alignment, size);
  if (!p) return ENOMEM;
  *out = p;
  return 0;
}

UNCHECKED void free(void *block) {
  if (block) atomic_fetch_sub(&live, 1);
  REAL(free)(block);
}

/* Counted as its caller's, and ASan's own takes memory without malloc. */
#undef strdup
UNCHECKED char *strdup(const char *text) {
  const size_t size = strlen(text) + 1;
  char *copy = FAILS ? NULL : counted(REAL(malloc)(size));
  return copy ? memcpy(copy, text, size) : NULL;
}

char *__strdup(const char *text);
UNCHECKED char *__strdup(const char *text) {
  const size_t size = strlen(text) + 1;
  char *copy = FAILS ? NULL : counted(REAL(malloc)(size));
  return copy ? memcpy(copy, text, size) : NULL;
}

#pragma GCC visibility pop

/* valgrind takes the place of these as well: see whether they are called. */
long count_alloc_calls(void) {
  void *(*volatile ask)(size_t) = malloc;
  const long before = atomic_load(&calls);
  free(ask(1));
  if (atomic_load(&calls) == before) return -1;
  return atomic_fetch_sub(&calls, 1) - 1;
}

long count_alloc_live(void) { return atomic_load(&live); }

void fail_alloc(long n, bool after) {
  atomic_store(&failed, 0);
  atomic_store(&all_after, after);
  atomic_store(&left, n);
  atomic_store(&armed, true);
}

/* The program's own name is "". */
static int find_part(struct dl_phdr_info *info, size_t size, void *name) {
  const char *slash = strrchr(info->dlpi_name, '/'), *wanted = name;
  const char *file = slash ? slash + 1 : info->dlpi_name;
  (void)size;
  if (strncmp(file, wanted, *wanted ? strlen(wanted) : 1)) return 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *p = &info->dlpi_phdr[i];
    if (p->p_type != PT_LOAD || !(p->p_flags & PF_X)) continue;
    part = info->dlpi_addr + p->p_vaddr;
    part_end = part + p->p_memsz;
  }
  return 1;
}

void fail_alloc_spare(const char *library) {
#ifdef ASAN
  library = "";
#endif
  part = part_end = 0;
  alone = library && !*library;
  if (library) dl_iterate_phdr(find_part, (void *)(uintptr_t)library);
}

long fail_alloc_end(void) {
  atomic_store(&armed, false);
  return atomic_load(&failed);
}

#else

long count_alloc_calls(void) { return -1; }
long count_alloc_live(void) { return 0; }
void fail_alloc(long n, bool after) { (void)n, (void)after; }
void fail_alloc_spare(const char *library) { (void)library; }
long fail_alloc_end(void) { return 0; }

#endif
