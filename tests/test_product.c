/* Products against sums in double, by each sort of kernel. */
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
    {40, 900, 70}, {50, 30, 1200}, {70, 800, 1100}};
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
  const int64_t size = mae_packed_weight_avx512(p.k, p.n);
  float *packed = aligned_alloc(64, (size_t)size * sizeof *packed);
  float *c = malloc((size_t)(p.m * p.n) * sizeof *c), *first = p.c;
  ck_assert(packed && c);
  memcpy(c, was, (size_t)(p.m * p.n) * sizeof *c);
  mae_pack_weight_avx512(pool, p.k, p.n, p.b, packed);
  p.b = NULL;
  p.packed_b = packed;
  p.c = c;
  mae_product_avx512(pool, &p, scratch);
  ck_assert_mem_eq(c, first, (size_t)(p.m * p.n) * sizeof *c);
  free(packed), free(c);
}

/* way: bit by bit, which way a and b lie, and what goes with the product. */
static void check_product(mae_pool *pool, mae_bf16 bf16, sizes s, int way) {
  const bool a_across = way & 1, b_across = way & 2;
  float *a = numbers(s.m * s.k, 1), *b = numbers(s.k * s.n, 2);
  float *c = numbers(s.m * s.n, 3), *was = numbers(s.m * s.n, 3);
  float *bias = numbers(s.n, 4), *residual = numbers(s.m * s.n, 5);
  float *y = numbers(s.m * s.n, 6);
  const product p = {
      .bf16 = bf16, .m = s.m, .n = s.n, .k = s.k, .a = a, .b = b,
      .a_row = a_across ? 1 : s.k, .a_step = a_across ? s.m : 1,
      .b_step = b_across ? 1 : s.n, .b_col = b_across ? s.k : 1, .c = c,
      .ldc = s.n, .add = way & 4, .bias = way & 8 ? bias : NULL,
      .residual = way & 16 ? residual : NULL, .y = way & 8 ? y : NULL};
  const size_t scratch_bytes = (size_t)(mae_pool_threads(pool) *
      mae_product_scratch_avx512(bf16, s.n, s.k)) * sizeof(float);
  float *scratch = aligned_alloc(64, (scratch_bytes + 63) / 64 * 64);
  ck_assert_ptr_nonnull(scratch);
  mae_product_avx512(pool, &p, scratch);
  if (bf16 && b_across) check_packed(pool, p, was, scratch);
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
  free(a), free(b), free(c), free(was), free(bias), free(residual), free(y);
  free(scratch);
}

static const mae_bf16 kinds[] = {MAE_BF16_NONE, MAE_BF16_AVX512, MAE_BF16_AMX};

START_TEST(products) {
  const mae_bf16 kind = kinds[_i];
  if (!mae_cpu_has(MAE_ISA_AVX512) || kind > mae_cpu_bf16()) return;
  for (int32_t threads = 1; threads <= 3; threads += 2) {
    mae_pool *pool;
    ASSERT_OK(mae_pool_create(threads, &pool));
    for (int shape = 0; shape < SHAPES; shape++)
      for (int way = 0; way < WAYS; way++) {
        const sizes s = shapes[shape];
        const bool large = s.m * s.n * s.k > 1000000;
        if (!large || way < 4) check_product(pool, kind, s, way);
      }
    mae_pool_destroy(pool);
  }
}
END_TEST

/* How many threads there are changes no bit. */
START_TEST(threads_agree) {
  if (!mae_cpu_has(MAE_ISA_AVX512) || kinds[_i] > mae_cpu_bf16()) return;
  enum { M = 150, N = 210, K = 500 };
  float *a = numbers(M * K, 1), *b = numbers(K * N, 2), *c[2];
  for (int i = 0; i < 2; i++) {
    mae_pool *pool;
    ASSERT_OK(mae_pool_create(1 + 3 * i, &pool));
    c[i] = numbers(M * N, 3);
    const product p = {.bf16 = kinds[_i], .m = M, .n = N, .k = K, .a = a,
                       .a_row = K, .a_step = 1, .b = b, .b_step = N,
                       .b_col = 1, .c = c[i], .ldc = N};
    float *scratch = numbers(
        4 * mae_product_scratch_avx512(kinds[_i], N, K), 9);
    mae_product_avx512(pool, &p, scratch);
    free(scratch);
    mae_pool_destroy(pool);
  }
  ck_assert_mem_eq(c[0], c[1], M * N * sizeof(float));
  free(a), free(b), free(c[0]), free(c[1]);
}
END_TEST

Suite *product_suite(void) {
  Suite *suite = suite_create("product");
  TCase *tc = tcase_create("products");
  tcase_set_timeout(tc, 300);
  tcase_add_loop_test(tc, products, 0, 3);
  tcase_add_loop_test(tc, threads_agree, 0, 3);
  suite_add_tcase(suite, tc);
  return suite;
}

#else

Suite *product_suite(void) { return suite_create("product"); }

#endif
