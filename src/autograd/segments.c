/* What is computed again before it is read backward: in checkpointed segments,
 * and outside them what can be refreshed. */
#include "autograd/tape.h"

bool mae_tape_segment_ends(const mae_tape *tape, int32_t i, int32_t *first) {
  const int32_t segment = tape->ops[i].segment;
  if (!segment || (i + 1 < tape->n_ops && tape->ops[i + 1].segment == segment))
    return false;
  while (i > 0 && tape->ops[i - 1].segment == segment) i--;
  *first = i;
  return true;
}

/* What an operation saves for its backward is never kept; nor is a value that
 * nobody outside the segment reads in the backward pass. */
static bool must_run_again(const mae_tape *tape, const mae_op *op) {
  if (!op->segment) return false;
  const mae_node *out = &tape->nodes[op->out];
  const bool backward = mae_op_runs_backward(tape, op);
  for (int s = 0; s < MAE_OP_SAVED; s++)
    if (backward && op->saved_bytes[s]) return true;
  if (out->crosses || mae_node_stays(tape, out)) return false;
  return out->wanted_again || (backward && op->class->backward_reads_output);
}

/* An operation reads an input during the backward pass: if that comes from
 * another segment, it is kept until then. */
static void want_again(mae_tape *tape, const mae_op *op, mae_node *node) {
  if (node->kind != MAE_NODE_COMPUTED) return;
  if (op->segment && tape->ops[node->producer].segment == op->segment)
    node->wanted_again = true;
  else
    node->crosses = true;
}

static bool reads(const mae_op *op, int32_t node, unsigned slots) {
  for (int32_t slot = 0; slot < op->n_in; slot++)
    if (op->in[slot] == node && slots >> slot & 1) return true;
  return false;
}

/* The first to need operation i's output in the backward pass, itself or for a
 * refresh of its own, if that may be refreshed: segments have their own way. */
static int32_t refreshed_for(const mae_tape *tape, int32_t i) {
  const mae_op *op = &tape->ops[i];
  const bool dear = op->class->refresh == MAE_REFRESH_DEAR;
  int32_t first = op->class->backward_reads_output ? i : -1;
  if (dear && !tape->spares_memory) return -1;
  if (!op->class->refresh || op->segment || !mae_op_runs_backward(tape, op) ||
      mae_node_stays(tape, &tape->nodes[op->out]))
    return -1;
  for (int32_t k = i + 1; k < tape->n_ops; k++) {
    const mae_op *reader = &tape->ops[k];
    if (!reads(reader, op->out, ~0u)) continue;
    if (reader->segment) return -1;
    if (mae_op_runs_backward(tape, reader) &&
        reads(reader, op->out, reader->class->backward_reads) && k > first)
      first = k;
    if (mae_op_refresh_reads(reader) && reader->refreshed_for > first)
      first = reader->refreshed_for;
  }
  /* The last operation goes backward right after all went forward. */
  return dear && first == tape->n_ops - 1 ? -1 : first;
}

/* From the last operation to the first, so that all who read a value are
 * known before its own operation is looked at. */
static void choose(mae_tape *tape) {
  for (int32_t i = tape->n_ops - 1; i >= 0; i--) {
    mae_op *op = &tape->ops[i];
    const bool backward = mae_op_runs_backward(tape, op);
    op->runs_again = must_run_again(tape, op);
    op->refreshed_for = refreshed_for(tape, i);
    for (int32_t slot = 0; slot < op->n_in; slot++)
      if (mae_op_forward_again(op) ||
          (backward && op->class->backward_reads >> slot & 1))
        want_again(tape, op, &tape->nodes[op->in[slot]]);
  }
}

/* Before the operation runs backward; in the order recorded, as one may read
 * another. */
static void schedule_refreshes(mae_tape *tape, int32_t i, int32_t *time) {
  for (int32_t k = 0; k <= i; k++)
    if (tape->ops[k].refreshed_for == i) tape->ops[k].again_time = (*time)++;
}

void mae_tape_schedule(mae_tape *tape) {
  int32_t time = tape->n_ops, first;
  choose(tape);
  for (int32_t i = tape->n_ops - 1; i >= 0; i--) {
    if (mae_tape_segment_ends(tape, i, &first))
      for (int32_t j = first; j <= i; j++)
        if (tape->ops[j].runs_again) tape->ops[j].again_time = time++;
    schedule_refreshes(tape, i, &time);
    tape->ops[i].backward_time = time++;
  }
  tape->end_time = time;
}
