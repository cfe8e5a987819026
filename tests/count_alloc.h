/* How often this program has asked for heap memory, and calls that fail. */
#ifndef TESTS_COUNT_ALLOC_H
#define TESTS_COUNT_ALLOC_H

#include <stdbool.h>

/* Calls so far, from any thread and any library, of malloc, calloc, realloc,
 * aligned_alloc, memalign and posix_memalign; -1 where they cannot be counted:
 * under valgrind or a sanitizer but ASan, and without glibc. */
long count_alloc_calls(void);

/* BLIS takes memory in each product, and ends the process if it gets none. */
#if defined(MAE_BLAS_BLIS)
enum { BLAS_TAKES_MEMORY = 1 };
#else
enum { BLAS_TAKES_MEMORY = 0 };
#endif

/* Blocks that are not freed yet. */
long count_alloc_live(void);

/* The n-th such call from now on fails (1: the next), with `after` all that
 * come after it, too. */
void fail_alloc(long n, bool after);
/* Which of them: all (NULL); none that a library itself makes whose file's name
 * begins so; or "": those of the program alone, under ASan always, for that
 * does not survive without memory itself. */
void fail_alloc_spare(const char *library);
/* Ends that.  Returns how many calls have failed. */
long fail_alloc_end(void);

#endif
