/* softmax_cross_entropy on the tape. */
#include "autograd/tape.h"

enum { LOGITS, TARGET };
enum { ROWS, CLASSES };

static mae_status forward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  float *stats = mae_op_saved(tape, op, 0);
  if (!stats) stats = mae_op_scratch(tape, op);
  c->kernels->cross_entropy_forward(
      c->pool, op->size[ROWS], op->size[CLASSES], mae_op_in(tape, op, LOGITS),
      mae_op_in(tape, op, TARGET), stats, mae_op_out(tape, op));
  return MAE_OK;
}

static void backward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  bool add = false;
  float *dlogits = mae_op_dx(tape, op, LOGITS, &add);
  if (dlogits)
    c->kernels->cross_entropy_backward(
        c->pool, op->size[ROWS], op->size[CLASSES],
        mae_op_in(tape, op, LOGITS), mae_op_in(tape, op, TARGET),
        mae_op_saved(tape, op, 0), mae_op_dy(tape, op), dlogits, add);
}

static const mae_op_class class = {
    .name = "softmax_cross_entropy", .forward = forward, .backward = backward,
    .backward_reads = 1 << LOGITS | 1 << TARGET, .identity = -1};

mae_status mae_tape_softmax_cross_entropy(mae_tape *tape, mae_var logits,
                                          mae_var target, mae_var *out) {
  const mae_var in[] = {logits, target};
  mae_op *op;
  MAE_TRY(mae_tape_record(tape, &class, in, 2, out, &op));
  const mae_tensor *x = mae_op_shape(tape, op, LOGITS);
  const mae_tensor *t = mae_op_shape(tape, op, TARGET);
  if (x->ndim != 2 || !mae_tensor_same_shape(x, t))
    return mae_tape_fail(tape, MAE_ERROR_SHAPE,
                         "softmax_cross_entropy: logits %s and target %s are "
                         "not both [B, C]",
                         mae_tensor_shape_text(x).text,
                         mae_tensor_shape_text(t).text);
  if (tape->nodes[target.id].requires_grad)
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                         "softmax_cross_entropy: the target takes no gradient");
  op->size[ROWS] = x->shape[0];
  op->size[CLASSES] = x->shape[1];
  op->saved_bytes[0] = op->forward_scratch =
      (size_t)op->size[ROWS] * 3 * sizeof(float);
  const int64_t shape[] = {1};
  return mae_tape_output(tape, op, 1, shape, out);
}
