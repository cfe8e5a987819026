/* add on the tape. */
#include "autograd/tape.h"

static mae_status forward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  c->kernels->add_forward(c->pool, op->size[0], mae_op_in(tape, op, 0),
                          mae_op_in(tape, op, 1), mae_op_out(tape, op));
  return MAE_OK;
}


static void backward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  for (int32_t slot = 0; slot < 2; slot++) {
    bool add = false;
    float *dx = mae_op_dx(tape, op, slot, &add);
    if (dx)
      c->kernels->add_backward(c->pool, op->size[0], mae_op_dy(tape, op), dx,
                               add);
  }
}

static const mae_op_class class = {.name = "add", .forward = forward,
                                   .backward = backward, .identity = 0};

mae_status mae_tape_add(mae_tape *tape, mae_var a, mae_var b, mae_var *out) {
  const mae_var in[] = {a, b};
  mae_op *op;
  MAE_TRY(mae_tape_record(tape, &class, in, 2, out, &op));
  const mae_tensor *x = mae_op_shape(tape, op, 0);
  const mae_tensor *y = mae_op_shape(tape, op, 1);
  if (!mae_tensor_same_shape(x, y))
    return mae_tape_fail(tape, MAE_ERROR_SHAPE, "add: %s and %s differ",
                         mae_tensor_shape_text(x).text,
                         mae_tensor_shape_text(y).text);
  op->size[0] = mae_tensor_size(x);
  return mae_tape_output(tape, op, x->ndim, x->shape, out);
}
