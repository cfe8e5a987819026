/* patchify on the tape. */
#include "autograd/tape.h"

enum { CHANS, HEIGHT, WIDTH, PATCH, COUNT };

static mae_status forward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const int64_t *n = op->size;
  c->kernels->patchify_forward(
      c->pool, mae_op_shape(tape, op, 0)->shape[0], n[CHANS], n[HEIGHT],
      n[WIDTH], n[PATCH], op->flag, n[COUNT], mae_op_index(tape, op),
      mae_op_in(tape, op, 0), mae_op_out(tape, op));
  return MAE_OK;
}

static void backward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const int64_t *n = op->size;
  bool add = false;
  float *dx = mae_op_dx(tape, op, 0, &add);
  if (dx)
    c->kernels->patchify_backward(
        c->pool, mae_op_shape(tape, op, 0)->shape[0], n[CHANS], n[HEIGHT],
        n[WIDTH], n[PATCH], op->flag, n[COUNT], mae_op_index(tape, op),
        mae_op_dy(tape, op), dx, add);
}

static const mae_op_class class = {.name = "patchify", .forward = forward,
                                   .backward = backward, .identity = -1};

mae_status mae_tape_patchify(mae_tape *tape, mae_var images, int32_t patch_size,
                             mae_patch_order order, mae_index keep,
                             mae_var *out) {
  mae_op *op;
  MAE_TRY(mae_tape_record(tape, &class, &images, 1, out, &op));
  const mae_tensor *t = mae_op_shape(tape, op, 0);
  const int64_t *s = t->shape, p = patch_size;
  if (t->ndim != 4 || p < 1 || s[2] % p || s[3] % p)
    return mae_tape_fail(tape, MAE_ERROR_SHAPE,
                         "patchify: images %s do not cut into patches of %d",
                         mae_tensor_shape_text(t).text, patch_size);
  if (order != MAE_PATCH_CPQ && order != MAE_PATCH_PQC)
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                         "patchify: no order %d", (int)order);
  const int64_t patches = (s[2] / p) * (s[3] / p);
  op->size[CHANS] = s[1];
  op->size[HEIGHT] = s[2];
  op->size[WIDTH] = s[3];
  op->size[PATCH] = p;
  op->size[COUNT] = keep.id >= 0 && keep.id < tape->n_tables
                        ? tape->tables[keep.id].count
                        : patches;
  op->flag = order == MAE_PATCH_PQC;
  MAE_TRY(mae_tape_use_index(tape, op, keep, s[0], op->size[COUNT], patches));
  const int64_t shape[] = {s[0], op->size[COUNT], s[1] * p * p};
  return mae_tape_output(tape, op, 3, shape, out);
}
