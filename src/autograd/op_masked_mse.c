/* masked_mse on the tape. */
#include "autograd/tape.h"

enum { PRED, TARGET, MASK };
enum { PATCHES, WIDTH };

static mae_status forward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const float *mask = mae_op_in(tape, op, MASK);
  double removed = 0;
  for (int64_t i = 0; i < op->size[PATCHES]; i++) removed += mask[i];
  if (!(removed > 0))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "masked_mse: the mask removes no patch");
  float *stats = mae_op_saved(tape, op, 0);
  if (!stats) stats = mae_op_scratch(tape, op);
  c->kernels->masked_mse_forward(
      c->pool, op->size[PATCHES], op->size[WIDTH], op->flag,
      mae_op_in(tape, op, PRED), mae_op_in(tape, op, TARGET), mask, stats,
      mae_op_out(tape, op));
  return MAE_OK;
}

static void backward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  bool add = false;
  float *dpred = mae_op_dx(tape, op, PRED, &add);
  if (dpred)
    c->kernels->masked_mse_backward(
        c->pool, op->size[PATCHES], op->size[WIDTH], mae_op_in(tape, op, PRED),
        mae_op_in(tape, op, TARGET), mae_op_in(tape, op, MASK),
        mae_op_saved(tape, op, 0), mae_op_dy(tape, op), dpred, add);
}

static const mae_op_class class = {
    .name = "masked_mse", .forward = forward, .backward = backward,
    .backward_reads = 1 << PRED | 1 << TARGET | 1 << MASK, .identity = -1};

mae_status mae_tape_masked_mse(mae_tape *tape, mae_var pred, mae_var target,
                               mae_var mask, int32_t norm_pix_loss,
                               mae_var *out) {
  const mae_var in[] = {pred, target, mask};
  mae_op *op;
  MAE_TRY(mae_tape_record(tape, &class, in, 3, out, &op));
  const mae_tensor *p = mae_op_shape(tape, op, PRED);
  const mae_tensor *t = mae_op_shape(tape, op, TARGET);
  const mae_tensor *m = mae_op_shape(tape, op, MASK);
  if (p->ndim != 3 || !mae_tensor_same_shape(p, t) || m->ndim != 2 ||
      m->shape[0] != p->shape[0] || m->shape[1] != p->shape[1])
    return mae_tape_fail(tape, MAE_ERROR_SHAPE,
                         "masked_mse: pred %s, target %s and mask %s are not "
                         "[B, L, P], [B, L, P] and [B, L]",
                         mae_tensor_shape_text(p).text,
                         mae_tensor_shape_text(t).text,
                         mae_tensor_shape_text(m).text);
  if (tape->nodes[target.id].requires_grad || tape->nodes[mask.id].requires_grad)
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                         "masked_mse: target and mask take no gradient");
  if (norm_pix_loss && p->shape[2] < 2)
    return mae_tape_fail(tape, MAE_ERROR_SHAPE,
                         "masked_mse: a patch of one value has no variance");
  op->size[PATCHES] = p->shape[0] * p->shape[1];
  op->size[WIDTH] = p->shape[2];
  op->flag = norm_pix_loss != 0;
  op->saved_bytes[0] = op->forward_scratch =
      (size_t)op->size[PATCHES] * 3 * sizeof(float);
  const int64_t shape[] = {1};
  return mae_tape_output(tape, op, 1, shape, out);
}
