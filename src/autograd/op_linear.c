/* linear and linear_add on the tape. */
#include "autograd/tape.h"

enum { X, WEIGHT, BIAS, RESIDUAL };
enum { ROWS, IN, OUT };

static mae_status forward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  c->kernels->linear_forward(
      c->pool, op->products, op->size[ROWS], op->size[IN], op->size[OUT],
      op->flag,
      mae_op_in(tape, op, X), mae_op_in(tape, op, WEIGHT),
      tape->nodes[op->in[WEIGHT]].packed, mae_op_in(tape, op, BIAS),
      op->n_in > RESIDUAL ? mae_op_in(tape, op, RESIDUAL) : NULL,
      mae_op_saved(tape, op, 0), mae_op_out(tape, op),
      mae_op_scratch(tape, op));
  return MAE_OK;
}

static void backward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  bool add_x = false, add_w = false, add_b = false, add_r = false;
  float *dx = mae_op_dx(tape, op, X, &add_x);
  float *dw = mae_op_dx(tape, op, WEIGHT, &add_w);
  float *db = mae_op_dx(tape, op, BIAS, &add_b);
  float *dy = mae_op_dy(tape, op);
  c->kernels->linear_backward(
      c->pool, op->products, op->size[ROWS], op->size[IN], op->size[OUT],
      op->flag,
      mae_op_in(tape, op, X), mae_op_in(tape, op, WEIGHT),
      mae_op_saved(tape, op, 0), dy, dx, add_x, dw, add_w, db, add_b,
      mae_op_scratch(tape, op));
  if (op->n_in <= RESIDUAL) return;
  float *dr = mae_op_dx(tape, op, RESIDUAL, &add_r);
  if (dr)
    c->kernels->add_backward(c->pool, op->size[ROWS] * op->size[OUT], dy, dr,
                             add_r);
}

/* From the pre-activation. */
static void refresh_gelu(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  c->kernels->gelu_forward(
      c->pool, op->products, op->size[ROWS] * op->size[OUT],
      mae_op_saved(tape, op, 0), mae_op_out(tape, op));
}

/* One product forward; backward one for each gradient that is wanted. */
static double products(const mae_tape *tape, const mae_op *op, bool backward) {
  const double one =
      (double)op->size[ROWS] * (double)op->size[IN] * (double)op->size[OUT];
  if (!backward) return one;
  return one * (tape->nodes[op->in[X]].requires_grad +
                tape->nodes[op->in[WEIGHT]].requires_grad);
}

static const mae_op_class linear_class = {
    .name = "linear", .forward = forward, .backward = backward,
    .backward_reads = 1 << X | 1 << WEIGHT, .identity = -1,
    .overwrites = 1 << X, .products = products};

/* Of at most NARROW inputs, so many multiply-adds for each number not kept: of
 * usual models the decoder's qkv, which takes 2 % of a step. */
enum { NARROW = 512 };

static const mae_op_class narrow_linear_class = {
    .name = "linear", .forward = forward, .backward = backward,
    .backward_reads = 1 << X | 1 << WEIGHT, .identity = -1,
    .overwrites = 1 << X, .refresh = MAE_REFRESH_DEAR, .products = products};

static const mae_op_class linear_gelu_class = {
    .name = "linear", .forward = forward, .backward = backward,
    .backward_reads = 1 << X | 1 << WEIGHT, .identity = -1,
    .overwrites = 1 << X, .refresh = MAE_REFRESH_CHEAP,
    .from_saved = refresh_gelu, .products = products};

static const mae_op_class linear_add_class = {
    .name = "linear_add", .forward = forward, .backward = backward,
    .backward_reads = 1 << X | 1 << WEIGHT, .identity = RESIDUAL,
    .overwrites = 1 << X, .products = products};

static size_t scratch_bytes(const mae_tape *tape, const mae_op *op,
                            bool backward) {
  const mae_context *c = tape->context;
  return (size_t)c->kernels->linear_scratch(c->pool, op->products, backward,
                                            op->size[ROWS], op->size[IN],
                                            op->size[OUT]) *
         sizeof(float);
}

static mae_status record(mae_tape *tape, const mae_op_class *class,
                         const mae_var *in, int32_t n_in,
                         mae_activation activation, mae_var *out) {
  mae_op *op;
  MAE_TRY(mae_tape_record(tape, class, in, n_in, out, &op));
  if (activation != MAE_ACTIVATION_NONE && activation != MAE_ACTIVATION_GELU)
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                         "%s: no activation %d", class->name, (int)activation);
  const mae_tensor *x = mae_op_shape(tape, op, X);
  const mae_tensor *w = mae_op_shape(tape, op, WEIGHT);
  const mae_tensor *b = mae_op_shape(tape, op, BIAS);
  int64_t n_in_features = x->shape[x->ndim - 1], n_out = w->shape[0];
  if (w->ndim < 2 || mae_tensor_size(w) / n_out != n_in_features)
    return mae_tape_fail(tape, MAE_ERROR_SHAPE,
                         "%s: x %s does not fit weight %s", class->name,
                         mae_tensor_shape_text(x).text,
                         mae_tensor_shape_text(w).text);
  if (b->ndim != 1 || b->shape[0] != n_out)
    return mae_tape_fail(tape, MAE_ERROR_SHAPE,
                         "%s: bias %s does not fit weight %s", class->name,
                         mae_tensor_shape_text(b).text,
                         mae_tensor_shape_text(w).text);
  if (n_in_features > INT32_MAX || n_out > INT32_MAX)
    return mae_tape_fail(tape, MAE_ERROR_SHAPE, "%s: wider than an int",
                         class->name);
  mae_tensor y = *x;
  y.shape[y.ndim - 1] = n_out;
  if (n_in > RESIDUAL &&
      !mae_tensor_same_shape(&y, mae_op_shape(tape, op, RESIDUAL)))
    return mae_tape_fail(
        tape, MAE_ERROR_SHAPE, "%s: residual %s is not of shape %s",
        class->name,
        mae_tensor_shape_text(mae_op_shape(tape, op, RESIDUAL)).text,
        mae_tensor_shape_text(&y).text);
  op->size[ROWS] = mae_tensor_size(x) / n_in_features;
  op->size[IN] = n_in_features;
  op->size[OUT] = n_out;
  op->flag = activation == MAE_ACTIVATION_GELU;
  op->products = tape->context->products[tape->precision];
  op->forward_scratch = scratch_bytes(tape, op, false);
  op->backward_scratch = scratch_bytes(tape, op, true);
  if (class == &linear_class && n_in_features <= NARROW)
    op->class = &narrow_linear_class;
  if (op->flag)
    op->saved_bytes[0] =
        (size_t)mae_tensor_size(&y) *
        (mae_products_in_bf16(op->products) ? sizeof(uint16_t) : sizeof(float));
  return mae_tape_output(tape, op, y.ndim, y.shape, out);
}

mae_status mae_tape_linear(mae_tape *tape, mae_var x, mae_var weight,
                           mae_var bias, mae_activation activation,
                           mae_var *out) {
  const mae_var in[] = {x, weight, bias};
  const bool gelu = activation == MAE_ACTIVATION_GELU;
  return record(tape, gelu ? &linear_gelu_class : &linear_class, in, 3,
                activation, out);
}

mae_status mae_tape_linear_add(mae_tape *tape, mae_var x, mae_var weight,
                               mae_var bias, mae_var residual, mae_var *out) {
  const mae_var in[] = {x, weight, bias, residual};
  return record(tape, &linear_add_class, in, 4, MAE_ACTIVATION_NONE, out);
}
