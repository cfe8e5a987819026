/* A pool of threads that runs the pieces of one job at a time. */
#ifndef MAE_BASE_POOL_H
#define MAE_BASE_POOL_H

#include "base/error.h"

typedef struct mae_pool mae_pool;

/* threads >= 1 counts the calling thread. */
mae_status mae_pool_create(int32_t threads, mae_pool **pool);
void mae_pool_destroy(mae_pool *pool);
int32_t mae_pool_threads(const mae_pool *pool);

/* CPUs this process may run on. */
int32_t mae_cpu_count(void);

/* Run task(arg, i, worker) for each i in [0, count), in any order, and wait.
 * worker, in [0, threads), tells which scratch space is free to use.  Callers
 * from several threads take turns; of the pool a task may call mae_pool_share
 * alone. */
typedef void (*mae_pool_task)(void *arg, int64_t i, int32_t worker);
void mae_pool_run(mae_pool *pool, int64_t count, mae_pool_task task, void *arg);

/* Run range(arg, begin, end, worker) over pieces of [0, n), none much smaller
 * than grain.  The pieces depend on n, grain and the thread count alone. */
typedef void (*mae_pool_range)(void *arg, int64_t begin, int64_t end,
                               int32_t worker);
void mae_pool_for(mae_pool *pool, int64_t n, int64_t grain,
                  mae_pool_range range, void *arg);

/* From within a task of mae_pool_run, as its worker: run part(arg, i, worker)
 * for each i in [0, count), in any order, and wait.  Workers that find no more
 * to do of their own take some of them, each under its own number. */
void mae_pool_share(mae_pool *pool, int32_t worker, int64_t count,
                    mae_pool_task part, void *arg);

#endif
