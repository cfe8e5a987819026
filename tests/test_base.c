/* The ground the rest stands on: random numbers, the thread pool, tensors,
 * options structs, contexts, statuses and error texts. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "suites.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
#define ASSERT_OK(call) ASSERT_STATUS(MAE_OK, call)
#define ASSERT_STATUS(expected, call)                                 \
  do {                                                                \
    mae_status got_status = (call);                                   \
    if (got_status != (expected))                                     \
      ck_abort_msg("%s: %s (%s)", #call, mae_status_name(got_status), \
                   mae_last_error());                                 \
  } while (0)
#define ASSERT_INVALID(call) ASSERT_STATUS(MAE_ERROR_INVALID_ARGUMENT, call)

/* ------------------------------------------------------------- random --- */

/* Philox4x32-10 once more, straight from the paper: the library's answers
 * reach no counter above 2^62, so it is this one that takes the published
 * vectors, and the library is held to it. */
typedef struct philox {
  uint32_t counter[4], key[2], answer[4];
} philox;

static void plain_philox(philox *p) {
  uint32_t *x = p->answer, key[2] = {p->key[0], p->key[1]};
  memcpy(x, p->counter, sizeof p->answer);
  for (int round = 0; round < 10; round++) {
    const uint64_t a = (uint64_t)x[0] * 0xD2511F53;
    const uint64_t b = (uint64_t)x[2] * 0xCD9E8D57;
    const uint32_t next[4] = {(uint32_t)(b >> 32) ^ x[1] ^ key[0], (uint32_t)b,
                              (uint32_t)(a >> 32) ^ x[3] ^ key[1], (uint32_t)a};
    memcpy(x, next, sizeof next);
    key[0] += 0x9E3779B9; /* the golden ratio */
    key[1] += 0xBB67AE85; /* sqrt(3) - 1 */
  }
}

