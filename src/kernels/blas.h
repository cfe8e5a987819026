/* CBLAS products, one thread each, inside our own thread plan. */
#ifndef MAE_KERNELS_BLAS_H
#define MAE_KERNELS_BLAS_H

#include <stdbool.h>
#include <stdint.h>

/* While any caller is inside enter/leave, the BLAS library runs each call on
 * the calling thread; the last to leave restores the application's setting. */
void mae_blas_enter(void);
void mae_blas_leave(void);

/* c [m, n] = alpha op(a) op(b) + beta c, row-major; op transposes on true. */
void mae_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n,
               int64_t k, float alpha, const float *a, int64_t lda,
               const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

#endif
