#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/fork.h"
#include "base/memory.h"
#include "base/thread.h"

/* Jobs follow each other within microseconds, so a thread looks for the next
 * one a while before it sleeps. */
enum { SPINS = 4000 };

/* More pieces than threads, so that a thread the system delays holds up
 * little. */
enum { PIECES_PER_THREAD = 4 };

struct mae_pool {
  int32_t threads;
  unsigned forks;        /* mae_fork_count where the helpers are */
  int32_t started;       /* helpers, that is threads - 1 once created */
  pthread_t *helpers;
  pthread_mutex_t turn;  /* held by the caller whose job runs */
  pthread_mutex_t lock;  /* guards sleeping and waking */
  pthread_cond_t wake, done;
  atomic_uint_fast64_t job; /* number of the latest job */
  atomic_bool stop;
  mae_pool_task task;
  void *arg;
  int64_t count;
  atomic_int_fast64_t next;    /* piece to take */
  atomic_int_fast32_t working; /* helpers not finished with the job */
};

typedef struct helper_start {
  mae_pool *pool;
  int32_t worker;
} helper_start;

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void take_pieces(mae_pool *pool, int32_t worker) {
  int64_t i;
  while ((i = atomic_fetch_add(&pool->next, 1)) < pool->count)
    pool->task(pool->arg, i, worker);
}

/* Wait for a job other than the one seen; returns its number. */
static uint_fast64_t wait_for_job(mae_pool *pool, uint_fast64_t seen) {
  for (int i = 0; i < SPINS; i++) {
    uint_fast64_t job = atomic_load(&pool->job);
    if (job != seen) return job;
    relax();
  }
  pthread_mutex_lock(&pool->lock);
  while (atomic_load(&pool->job) == seen)
    pthread_cond_wait(&pool->wake, &pool->lock);
  pthread_mutex_unlock(&pool->lock);
  return atomic_load(&pool->job);
}

static void *helper_main(void *arg) {
  helper_start start = *(helper_start *)arg;
  free(arg);
  mae_pool *pool = start.pool;
  uint_fast64_t seen = 0;
  for (;;) {
    seen = wait_for_job(pool, seen);
    if (atomic_load(&pool->stop)) return NULL;
    take_pieces(pool, start.worker);
    if (atomic_fetch_sub(&pool->working, 1) == 1) {
      pthread_mutex_lock(&pool->lock);
      pthread_cond_signal(&pool->done);
      pthread_mutex_unlock(&pool->lock);
    }
  }
}

/* Publish a job; everything before is visible to helpers that see it. */
static void announce(mae_pool *pool) {
  pthread_mutex_lock(&pool->lock);
  atomic_fetch_add(&pool->job, 1);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->lock);
}

static void wait_for_helpers(mae_pool *pool) {
  for (int i = 0; i < SPINS; i++) {
    if (!atomic_load(&pool->working)) return;
    relax();
  }
  pthread_mutex_lock(&pool->lock);
  while (atomic_load(&pool->working))
    pthread_cond_wait(&pool->done, &pool->lock);
  pthread_mutex_unlock(&pool->lock);
}

/* In a child made by fork the helpers are not there, and the locks may be as
 * threads that are not there left them. */
static bool is_inherited(const mae_pool *pool) {
  return pool->started && pool->forks != mae_fork_count();
}

void mae_pool_run(mae_pool *pool, int64_t count, mae_pool_task task,
                  void *arg) {
  if (pool->threads == 1 || count == 1 || is_inherited(pool)) {
    for (int64_t i = 0; i < count; i++) task(arg, i, 0);
    return;
  }
  pthread_mutex_lock(&pool->turn);
  pool->task = task;
  pool->arg = arg;
  pool->count = count;
  atomic_store(&pool->next, 0);
  atomic_store(&pool->working, pool->started);
  announce(pool);
  take_pieces(pool, 0);
  wait_for_helpers(pool);
  pthread_mutex_unlock(&pool->turn);
}

typedef struct range_job {
  mae_pool_range range;
  void *arg;
  int64_t n, pieces;
} range_job;

static void run_piece(void *arg, int64_t i, int32_t worker) {
  const range_job *job = arg;
  int64_t whole = job->n / job->pieces, rest = job->n % job->pieces;
  int64_t begin = i * whole + (i < rest ? i : rest);
  job->range(job->arg, begin, begin + whole + (i < rest), worker);
}

void mae_pool_for(mae_pool *pool, int64_t n, int64_t grain,
                  mae_pool_range range, void *arg) {
  if (n <= 0) return;
  int64_t most = pool->threads == 1 ? 1 : pool->threads * PIECES_PER_THREAD;
  int64_t pieces = grain > 0 ? n / grain : n;
  if (pieces > most) pieces = most;
  if (pieces < 1) pieces = 1;
  range_job job = {range, arg, n, pieces};
  mae_pool_run(pool, pieces, run_piece, &job);
}

static mae_status start_helper(mae_pool *pool, int32_t worker) {
  helper_start *start = mae_calloc(1, sizeof *start);
  if (!start) return MAE_ERROR_OUT_OF_MEMORY;
  *start = (helper_start){pool, worker};
  if (mae_thread_start(&pool->helpers[worker - 1], helper_main, start)) {
    free(start);
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "cannot start thread %d of %d",
                    worker + 1, pool->threads);
  }
  pool->started++;
  return MAE_OK;
}

mae_status mae_pool_create(int32_t threads, mae_pool **out) {
  mae_pool *pool = mae_calloc(1, sizeof *pool);
  if (!pool) return MAE_ERROR_OUT_OF_MEMORY;
  pool->threads = threads;
  pool->forks = mae_fork_count();
  pthread_mutex_init(&pool->turn, NULL);
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->wake, NULL);
  pthread_cond_init(&pool->done, NULL);
  mae_status status = MAE_OK;
  pool->helpers = mae_calloc((size_t)threads, sizeof *pool->helpers);
  if (!pool->helpers) status = MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t i = 1; i < threads && status == MAE_OK; i++)
    status = start_helper(pool, i);
  if (status != MAE_OK) {
    mae_pool_destroy(pool);
    return status;
  }
  *out = pool;
  return MAE_OK;
}

static void stop_helpers(mae_pool *pool) {
  atomic_store(&pool->stop, true);
  announce(pool);
  for (int32_t i = 0; i < pool->started; i++)
    pthread_join(pool->helpers[i], NULL);
  pthread_cond_destroy(&pool->done);
  pthread_cond_destroy(&pool->wake);
  pthread_mutex_destroy(&pool->lock);
  pthread_mutex_destroy(&pool->turn);
}

void mae_pool_destroy(mae_pool *pool) {
  if (!pool) return;
  if (!is_inherited(pool)) stop_helpers(pool);
  free(pool->helpers);
  free(pool);
}

int32_t mae_pool_threads(const mae_pool *pool) { return pool->threads; }

int32_t mae_cpu_count(void) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set)) return 1;
  int n = CPU_COUNT(&set);
  return n > 0 ? n : 1;
}
