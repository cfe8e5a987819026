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
enum { PIECES_PER_THREAD = 16 };

/* Parts of a piece that any worker may take. */
typedef struct share {
  _Alignas(MAE_ALIGNMENT) atomic_int_fast64_t left; /* to take; below 0: none */
  atomic_int_fast32_t guests; /* workers that may be at one, but the owner */
  atomic_bool open;
  mae_pool_task part;
  void *arg;
  int64_t count;
} share;

struct mae_pool {
  int32_t threads;
  unsigned forks;       /* mae_fork_count where the helpers are */
  int32_t started;      /* helpers, that is threads - 1 once created */
  pthread_t *helpers;
  share *shares;        /* of each worker */
  pthread_mutex_t turn; /* held by the caller whose job runs */
  pthread_mutex_t lock; /* guards sleeping and waking */
  pthread_cond_t change;
  atomic_int_fast32_t asleep;
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

/* ------------------------------------------------------------- waiting --- */

/* What some worker may sleep for has come about. */
static void notify(mae_pool *pool) {
  if (!atomic_load(&pool->asleep)) return;
  pthread_mutex_lock(&pool->lock);
  pthread_cond_broadcast(&pool->change);
  pthread_mutex_unlock(&pool->lock);
}

/* Reads what part it is only once it has one: then they are those of now. */
static bool take_parts(share *s, int32_t worker) {
  int64_t left, taken = 0;
  for (; (left = atomic_fetch_sub(&s->left, 1)) > 0; taken++)
    s->part(s->arg, s->count - left, worker);
  return taken > 0;
}

/* Take parts of other workers' pieces; false: there were none. */
static bool help(mae_pool *pool, int32_t worker) {
  bool helped = false;
  for (int32_t i = 1; i < pool->threads; i++) {
    share *s = &pool->shares[(worker + i) % pool->threads];
    if (atomic_load(&s->left) <= 0) continue;
    atomic_fetch_add(&s->guests, 1);
    helped |= take_parts(s, worker);
    if (atomic_fetch_sub(&s->guests, 1) == 1) notify(pool);
  }
  return helped;
}

static bool is_shared(mae_pool *pool) {
  for (int32_t i = 0; i < pool->threads; i++)
    if (atomic_load(&pool->shares[i].left) > 0) return true;
  return false;
}

/* What a worker waits for. */
typedef bool wait_for(mae_pool *pool, int32_t worker, uint_fast64_t seen);

static bool next_job(mae_pool *pool, int32_t worker, uint_fast64_t seen) {
  (void)worker;
  return atomic_load(&pool->job) != seen;
}

static bool helpers_done(mae_pool *pool, int32_t worker, uint_fast64_t seen) {
  (void)worker, (void)seen;
  return !atomic_load(&pool->working);
}

static bool guests_gone(mae_pool *pool, int32_t worker, uint_fast64_t seen) {
  (void)seen;
  return !atomic_load(&pool->shares[worker].guests);
}

/* Who sleeps is counted before the last look, who brings about a change counts
 * after it: one of them sees the other. */
static void sleep_until(mae_pool *pool, wait_for *come, int32_t worker,
                        uint_fast64_t seen, bool helps) {
  pthread_mutex_lock(&pool->lock);
  atomic_fetch_add(&pool->asleep, 1);
  while (!come(pool, worker, seen) && !(helps && is_shared(pool)))
    pthread_cond_wait(&pool->change, &pool->lock);
  atomic_fetch_sub(&pool->asleep, 1);
  pthread_mutex_unlock(&pool->lock);
}

static void wait_until(mae_pool *pool, wait_for *come, int32_t worker,
                       uint_fast64_t seen, bool helps) {
  while (!come(pool, worker, seen)) {
    for (int i = 0; i < SPINS && !come(pool, worker, seen); i++) {
      if (helps && help(pool, worker)) i = 0;
      relax();
    }
    sleep_until(pool, come, worker, seen, helps);
  }
}

/* ---------------------------------------------------------------- jobs --- */

static void *helper_main(void *arg) {
  helper_start start = *(helper_start *)arg;
  free(arg);
  mae_pool *pool = start.pool;
  uint_fast64_t seen = 0;
  for (;;) {
    wait_until(pool, next_job, start.worker, seen, true);
    seen = atomic_load(&pool->job);
    if (atomic_load(&pool->stop)) return NULL;
    take_pieces(pool, start.worker);
    if (atomic_fetch_sub(&pool->working, 1) == 1) notify(pool);
  }
}

/* Publish a job; everything before is visible to helpers that see it. */
static void announce(mae_pool *pool) {
  atomic_fetch_add(&pool->job, 1);
  notify(pool);
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
  wait_until(pool, helpers_done, 0, 0, true);
  pthread_mutex_unlock(&pool->turn);
}

void mae_pool_share(mae_pool *pool, int32_t worker, int64_t count,
                    mae_pool_task part, void *arg) {
  share *s = &pool->shares[worker];
  /* A job of one piece takes no turn, so that several may share as worker 0. */
  if (pool->threads == 1 || count == 1 || is_inherited(pool) ||
      atomic_exchange(&s->open, true)) {
    for (int64_t i = 0; i < count; i++) part(arg, i, worker);
    return;
  }
  s->part = part;
  s->arg = arg;
  s->count = count;
  atomic_store(&s->left, count);
  notify(pool);
  take_parts(s, worker);
  wait_until(pool, guests_gone, worker, 0, false);
  atomic_store(&s->open, false);
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
  pthread_cond_init(&pool->change, NULL);
  mae_status status = MAE_OK;
  pool->helpers = mae_calloc((size_t)threads, sizeof *pool->helpers);
  pool->shares = mae_calloc((size_t)threads, sizeof *pool->shares);
  if (!pool->helpers || !pool->shares) status = MAE_ERROR_OUT_OF_MEMORY;
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
  pthread_cond_destroy(&pool->change);
  pthread_mutex_destroy(&pool->lock);
  pthread_mutex_destroy(&pool->turn);
}

void mae_pool_destroy(mae_pool *pool) {
  if (!pool) return;
  if (!is_inherited(pool)) stop_helpers(pool);
  free(pool->shares);
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
