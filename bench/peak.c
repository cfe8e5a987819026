/* What this machine can do: multiply-adds from registers, and CBLAS products,
 * each as the library calls for them, one product per thread.
 *
 *   peak [--threads N] [--seconds X]
 *
 * Prints "fma_gflops_thread", "fma_gflops" (all threads at once), "gemm_gflops"
 * (all threads, large products), each the best of some rounds, and a table of
 * the products of a training step of ViT-B/16 at 16 images.  A vector of n
 * floats and two units that fuse multiply and add make 4 n FLOPs a clock, so
 * "flops_per_clock" tells whether the loop is what it should be: near 64 with
 * AVX-512, 32 with AVX2. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "kernels/blas.h"
#include "program.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { ACCUMULATORS = 14, ROUNDS = 5 };

/* Sixteen registers is what AVX2 has; latency times units is less than 14. */
#define EACH(X) \
  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13)

/* A function that makes n times ACCUMULATORS multiply-adds of vectors in
 * registers, and returns something made of all of them.  Variables with names:
 * of an array compilers make memory, and the loop is a test of that. */
#define FMA_LOOP(name, target, vector, set, first)            \
  target static float name(int64_t n) {                       \
    const vector a = set(0.999f), b = set(0.001f);            \
    EACH(DECLARE_##name)                                      \
    for (int64_t i = 0; i < n; i++) { EACH(STEP_##name) }     \
    vector sum = set(0);                                      \
    EACH(SUM_##name)                                          \
    return first(sum);                                        \
  }

#if defined(__x86_64__)
#define DECLARE_fma_avx512(i) __m512 x##i = _mm512_set1_ps(i);
#define STEP_fma_avx512(i) x##i = _mm512_fmadd_ps(x##i, a, b);
#define SUM_fma_avx512(i) sum = _mm512_add_ps(sum, x##i);
FMA_LOOP(fma_avx512, __attribute__((target("avx512f"))), __m512,
         _mm512_set1_ps, _mm512_cvtss_f32)
#define DECLARE_fma_avx2(i) __m256 x##i = _mm256_set1_ps(i);
#define STEP_fma_avx2(i) x##i = _mm256_fmadd_ps(x##i, a, b);
#define SUM_fma_avx2(i) sum = _mm256_add_ps(sum, x##i);
FMA_LOOP(fma_avx2, __attribute__((target("avx2,fma"))), __m256, _mm256_set1_ps,
         _mm256_cvtss_f32)
#endif

/* Plain C, which the compiler fuses where the target does (as aarch64). */
typedef float vec4 __attribute__((vector_size(16)));
static vec4 vec4_of(float x) { return (vec4){x, x, x, x}; }
static float vec4_first(vec4 x) { return x[0]; }
#define DECLARE_fma_plain(i) vec4 x##i = vec4_of(i);
#define STEP_fma_plain(i) x##i = x##i * a + b;
#define SUM_fma_plain(i) sum += x##i;
FMA_LOOP(fma_plain, , vec4, vec4_of, vec4_first)

typedef struct fma_kind {
  float (*loop)(int64_t n);
  int lanes;
} fma_kind;

static fma_kind best_fma(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return (fma_kind){fma_avx512, 16};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return (fma_kind){fma_avx2, 8};
#endif
  return (fma_kind){fma_plain, 4};
}

/* ------------------------------------------------------------- measures --- */

typedef struct measure {
  mae_pool *pool;
  int threads;    /* that work at once */
  double seconds; /* of a round, about */
} measure;

/* The best rate of some rounds of a task for each thread, which does
 * `operations` each time it runs. */
static double best_rate(const measure *m, double operations,
                        mae_pool_task task, void *arg) {
  double best = 0;
  for (int round = 0; round < ROUNDS; round++) {
    const double began = now();
    double done = 0, took;
    do {
      mae_pool_run(m->pool, m->threads, task, arg);
      done += operations * m->threads;
      took = now() - began;
    } while (took < m->seconds);
    if (done / took > best) best = done / took;
  }
  return best;
}

enum { FMA_LOOPS = 2000000, CHAIN = 20000000 };
static volatile float fma_result;
static volatile uint64_t chain_result;

static void run_fma(void *arg, int64_t i, int32_t worker) {
  (void)i;
  (void)worker;
  fma_result = ((const fma_kind *)arg)->loop(FMA_LOOPS);
}

/* Each link waits for the one before: 3 clocks to multiply, 1 to add. */
static void run_chain(void *arg, int64_t i, int32_t worker) {
  uint64_t x = (uint64_t)i;
  (void)arg;
  (void)worker;
  for (int k = 0; k < CHAIN; k++)
    x = x * 6364136223846793005u + 1442695040888963407u;
  chain_result = x;
}

static double fma_rate(const measure *m) {
  fma_kind kind = best_fma();
  return best_rate(m, 2.0 * FMA_LOOPS * ACCUMULATORS * kind.lanes, run_fma,
                   &kind);
}

/* ------------------------------------------------------------- products --- */

/* c [m, n] = op(a) op(b). */
typedef struct product {
  const char *name;
  int64_t m, n, k;
  bool transpose_a, transpose_b;
} product;

typedef struct product_run {
  const product *product;
  float *a, *b, *c;
  int64_t rows; /* of c, for each thread */
} product_run;

static void run_product(void *arg, int64_t i, int32_t worker) {
  const product_run *r = arg;
  const product *p = r->product;
  const int64_t first = i * r->rows, lda = p->transpose_a ? p->m : p->k;
  (void)worker;
  mae_sgemm(p->transpose_a, p->transpose_b, r->rows, p->n, p->k, 1,
            r->a + (p->transpose_a ? first : first * p->k), lda, r->b,
            p->transpose_b ? p->k : p->n, 0, r->c + first * p->n, p->n);
}

static double product_rate(const measure *m, const product *p) {
  product_run r = {.product = p,
                   .a = program_values((size_t)(p->m * p->k)),
                   .b = program_values((size_t)(p->k * p->n)),
                   .c = program_values((size_t)(p->m * p->n)),
                   .rows = p->m / m->threads};
  const double each = 2.0 * (double)r.rows * (double)p->n * (double)p->k;
  mae_blas_enter();
  const double rate = best_rate(m, each, run_product, &r);
  mae_blas_leave();
  free(r.a);
  free(r.b);
  free(r.c);
  return rate;
}

/* 16 images: 50 tokens each in the encoder, 197 in the decoder. */
static const product products[] = {
    {"encoder qkv", 800, 2304, 768, false, true},
    {"encoder fc1", 800, 3072, 768, false, true},
    {"encoder fc2", 800, 768, 3072, false, true},
    {"encoder fc1, dx", 800, 768, 3072, false, false},
    {"encoder fc1, dw", 3072, 768, 800, true, false},
    {"decoder qkv", 3152, 1536, 512, false, true},
    {"decoder fc1", 3152, 2048, 512, false, true},
    {"decoder fc1, dx", 3152, 512, 2048, false, false},
    {"decoder fc1, dw", 2048, 512, 3152, true, false},
};

static void print_products(const measure *m, double peak) {
  printf("product          %16s %9s  of FMA peak\n", "m x n x k", "GFLOP/s");
  for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
    const product *p = &products[i];
    char size[48];
    const double rate = product_rate(m, p);
    snprintf(size, sizeof size, "%d x %d x %d", (int)p->m, (int)p->n,
             (int)p->k);
    printf("%-16s %16s %9.1f  %11.3f\n", p->name, size, 1e-9 * rate,
           rate / peak);
  }
}

int main(int argc, char **argv) {
  measure all = {.threads = mae_cpu_count(), .seconds = 0.2};
  const program_option options[] = {{"threads", .number = &all.threads},
                                    {"seconds", .real = &all.seconds},
                                    {0}};
  program_options(argc, argv, options);
  need(mae_pool_create(all.threads, &all.pool));
  measure one = all;
  one.threads = 1;
  const double clock = best_rate(&one, 4.0 * CHAIN, run_chain, NULL);
  const double thread = fma_rate(&one), peak = fma_rate(&all);
  const int64_t large = 2048;
  const product square = {"large", large * all.threads, large, large, false,
                          true};
  const double gemm = product_rate(&all, &square);
  printf("clock_ghz %.2f\nflops_per_clock %.1f\n", 1e-9 * clock,
         thread / clock);
  printf("fma_gflops_thread %.1f\nthreads %d\nfma_gflops %.1f\n", 1e-9 * thread,
         all.threads, 1e-9 * peak);
  printf("gemm_gflops %.1f\n", 1e-9 * gemm);
  print_products(&all, peak);
  mae_pool_destroy(all.pool);
  return 0;
}
