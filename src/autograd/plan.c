/* The memory plan: who needs which buffer when, and where each one goes. */
#include <stdlib.h>

#include "autograd/tape.h"

static int32_t backward_time(const mae_tape *tape, int32_t op) {
  return 2 * tape->n_ops - 1 - op;
}

/* One past the last moment of a step. */
static int32_t end_time(const mae_tape *tape) { return 2 * tape->n_ops; }

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

static bool runs_backward(const mae_tape *tape, const mae_op *op) {
  const mae_node *out = &tape->nodes[op->out];
  return out->requires_grad && out->reaches_loss;
}

/* What lies on a path to the loss, and who writes each gradient first: the
 * last operation to use the value, at its lowest slot. */
static void trace_back(mae_tape *tape) {
  if (tape->loss == MAE_NO_VAR) return;
  tape->nodes[tape->loss].reaches_loss = true;
  for (int32_t i = tape->n_ops - 1; i >= 0; i--) {
    const mae_op *op = &tape->ops[i];
    if (!runs_backward(tape, op)) continue;
    for (int32_t slot = 0; slot < op->n_in; slot++) {
      mae_node *node = &tape->nodes[op->in[slot]];
      node->reaches_loss = true;
      if (node->writer_op < 0) {
        node->writer_op = i;
        node->writer_slot = slot;
      }
    }
  }
}

/* Values: from their operation to their last reader, forward or backward. */
static void plan_values(mae_tape *tape) {
  for (int32_t id = 0; id < tape->n_nodes; id++) {
    mae_node *node = &tape->nodes[id];
    if (node->kind == MAE_NODE_PARAMETER) continue;
    bool stays = node->kind == MAE_NODE_INPUT || node->keep || id == tape->loss;
    int32_t first = node->kind == MAE_NODE_INPUT ? 0 : node->producer;
    node->value_buffer = add_buffer(
        tape, value_bytes(node), first, stays ? end_time(tape) : first);
  }
  for (int32_t i = 0; i < tape->n_ops; i++) {
    const mae_op *op = &tape->ops[i];
    for (int32_t slot = 0; slot < op->n_in; slot++) {
      int32_t buffer = tape->nodes[op->in[slot]].value_buffer;
      if (buffer == MAE_NO_BUFFER) continue;
      bool again =
          runs_backward(tape, op) && op->class->backward_reads >> slot & 1;
      int32_t time = again ? backward_time(tape, i) : i;
      if (tape->buffers[buffer].last < time) tape->buffers[buffer].last = time;
    }
    int32_t buffer = tape->nodes[op->out].value_buffer;
    if (runs_backward(tape, op) && op->class->backward_reads_output &&
        tape->buffers[buffer].last < backward_time(tape, i))
      tape->buffers[buffer].last = backward_time(tape, i);
  }
}

/* May the gradient of this input live where the output's does? */
static bool shares_grad(const mae_tape *tape, int32_t i, const mae_op *op) {
  int32_t slot = op->class->identity;
  if (slot < 0 || op->out == tape->loss) return false;
  const mae_node *node = &tape->nodes[op->in[slot]];
  if (node->kind != MAE_NODE_COMPUTED || !node->requires_grad ||
      node->writer_op != i || node->writer_slot != slot)
    return false;
  for (int32_t other = 0; other < op->n_in; other++)
    if (other != slot && op->in[other] == op->in[slot]) return false;
  return true;
}

/* Gradients of computed values: from their first writer to their operation's
 * own backward.  Those of inputs stay; those of parameters are the caller's. */
static void plan_grads(mae_tape *tape) {
  if (tape->loss == MAE_NO_VAR) return;
  for (int32_t id = 0; id < tape->n_nodes; id++) {
    mae_node *node = &tape->nodes[id];
    bool stays = id == tape->loss ||
                 (node->kind == MAE_NODE_INPUT && node->requires_grad);
    if (stays)
      node->grad_buffer =
          add_buffer(tape, value_bytes(node), 0, end_time(tape));
  }
  for (int32_t i = tape->n_ops - 1; i >= 0; i--) {
    const mae_op *op = &tape->ops[i];
    if (!runs_backward(tape, op)) continue;
    for (int32_t slot = 0; slot < op->n_in; slot++) {
      mae_node *node = &tape->nodes[op->in[slot]];
      if (node->kind != MAE_NODE_COMPUTED || !node->requires_grad ||
          node->writer_op != i || node->writer_slot != slot)
        continue;
      int32_t last = backward_time(tape, node->producer);
      if (slot == op->class->identity && shares_grad(tape, i, op)) {
        node->grad_buffer = tape->nodes[op->out].grad_buffer;
        tape->buffers[node->grad_buffer].last = last;
      } else {
        node->grad_buffer = add_buffer(
            tape, value_bytes(node), backward_time(tape, i), last);
      }
    }
  }
}

static void plan_workspace(mae_tape *tape) {
  for (int32_t i = 0; i < tape->n_ops; i++) {
    mae_op *op = &tape->ops[i];
    int32_t back = backward_time(tape, i);
    bool backward = runs_backward(tape, op);
    for (int s = 0; s < MAE_OP_SAVED; s++)
      if (op->saved_bytes[s] && backward)
        op->saved[s] = add_buffer(tape, op->saved_bytes[s], i, back);
    if (op->forward_scratch)
      op->scratch[0] = add_buffer(tape, op->forward_scratch, i, i);
    if (op->backward_scratch && backward)
      op->scratch[1] =
          add_buffer(tape, op->backward_scratch, back, back);
  }
  for (int32_t i = 0; i < tape->n_tables; i++) {
    mae_index_table *t = &tape->tables[i];
    t->buffer = add_buffer(
        tape, (size_t)(t->batch * t->count) * sizeof(int32_t), 0,
        end_time(tape));
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

static void *at(const mae_tape *tape, int32_t buffer) {
  return tape->arena + tape->buffers[buffer].offset;
}

static void point_into_arena(mae_tape *tape) {
  for (int32_t i = 0; i < tape->n_nodes; i++) {
    mae_node *node = &tape->nodes[i];
    if (node->value_buffer != MAE_NO_BUFFER)
      node->value.data = at(tape, node->value_buffer);
    if (node->grad_buffer != MAE_NO_BUFFER)
      node->grad.data = at(tape, node->grad_buffer);
  }
  for (int32_t i = 0; i < tape->n_tables; i++)
    tape->tables[i].data = at(tape, tape->tables[i].buffer);
}

mae_status mae_tape_lay_out(mae_tape *tape) {
  size_t most = 2 * (size_t)tape->n_nodes + (size_t)tape->n_tables +
                (MAE_OP_SAVED + 2) * (size_t)tape->n_ops;
  tape->buffers = mae_calloc(most, sizeof *tape->buffers);
  if (!tape->buffers) return MAE_ERROR_OUT_OF_MEMORY;
  trace_back(tape);
  plan_values(tape);
  plan_grads(tape);
  plan_workspace(tape);
  mae_status status = place(tape);
  if (status == MAE_OK) {
    tape->arena = mae_calloc(1, tape->arena_bytes);
    if (!tape->arena) status = MAE_ERROR_OUT_OF_MEMORY;
  }
  if (status != MAE_OK) /* half laid out: not to be planned again */
    return mae_tape_fail(tape, status, "no memory for the tape's plan");
  point_into_arena(tape);
  return MAE_OK;
}
