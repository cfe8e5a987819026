/* Products against sums in double, by each sort of kernel. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

/* The declarations alone: the kernels are in the library. */
#define MAE_VEC_BYTES 16
#define MAE_ISA_NAME avx512
#include "golden.h"
#include "kernels/product.h"
#include "suites.h"

#if defined(__x86_64__)

typedef struct sizes {
  int64_t m, n, k;
} sizes;

/* Less than a tile, whole tiles, a little more, several blocks each way. */
static const sizes shapes[] = {
    {1, 1, 1},    {3, 5, 2},    {6, 64, 16},  {7, 65, 770}, {32, 32, 32},
    {8, 48, 16},  {9, 49, 17},
    {33, 65, 31}, {31, 64, 33}, {100, 80, 7}, {16, 96, 50}, {197, 100, 300},
    {40, 900, 70}, {50, 30, 1200}, {70, 800, 1100}, {240, 40, 1600},
    {465, 33, 800}, {30, 40, 600}, {100, 100, 350}};
enum { SHAPES = sizeof shapes / sizeof *shapes, WAYS = 32 };

static float as_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static float *numbers(int64_t n, uint64_t stream) {
  float *x = malloc((size_t)n * sizeof *x);
  ck_assert_ptr_nonnull(x);
  ASSERT_OK(mae_random_normal(3, stream, 0, (size_t)n, x));
  return x;
}

/* The product once more, with b packed beforehand: the same bits. */
static void check_packed(mae_pool *pool, product p, const float *was,
                         float *scratch) {
  const int64_t size = mae_packed_weight_avx512(p.products, p.k, p.n);
  float *packed = aligned_alloc(64, (size_t)size * sizeof *packed);
  float *c = malloc((size_t)(p.m * p.n) * sizeof *c), *first = p.c;
  ck_assert(packed && c);
  memcpy(c, was, (size_t)(p.m * p.n) * sizeof *c);
  mae_pack_weight_avx512(pool, p.products, p.k, p.n, p.b, packed);
  if (p.products != MAE_PRODUCTS_F32_AMX) p.b = NULL;
  p.packed_b = packed;
  p.a_sums = NULL;
  p.c = c;
  mae_product_avx512(pool, &p, scratch);
  ck_assert_mem_eq(c, first, (size_t)(p.m * p.n) * sizeof *c);
  free(packed), free(c);
}

/* Numbers of stream 7, and to each the terms of its row of a. */
static void check_sums(const product *p) {
  float *was = numbers(p->m, 7);
  for (int64_t i = 0; i < p->m; i++) {
    double sum = was[i], size = fabsf(was[i]);
    for (int64_t t = 0; t < p->k; t++) {
      sum += p->a[i + t * p->a_step];
      size += fabsf(p->a[i + t * p->a_step]);
    }
    if (!(fabs(p->a_sums[i] - sum) <= 2e-6 * size))
      ck_abort_msg("sum of row %d: %g, not %g", (int)i, (double)p->a_sums[i],
                   sum);
  }
  free(was);
}

/* way: bit by bit, which way a and b lie, and what goes with the product. */
static void check_product(mae_pool *pool, mae_products products, sizes s,
                          int way) {
  const bool bf16 = products >= MAE_PRODUCTS_BF16_AVX512;
  const bool a_across = way & 1, b_across = way & 2;
  float *a = numbers(s.m * s.k, 1), *b = numbers(s.k * s.n, 2);
  float *c = numbers(s.m * s.n, 3), *was = numbers(s.m * s.n, 3);
  float *bias = numbers(s.n, 4), *residual = numbers(s.m * s.n, 5);
  float *y = numbers(s.m * s.n, 6), *a_sums = numbers(s.m, 7);
  const product p = {
      .products = products, .m = s.m, .n = s.n, .k = s.k, .a = a, .b = b,
      .a_row = a_across ? 1 : s.k, .a_step = a_across ? s.m : 1,
      .b_step = b_across ? 1 : s.n, .b_col = b_across ? s.k : 1, .c = c,
      .ldc = s.n, .add = way & 4, .bias = way & 8 ? bias : NULL,
      .residual = way & 16 ? residual : NULL, .y = way & 8 ? y : NULL,
      .a_sums = a_across && s.m > 1 ? a_sums : NULL};
  const size_t scratch_bytes =
      (size_t)mae_product_scratch_avx512(pool, &p) * sizeof(float);
  float *scratch = aligned_alloc(64, (scratch_bytes + 63) / 64 * 64);
  ck_assert_ptr_nonnull(scratch);
  mae_product_avx512(pool, &p, scratch);
  const bool may_cut_terms = /* not with packed ones: other bits */
      a_across && !p.bias && !p.residual && mae_pool_threads(pool) > 1;
  if (products != MAE_PRODUCTS_F32 && b_across && !may_cut_terms)
    check_packed(pool, p, was, scratch);
  for (int64_t i = 0; i < s.m; i++)
    for (int64_t j = 0; j < s.n; j++) {
      const int64_t at = i * s.n + j;
      double sum = 0, size = 1;
      if (p.add) sum += was[at];
      if (p.bias) sum += bias[j];
      if (p.residual) sum += residual[at];
      for (int64_t t = 0; t < s.k; t++) {
        float x = a[i * p.a_row + t * p.a_step];
        float z = b[t * p.b_step + j * p.b_col];
        if (bf16) x = as_bf16(x), z = as_bf16(z);
        sum += (double)x * z;
        size += fabs((double)x * z);
      }
      /* An assertion for each number would fill the memory of Check. */
      if (!(fabs(c[at] - sum) <= 2e-6 * size))
        ck_abort_msg("%g, not %g", (double)c[at], sum);
      const double gelu = sum * 0.5 * erfc(-sum / sqrt(2));
      if (p.y && !(fabs(y[at] - gelu) <= 4e-6 * size))
        ck_abort_msg("gelu: %g, not %g", (double)y[at], gelu);
    }
  if (p.a_sums) check_sums(&p);
  free(a), free(b), free(c), free(was), free(bias), free(residual), free(y);
  free(a_sums), free(scratch);
}

