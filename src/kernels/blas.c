#include "kernels/blas.h"

#include <cblas.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#if defined(MAE_BLAS_BLIS)
#include <blis.h>
static int get_threads(void) { return (int)bli_thread_get_num_threads(); }
static void set_threads(int n) { bli_thread_set_num_threads(n); }
#elif defined(MAE_BLAS_OPENBLAS)
static int get_threads(void) { return openblas_get_num_threads(); }
static void set_threads(int n) { openblas_set_num_threads(n); }
#else
#error "build with BLAS=openblas or BLAS=blis"
#endif

/* The setting is global to the BLAS library, so its borrowing is too. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int users;
static int application_threads;
static bool left_borrowed; /* a fork came between, see below */
static _Thread_local int users_here; /* of them, in this thread */

/* ---------------------------------------------------------------- fork --- */

/* A fork while another thread is inside the BLAS library would leave that
 * library's locks held in the child for ever.  So fork waits until no product
 * is under way, and products that come wait for the fork.  Threads count their
 * products in cache lines of their own, as far as these go. */
enum { GATES = 64 };
static struct gate {
  _Alignas(64) atomic_int inside;
} gates[GATES];
static atomic_uint gates_given;
static atomic_bool forking;
static _Thread_local struct gate *gate_here;

static void before_fork(void) {
  pthread_mutex_lock(&lock);
  atomic_store(&forking, true);
  for (int i = 0; i < GATES; i++)
    while (atomic_load(&gates[i].inside)) sched_yield();
}

static void after_fork_in_parent(void) {
  atomic_store(&forking, false);
  pthread_mutex_unlock(&lock);
}

/* The other threads that had borrowed the setting are not here. */
static void after_fork_in_child(void) {
  left_borrowed = left_borrowed || (users && !users_here);
  users = users_here;
  for (int i = 0; i < GATES; i++) atomic_store(&gates[i].inside, 0);
  after_fork_in_parent();
}

static void watch_forks(void) {
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ----------------------------------------------------------- borrowing --- */

/* Take note of what the application has set, be it while others are inside.
 * A 1 is ours while there are users, or when a fork left it behind. */
static void borrow(void) {
  const int now = get_threads();
  if (now != 1) {
    application_threads = now;
    set_threads(1);
  } else if (!users && !left_borrowed) {
    application_threads = 1;
  }
  left_borrowed = false;
}

/* Others may set it while we are inside: the application, or another copy of
 * this library in the process.  Products by several threads differ in bits. */
static void borrow_again(void) {
  pthread_mutex_lock(&lock);
  borrow();
  pthread_mutex_unlock(&lock);
}

void mae_blas_enter(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch_forks);
  pthread_mutex_lock(&lock);
  borrow();
  users++;
  users_here++;
  pthread_mutex_unlock(&lock);
}

void mae_blas_leave(void) {
  pthread_mutex_lock(&lock);
  users_here--;
  /* Unless the application has set it meanwhile. */
  if (--users == 0 && application_threads != 1 && get_threads() == 1)
    set_threads(application_threads);
  pthread_mutex_unlock(&lock);
}

static struct gate *pass_gate(void) {
  if (!gate_here)
    gate_here = &gates[atomic_fetch_add(&gates_given, 1) % GATES];
  atomic_fetch_add(&gate_here->inside, 1);
  while (atomic_load(&forking)) {
    atomic_fetch_sub(&gate_here->inside, 1);
    pthread_mutex_lock(&lock); /* the fork is over */
    pthread_mutex_unlock(&lock);
    atomic_fetch_add(&gate_here->inside, 1);
  }
  return gate_here;
}

/* ------------------------------------------------------------- products --- */

void mae_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n,
               int64_t k, float alpha, const float *a, int64_t lda,
               const float *b, int64_t ldb, float beta, float *c,
               int64_t ldc) {
  if (get_threads() != 1) borrow_again();
  struct gate *gate = pass_gate();
  cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
              transpose_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k,
              alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
  atomic_fetch_sub(&gate->inside, 1);
}
