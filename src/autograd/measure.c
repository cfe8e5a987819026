#include "autograd/measure.h"

#include "autograd/tape.h"

mae_status mae_tape_measure(mae_tape *tape, mae_var loss, size_t *bytes) {
  MAE_TRY(mae_tape_set_loss(tape, loss));
  MAE_TRY(mae_tape_lay_out(tape));
  *bytes = tape->arena_bytes;
  mae_tape_fail(tape, MAE_ERROR_STATE, "the tape was only measured");
  return MAE_OK;
}

int32_t mae_tape_num_ops(const mae_tape *tape) { return tape->n_ops; }

double mae_op_flops(const mae_tape *tape, const mae_op *op, bool backward) {
  return op->class->products ? 2 * op->class->products(tape, op, backward) : 0;
}

double mae_tape_forward_flops(const mae_tape *tape, int32_t first,
                              int32_t end) {
  double sum = 0;
  for (int32_t i = first; i < end; i++)
    sum += mae_op_flops(tape, &tape->ops[i], false);
  return sum;
}

double mae_tape_step_flops(const mae_tape *tape) {
  double sum = mae_tape_forward_flops(tape, 0, tape->n_ops);
  for (int32_t i = 0; i < tape->n_ops; i++) {
    const mae_op *op = &tape->ops[i];
    if (mae_op_forward_again(op)) sum += mae_op_flops(tape, op, false);
    if (mae_op_runs_backward(tape, op)) sum += mae_op_flops(tape, op, true);
  }
  return sum;
}