static const mae_products kinds[] = {
    MAE_PRODUCTS_F32, MAE_PRODUCTS_F32_AMX, MAE_PRODUCTS_BF16_AVX512,
    MAE_PRODUCTS_BF16_AMX};
enum { KINDS = sizeof kinds / sizeof *kinds };

static bool can(mae_products products) {
  switch (products) {
    case MAE_PRODUCTS_F32: return mae_cpu_has(MAE_ISA_AVX512);
    case MAE_PRODUCTS_BF16_AVX512:
      return MAE_HAVE_BF16 && mae_cpu_has_avx512_bf16();
    default: return mae_cpu_has(MAE_ISA_AMX);
  }
}

START_TEST(products) {
  const mae_products kind = kinds[_i];
  if (!can(kind)) return;
  static const int32_t threads[] = {1, 3, 4}; /* by 4 pieces are cut twice */
  for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
    mae_pool *pool;
    ASSERT_OK(mae_pool_create(threads[i], &pool));
    for (int shape = 0; shape < SHAPES; shape++)
      for (int way = 0; way < WAYS; way++) {
        const sizes s = shapes[shape];
        const bool large = s.m * s.n * s.k > 1000000;
        const bool any = way < 4 || way == WAYS - 1 || way == WAYS - 5;
        if (!large || any) check_product(pool, kind, s, way);
      }
    mae_pool_destroy(pool);
  }
}
END_TEST

/* How many threads there are changes no bit. */
START_TEST(threads_agree) {
  if (!can(kinds[_i])) return;
  enum { M = 150, N = 210, K = 500 };
  float *a = numbers(M * K, 1), *b = numbers(K * N, 2), *c[2];
  for (int i = 0; i < 2; i++) {
    mae_pool *pool;
    ASSERT_OK(mae_pool_create(1 + 3 * i, &pool));
    c[i] = numbers(M * N, 3);
    const product p = {.products = kinds[_i], .m = M, .n = N, .k = K, .a = a,
                       .a_row = K, .a_step = 1, .b = b, .b_step = N,
                       .b_col = 1, .c = c[i], .ldc = N};
    float *scratch = numbers(mae_product_scratch_avx512(pool, &p), 9);
    mae_product_avx512(pool, &p, scratch);
    free(scratch);
    mae_pool_destroy(pool);
  }
  ck_assert_mem_eq(c[0], c[1], M * N * sizeof(float));
  free(a), free(b), free(c[0]), free(c[1]);
}
END_TEST

enum { SIDE = 96, MOST_TERMS = 3072 };

/* Of c [SIDE, SIDE], the root of the mean square of errors. */
static double rms_error(mae_pool *pool, mae_products kind, int64_t k,
                        const float *a, const float *b) {
  static float c[SIDE * SIDE];
  const product p = {.products = kind, .m = SIDE, .n = SIDE, .k = k, .a = a,
                     .a_row = k, .a_step = 1, .b = b, .b_step = 1, .b_col = k,
                     .c = c, .ldc = SIDE};
  float *scratch = numbers(mae_product_scratch_avx512(pool, &p), 9);
  mae_product_avx512(pool, &p, scratch);
  free(scratch);
  double squares = 0;
  for (int64_t i = 0; i < SIDE; i++)
    for (int64_t j = 0; j < SIDE; j++) {
      double sum = 0;
      for (int64_t t = 0; t < k; t++)
        sum += (double)a[i * k + t] * b[j * k + t];
      squares += (c[i * SIDE + j] - sum) * (c[i * SIDE + j] - sum);
    }
  return sqrt(squares / (SIDE * SIDE));
}

