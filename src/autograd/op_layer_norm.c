/* layer_norm on the tape. */
#include "autograd/tape.h"

enum { X, WEIGHT, BIAS };
enum { ROWS, WIDTH };
enum { MEAN, RSTD };

static mae_status forward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  c->kernels->layer_norm_forward(
      c->pool, op->size[ROWS], op->size[WIDTH], op->eps,
      mae_op_in(tape, op, X), mae_op_in(tape, op, WEIGHT),
      mae_op_in(tape, op, BIAS), mae_op_out(tape, op),
      mae_op_saved(tape, op, MEAN), mae_op_saved(tape, op, RSTD));
  return MAE_OK;
}

static void backward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  bool add_x = false, add_w = false, add_b = false;
  float *dx = mae_op_dx(tape, op, X, &add_x);
  float *dw = mae_op_dx(tape, op, WEIGHT, &add_w);
  float *db = mae_op_dx(tape, op, BIAS, &add_b);
  c->kernels->layer_norm_backward(
      c->pool, op->size[ROWS], op->size[WIDTH], mae_op_in(tape, op, X),
      mae_op_in(tape, op, WEIGHT), mae_op_saved(tape, op, MEAN),
      mae_op_saved(tape, op, RSTD), mae_op_dy(tape, op), dx, add_x, dw, add_w,
      db, add_b);
}

static const mae_op_class class = {
    .name = "layer_norm", .forward = forward, .backward = backward,
    .backward_reads = 1 << X | 1 << WEIGHT, .identity = -1,
    .refresh = MAE_REFRESH_CHEAP};

mae_status mae_tape_layer_norm(mae_tape *tape, mae_var x, mae_var weight,
                               mae_var bias, float eps, mae_var *out) {
  const mae_var in[] = {x, weight, bias};
  mae_op *op;
  MAE_TRY(mae_tape_record(tape, &class, in, 3, out, &op));
  const mae_tensor *t = mae_op_shape(tape, op, X);
  int64_t width = t->shape[t->ndim - 1];
  if (mae_tensor_size(mae_op_shape(tape, op, WEIGHT)) != width ||
      mae_tensor_size(mae_op_shape(tape, op, BIAS)) != width)
    return mae_tape_fail(tape, MAE_ERROR_SHAPE,
                         "layer_norm: weight and bias do not fit x %s",
                         mae_tensor_shape_text(t).text);
  if (!(eps >= 0))
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                         "layer_norm: eps is %g", (double)eps);
  op->size[ROWS] = mae_tensor_size(t) / width;
  op->size[WIDTH] = width;
  op->eps = eps;
  op->saved_bytes[MEAN] = op->saved_bytes[RSTD] =
      (size_t)op->size[ROWS] * sizeof(float);
  return mae_tape_output(tape, op, t->ndim, t->shape, out);
}