/* Random123's kat_vectors. */
static const philox published[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{~0u, ~0u, ~0u, ~0u},
     {~0u, ~0u},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

START_TEST(philox_known_answers) {
  philox p = published[_i];
  plain_philox(&p);
  ck_assert_mem_eq(p.answer, published[_i].answer, sizeof p.answer);
}
END_TEST

typedef struct place {
  uint64_t seed, stream, block;
} place;

static const place places[] = {
    {0, 0, 0},
    {~0ull, ~0ull, ~0ull >> 2},
    {0x299f31d0a4093822, 0x0370734413198a2e, 0x05a308d3243f6a88},
    {1, 0, 0},
    {1ull << 32, 0, 0},
    {0, 1, 0},
    {0, 1ull << 32, 0},
    {0, 0, 1},
    {0, 0, 1ull << 32},
};

static philox philox_at(const place *at) {
  philox p = {{(uint32_t)at->block, (uint32_t)(at->block >> 32),
               (uint32_t)at->stream, (uint32_t)(at->stream >> 32)},
              {(uint32_t)at->seed, (uint32_t)(at->seed >> 32)},
              {0}};
  plain_philox(&p);
  return p;
}

START_TEST(uniform_is_philox) {
  const place *at = &places[_i];
  const philox p = philox_at(at);
  float out[4];
  ASSERT_OK(mae_random_uniform(at->seed, at->stream, 4 * at->block, 4, out));
  for (int i = 0; i < 4; i++)
    ck_assert_double_eq(out[i], (p.answer[i] >> 8) / 16777216.0);
}
END_TEST

/* Box and Muller's pairs; 0 cannot be a logarithm's argument. */
START_TEST(normal_is_box_muller) {
  const place *at = &places[_i];
  const philox p = philox_at(at);
  float out[4];
  ASSERT_OK(mae_random_normal(at->seed, at->stream, 4 * at->block, 4, out));
  for (int i = 0; i < 4; i += 2) {
    double radius = sqrt(-2 * log(((p.answer[i] >> 8) + 1) / 16777216.0));
    double angle = 2 * acos(-1) * (p.answer[i + 1] >> 8) / 16777216.0;
    ck_assert_double_eq_tol(out[i], radius * cos(angle), 1e-6);
    ck_assert_double_eq_tol(out[i + 1], radius * sin(angle), 1e-6);
  }
}
END_TEST

enum { MANY = 1 << 18 };

static float many[MANY];

static double moment(int power, double around) {
  double sum = 0;
  for (int i = 0; i < MANY; i++) sum += pow(many[i] - around, power);
  return sum / MANY;
}

/* Each bar is five standard errors; the numbers are fixed, so it holds or it
 * does not. */
START_TEST(uniform_moments) {
  const double error = 5 / sqrt(MANY);
  ASSERT_OK(mae_random_uniform(3, (uint64_t)_i, 0, MANY, many));
  int tenth[10] = {0};
  for (int i = 0; i < MANY; i++) {
    if (!(many[i] >= 0 && many[i] < 1)) ck_abort_msg("%g", many[i]);
    tenth[(int)(many[i] * 10)]++;
  }
  ck_assert_double_eq_tol(moment(1, 0), 0.5, error * sqrt(1 / 12.0));
  ck_assert_double_eq_tol(moment(2, 0.5), 1 / 12.0, error * sqrt(1 / 180.0));
  for (int i = 0; i < 10; i++)
    ck_assert_double_eq_tol(tenth[i] / (double)MANY, 0.1, error * 0.3);
}
END_TEST

START_TEST(normal_moments) {
  const double error = 5 / sqrt(MANY);
  ASSERT_OK(mae_random_normal(3, (uint64_t)_i, 0, MANY, many));
  double together = 0;
  for (int i = 0; i < MANY; i++) {
    if (!(fabs(many[i]) < 6)) ck_abort_msg("%g", many[i]);
    if (i % 2) together += (double)many[i] * many[i - 1];
  }
  ck_assert_double_eq_tol(moment(1, 0), 0, error);
  ck_assert_double_eq_tol(moment(2, 0), 1, error * sqrt(2));
  ck_assert_double_eq_tol(moment(3, 0), 0, error * sqrt(15));
  ck_assert_double_eq_tol(moment(4, 0), 3, error * sqrt(96));
  ck_assert_double_eq_tol(together / (MANY / 2), 0, error * sqrt(2));
}
END_TEST

typedef mae_status (*generator)(uint64_t, uint64_t, uint64_t, size_t, float *);

/* Value i is the same however the range is cut. */
START_TEST(values_have_their_place) {
  const generator generate = _i ? mae_random_normal : mae_random_uniform;
  const uint64_t first = 0xFFFFFFFFull - 20; /* across a carry */
  float whole[64], part[64];
  ASSERT_OK(generate(5, 6, first, 64, whole));
  for (size_t from = 0; from < 12; from++)
    for (size_t n = 0; n < 12; n++) {
      part[n] = 77;
      ASSERT_OK(generate(5, 6, first + from, n, part));
      ck_assert_mem_eq(part, whole + from, n * sizeof *part);
      ck_assert_float_eq(part[n], 77); /* and no further */
    }
}
END_TEST

START_TEST(streams_differ) {
  const generator generate = _i ? mae_random_normal : mae_random_uniform;
  const uint64_t places_of[][3] = {{0, 0, 0},          {1, 0, 0},
                                   {0, 1, 0},          {0, 0, 8},
                                   {1ull << 32, 0, 0}, {0, 1ull << 32, 0}};
  float out[COUNT(places_of)][8];
  for (int i = 0; i < COUNT(places_of); i++) {
    const uint64_t *at = places_of[i];
    ASSERT_OK(generate(at[0], at[1], at[2], 8, out[i]));
    for (int j = 0; j < i; j++) ck_assert_mem_ne(out[i], out[j], sizeof out[i]);
  }
}
END_TEST

START_TEST(permutation_permutes) {
  const size_t sizes[] = {0, 1, 2, 3, 7, 64, 1000, 60000};
  const size_t n = sizes[_i];
  uint32_t *out = malloc((n + 1) * sizeof *out);
  bool *seen = calloc(n + 1, sizeof *seen);
  out[n] = 77;
  ASSERT_OK(mae_random_permutation(1, 2, n, out));
  for (size_t i = 0; i < n; i++) {
    if (out[i] >= n || seen[out[i]]) ck_abort_msg("%u", out[i]);
    seen[out[i]] = true;
  }
  ck_assert_uint_eq(out[n], 77);
  free(seen);
  free(out);
}
END_TEST

START_TEST(permutation_of_seed_and_stream) {
  uint32_t one[100], same[100], seed[100], stream[100];
  ASSERT_OK(mae_random_permutation(1, 2, 100, one));
  ASSERT_OK(mae_random_permutation(1, 2, 100, same));
  ASSERT_OK(mae_random_permutation(2, 2, 100, seed));
  ASSERT_OK(mae_random_permutation(1, 3, 100, stream));
  ck_assert_mem_eq(one, same, sizeof one);
  ck_assert_mem_ne(one, seed, sizeof one);
  ck_assert_mem_ne(one, stream, sizeof one);
  ck_assert_mem_ne(seed, stream, sizeof one);
}
END_TEST

/* All 24 orders of 4 equally often, within five standard errors. */
START_TEST(permutation_is_fair) {
  enum { TIMES = 24000 };
  int count[256] = {0}, orders = 0;
  for (int i = 0; i < TIMES; i++) {
    uint32_t p[4];
    ASSERT_OK(mae_random_permutation((uint64_t)i, 0, 4, p));
    count[p[0] | p[1] << 2 | p[2] << 4 | p[3] << 6]++;
  }
  for (int i = 0; i < 256; i++) {
    if (!count[i]) continue;
    orders++;
    ck_assert_double_eq_tol(count[i], 1000, 5 * sqrt(1000));
  }
  ck_assert_int_eq(orders, 24);
}
END_TEST

START_TEST(random_arguments) {
  ASSERT_INVALID(mae_random_uniform(0, 0, 0, 1, NULL));
  ASSERT_INVALID(mae_random_normal(0, 0, 0, 1, NULL));
  ASSERT_INVALID(mae_random_permutation(0, 0, 1, NULL));
  uint32_t out;
  ASSERT_INVALID(mae_random_permutation(0, 0, (size_t)1 << 33, &out));
}
END_TEST

/* --------------------------------------------------------------- pool --- */

enum { MOST_PIECES = 5000 };

typedef struct tally {
  atomic_int times[MOST_PIECES];
  atomic_int inside[16]; /* tasks now running as this worker */
  atomic_int wrong;
  int64_t n, least; /* least: no piece may be smaller */
  int32_t threads;
} tally;

static void enter_worker(tally *t, int32_t worker) {
  if (worker < 0 || worker >= t->threads ||
      atomic_fetch_add(&t->inside[worker], 1) != 0)
    atomic_fetch_add(&t->wrong, 1);
}

static void count_one(void *arg, int64_t i, int32_t worker) {
  tally *t = arg;
  enter_worker(t, worker);
  if (i < 0 || i >= t->n)
    atomic_fetch_add(&t->wrong, 1);
  else
    atomic_fetch_add(&t->times[i], 1);
  atomic_fetch_sub(&t->inside[worker], 1);
}

static void count_range(void *arg, int64_t begin, int64_t end, int32_t worker) {
  tally *t = arg;
  enter_worker(t, worker);
  if (begin < 0 || begin >= end || end > t->n || end - begin < t->least)
    atomic_fetch_add(&t->wrong, 1);
  else
    for (int64_t i = begin; i < end; i++) atomic_fetch_add(&t->times[i], 1);
  atomic_fetch_sub(&t->inside[worker], 1);
}

static tally *new_tally(int64_t n, int64_t least, int32_t threads) {
  tally *t = calloc(1, sizeof *t);
  ck_assert_ptr_nonnull(t);
  t->n = n;
  t->least = least < n ? least : n;
  t->threads = threads;
  return t;
}

static void expect_once(tally *t) {
  ck_assert_int_eq(t->wrong, 0);
  for (int64_t i = 0; i < MOST_PIECES; i++)
    if (t->times[i] != (i < t->n))
      ck_abort_msg("piece %d of %d ran %d times", (int)i, (int)t->n,
                   t->times[i]);
  free(t);
}

static const int32_t thread_counts[] = {1, 2, 3, 8};
static const int64_t job_sizes[] = {0, 1, 2, 3, 7, 31, 32, 33, 100, 4999};
static const int64_t grains[] = {0, 1, 2, 7, 100, 10000};

START_TEST(pool_runs_each_piece_once) {
  const int32_t threads = thread_counts[_i];
  mae_pool *pool;
  ASSERT_OK(mae_pool_create(threads, &pool));
  ck_assert_int_eq(mae_pool_threads(pool), threads);
  for (int n = 0; n < COUNT(job_sizes); n++) {
    tally *t = new_tally(job_sizes[n], 0, threads);
    mae_pool_run(pool, t->n, count_one, t);
    expect_once(t);
    for (int g = 0; g < COUNT(grains); g++) {
      t = new_tally(job_sizes[n], grains[g], threads);
      mae_pool_for(pool, t->n, grains[g], count_range, t);
      expect_once(t);
    }
  }
  mae_pool_destroy(pool);
}
END_TEST

/* Notes where pieces begin. */
static void note_begin(void *arg, int64_t begin, int64_t end, int32_t worker) {
  (void)worker;
  int64_t *ends = arg;
  ends[begin] = end;
}

/* What kernels' sums rest on: the same pieces whoever runs them. */
START_TEST(pool_cuts_the_same_way) {
  enum { N = 1001 };
  int64_t first[N] = {0};
  for (int time = 0; time < 20; time++) {
    int64_t ends[N] = {0};
    mae_pool *pool;
    ASSERT_OK(mae_pool_create(3, &pool));
    mae_pool_for(pool, N, 10, note_begin, time ? ends : first);
    if (time) ck_assert_mem_eq(ends, first, sizeof ends);
    mae_pool_destroy(pool);
  }
  ck_assert_int_gt(first[0], 0);
  ck_assert_int_lt(first[0], N); /* and it does cut */
}
END_TEST

/* With one thread the caller does everything, in order, and nothing locks. */
static void in_order(void *arg, int64_t i, int32_t worker) {
  int64_t *next = arg;
  ck_assert_int_eq(worker, 0);
  ck_assert_int_eq(i, (*next)++);
}

START_TEST(pool_of_one) {
  mae_pool *pool;
  ASSERT_OK(mae_pool_create(1, &pool));
  int64_t next = 0;
  mae_pool_run(pool, 100, in_order, &next);
  ck_assert_int_eq(next, 100);
  mae_pool_destroy(pool);
  mae_pool_destroy(NULL);
}
END_TEST

typedef struct caller {
  mae_pool *pool;
  int64_t *sums; /* one per worker: safe only if jobs do not overlap */
  int64_t total;
} caller;

static void add_range(void *arg, int64_t begin, int64_t end, int32_t worker) {
  caller *c = arg;
  for (int64_t i = begin; i < end; i++) c->sums[worker] += i;
}

static void *call_often(void *arg) {
  caller *c = arg;
  for (int i = 0; i < 200; i++) mae_pool_for(c->pool, 501, 7, add_range, c);
  return NULL;
}

/* Every worker's sum is shared by all callers and bears no lock, so that an
 * overlap would lose some of it (and thread sanitizer would say so). */
START_TEST(pool_callers_take_turns) {
  enum { CALLERS = 4, THREADS = 3 };
  int64_t sums[THREADS] = {0}, total = 0;
  mae_pool *pool;
  ASSERT_OK(mae_pool_create(THREADS, &pool));
  caller c = {pool, sums, 0};
  pthread_t thread[CALLERS];
  for (int i = 0; i < CALLERS; i++)
    ck_assert_int_eq(pthread_create(&thread[i], NULL, call_often, &c), 0);
  for (int i = 0; i < CALLERS; i++) pthread_join(thread[i], NULL);
  for (int i = 0; i < THREADS; i++) total += sums[i];
  ck_assert_int_eq(total, (int64_t)CALLERS * 200 * 501 * 500 / 2);
  mae_pool_destroy(pool);
}
END_TEST

static void sleep_ms(long ms) {
  nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

/* Helpers asleep, awake and not yet started when it ends. */
START_TEST(pool_ends_at_any_time) {
  for (int i = 0; i < 50; i++) {
    mae_pool *pool;
    ASSERT_OK(mae_pool_create(4, &pool));
    tally *t = new_tally(100, 0, 4);
    if (i % 2) mae_pool_run(pool, 100, count_one, t);
    if (i % 2 == 0) t->n = 0;
    if (i % 10 == 9) sleep_ms(2);
    mae_pool_destroy(pool);
    expect_once(t);
  }
}
END_TEST

START_TEST(pool_wakes_from_sleep) {
  mae_pool *pool;
  ASSERT_OK(mae_pool_create(3, &pool));
  for (int i = 0; i < 20; i++) {
    sleep_ms(2);
    tally *t = new_tally(64, 1, 3);
    mae_pool_for(pool, 64, 1, count_range, t);
    expect_once(t);
  }
  mae_pool_destroy(pool);
}
END_TEST

/* Pieces of which each shares out some of the numbers below n. */
typedef struct sharer {
  mae_pool *pool;
  tally *tally;
  int64_t pieces;
} sharer;

typedef struct shared_range {
  tally *tally;
  int64_t begin;
} shared_range;

static void count_shared(void *arg, int64_t i, int32_t worker) {
  const shared_range *s = arg;
  count_one(s->tally, s->begin + i, worker);
}

static void share_range(void *arg, int64_t i, int32_t worker) {
  const sharer *s = arg;
  const int64_t n = s->tally->n, begin = n * i / s->pieces;
  const int64_t end = n * (i + 1) / s->pieces, middle = (begin + end) / 2;
  /* Twice, since what was shared before must be over by then. */
  mae_pool_share(s->pool, worker, middle - begin, count_shared,
                 &(shared_range){s->tally, begin});
  mae_pool_share(s->pool, worker, end - middle, count_shared,
                 &(shared_range){s->tally, middle});
}

START_TEST(pool_shares_each_part_once) {
  const int32_t threads = thread_counts[_i];
  mae_pool *pool;
  ASSERT_OK(mae_pool_create(threads, &pool));
  for (int n = 0; n < COUNT(job_sizes); n++)
    for (int64_t pieces = 1; pieces < 20; pieces += 3) {
      tally *t = new_tally(job_sizes[n], 0, threads);
      mae_pool_run(pool, pieces, share_range, &(sharer){pool, t, pieces});
      expect_once(t);
    }
  mae_pool_destroy(pool);
}
END_TEST

static void *share_often(void *arg) {
  mae_pool *pool = arg;
  for (int i = 0; i < 100; i++) {
    tally *t = new_tally(200, 0, 3);
    const int64_t pieces = 1 + i % 3;
    mae_pool_run(pool, pieces, share_range, &(sharer){pool, t, pieces});
    expect_once(t);
  }
  return NULL;
}

/* A job of one piece does not wait for its turn. */
START_TEST(pool_shares_for_several_callers) {
  enum { CALLERS = 4 };
  mae_pool *pool;
  ASSERT_OK(mae_pool_create(3, &pool));
  pthread_t thread[CALLERS];
  for (int i = 0; i < CALLERS; i++)
    ck_assert_int_eq(pthread_create(&thread[i], NULL, share_often, pool), 0);
  for (int i = 0; i < CALLERS; i++) pthread_join(thread[i], NULL);
  mae_pool_destroy(pool);
}
END_TEST

typedef struct meeting {
  mae_pool *pool;
  atomic_int come;
  int expected;
} meeting;

/* Until all have come, or for a minute. */
static void meet(void *arg, int64_t i, int32_t worker) {
  (void)i, (void)worker;
  meeting *m = arg;
  atomic_fetch_add(&m->come, 1);
  for (int t = 0; t < 60000 && atomic_load(&m->come) < m->expected; t++)
    sleep_ms(1);
}

/* The first piece alone has something to do, when all others sleep. */
static void share_late(void *arg, int64_t i, int32_t worker) {
  meeting *m = arg;
  if (i) return;
  sleep_ms(20);
  mae_pool_share(m->pool, worker, m->expected, meet, m);
}

/* Each part waits for the others, so that each must have another worker. */
START_TEST(pool_helps_who_shares) {
  const int32_t threads = thread_counts[_i];
  meeting m = {.expected = threads};
  ASSERT_OK(mae_pool_create(threads, &m.pool));
  for (int time = 0; time < 5; time++) {
    atomic_store(&m.come, 0);
    mae_pool_run(m.pool, 2, share_late, &m);
    ck_assert_int_eq(atomic_load(&m.come), threads);
  }
  mae_pool_destroy(m.pool);
}
END_TEST

/* ------------------------------------------------------------- tensor --- */

START_TEST(tensor_create) {
  const int64_t shape[] = {3, 1, 5, 7};
  for (int32_t ndim = 1; ndim <= 4; ndim++) {
    mae_tensor *t;
    ASSERT_OK(mae_tensor_create(ndim, shape, &t));
    ck_assert_int_eq(mae_tensor_ndim(t), ndim);
    int64_t size = 1;
    for (int32_t i = 0; i < ndim; i++) {
      ck_assert_int_eq(mae_tensor_dim(t, i), shape[i]);
      size *= shape[i];
    }
    ck_assert_int_eq(mae_tensor_dim(t, -1), 0);
    ck_assert_int_eq(mae_tensor_dim(t, ndim), 0);
    ck_assert_int_eq(mae_tensor_size(t), size);
    ck_assert_uint_eq((uintptr_t)mae_tensor_data(t) % 64, 0);
    for (int64_t i = 0; i < size; i++)
      ck_assert_float_eq(mae_tensor_data(t)[i], 0);
    mae_tensor_destroy(t);
  }
}
END_TEST

START_TEST(tensor_borrow) {
  _Alignas(64) float data[32] = {1, 2, 3};
  const int64_t shape[] = {2, 3};
  mae_tensor *t;
  ASSERT_OK(mae_tensor_borrow(data, 2, shape, &t));
  ck_assert_ptr_eq(mae_tensor_data(t), data);
  ck_assert_int_eq(mae_tensor_size(t), 6);
  mae_tensor_destroy(t);
  ck_assert_float_eq(data[2], 3); /* still there */
  t = NULL;
  for (int i = 1; i < 16; i++)
    ASSERT_INVALID(mae_tensor_borrow(data + i, 2, shape, &t));
  ASSERT_INVALID(mae_tensor_borrow(NULL, 2, shape, &t));
  ASSERT_INVALID(mae_tensor_borrow(data, 2, NULL, &t));
  ASSERT_INVALID(mae_tensor_borrow(data, 2, shape, NULL));
  ASSERT_STATUS(MAE_ERROR_SHAPE, mae_tensor_borrow(data, 0, shape, &t));
  ck_assert_ptr_null(t);
}
END_TEST

START_TEST(tensor_errors) {
  const int64_t shape[] = {2, 3, 4, 5, 6}, empty[] = {2, 0};
  const int64_t negative[] = {2, -3}, huge[] = {INT64_MAX / 4, 2};
  const int64_t wraps[] = {(int64_t)1 << 32, (int64_t)1 << 32};
  const int64_t absent[] = {(int64_t)1 << 58}; /* 2^60 bytes */
  mae_tensor *t = NULL;
  ASSERT_INVALID(mae_tensor_create(1, NULL, &t));
  ASSERT_INVALID(mae_tensor_create(1, shape, NULL));
  ASSERT_STATUS(MAE_ERROR_SHAPE, mae_tensor_create(0, shape, &t));
  ASSERT_STATUS(MAE_ERROR_SHAPE, mae_tensor_create(-1, shape, &t));
  ASSERT_STATUS(MAE_ERROR_SHAPE, mae_tensor_create(5, shape, &t));
  ASSERT_STATUS(MAE_ERROR_SHAPE, mae_tensor_create(2, empty, &t));
  ASSERT_STATUS(MAE_ERROR_SHAPE, mae_tensor_create(2, negative, &t));
  ASSERT_STATUS(MAE_ERROR_SHAPE, mae_tensor_create(2, huge, &t));
  ASSERT_STATUS(MAE_ERROR_SHAPE, mae_tensor_create(2, wraps, &t));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  /* A sanitizer would stop the program here. */
  ASSERT_STATUS(MAE_ERROR_OUT_OF_MEMORY, mae_tensor_create(1, absent, &t));
#else
  (void)absent;
#endif
  ck_assert_ptr_null(t);
  mae_tensor_destroy(NULL);
  ck_assert_ptr_null(mae_tensor_data(NULL));
  ck_assert_int_eq(mae_tensor_ndim(NULL), 0);
  ck_assert_int_eq(mae_tensor_dim(NULL, 0), 0);
  ck_assert_int_eq(mae_tensor_size(NULL), 0);
}
END_TEST

START_TEST(memory_sizes) {
  ck_assert_uint_eq(mae_align(0), 0);
  ck_assert_uint_eq(mae_align(1), 64);
  ck_assert_uint_eq(mae_align(64), 64);
  ck_assert_uint_eq(mae_align(65), 128);
  int64_t product = -1;
  ck_assert(mae_mul(INT64_MAX, 1, &product) && product == INT64_MAX);
  ck_assert(!mae_mul(INT64_MAX, 2, &product));
  ck_assert_ptr_null(mae_calloc(SIZE_MAX, 2));
  ck_assert_ptr_null(mae_calloc(SIZE_MAX, 1));
  ck_assert_ptr_null(mae_calloc(SIZE_MAX / 2 + 1, 2));
  ck_assert_ptr_nonnull(strstr(mae_last_error(), "no memory"));
  ck_assert_ptr_null(mae_realloc(NULL, SIZE_MAX, 2));
  unsigned char *p = mae_calloc(0, 0);
  ck_assert_ptr_nonnull(p);
  free(p);
  p = mae_calloc(3, 100);
  ck_assert_uint_eq((uintptr_t)p % MAE_ALIGNMENT, 0);
  for (int i = 0; i < 300; i++) ck_assert_uint_eq(p[i], 0);
  p = mae_realloc(p, 1, 1);
  ck_assert_ptr_nonnull(p);
  free(p);
}
END_TEST

/* ------------------------------------------------------------ options --- */

/* Three generations of one struct: a program's may be of any, the library's
 * here is the second. */
typedef struct options_v1 {
  size_t struct_size;
  int32_t a, b;
} options_v1;

typedef struct options_v2 {
  size_t struct_size;
  int32_t a, b;
  double c;
} options_v2;

typedef struct options_v3 {
  size_t struct_size;
  int32_t a, b;
  double c;
  int64_t d;
} options_v3;

static const options_v2 defaults = {sizeof defaults, 1, 2, 3};

static mae_status read_options(options_v2 *ours, const void *theirs) {
  *ours = defaults;
  return mae_options_read("options", ours, sizeof *ours, theirs);
}

START_TEST(options_of_older_program) {
  options_v1 theirs = {sizeof theirs, 10, 20};
  options_v2 ours;
  ASSERT_OK(read_options(&ours, &theirs));
  ck_assert_uint_eq(ours.struct_size, sizeof ours);
  ck_assert_int_eq(ours.a, 10);
  ck_assert_int_eq(ours.b, 20);
  ck_assert_double_eq(ours.c, 3); /* our default */
  mae_options_write(&theirs, sizeof theirs, &defaults, sizeof defaults);
  ck_assert_uint_eq(theirs.struct_size, sizeof theirs);
  ck_assert_int_eq(theirs.b, 2);
}
END_TEST

START_TEST(options_of_newer_program) {
  options_v3 theirs;
  memset(&theirs, 0x55, sizeof theirs);
  mae_options_write(&theirs, sizeof theirs, &defaults, sizeof defaults);
  ck_assert_uint_eq(theirs.struct_size, sizeof theirs);
  ck_assert_double_eq(theirs.c, 3);
  ck_assert_int_eq(theirs.d, 0);
  theirs.c = 30;
  options_v2 ours;
  ASSERT_OK(read_options(&ours, &theirs));
  ck_assert_uint_eq(ours.struct_size, sizeof ours);
  ck_assert_double_eq(ours.c, 30);
  theirs.d = (int64_t)1 << 56; /* its last byte */
  ASSERT_STATUS(MAE_ERROR_UNSUPPORTED, read_options(&ours, &theirs));
  ck_assert_double_eq(ours.c, 3); /* untouched */
  theirs.d = 1;
  ASSERT_STATUS(MAE_ERROR_UNSUPPORTED, read_options(&ours, &theirs));
}
END_TEST

START_TEST(options_not_initialised) {
  options_v2 theirs = {0}, ours;
  ASSERT_INVALID(read_options(&ours, &theirs));
  ck_assert_ptr_nonnull(strstr(mae_last_error(), "_init"));
  theirs.struct_size = sizeof(size_t);
  ASSERT_INVALID(read_options(&ours, &theirs));
  memset(&theirs, 0x55, sizeof theirs);
  mae_options_write(&theirs, 0, &defaults, sizeof defaults); /* no room */
  ck_assert_int_eq(theirs.a, 0x55555555);
  mae_options_write(NULL, sizeof theirs, &defaults, sizeof defaults);
}
END_TEST

/* ------------------------------------------------------------ context --- */

START_TEST(context_defaults) {
  mae_context_options o;
  memset(&o, 0x55, sizeof o);
  mae_context_options_init(&o, sizeof o);
  ck_assert_uint_eq(o.struct_size, sizeof o);
  ck_assert_int_eq(o.threads, 0);
  ck_assert_int_eq(o.isa, MAE_ISA_AUTO);
  for (int i = 0; i < 2; i++) {
    mae_context *c;
    ASSERT_OK(mae_context_create(i ? &o : NULL, &c));
    ck_assert_int_eq(mae_context_threads(c), mae_cpu_count());
    ck_assert_int_eq(mae_context_isa(c), mae_kernels_best());
    mae_context_destroy(c);
  }
  ck_assert_int_ge(mae_cpu_count(), 1);
}
END_TEST

/* An isa either works or is said not to be there. */
START_TEST(context_isa) {
  const mae_isa isa = (mae_isa)_i;
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  o.isa = isa;
  o.threads = 2;
  mae_context *c = NULL;
  mae_status status = mae_context_create(&o, &c);
  if (mae_kernels_for(isa)) {
    ck_assert_int_eq(status, MAE_OK);
    ck_assert_int_eq(mae_context_isa(c), isa);
    ck_assert_int_eq(mae_context_threads(c), 2);
    ck_assert(mae_cpu_has(isa));
  } else {
    ck_assert_int_eq(status, MAE_ERROR_UNSUPPORTED);
    ck_assert_ptr_null(c);
  }
  mae_context_destroy(c);
}
END_TEST

/* The kernel lists what the processor has and the system saves. */
START_TEST(bf16_of_the_processor) {
  static char line[8192];
  bool avx512 = false, amx = false;
  FILE *f = fopen("/proc/cpuinfo", "r");
  while (f && fgets(line, sizeof line, f)) {
    if (strncmp(line, "flags", 5)) continue;
    avx512 = strstr(line, " avx512_bf16");
    amx = strstr(line, " amx_bf16") && strstr(line, " amx_tile");
    /* valgrind's CPUID has less. */
    if (strstr(line, " avx512f") && !mae_cpu_has(MAE_ISA_AVX512))
      avx512 = amx = false;
    break;
  }
  if (f) fclose(f);
  ck_assert_int_eq(mae_cpu_has_avx512_bf16(), avx512);
  ck_assert_int_eq(mae_cpu_has_amx_bf16(), amx);
}
END_TEST

START_TEST(context_errors) {
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  mae_context *c = NULL;
  ASSERT_INVALID(mae_context_create(&o, NULL));
  o.threads = -1;
  ASSERT_INVALID(mae_context_create(&o, &c));
  o.threads = 1025;
  ASSERT_INVALID(mae_context_create(&o, &c));
  o.threads = 1;
  o.isa = (mae_isa)-1;
  ASSERT_INVALID(mae_context_create(&o, &c));
  o.isa = (mae_isa)99;
  ASSERT_INVALID(mae_context_create(&o, &c));
  mae_context_options_init(&o, sizeof o);
  o.struct_size = 0;
  ASSERT_INVALID(mae_context_create(&o, &c));
  ck_assert_ptr_null(c);
  mae_context_destroy(NULL);
  ck_assert_int_eq(mae_context_threads(NULL), 0);
  ck_assert_int_eq(mae_context_isa(NULL), MAE_ISA_AUTO);
  mae_context_options_init(NULL, sizeof o);
}
END_TEST

START_TEST(context_options_of_newer_program) {
  struct {
    mae_context_options known;
    int32_t unknown[4];
  } theirs;
  memset(&theirs, 0x55, sizeof theirs);
  mae_context_options_init(&theirs.known, sizeof theirs);
  theirs.known.threads = 2;
  mae_context *c = NULL;
  ASSERT_OK(mae_context_create(&theirs.known, &c));
  ck_assert_int_eq(mae_context_threads(c), 2);
  mae_context_destroy(c);
  c = NULL;
  theirs.unknown[3] = 1;
  ASSERT_STATUS(MAE_ERROR_UNSUPPORTED, mae_context_create(&theirs.known, &c));
  ck_assert_ptr_null(c);
}
END_TEST

/* ------------------------------------------------------------- errors --- */

START_TEST(status_names) {
  static const char *const names[] = {
      "MAE_OK",
      "MAE_ERROR_INVALID_ARGUMENT",
      "MAE_ERROR_SHAPE",
      "MAE_ERROR_OUT_OF_MEMORY",
      "MAE_ERROR_IO",
      "MAE_ERROR_NO_SPACE",
      "MAE_ERROR_NOT_FOUND",
      "MAE_ERROR_FORMAT",
      "MAE_ERROR_MISMATCH",
      "MAE_ERROR_NON_FINITE",
      "MAE_ERROR_STATE",
      "MAE_ERROR_UNSUPPORTED",
  };
  for (int i = 0; i < COUNT(names); i++)
    ck_assert_str_eq(mae_status_name((mae_status)i), names[i]);
  ck_assert_ptr_nonnull(mae_status_name((mae_status)COUNT(names)));
  ck_assert_ptr_nonnull(mae_status_name((mae_status)-1));
}
END_TEST

START_TEST(version) {
  char text[32];
  snprintf(text, sizeof text, "%d.%d.%d", MAE_VERSION_MAJOR, MAE_VERSION_MINOR,
           MAE_VERSION_PATCH);
  ck_assert_str_eq(mae_version(), text);
}
END_TEST

/* *arg becomes 1 if this thread's text is its own, and empty at first. */
static void *fail_elsewhere(void *arg) {
  int *fine = arg;
  *fine = !strcmp(mae_last_error(), "");
  mae_tensor *t;
  *fine &= mae_tensor_create(9, NULL, &t) == MAE_ERROR_INVALID_ARGUMENT;
  *fine &= strstr(mae_last_error(), "shape") != NULL;
  return NULL;
}

START_TEST(last_error_of_each_thread) {
  ck_assert_int_eq(mae_fail(MAE_ERROR_IO, "%s %d", "mine", 7), MAE_ERROR_IO);
  int fine = 0;
  pthread_t thread;
  ck_assert_int_eq(pthread_create(&thread, NULL, fail_elsewhere, &fine), 0);
  pthread_join(thread, NULL);
  ck_assert_int_eq(fine, 1);
  ck_assert_str_eq(mae_last_error(), "mine 7");
  float out;
  ASSERT_OK(mae_random_uniform(0, 0, 0, 1, &out)); /* success leaves it */
  ck_assert_str_eq(mae_last_error(), "mine 7");
}
END_TEST

START_TEST(long_error_is_cut) {
  char text[2000];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = 0;
  mae_fail(MAE_ERROR_IO, "%s", text);
  ck_assert_uint_lt(strlen(mae_last_error()), sizeof text - 1);
  ck_assert_uint_gt(strlen(mae_last_error()), 100);
}
END_TEST

/* -------------------------------------------------------------- suite --- */

static void add_random(TCase *tests) {
  tcase_add_loop_test(tests, philox_known_answers, 0, COUNT(published));
  tcase_add_loop_test(tests, uniform_is_philox, 0, COUNT(places));
  tcase_add_loop_test(tests, normal_is_box_muller, 0, COUNT(places));
  tcase_add_loop_test(tests, uniform_moments, 0, 3);
  tcase_add_loop_test(tests, normal_moments, 0, 3);
  tcase_add_loop_test(tests, values_have_their_place, 0, 2);
  tcase_add_loop_test(tests, streams_differ, 0, 2);
  tcase_add_loop_test(tests, permutation_permutes, 0, 8);
  tcase_add_test(tests, permutation_of_seed_and_stream);
  tcase_add_test(tests, permutation_is_fair);
  tcase_add_test(tests, random_arguments);
}

static void add_pool(TCase *tests) {
  tcase_add_loop_test(tests, pool_runs_each_piece_once, 0,
                      COUNT(thread_counts));
  tcase_add_test(tests, pool_cuts_the_same_way);
  tcase_add_test(tests, pool_of_one);
  tcase_add_test(tests, pool_callers_take_turns);
  tcase_add_test(tests, pool_ends_at_any_time);
  tcase_add_test(tests, pool_wakes_from_sleep);
  tcase_add_loop_test(tests, pool_shares_each_part_once, 0,
                      COUNT(thread_counts));
  tcase_add_test(tests, pool_shares_for_several_callers);
  tcase_add_loop_test(tests, pool_helps_who_shares, 0, COUNT(thread_counts));
}

static void add_objects(TCase *tests) {
  tcase_add_test(tests, tensor_create);
  tcase_add_test(tests, tensor_borrow);
  tcase_add_test(tests, tensor_errors);
  tcase_add_test(tests, memory_sizes);
  tcase_add_test(tests, options_of_older_program);
  tcase_add_test(tests, options_of_newer_program);
  tcase_add_test(tests, options_not_initialised);
  tcase_add_test(tests, context_defaults);
  tcase_add_loop_test(tests, context_isa, MAE_ISA_PORTABLE, MAE_ISA_AMX + 1);
  tcase_add_test(tests, bf16_of_the_processor);
  tcase_add_test(tests, context_errors);
  tcase_add_test(tests, context_options_of_newer_program);
  tcase_add_test(tests, status_names);
  tcase_add_test(tests, version);
  tcase_add_test(tests, last_error_of_each_thread);
  tcase_add_test(tests, long_error_is_cut);
}

Suite *base_suite(void) {
  Suite *suite = suite_create("base");
  TCase *random = tcase_create("random"), *pool = tcase_create("pool");
  TCase *objects = tcase_create("objects");
  TCase *const cases[] = {random, pool, objects};
  for (int i = 0; i < COUNT(cases); i++) {
    tcase_set_timeout(cases[i], 120);
    suite_add_tcase(suite, cases[i]);
  }
  add_random(random);
  add_pool(pool);
  add_objects(objects);
  return suite;
}