/* Three parts in bf16 lose about as little as sums of multiply-adds do: of
 * numbers of both signs, of one, and of very different size. */
START_TEST(parts_are_exact) {
  if (!can(MAE_PRODUCTS_F32_AMX)) return;
  static const int64_t terms[] = {32, 64, 768, MOST_TERMS};
  mae_pool *pool;
  ASSERT_OK(mae_pool_create(1, &pool));
  float *a = numbers(SIDE * MOST_TERMS, 1), *b = numbers(SIDE * MOST_TERMS, 2);
  for (int kind = 0; kind < 3; kind++) {
    for (int64_t i = 0; kind && i < SIDE * MOST_TERMS; i++) {
      const float x = a[i], z = b[i];
      a[i] = kind == 1 ? fabsf(x) : x * expf(4 * z);
      b[i] = kind == 1 ? fabsf(z) : z * expf(4 * x / (1 + fabsf(x)));
    }
    for (size_t t = 0; t < sizeof terms / sizeof *terms; t++) {
      const double plain =
          rms_error(pool, MAE_PRODUCTS_F32, terms[t], a, b);
      const double parts =
          rms_error(pool, MAE_PRODUCTS_F32_AMX, terms[t], a, b);
      if (getenv("MAE_SHOW_ERRORS"))
        printf("parts %d, %4d terms: %.2f\n", kind, (int)terms[t],
               parts / plain);
      ck_assert_double_le(parts, plain * 2);
    }
  }
  free(a), free(b);
  mae_pool_destroy(pool);
}
END_TEST

/* Of the largest and of small numbers nothing is lost either; what is not
 * finite stays so. */
START_TEST(extremes_in_parts) {
  if (!can(MAE_PRODUCTS_F32_AMX)) return;
  enum { N = 32 };
  float a[N * N] = {0}, b[N * N] = {0}, c[N * N];
  const float x[] = {FLT_MAX, -FLT_MAX, 1 + FLT_EPSILON, 1e-30f,
                     nextafterf(1, 0), NAN, INFINITY};
  enum { FINITE = 5, ALL = sizeof x / sizeof *x };
  mae_pool *pool;
  ASSERT_OK(mae_pool_create(1, &pool));
  for (int i = 0; i < N; i++) b[i * N + i] = 0.5f;
  for (int i = 0; i < ALL; i++) a[i * N + i] = x[i];
  const product p = {.products = MAE_PRODUCTS_F32_AMX, .m = N, .n = N, .k = N,
                     .a = a, .a_row = N, .a_step = 1, .b = b, .b_step = N,
                     .b_col = 1, .c = c, .ldc = N};
  float *scratch = numbers(mae_product_scratch_avx512(pool, &p), 9);
  mae_product_avx512(pool, &p, scratch);
  for (int i = 0; i < FINITE; i++)
    for (int j = 0; j < N; j++)
      ck_assert(c[i * N + j] == (i == j ? x[i] / 2 : 0));
  for (int i = FINITE; i < ALL; i++) ck_assert(!isfinite(c[i * N + i]));
  free(scratch);
  mae_pool_destroy(pool);
}
END_TEST

/* GELU and its slope as bf16 has them, of every number in bf16. */
START_TEST(gelu_in_bf16) {
  for (uint32_t top = 0; top < 1 << 16; top += LANES) {
    vu bits;
    for (uint32_t i = 0; i < LANES; i++) bits[i] = (top + i) << 16;
    const vf x = (vf)bits, y = vf_gelu_bf16(x), slope = vf_gelu_slope_bf16(x);
    for (int i = 0; i < LANES; i++) {
      const double at = (double)x[i], phi = 0.5 * erfc(-at / sqrt(2));
      const double density = exp(-0.5 * at * at) / sqrt(2 * acos(-1));
      if (!isfinite(at)) {
        ck_assert(!isnan(at) || (isnan(y[i]) && isnan(slope[i])));
        continue;
      }
      if (!(fabs(y[i] - at * phi) <= 6e-7 * fabs(at)))
        ck_abort_msg("gelu(%g) = %g", at, (double)y[i]);
      if (!(fabs(slope[i] - phi - at * density) <= 8e-6))
        ck_abort_msg("slope at %g: %g", at, (double)slope[i]);
    }
  }
}
END_TEST

Suite *product_suite(void) {
  Suite *suite = suite_create("product");
  TCase *tc = tcase_create("products");
  tcase_set_timeout(tc, 300);
  tcase_add_loop_test(tc, products, 0, KINDS);
  tcase_add_loop_test(tc, threads_agree, 0, KINDS);
  tcase_add_test(tc, parts_are_exact);
  tcase_add_test(tc, extremes_in_parts);
  tcase_add_test(tc, gelu_in_bf16);
  suite_add_tcase(suite, tc);
  return suite;
}

#else

Suite *product_suite(void) { return suite_create("product"); }

#endif
