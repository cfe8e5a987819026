/* The memory plan: who needs which buffer when, and where each one goes. */
#include <stdlib.h>

#include "autograd/tape.h"

/* lay_out has made room for as many as there can be. */
static int32_t add_buffer(mae_tape *tape, size_t bytes, int32_t first,
                          int32_t last) {
  tape->buffers[tape->n_buffers] =
      (mae_buffer){.bytes = bytes, .first = first, .last = last};
  return tape->n_buffers++;
}

static size_t value_bytes(const mae_node *node) {
  return (size_t)mae_tensor_size(&node->value) * sizeof(float);
}

/* What lies on a path to the loss, who writes each gradient first, the last
 * operation to use the value, at its lowest slot, and who last. */
static void trace_back(mae_tape *tape) {
  if (tape->loss == MAE_NO_VAR) return;
  tape->nodes[tape->loss].reaches_loss = true;
  for (int32_t i = tape->n_ops - 1; i >= 0; i--) {
    const mae_op *op = &tape->ops[i];
    if (!mae_op_runs_backward(tape, op)) continue;
    for (int32_t slot = 0; slot < op->n_in; slot++) {
      mae_node *node = &tape->nodes[op->in[slot]];
      node->reaches_loss = true;
      node->last_writer_op = i;
      if (node->writer_op < 0) {
        node->writer_op = i;
        node->writer_slot = slot;
      }
    }
  }
}

static void extend(mae_tape *tape, int32_t buffer, int32_t time) {
  if (buffer != MAE_NO_BUFFER && tape->buffers[buffer].last < time)
    tape->buffers[buffer].last = time;
}

/* A value lives from its operation on; if it is not kept until its segment
 * computes it again, or is refreshed, it then lives once more. */
static void begin_value(mae_tape *tape, mae_node *node) {
  bool stays = mae_node_stays(tape, node);
  int32_t first = node->kind == MAE_NODE_INPUT ? 0 : node->producer;
  node->value_buffer = add_buffer(tape, value_bytes(node), first,
                                  stays ? tape->end_time : first);
  if (node->kind == MAE_NODE_INPUT) return;
  const mae_op *op = &tape->ops[node->producer];
  if (!op->runs_again && op->refreshed_for < 0) return;
  if (op->runs_again && (stays || node->crosses))
    extend(tape, node->value_buffer, op->again_time);
  else
    node->again_buffer = add_buffer(tape, value_bytes(node), op->again_time,
                                    op->again_time);
}

/* Values: until their last reader, forward, again or backward. */
static void plan_values(mae_tape *tape) {
  for (int32_t id = 0; id < tape->n_nodes; id++)
    if (tape->nodes[id].kind != MAE_NODE_PARAMETER)
      begin_value(tape, &tape->nodes[id]);
  for (int32_t i = 0; i < tape->n_ops; i++) {
    const mae_op *op = &tape->ops[i];
    const bool backward = mae_op_runs_backward(tape, op);
    for (int32_t slot = 0; slot < op->n_in; slot++) {
      const mae_node *node = &tape->nodes[op->in[slot]];
      const int32_t later = mae_node_later_buffer(node);
      extend(tape, node->value_buffer, i);
      if (mae_op_forward_again(op))
        extend(tape, later, op->again_time);
      if (backward && op->class->backward_reads >> slot & 1)
        extend(tape, later, op->backward_time);
    }
    if (backward && op->class->backward_reads_output)
      extend(tape, mae_node_later_buffer(&tape->nodes[op->out]),
             op->backward_time);
  }
}

/* Is input `slot` an input once more? */
static bool is_twice(const mae_op *op, int32_t slot) {
  for (int32_t other = 0; other < op->n_in; other++)
    if (other != slot && op->in[other] == op->in[slot]) return true;
  return false;
}

/* Where the gradient of an input, which operation i is the first to write, may
 * live: where the output's does, or where the value did until then; else
 * MAE_NO_BUFFER, and so for a parameter. */
static int32_t place_of_grad(const mae_tape *tape, int32_t i, int32_t slot) {
  const mae_op *op = &tape->ops[i];
  const int32_t value = mae_node_later_buffer(&tape->nodes[op->in[slot]]);
  if (value == MAE_NO_BUFFER || is_twice(op, slot)) return MAE_NO_BUFFER;
  if (slot == op->class->identity && op->out != tape->loss)
    return tape->nodes[op->out].grad_buffer;
  if (op->class->overwrites >> slot & 1 &&
      tape->buffers[value].last <= op->backward_time)
    return value;
  return MAE_NO_BUFFER;
}

/* The last time that the gradient is needed. */
static int32_t grad_ends(const mae_tape *tape, const mae_node *node) {
  const int32_t i = node->passing ? node->last_writer_op : node->producer;
  return tape->ops[i].backward_time;
}

/* Gradients of computed values: from their first writer to their operation's
 * own backward; passing ones of parameters to their last writer.  Those of
 * inputs stay, and those nobody writes; others are the caller's. */
