#include "base/fork.h"

#include <pthread.h>
#include <stdatomic.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_uint forks;

static void count(void) { atomic_fetch_add(&forks, 1); }

static void watch(void) { pthread_atfork(NULL, NULL, count); }

unsigned mae_fork_count(void) {
  pthread_once(&once, watch);
  return atomic_load(&forks);
}
