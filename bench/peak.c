/* What this machine can do: multiply-adds from registers, products of the BLAS
 * library, one per thread, and those of the library's linear layers.
 *
 *   peak [--threads N] [--seconds X]
 *   peak --gemm N [--steps N] [--interactive]
 *
 * The latter takes turns as program.h says, of N large CBLAS products each;
 * "flops" are those of a turn.  The former prints, each the best of some
 * rounds, "fma_gflops_thread"; of all threads at once "fma_gflops",
 * "bf16_gflops" where the processor multiplies bf16 (by AMX or AVX-512), and
 * "gemm_gflops", large CBLAS products; and a table of the linear layers in a
 * training step of ViT-B/16 at 16 images.  A vector of n floats and two units
 * that fuse multiply and add make 4 n FLOPs a clock, so "flops_per_clock" tells
 * whether the loop is what it should be: near 64 with AVX-512, 32 with AVX2. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "kernels/blas.h"
#include "kernels/context.h"
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

/* Products of bf16: of pairs in vectors, and of tiles of 16 rows and columns
 * with 32 terms, four independent ones at a time. */
#if defined(__x86_64__)
#define DECLARE_bf16_avx512(i) __m512 x##i = _mm512_set1_ps(i);
#define STEP_bf16_avx512(i) \
  x##i = _mm512_dpbf16_ps(x##i, (__m512bh)a, (__m512bh)b);
#define SUM_bf16_avx512(i) sum = _mm512_add_ps(sum, x##i);
FMA_LOOP(bf16_avx512, __attribute__((target("avx512f,avx512bf16"))), __m512,
         _mm512_set1_ps, _mm512_cvtss_f32)

#define USES_AMX __attribute__((target("amx-tile,amx-bf16")))
enum { TILES = 8, TILE_ROWS = 16, TILE_ROW_BYTES = 64 };
USES_AMX static float bf16_amx(int64_t n) {
  struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } shapes = {.palette = 1};
  float tile[TILE_ROWS * TILE_ROW_BYTES / sizeof(float)] = {0};
  for (int i = 0; i < TILES; i++) {
    shapes.row_bytes[i] = TILE_ROW_BYTES;
    shapes.rows[i] = TILE_ROWS;
  }
  /* gcc does not say of its intrinsics for tiles that they read memory. */
  __asm__ volatile("" : : "r"(&shapes), "r"(tile) : "memory");
  _tile_loadconfig(&shapes);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, tile, TILE_ROW_BYTES);
  _tile_loadd(5, tile, TILE_ROW_BYTES);
  _tile_loadd(6, tile, TILE_ROW_BYTES);
  _tile_loadd(7, tile, TILE_ROW_BYTES);
  for (int64_t i = 0; i < n; i++) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, tile, TILE_ROW_BYTES);
  _tile_release();
  return tile[0];
}
#endif

/* A loop, and the FLOPs of a round of it. */
typedef struct loop {
  float (*run)(int64_t rounds);
  double flops;
} loop;

static loop fma_loop(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f"))
    return (loop){fma_avx512, 2 * 16 * ACCUMULATORS};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return (loop){fma_avx2, 2 * 8 * ACCUMULATORS};
#endif
  return (loop){fma_plain, 2 * 4 * ACCUMULATORS};
}

/* Without a function where there is none. */
static loop bf16_loop(void) {
#if defined(__x86_64__)
  if (mae_cpu_has(MAE_ISA_AMX))
    return (loop){bf16_amx, 2.0 * 4 * TILE_ROWS * TILE_ROWS * 32};
  if (mae_cpu_has_avx512_bf16())
    return (loop){bf16_avx512, 2 * 32 * ACCUMULATORS};
#endif
  return (loop){NULL, 0};
}

/* ------------------------------------------------------------- measures --- */

typedef struct measure {
  mae_context *context;
  int threads;    /* that work at once */
  double seconds; /* of a round, about */
} measure;

/* The best rate of some rounds of work that does `operations` a call. */
static double best_rate(const measure *m, double operations,
                        void (*work)(const measure *m, void *arg), void *arg) {
  double best = 0;
  for (int round = 0; round < ROUNDS; round++) {
    const double began = now();
    double done = 0, took;
    do {
      work(m, arg);
      done += operations;
      took = now() - began;
    } while (took < m->seconds);
    if (done / took > best) best = done / took;
  }
  return best;
}

enum { LOOP_FLOPS = 500000000, CHAIN = 20000000 };
static volatile float loop_result;
static volatile uint64_t chain_result;

