#include "kernels/blas.h"

#include <cblas.h>
#include <pthread.h>

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

void mae_blas_enter(void) {
  pthread_mutex_lock(&lock);
  if (users++ == 0) {
    application_threads = get_threads();
    if (application_threads != 1) set_threads(1);
  }
  pthread_mutex_unlock(&lock);
}

void mae_blas_leave(void) {
  pthread_mutex_lock(&lock);
  if (--users == 0 && application_threads != 1)
    set_threads(application_threads);
  pthread_mutex_unlock(&lock);
}

void mae_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n,
               int64_t k, float alpha, const float *a, int64_t lda,
               const float *b, int64_t ldb, float beta, float *c,
               int64_t ldc) {
  cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
              transpose_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k,
              alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}
