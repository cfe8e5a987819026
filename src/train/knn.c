/* Weighted k nearest neighbours: a block of queries at a time goes past all
 * training rows, block by block, and keeps its best. */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "kernels/blas.h"
#include "kernels/context.h"
#include "train/labelled_rows.h"

/* Fixed, so that no bit depends on the number of threads. */
enum { QUERIES = 128, ROWS = 256 };

typedef struct neighbour {
  float similarity;
  int64_t row;
} neighbour;

/* What a worker needs, all of one block. */
typedef struct bench {
  float *queries;      /* [QUERIES, width], of length 1 */
  float *rows;         /* [ROWS, width], of length 1 */
  float *similarities; /* [QUERIES, ROWS] */
  neighbour *best;     /* [QUERIES, k], heaps with the farthest first */
  double *votes;       /* [num_classes] */
} bench;

typedef struct knn {
  const float *train, *queries;
  const int32_t *labels;
  int64_t n, width, m, k;
  int32_t classes;
  double temperature;
  double *train_lengths, *query_lengths;
  bench *benches; /* one a worker */
  int32_t workers;
  float *out;
} knn;

/* ------------------------------------------------------------ the best --- */

static bool farther(neighbour a, neighbour b) {
  return a.similarity < b.similarity ||
         (a.similarity == b.similarity && a.row > b.row);
}

static void sift_down(neighbour *heap, int64_t n) {
  const neighbour moved = heap[0];
  int64_t at = 0;
  for (int64_t child; (child = 2 * at + 1) < n; at = child) {
    if (child + 1 < n && farther(heap[child + 1], heap[child])) child++;
    if (!farther(heap[child], moved)) break;
    heap[at] = heap[child];
  }
  heap[at] = moved;
}

/* Heaps start with rows beyond all, which any row replaces. */
static void forget(const knn *p, bench *b) {
  for (int64_t i = 0; i < QUERIES * p->k; i++)
    b->best[i] = (neighbour){-INFINITY, INT64_MAX};
}

static void keep_best(const knn *p, bench *b, int64_t queries, int64_t first,
                      int64_t rows) {
  for (int64_t q = 0; q < queries; q++) {
    neighbour *heap = b->best + q * p->k;
    for (int64_t i = 0; i < rows; i++) {
      const neighbour found = {b->similarities[q * ROWS + i], first + i};
      if (!farther(heap[0], found)) continue;
      heap[0] = found;
      sift_down(heap, p->k);
    }
  }
}

/* ------------------------------------------------------------ a block --- */

static void normalise(float *y, const float *x, const double *lengths,
                      int64_t n, int64_t width) {
  for (int64_t i = 0; i < n; i++) {
    const double scale = lengths[i] > 0 ? 1 / lengths[i] : 0;
    for (int64_t j = 0; j < width; j++)
      y[i * width + j] = (float)(x[i * width + j] * scale);
  }
}

/* Weights are taken relative to the nearest, so that none overflows. */
static void vote(const knn *p, bench *b, const neighbour *best, float *out) {
  double nearest = best[0].similarity, sum = 0;
  for (int64_t i = 1; i < p->k; i++)
    nearest = fmax(nearest, best[i].similarity);
  for (int32_t c = 0; c < p->classes; c++) b->votes[c] = 0;
  for (int64_t i = 0; i < p->k; i++) {
    const double weight = exp((best[i].similarity - nearest) / p->temperature);
    b->votes[p->labels[best[i].row]] += weight;
    sum += weight;
  }
  for (int32_t c = 0; c < p->classes; c++) out[c] = (float)(b->votes[c] / sum);
}