static void run_loop(void *arg, int64_t i, int32_t worker) {
  const loop *l = arg;
  (void)i;
  (void)worker;
  loop_result = l->run((int64_t)(LOOP_FLOPS / l->flops));
}

static void loop_work(const measure *m, void *arg) {
  mae_pool_run(m->context->pool, m->threads, run_loop, arg);
}

static double loop_rate(const measure *m, loop l) {
  const double each = (double)(int64_t)(LOOP_FLOPS / l.flops) * l.flops;
  return best_rate(m, each * m->threads, loop_work, &l);
}

/* Each link waits for the one before: 3 clocks to multiply, 1 to add. */
static void chain_work(const measure *m, void *arg) {
  uint64_t x = chain_result;
  (void)m;
  (void)arg;
  for (int k = 0; k < CHAIN; k++)
    x = x * 6364136223846793005u + 1442695040888963407u;
  chain_result = x;
}

/* ------------------------------------------------------------- products --- */

/* c [m, n] = op(a) op(b). */
typedef struct product {
  int64_t m, n, k;
  bool transpose_a, transpose_b;
  const float *a, *b;
  float *c;
} product;

/* A block of rows for each thread. */
typedef struct product_run {
  const product *product;
  int64_t threads;
} product_run;

static void run_product(void *arg, int64_t i, int32_t worker) {
  const product_run *r = arg;
  const product *p = r->product;
  const int64_t first = p->m * i / r->threads;
  const int64_t rows = p->m * (i + 1) / r->threads - first;
  (void)worker;
  mae_sgemm(p->transpose_a, p->transpose_b, rows, p->n, p->k, 1,
            p->a + (p->transpose_a ? first : first * p->k),
            p->transpose_a ? p->m : p->k, p->b, p->transpose_b ? p->k : p->n,
            0, p->c + first * p->n, p->n);
}

static void product_work(const measure *m, void *arg) {
  product_run r = {arg, m->threads};
  mae_pool_run(m->context->pool, m->threads, run_product, &r);
}

static double product_rate(const measure *m, product *p) {
  mae_blas_enter();
  const double rate = best_rate(
      m, 2.0 * (double)p->m * (double)p->n * (double)p->k, product_work, p);
  mae_blas_leave();
  return rate;
}

typedef struct large_product {
  float *a, *b, *c;
  product product;
} large_product;

static large_product make_large_product(const measure *m) {
  const int64_t side = 2048, rows = side * m->threads;
  large_product l = {.a = program_values((size_t)(rows * side)),
                     .b = program_values((size_t)(side * side)),
                     .c = program_values((size_t)(rows * side))};
  l.product = (product){rows, side, side, false, true, l.a, l.b, l.c};
  return l;
}

static void free_large_product(large_product *l) {
  free(l->a);
  free(l->b);
  free(l->c);
}

static double large_product_rate(const measure *m) {
  large_product l = make_large_product(m);
  const double rate = product_rate(m, &l.product);
  free_large_product(&l);
  return rate;
}

typedef struct gemm_turn {
  const measure *measure;
  product product;
  int count;
} gemm_turn;

static void run_gemm(void *arg) {
  gemm_turn *t = arg;
  mae_blas_enter();
  for (int i = 0; i < t->count; i++) product_work(t->measure, &t->product);
  mae_blas_leave();
}

static void take_gemm_turns(const measure *m, int count, const turns *when) {
  large_product l = make_large_product(m);
  gemm_turn t = {m, l.product, count};
  printf("flops %.0f\n", 2.0 * count * (double)(t.product.m * t.product.n) *
                             (double)t.product.k);
  ready();
  take_turns(when, run_gemm, &t);
  free_large_product(&l);
}

/* --------------------------------------------------------------- layers --- */

/* x [rows, in], w [out, in], y [rows, out], and gradients of the same
 * shapes. */
typedef struct layer {
  const char *name;
  int64_t rows, in, out;
} layer;

/* 16 images: 50 tokens each in the encoder, 197 in the decoder. */
static const layer layers[] = {
    {"encoder qkv", 800, 768, 2304},  {"encoder fc1", 800, 768, 3072},
    {"encoder fc2", 800, 3072, 768},  {"decoder qkv", 3152, 512, 1536},
    {"decoder fc1", 3152, 512, 2048}, {"decoder fc2", 3152, 2048, 512},
};

typedef enum layer_pass {
  FORWARD,
  BACKWARD_X,
  BACKWARD_W,
  LAYER_PASSES
} layer_pass;

static const char *const pass_names[] = {"y", "dx", "dw"};

typedef struct layer_run {
  const layer *layer;
  layer_pass pass;
  mae_products products;
  float *x, *w, *y, *bias, *scratch;
} layer_run;

