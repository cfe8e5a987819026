/* drop_path_add on the tape. */
#include "autograd/tape.h"

enum { X, SCALE, RESIDUAL };
enum { BATCH, SIZE };

static mae_status forward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  c->kernels->drop_path_forward(
      c->pool, op->size[BATCH], op->size[SIZE], mae_op_in(tape, op, X),
      mae_op_in(tape, op, SCALE), mae_op_in(tape, op, RESIDUAL),
      mae_op_out(tape, op));
  return MAE_OK;
}

static void backward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  bool add_x = false, add_r = false;
  float *dx = mae_op_dx(tape, op, X, &add_x);
  float *dr = mae_op_dx(tape, op, RESIDUAL, &add_r);
  const float *dy = mae_op_dy(tape, op);
  if (dx)
    c->kernels->drop_path_backward(c->pool, op->size[BATCH], op->size[SIZE],
                                   mae_op_in(tape, op, SCALE), dy, dx, add_x);
  if (dr)
    c->kernels->add_backward(c->pool, op->size[BATCH] * op->size[SIZE], dy, dr,
                             add_r);
}

static const mae_op_class class = {
    .name = "drop_path_add", .forward = forward, .backward = backward,
    .backward_reads = 1 << SCALE, .identity = RESIDUAL};

mae_status mae_tape_drop_path_add(mae_tape *tape, mae_var x, mae_var scale,
                                  mae_var residual, mae_var *out) {
  const mae_var in[] = {x, scale, residual};
  mae_op *op;
  MAE_TRY(mae_tape_record(tape, &class, in, 3, out, &op));
  const mae_tensor *t = mae_op_shape(tape, op, X);
  const mae_tensor *s = mae_op_shape(tape, op, SCALE);
  const mae_tensor *r = mae_op_shape(tape, op, RESIDUAL);
  if (!mae_tensor_same_shape(t, r) || s->ndim != 1 ||
      s->shape[0] != t->shape[0])
    return mae_tape_fail(tape, MAE_ERROR_SHAPE,
                         "drop_path_add: x %s, scale %s and residual %s are "
                         "not [B, ...], [B] and [B, ...]",
                         mae_tensor_shape_text(t).text,
                         mae_tensor_shape_text(s).text,
                         mae_tensor_shape_text(r).text);
  if (tape->nodes[scale.id].requires_grad)
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                         "drop_path_add: the scale takes no gradient");
  op->size[BATCH] = t->shape[0];
  op->size[SIZE] = mae_tensor_size(t) / t->shape[0];
  return mae_tape_output(tape, op, t->ndim, t->shape, out);
}
