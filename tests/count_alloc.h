/* How often this program has asked for heap memory. */
#ifndef TESTS_COUNT_ALLOC_H
#define TESTS_COUNT_ALLOC_H

/* Calls so far, from any thread and any library, of malloc, calloc, realloc,
 * aligned_alloc, memalign and posix_memalign; -1 where they cannot be counted:
 * under a sanitizer or valgrind, and without glibc. */
long count_alloc_calls(void);

#endif