static void layer_work(const measure *m, void *arg) {
  const layer_run *r = arg;
  const layer *l = r->layer;
  const mae_kernels *k = m->context->kernels;
  mae_pool *pool = m->context->pool;
  if (r->pass == FORWARD)
    k->linear_forward(pool, r->products, l->rows, l->in, l->out, false, r->x,
                      r->w, NULL, r->bias, NULL, NULL, r->y, r->scratch);
  else
    k->linear_backward(pool, r->products, l->rows, l->in, l->out, false, r->x,
                       r->w, NULL, r->y, r->pass == BACKWARD_X ? r->x : NULL,
                       false, r->pass == BACKWARD_W ? r->w : NULL, false, NULL,
                       false, r->scratch);
}

static double layer_flops(const layer *l) {
  return 2.0 * (double)l->rows * (double)l->in * (double)l->out;
}

static double layer_rate(const measure *m, layer_run *r,
                         mae_precision precision) {
  const layer *l = r->layer;
  r->products = m->context->products[precision];
  r->scratch = program_values((size_t)m->context->kernels->linear_scratch(
      m->context->pool, r->products, r->pass != FORWARD, l->rows, l->in,
      l->out));
  const double rate = best_rate(m, layer_flops(l), layer_work, r);
  free(r->scratch);
  return rate;
}

/* The same by the BLAS library. */
static double blas_rate(const measure *m, const layer_run *r) {
  const layer *l = r->layer;
  product p[] = {{l->rows, l->out, l->in, false, true, r->x, r->w, r->y},
                 {l->rows, l->in, l->out, false, false, r->y, r->w, r->x},
                 {l->out, l->in, l->rows, true, false, r->y, r->x, r->w}};
  return product_rate(m, &p[r->pass]);
}

static void print_layer(const measure *m, const layer *l, bool bf16) {
  layer_run r = {.layer = l,
                 .x = program_values((size_t)(l->rows * l->in)),
                 .w = program_values((size_t)(l->out * l->in)),
                 .y = program_values((size_t)(l->rows * l->out)),
                 .bias = program_values((size_t)l->out)};
  for (int pass = 0; pass < LAYER_PASSES; pass++) {
    char size[48];
    r.pass = (layer_pass)pass;
    snprintf(size, sizeof size, "%d x %d x %d", (int)l->rows, (int)l->in,
             (int)l->out);
    printf("%-12s %-2s %18s %8.1f %11.1f", l->name, pass_names[pass], size,
           1e-9 * blas_rate(m, &r),
           1e-9 * layer_rate(m, &r, MAE_PRECISION_F32));
    if (bf16) printf(" %12.1f", 1e-9 * layer_rate(m, &r, MAE_PRECISION_BF16));
    putchar('\n');
  }
  free(r.x);
  free(r.w);
  free(r.y);
  free(r.bias);
}

static void print_peaks(const measure *all) {
  measure one = *all;
  one.threads = 1;
  const loop bf16 = bf16_loop();
  const double clock = best_rate(&one, 4.0 * CHAIN, chain_work, NULL);
  const double thread = loop_rate(&one, fma_loop());
  printf("clock_ghz %.2f\nflops_per_clock %.1f\n", 1e-9 * clock,
         thread / clock);
  printf("fma_gflops_thread %.1f\nthreads %d\nfma_gflops %.1f\n",
         1e-9 * thread, all->threads, 1e-9 * loop_rate(all, fma_loop()));
  if (bf16.run) printf("bf16_gflops %.1f\n", 1e-9 * loop_rate(all, bf16));
  printf("gemm_gflops %.1f\n\n", 1e-9 * large_product_rate(all));
  printf("linear layer    %18s    CBLAS  libmae f32%s\n", "rows x in x out",
         bf16.run ? "  libmae bf16" : "");
  for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
    print_layer(all, &layers[i], bf16.run != NULL);
}

int main(int argc, char **argv) {
  measure all = {.seconds = 0.2};
  int gemms = 0;
  turns when = {.steps = 5};
  const program_option options[] = {{"threads", .number = &all.threads},
                                    {"seconds", .real = &all.seconds},
                                    {"gemm", .number = &gemms},
                                    TURNS_OPTIONS(when),
                                    {0}};
  program_options(argc, argv, options);
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  o.threads = all.threads;
  need(mae_context_create(&o, &all.context));
  all.threads = mae_context_threads(all.context);
  if (gemms > 0)
    take_gemm_turns(&all, gemms, &when);
  else
    print_peaks(&all);
  mae_context_destroy(all.context);
  return 0;
}
