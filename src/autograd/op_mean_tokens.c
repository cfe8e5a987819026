/* mean_tokens on the tape. */
#include "autograd/tape.h"

enum { BATCH, TOKENS, WIDTH, FIRST, COUNT };

static mae_status forward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const int64_t *n = op->size;
  c->kernels->mean_tokens_forward(c->pool, n[BATCH], n[TOKENS], n[WIDTH],
                                  n[FIRST], n[COUNT], mae_op_in(tape, op, 0),
                                  mae_op_out(tape, op));
  return MAE_OK;
}

static void backward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const int64_t *n = op->size;
  bool add = false;
  float *dx = mae_op_dx(tape, op, 0, &add);
  if (dx)
    c->kernels->mean_tokens_backward(c->pool, n[BATCH], n[TOKENS], n[WIDTH],
                                     n[FIRST], n[COUNT], mae_op_dy(tape, op),
                                     dx, add);
}

static const mae_op_class class = {.name = "mean_tokens", .forward = forward,
                                   .backward = backward, .identity = -1};

mae_status mae_tape_mean_tokens(mae_tape *tape, mae_var x, int64_t first,
                                int64_t count, mae_var *out) {
  mae_op *op;
  MAE_TRY(mae_tape_record(tape, &class, &x, 1, out, &op));
  const mae_tensor *t = mae_op_shape(tape, op, 0);
  if (t->ndim != 3)
    return mae_tape_fail(tape, MAE_ERROR_SHAPE,
                         "mean_tokens: x %s is not [B, T, D]",
                         mae_tensor_shape_text(t).text);
  if (first < 0 || count < 1 || first >= t->shape[1] ||
      count > t->shape[1] - first)
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                         "mean_tokens: %lld tokens from token %lld on are not "
                         "within x %s",
                         (long long)count, (long long)first,
                         mae_tensor_shape_text(t).text);
  const int64_t shape[] = {t->shape[0], t->shape[2]};
  op->size[BATCH] = t->shape[0];
  op->size[TOKENS] = t->shape[1];
  op->size[WIDTH] = t->shape[2];
  op->size[FIRST] = first;
  op->size[COUNT] = count;
  return mae_tape_output(tape, op, 2, shape, out);
}
