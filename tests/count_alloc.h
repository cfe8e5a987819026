/* Counts this program's calls of the allocator. */
#ifndef TESTS_COUNT_ALLOC_H
#define TESTS_COUNT_ALLOC_H

/* Calls so far, or -1 where they cannot be counted (sanitizers and valgrind
 * have allocators of their own). */
long count_alloc_calls(void);

#endif