static void plan_grads(mae_tape *tape) {
  if (tape->loss == MAE_NO_VAR) return;
  for (int32_t id = 0; id < tape->n_nodes; id++) {
    mae_node *node = &tape->nodes[id];
    bool stays = id == tape->loss ||
                 (node->requires_grad &&
                  (node->kind == MAE_NODE_INPUT ||
                   (node->passing && !node->reaches_loss)));
    if (stays)
      node->grad_buffer =
          add_buffer(tape, value_bytes(node), 0, tape->end_time);
  }
  for (int32_t i = tape->n_ops - 1; i >= 0; i--) {
    const mae_op *op = &tape->ops[i];
    if (!mae_op_runs_backward(tape, op)) continue;
    for (int32_t slot = 0; slot < op->n_in; slot++) {
      mae_node *node = &tape->nodes[op->in[slot]];
      const bool ours = node->kind == MAE_NODE_COMPUTED || node->passing;
      if (!ours || !node->requires_grad || node->writer_op != i ||
          node->writer_slot != slot)
        continue;
      const int32_t last = grad_ends(tape, node);
      node->grad_buffer = place_of_grad(tape, i, slot);
      if (node->grad_buffer == MAE_NO_BUFFER)
        node->grad_buffer =
            add_buffer(tape, value_bytes(node), op->backward_time, last);
      else
        tape->buffers[node->grad_buffer].last = last;
    }
  }
}

static void plan_scratch(mae_tape *tape, mae_op *op, mae_tape_pass pass,
                         size_t bytes, int32_t time) {
  if (bytes) op->scratch[pass] = add_buffer(tape, bytes, time, time);
}

static void plan_workspace(mae_tape *tape) {
  for (int32_t i = 0; i < tape->n_ops; i++) {
    mae_op *op = &tape->ops[i];
    const int32_t again = op->again_time, back = op->backward_time;
    plan_scratch(tape, op, MAE_PASS_FORWARD, op->forward_scratch, i);
    if (mae_op_forward_again(op))
      plan_scratch(tape, op, MAE_PASS_AGAIN, op->forward_scratch, again);
    if (!mae_op_runs_backward(tape, op)) continue;
    plan_scratch(tape, op, MAE_PASS_BACKWARD, op->backward_scratch, back);
    for (int s = 0; s < MAE_OP_SAVED; s++)
      if (op->saved_bytes[s])
        op->saved[s] = add_buffer(tape, op->saved_bytes[s],
                                  op->runs_again ? again : i, back);
  }
  for (int32_t i = 0; i < tape->n_tables; i++) {
    mae_index_table *t = &tape->tables[i];
    t->buffer = add_buffer(
        tape, (size_t)(t->batch * t->count) * sizeof(int32_t), 0,
        tape->end_time);
  }
}

static int larger_first(const void *a, const void *b) {
  const mae_buffer *x = *(mae_buffer *const *)a, *y = *(mae_buffer *const *)b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  return x < y ? -1 : 1; /* qsort is not stable; the plan must be */
}

/* Place each buffer, largest first, at the lowest offset that is free during
 * all its times.  `placed` is kept sorted by offset. */
static mae_status place(mae_tape *tape) {
  int32_t n = tape->n_buffers;
  mae_buffer **order = mae_calloc((size_t)n + 1, sizeof(mae_buffer *));
  mae_buffer **placed = mae_calloc((size_t)n + 1, sizeof(mae_buffer *));
  if (!order || !placed) {
    free(order);
    free(placed);
    return MAE_ERROR_OUT_OF_MEMORY;
  }
  for (int32_t i = 0; i < n; i++) order[i] = &tape->buffers[i];
  qsort(order, (size_t)n, sizeof *order, larger_first);
  tape->arena_bytes = 0;
  for (int32_t i = 0; i < n; i++) {
    mae_buffer *b = order[i];
    b->bytes = mae_align(b->bytes);
    b->offset = 0;
    int32_t at = 0;
    for (int32_t j = 0; j < i; j++) {
      const mae_buffer *p = placed[j];
      if (p->last < b->first || b->last < p->first) continue;
      if (p->offset >= b->offset + b->bytes) break;
      if (p->offset + p->bytes > b->offset) b->offset = p->offset + p->bytes;
    }
    while (at < i && placed[at]->offset <= b->offset) at++;
    for (int32_t j = i; j > at; j--) placed[j] = placed[j - 1];
    placed[at] = b;
    if (b->offset + b->bytes > tape->arena_bytes)
      tape->arena_bytes = b->offset + b->bytes;
  }
  free(order);
  free(placed);
  return MAE_OK;
}

mae_status mae_tape_lay_out(mae_tape *tape) {
  size_t most = 3 * (size_t)tape->n_nodes + (size_t)tape->n_tables +
                (MAE_OP_SAVED + MAE_OP_PASSES) * (size_t)tape->n_ops;
  tape->buffers = mae_calloc(most, sizeof *tape->buffers);
  if (!tape->buffers) return MAE_ERROR_OUT_OF_MEMORY;
  trace_back(tape);
  mae_tape_schedule(tape);
  plan_values(tape);
  plan_grads(tape);
  plan_workspace(tape);
  mae_status status = place(tape);
  if (status != MAE_OK) /* half laid out: not to be planned again */
    return mae_tape_fail(tape, status, "no memory for the tape's plan");
  return MAE_OK;
}
