#include "train/gradient_sum.h"

#include <math.h>
#include <stdlib.h>

enum { BUCKET_BYTES = 25 << 20 };

const mae_gradient_sum mae_gradient_sum_alone = {.comm.ranks = 1};

/* ------------------------------------------------------- communicator --- */

/* Remember the first failure; nothing more is begun after it. */
static void note(mae_gradient_sum *s, const char *what, mae_status status) {
  if (status == MAE_OK || s->status != MAE_OK) return;
  const char *text =
      s->comm.error_text ? s->comm.error_text(s->comm.arg) : NULL;
  s->status = mae_fail(status, "rank %d of %d: %s failed%s%s", s->comm.rank,
                       s->comm.ranks, what, text ? ": " : "",
                       text ? text : "");
}

static void start(mae_gradient_sum *s, float *data, int64_t n) {
  if (s->status == MAE_OK)
    note(s, "a sum over ranks", s->comm.start_sum(s->comm.arg, data, n));
}

static void move_on(void *arg) {
  mae_gradient_sum *s = arg;
  if (s->status == MAE_OK && s->comm.progress)
    note(s, "the progress of sums over ranks", s->comm.progress(s->comm.arg));
}

/* Also after a failure: what has begun still writes to the gradients. */
static mae_status finish(mae_gradient_sum *s) {
  note(s, "waiting for sums over ranks", s->comm.wait_all(s->comm.arg));
  return s->status;
}

mae_status mae_gradient_sum_now(mae_gradient_sum *s, float *data, int64_t n) {
  s->status = MAE_OK;
  start(s, data, n);
  return finish(s);
}

/* ------------------------------------------------------------ buckets --- */

/* Begin those that are full, in their order: the same on every rank. */
static void start_full(mae_gradient_sum *s) {
  for (; s->next < s->count && !s->buckets[s->next].waiting; s->next++)
    start(s, s->buckets[s->next].data, s->buckets[s->next].n);
}

static void gradient_is_final(void *arg, mae_var parameter) {
  mae_gradient_sum *s = arg;
  if (!s->last || s->bucket_of[parameter.id] < 0) return;
  s->buckets[s->bucket_of[parameter.id]].waiting--;
  start_full(s);
}

void mae_gradient_sum_begin(mae_gradient_sum *s, double loss, bool last) {
  if (s->comm.ranks == 1) return;
  const bool finite = isfinite(loss);
  s->status = MAE_OK;
  s->last = last;
  s->loss[0] = finite ? (float)loss : 0;
  s->loss[1] = !finite;
  s->next = 0;
  for (int32_t i = 0; i < s->count; i++)
    s->buckets[i].waiting = s->buckets[i].params;
  start(s, s->loss, 2);
}

mae_status mae_gradient_sum_end(mae_gradient_sum *s, double *loss) {
  if (s->comm.ranks == 1) return MAE_OK;
  MAE_TRY(finish(s));
  *loss = (double)s->loss[0] / s->comm.ranks;
  if (s->loss[1] > 0)
    return mae_fail(MAE_ERROR_NON_FINITE,
                    "the loss is not finite on %d of %d ranks", (int)s->loss[1],
                    s->comm.ranks);
  return MAE_OK;
}

/* Backward goes through the parameters from the last to the first but for a
 * token or two, so a bucket is a stretch of the block counted from its end. */
static void cut(mae_gradient_sum *s, const mae_graph *g,
                const mae_optimizer *o) {
  const int64_t bytes =
      s->comm.bucket_bytes ? s->comm.bucket_bytes : BUCKET_BYTES;
  float *end = NULL;
  for (int32_t i = 0; i < g->tape->n_nodes; i++) s->bucket_of[i] = -1;
  for (int32_t i = g->model->n_params - 1; i >= 0; i--) {
    if (!o->grad[i]) continue;
    const int64_t size = mae_tensor_size(&g->model->params[i].value);
    mae_bucket *b = s->count ? &s->buckets[s->count - 1] : NULL;
    if (!b || b->n * (int64_t)sizeof(float) >= bytes) {
      b = &s->buckets[s->count++];
      end = o->grad[i] + size;
    }
    b->data = o->grad[i];
    b->n = end - o->grad[i];
    const int32_t var = g->params[i].id;
    if (var == MAE_NO_VAR || g->tape->nodes[var].last_writer_op < 0) continue;
    s->bucket_of[var] = s->count - 1;
    b->params++;
  }
}

mae_status mae_gradient_sum_set(mae_gradient_sum *sum,
                                const mae_communicator *comm,
                                const mae_graph *g, const mae_optimizer *o) {
  mae_gradient_sum s = {.comm = *comm};
  const mae_tape_watcher watcher = {gradient_is_final, move_on, sum};
  if (comm->ranks > 1) {
    s.buckets = mae_calloc((size_t)g->model->n_params, sizeof *s.buckets);
    s.bucket_of = mae_calloc((size_t)g->tape->n_nodes, sizeof *s.bucket_of);
    if (!s.buckets || !s.bucket_of) {
      mae_gradient_sum_free(&s);
      return MAE_ERROR_OUT_OF_MEMORY;
    }
    mae_tape_watch(g->tape, &watcher);
    cut(&s, g, o);
  } else {
    mae_tape_watch(g->tape, NULL);
  }
  mae_gradient_sum_free(sum);
  *sum = s;
  return MAE_OK;
}

void mae_gradient_sum_free(mae_gradient_sum *s) {
  free(s->buckets);
  free(s->bucket_of);
  *s = mae_gradient_sum_alone;
}
