/* Threads of the library's own. */
#ifndef MAE_BASE_THREAD_H
#define MAE_BASE_THREAD_H

#include <pthread.h>

/* pthread_create, of a thread that takes no signals: these are for the
 * application's own threads. */
int mae_thread_start(pthread_t *thread, void *(*run)(void *), void *arg);

#endif