static void classify_block(void *arg, int64_t i, int32_t worker) {
  const knn *p = arg;
  bench *b = &p->benches[worker];
  const int64_t first = i * QUERIES, w = p->width;
  const int64_t queries = p->m - first < QUERIES ? p->m - first : QUERIES;
  normalise(b->queries, p->queries + first * w, p->query_lengths + first,
            queries, w);
  forget(p, b);
  for (int64_t at = 0; at < p->n; at += ROWS) {
    const int64_t rows = p->n - at < ROWS ? p->n - at : ROWS;
    normalise(b->rows, p->train + at * w, p->train_lengths + at, rows, w);
    mae_sgemm(false, true, queries, rows, w, 1, b->queries, w, b->rows, w, 0,
              b->similarities, ROWS);
    keep_best(p, b, queries, at, rows);
  }
  for (int64_t q = 0; q < queries; q++)
    vote(p, b, b->best + q * p->k, p->out + (first + q) * p->classes);
}

/* ------------------------------------------------------------ the call --- */

static void free_benches(knn *p) {
  for (int32_t i = 0; p->benches && i < p->workers; i++) {
    bench *b = &p->benches[i];
    free(b->queries);
    free(b->rows);
    free(b->similarities);
    free(b->best);
    free(b->votes);
  }
  free(p->benches);
  free(p->train_lengths);
  free(p->query_lengths);
}

static mae_status make_benches(knn *p) {
  const size_t width = (size_t)p->width, k = (size_t)p->k;
  p->train_lengths = mae_calloc((size_t)p->n, sizeof(double));
  p->query_lengths = mae_calloc((size_t)p->m, sizeof(double));
  p->benches = mae_calloc((size_t)p->workers, sizeof *p->benches);
  if (!p->train_lengths || !p->query_lengths || !p->benches)
    return MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t i = 0; i < p->workers; i++) {
    bench *b = &p->benches[i];
    b->queries = mae_calloc(width, QUERIES * sizeof(float));
    b->rows = mae_calloc(width, ROWS * sizeof(float));
    b->similarities = mae_calloc(QUERIES * ROWS, sizeof(float));
    b->best = mae_calloc(k, QUERIES * sizeof(neighbour));
    b->votes = mae_calloc((size_t)p->classes, sizeof(double));
    if (!b->queries || !b->rows || !b->similarities || !b->best || !b->votes)
      return MAE_ERROR_OUT_OF_MEMORY;
  }
  return MAE_OK;
}

static mae_status run(knn *p, mae_pool *pool) {
  MAE_TRY(make_benches(p));
  MAE_TRY(mae_rows_lengths(pool, "train", p->train, p->n, p->width,
                           p->train_lengths));
  MAE_TRY(mae_rows_lengths(pool, "queries", p->queries, p->m, p->width,
                           p->query_lengths));
  mae_blas_enter();
  mae_pool_run(pool, (p->m + QUERIES - 1) / QUERIES, classify_block, p);
  mae_blas_leave();
  return MAE_OK;
}

mae_status mae_knn_classify(mae_context *context, const float *train,
                            const int32_t *labels, int64_t n, int64_t width,
                            int32_t num_classes, const float *queries,
                            int64_t m, int32_t k, double temperature,
                            float *out) {
  MAE_REQUIRE(context);
  MAE_REQUIRE(train);
  MAE_REQUIRE(labels);
  MAE_REQUIRE(queries);
  MAE_REQUIRE(out);
  MAE_TRY(mae_rows_check_sizes(n, width, num_classes));
  MAE_TRY(mae_rows_check_sizes(m, width, num_classes));
  MAE_TRY(mae_rows_check_labels(labels, n, num_classes));
  if (k < 1)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "k is %d", k);
  if (!(temperature > 0 && isfinite(temperature)))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "temperature is %g",
                    temperature);
  knn p = {.train = train, .queries = queries, .labels = labels, .n = n,
           .width = width, .m = m, .k = k < n ? k : n, .classes = num_classes,
           .temperature = temperature,
           .workers = mae_pool_threads(context->pool), .out = out};
  mae_status status = run(&p, context->pool);
  free_benches(&p);
  return status;
}
