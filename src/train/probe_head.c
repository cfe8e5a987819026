#include "train/probe_head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/blas.h"

/* Rows in one product: enough for BLAS, and few enough for the cache. */
enum { ROWS = 256 };

struct mae_probe_share {
  double *sums;    /* [2, width] */
  float *x;        /* [ROWS, width], normalised */
  float *logits;   /* [ROWS, classes], then their gradient */
  float *dweight, *dbias;
  double loss;
};

/* ------------------------------------------------------------- memory --- */

static mae_status init_share(mae_probe_share *s, int64_t width,
                             int32_t classes) {
  const size_t w = (size_t)width, c = (size_t)classes;
  s->sums = mae_calloc(w, 2 * sizeof *s->sums);
  s->x = mae_calloc(w, ROWS * sizeof *s->x);
  s->logits = mae_calloc(c, ROWS * sizeof *s->logits);
  s->dweight = mae_calloc(c * w, sizeof *s->dweight);
  s->dbias = mae_calloc(c, sizeof *s->dbias);
  return s->sums && s->x && s->logits && s->dweight && s->dbias
             ? MAE_OK
             : MAE_ERROR_OUT_OF_MEMORY;
}

static mae_status init(mae_probe_head *h, double eps, double momentum) {
  const size_t w = (size_t)h->width, c = (size_t)h->classes;
  MAE_TRY(mae_batch_norm_init(&h->norm, h->width, eps, momentum));
  h->weight = mae_calloc(c * w, sizeof *h->weight);
  h->bias = mae_calloc(c, sizeof *h->bias);
  h->shares = mae_calloc((size_t)h->n_shares, sizeof *h->shares);
  if (!h->weight || !h->bias || !h->shares) return MAE_ERROR_OUT_OF_MEMORY;
  for (int64_t i = 0; i < h->n_shares; i++)
    MAE_TRY(init_share(&h->shares[i], h->width, h->classes));
  h->dweight = h->shares[0].dweight;
  h->dbias = h->shares[0].dbias;
  return MAE_OK;
}

mae_status mae_probe_head_init(mae_probe_head *head, mae_pool *pool,
                               int64_t width, int32_t classes, int64_t batch,
                               double eps, double momentum) {
  const int64_t threads = mae_pool_threads(pool);
  const int64_t most = (batch + ROWS - 1) / ROWS;
  *head = (mae_probe_head){.pool = pool, .width = width, .classes = classes};
  head->n_shares = threads < most ? threads : most;
  mae_status status = init(head, eps, momentum);
  if (status != MAE_OK) mae_probe_head_free(head);
  return status;
}

void mae_probe_head_free(mae_probe_head *head) {
  for (int64_t i = 0; head->shares && i < head->n_shares; i++) {
    mae_probe_share *s = &head->shares[i];
    free(s->sums);
    free(s->x);
    free(s->logits);
    free(s->dweight);
    free(s->dbias);
  }
  free(head->shares);
  free(head->weight);
  free(head->bias);
  mae_batch_norm_free(&head->norm);
  *head = (mae_probe_head){0};
}

/* -------------------------------------------------------------- a batch --- */

typedef struct batch {
  mae_probe_head *head;
  const float *features;
  const int32_t *labels;
  const uint32_t *index;
  int64_t n;
} batch;

/* Where share i begins. */
static int64_t share_at(const batch *b, int64_t i) {
  return b->n / b->head->n_shares * i +
         b->n % b->head->n_shares * i / b->head->n_shares;
}

/* The batch's first row, near enough to the mean that squares lose nothing. */
static const float *shift_of(const batch *b) {
  return b->features + (int64_t)b->index[0] * b->head->width;
}

static void sum_share(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  const batch *b = arg;
  const int64_t begin = share_at(b, i), end = share_at(b, i + 1);
  mae_batch_norm_sums(b->features, b->head->width, b->index + begin,
                      end - begin, shift_of(b), b->head->shares[i].sums);
}

static void update_norm(const batch *b) {
  mae_probe_head *h = b->head;
  mae_pool_run(h->pool, h->n_shares, sum_share, (void *)b);
  double *sums = h->shares[0].sums;
  for (int64_t i = 1; i < h->n_shares; i++)
    for (int64_t j = 0; j < 2 * h->width; j++) sums[j] += h->shares[i].sums[j];
  mae_batch_norm_update(&h->norm, shift_of(b), sums, b->n);
}

/* Logits become the gradient of the mean over n; returns this row's loss. */
static double cross_entropy(float *x, int32_t classes, int32_t label,
                            int64_t n) {
  float most = x[0], sum = 0;
  for (int32_t c = 1; c < classes; c++) most = x[c] > most ? x[c] : most;
  const float right = x[label] - most;
  for (int32_t c = 0; c < classes; c++) sum += x[c] = expf(x[c] - most);
  const float scale = 1 / (sum * (float)n);
  for (int32_t c = 0; c < classes; c++) x[c] *= scale;
  x[label] -= 1 / (float)n;
  return log((double)sum) - right;
}

/* Adds rows [begin, end) of the batch to a share's gradient and loss. */
static void add_rows(const batch *b, mae_probe_share *s, int64_t begin,
                     int64_t end, bool first) {
  const mae_probe_head *h = b->head;
  const int64_t rows = end - begin, w = h->width, c = h->classes;
  mae_batch_norm_apply(&h->norm, b->features, b->index + begin, rows, s->x);
  for (int64_t i = 0; i < rows; i++)
    memcpy(s->logits + i * c, h->bias, (size_t)c * sizeof *h->bias);
  mae_sgemm(false, true, rows, c, w, 1, s->x, w, h->weight, w, 1, s->logits, c);
  for (int64_t i = 0; i < rows; i++)
    s->loss += cross_entropy(s->logits + i * c, h->classes,
                             b->labels[b->index[begin + i]], b->n);
  mae_sgemm(true, false, c, w, rows, 1, s->logits, c, s->x, w, !first,
            s->dweight, w);
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < c; j++) s->dbias[j] += s->logits[i * c + j];
}

static void gradient_share(void *arg, int64_t i, int32_t worker) {
  (void)worker;
  const batch *b = arg;
  mae_probe_share *s = &b->head->shares[i];
  const int64_t begin = share_at(b, i), end = share_at(b, i + 1);
  s->loss = 0;
  for (int32_t c = 0; c < b->head->classes; c++) s->dbias[c] = 0;
  for (int64_t at = begin; at < end; at += ROWS)
    add_rows(b, s, at, end - at < ROWS ? end : at + ROWS, at == begin);
}

/* Elements of dweight, summed over the shares into the first one's. */
static void sum_gradients(void *arg, int64_t begin, int64_t end,
                          int32_t worker) {
  (void)worker;
  const mae_probe_head *h = arg;
  for (int64_t i = 1; i < h->n_shares; i++)
    for (int64_t j = begin; j < end; j++)
      h->dweight[j] += h->shares[i].dweight[j];
}

double mae_probe_head_gradient(mae_probe_head *head, const float *features,
                               const int32_t *labels, const uint32_t *index,
                               int64_t n) {
  batch b = {head, features, labels, index, n};
  update_norm(&b);
  mae_pool_run(head->pool, head->n_shares, gradient_share, &b);
  mae_pool_for(head->pool, head->width * head->classes, 16384, sum_gradients,
               head);
  double loss = head->shares[0].loss;
  for (int64_t i = 1; i < head->n_shares; i++) {
    loss += head->shares[i].loss;
    for (int32_t c = 0; c < head->classes; c++)
      head->dbias[c] += head->shares[i].dbias[c];
  }
  return loss / (double)n;
}
