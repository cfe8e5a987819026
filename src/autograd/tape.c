#include "autograd/tape.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/measure.h"
#include "autograd/packed.h"
#include "autograd/part.h"
#include "autograd/passing.h"
#include "kernels/blas.h"
#include "kernels/precision.h"

/* ---------------------------------------------------------- recording --- */

mae_status mae_tape_create(mae_context *context, mae_tape **out) {
  MAE_REQUIRE(context);
  MAE_REQUIRE(out);
  mae_tape *tape = mae_calloc(1, sizeof *tape);
  if (!tape) return MAE_ERROR_OUT_OF_MEMORY;
  tape->context = context;
  tape->loss = MAE_NO_VAR;
  tape->part = "tape";
  *out = tape;
  return MAE_OK;
}

void mae_tape_destroy(mae_tape *tape) {
  if (!tape) return;
  free(tape->nodes);
  free(tape->ops);
  free(tape->tables);
  free(tape->buffers);
  free(tape->arena);
  free(tape);
}

mae_status(mae_tape_fail)(mae_tape *tape, mae_status status, const char *format,
                         ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(tape->message, sizeof tape->message, format, args);
  va_end(args);
  tape->status = status;
  return mae_fail(status, "%s", tape->message);
}

/* May something be recorded? */
static mae_status check_open(mae_tape *tape, const void *out) {
  MAE_REQUIRE(tape);
  if (tape->status != MAE_OK)
    return mae_fail(tape->status, "%s", tape->message);
  if (tape->planned)
    return mae_fail(MAE_ERROR_STATE, "the tape is planned and takes no more");
  if (!out)
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                         "the place for a variable is NULL");
  return MAE_OK;
}

/* Room for one more element of an array that doubles. */
static mae_status reserve(mae_tape *tape, void **array, int32_t count,
                          int32_t *most, size_t size) {
  if (count < *most) return MAE_OK;
  int32_t more = *most ? *most * 2 : 64;
  void *grown = mae_realloc(*array, (size_t)more, size);
  if (!grown)
    return mae_tape_fail(tape, MAE_ERROR_OUT_OF_MEMORY, "no memory for a tape");
  *array = grown;
  *most = more;
  return MAE_OK;
}

static mae_status add_node(mae_tape *tape, mae_node node, mae_var *out) {
  MAE_TRY(reserve(tape, (void **)&tape->nodes, tape->n_nodes, &tape->max_nodes,
                  sizeof *tape->nodes));
  node.value_buffer = node.grad_buffer = node.again_buffer = MAE_NO_BUFFER;
  node.writer_op = node.writer_slot = node.last_writer_op = -1;
  node.grad.ndim = node.value.ndim;
  memcpy(node.grad.shape, node.value.shape, sizeof node.grad.shape);
  out->id = tape->n_nodes;
  tape->nodes[tape->n_nodes++] = node;
  return MAE_OK;
}

static mae_node *node_of(mae_tape *tape, mae_var var) {
  return tape && var.id >= 0 && var.id < tape->n_nodes ? &tape->nodes[var.id]
                                                       : NULL;
}

mae_status mae_tape_input(mae_tape *tape, int32_t ndim, const int64_t *shape,
                          int32_t requires_grad, mae_var *out) {
  MAE_TRY(check_open(tape, out));
  if (!shape)
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT, "shape is NULL");
  mae_node node = {.kind = MAE_NODE_INPUT, .producer = -1,
                   .requires_grad = requires_grad != 0};
  mae_status status = mae_tensor_init(&node.value, ndim, shape);
  if (status != MAE_OK)
    return mae_tape_fail(tape, status, "%s", mae_last_error());
  return add_node(tape, node, out);
}

mae_status mae_tape_passing_input(mae_tape *tape, int32_t ndim,
                                  const int64_t *shape, mae_var *out) {
  MAE_TRY(mae_tape_input(tape, ndim, shape, 0, out));
  tape->nodes[out->id].passing = true;
  return MAE_OK;
}

/* The parameter that has this gradient, or -1. */
static int32_t find_grad(const mae_tape *tape, const mae_tensor *grad) {
  for (int32_t i = 0; grad && i < tape->n_nodes; i++)
    if (tape->nodes[i].grad.data == grad->data) return i;
  return -1;
}

mae_status mae_tape_parameter(mae_tape *tape, const mae_tensor *value,
                              mae_tensor *grad, mae_var *out) {
  MAE_TRY(check_open(tape, out));
  if (!value)
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT, "value is NULL");
  if (grad && !mae_tensor_same_shape(value, grad))
    return mae_tape_fail(tape, MAE_ERROR_SHAPE,
                         "a gradient of another shape than its parameter");
  /* Two nodes of one gradient would overwrite each other's part of it. */
  int32_t same = find_grad(tape, grad);
  if (same >= 0) {
    const mae_tensor *known = &tape->nodes[same].value;
    if (known->data != value->data || !mae_tensor_same_shape(known, value))
      return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                           "the gradient of another parameter");
    out->id = same;
    return MAE_OK;
  }
  mae_node node = {.kind = MAE_NODE_PARAMETER, .producer = -1,
                   .value = *value, .requires_grad = grad != NULL};
  MAE_TRY(add_node(tape, node, out));
  if (grad) tape->nodes[out->id].grad.data = grad->data;
  return MAE_OK;
}

mae_status mae_tape_shape(mae_tape *tape, const mae_tensor *shape,
                          bool requires_grad, mae_var *out) {
  MAE_TRY(check_open(tape, out));
  mae_node node = {.kind = MAE_NODE_PARAMETER, .producer = -1,
                   .value = *shape, .requires_grad = requires_grad};
  node.value.data = NULL;
  return add_node(tape, node, out);
}

mae_status mae_tape_passing_parameter(mae_tape *tape, const mae_tensor *value,
                                      mae_var *out) {
  MAE_TRY(check_open(tape, out));
  const mae_node node = {.kind = MAE_NODE_PARAMETER, .producer = -1,
                         .value = *value, .requires_grad = true,
                         .passing = true};
  tape->spares_memory = true;
  return add_node(tape, node, out);
}

void mae_tape_use_packed(mae_tape *tape, mae_var parameter,
                         const float *packed) {
  mae_node *node = node_of(tape, parameter);
  if (node) node->packed = packed;
}

mae_status mae_tape_index(mae_tape *tape, int64_t batch, int64_t count,
                          mae_index *out) {
  MAE_TRY(check_open(tape, out));
  int64_t size;
  if (batch < 1 || count < 1 || !mae_mul(batch, count, &size) ||
      size > INT32_MAX)
    return mae_tape_fail(tape, MAE_ERROR_SHAPE, "an index of %lld x %lld",
                         (long long)batch, (long long)count);
  MAE_TRY(reserve(tape, (void **)&tape->tables, tape->n_tables,
                  &tape->max_tables, sizeof *tape->tables));
  tape->tables[tape->n_tables] =
      (mae_index_table){.batch = batch, .count = count, .buffer = -1};
  out->id = tape->n_tables++;
  return MAE_OK;
}

mae_status mae_tape_record(mae_tape *tape, const mae_op_class *class,
                           const mae_var *in, int32_t n_in, mae_var *out,
                           mae_op **op) {
  MAE_TRY(check_open(tape, out));
  MAE_TRY(reserve(tape, (void **)&tape->ops, tape->n_ops, &tape->max_ops,
                  sizeof *tape->ops));
  mae_op made = {.class = class, .n_in = n_in, .index = -1,
                 .saved = {-1, -1}, .scratch = {-1, -1, -1},
                 .segment = tape->segment, .part = tape->part,
                 .refreshed_for = -1};
  for (int32_t i = 0; i < n_in; i++) {
    if (in[i].id < 0 || in[i].id >= tape->n_nodes)
      return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                           "%s: input %d is no variable of this tape",
                           class->name, i);
    made.in[i] = in[i].id;
  }
  *op = &tape->ops[tape->n_ops];
  **op = made;
  return MAE_OK;
}

mae_status mae_tape_use_index(mae_tape *tape, mae_op *op, mae_index index,
                              int64_t batch, int64_t count, int64_t limit) {
  if (index.id == MAE_NO_VAR) return MAE_OK;
  if (index.id < 0 || index.id >= tape->n_tables)
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                         "%s: no index of this tape", op->class->name);
  const mae_index_table *t = &tape->tables[index.id];
  if (t->batch != batch || t->count != count)
    return mae_tape_fail(tape, MAE_ERROR_SHAPE,
                         "%s: index is [%lld, %lld], expected [%lld, %lld]",
                         op->class->name, (long long)t->batch,
                         (long long)t->count, (long long)batch,
                         (long long)count);
  op->index = index.id;
  op->index_limit = limit;
  return MAE_OK;
}

mae_status mae_tape_output(mae_tape *tape, mae_op *op, int32_t ndim,
                           const int64_t *shape, mae_var *out) {
  mae_node node = {.kind = MAE_NODE_COMPUTED, .producer = tape->n_ops};
  for (int32_t i = 0; i < op->n_in; i++)
    node.requires_grad |= tape->nodes[op->in[i]].requires_grad;
  mae_status status = mae_tensor_init(&node.value, ndim, shape);
  if (status != MAE_OK)
    return mae_tape_fail(tape, status, "%s: %s", op->class->name,
                         mae_last_error());
  if (mae_tensor_size(&node.value) / node.value.shape[ndim - 1] > INT32_MAX)
    return mae_tape_fail(tape, MAE_ERROR_SHAPE, "%s: more rows than an int",
                         op->class->name);
  MAE_TRY(add_node(tape, node, out));
  op->out = out->id;
  tape->n_ops++;
  return MAE_OK;
}

const mae_tensor *mae_op_shape(const mae_tape *tape, const mae_op *op,
                               int32_t slot) {
  return &tape->nodes[op->in[slot]].value;
}

static void *buffer_data(const mae_tape *tape, int32_t buffer) {
  return buffer == MAE_NO_BUFFER ? NULL
                                 : tape->arena + tape->buffers[buffer].offset;
}

mae_status mae_tape_keep(mae_tape *tape, mae_var var) {
  MAE_TRY(check_open(tape, tape));
  mae_node *node = node_of(tape, var);
  if (!node)
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                         "keep: no variable of this tape");
  node->keep = true;
  return MAE_OK;
}

void mae_tape_part(mae_tape *tape, const char *part) { tape->part = part; }

mae_status mae_tape_checkpoint(mae_tape *tape, int32_t recompute) {
  MAE_TRY(check_open(tape, tape));
  if (recompute != 0 && recompute != 1)
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                         "checkpoint: recompute is %d, not 0 or 1", recompute);
  tape->segment = recompute ? ++tape->n_segments : 0;
  return MAE_OK;
}

mae_status mae_tape_set_precision(mae_tape *tape, mae_precision precision) {
  MAE_TRY(check_open(tape, tape));
  mae_status status = mae_precision_check("set_precision", precision);
  if (status != MAE_OK)
    return mae_tape_fail(tape, status, "%s", mae_last_error());
  tape->precision = precision;
  return MAE_OK;
}

mae_status mae_tape_set_loss(mae_tape *tape, mae_var loss) {
  MAE_TRY(check_open(tape, tape));
  if (loss.id != MAE_NO_VAR) {
    const mae_node *node = node_of(tape, loss);
    if (!node || node->kind != MAE_NODE_COMPUTED || !node->requires_grad)
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                      "plan: the loss is not computed from anything that "
                      "requires a gradient");
  }
  tape->loss = loss.id;
  return MAE_OK;
}

static void point_into_arena(mae_tape *tape) {
  for (int32_t i = 0; i < tape->n_nodes; i++) {
    mae_node *node = &tape->nodes[i];
    if (node->value_buffer != MAE_NO_BUFFER)
      node->value.data = buffer_data(tape, node->value_buffer);
    if (node->grad_buffer != MAE_NO_BUFFER)
      node->grad.data = buffer_data(tape, node->grad_buffer);
  }
  for (int32_t i = 0; i < tape->n_tables; i++)
    tape->tables[i].data = buffer_data(tape, tape->tables[i].buffer);
}

mae_status mae_tape_plan(mae_tape *tape, mae_var loss) {
  MAE_TRY(mae_tape_set_loss(tape, loss));
  MAE_TRY(mae_tape_lay_out(tape));
  tape->arena = mae_calloc(1, tape->arena_bytes);
  if (!tape->arena) /* laid out: not to be planned again */
    return mae_tape_fail(tape, MAE_ERROR_OUT_OF_MEMORY,
                         "no memory for the tape's %zu bytes",
                         tape->arena_bytes);
  point_into_arena(tape);
  tape->planned = true;
  return MAE_OK;
}

size_t mae_tape_memory(const mae_tape *tape) {
  return tape && tape->planned ? tape->arena_bytes : 0;
}

/* ------------------------------------------------------------ running --- */

const float *mae_op_in(const mae_tape *tape, const mae_op *op, int32_t slot) {
  return tape->nodes[op->in[slot]].value.data;
}

float *mae_op_out(const mae_tape *tape, const mae_op *op) {
  return tape->nodes[op->out].value.data;
}

float *mae_op_dy(const mae_tape *tape, const mae_op *op) {
  return tape->nodes[op->out].grad.data;
}

float *mae_op_dx(const mae_tape *tape, const mae_op *op, int32_t slot,
                 bool *add) {
  const mae_node *node = &tape->nodes[op->in[slot]];
  const mae_node *out = &tape->nodes[op->out];
  if (!node->requires_grad) return NULL;
  bool first = &tape->ops[node->writer_op] == op && node->writer_slot == slot;
  bool own = node->kind == MAE_NODE_COMPUTED || node->passing;
  if (first && own && node->grad.data == out->grad.data) return NULL;
  *add = !first || (!own && tape->accumulate);
  return node->grad.data;
}

void *mae_op_saved(const mae_tape *tape, const mae_op *op, int32_t i) {
  const bool later = op->runs_again && tape->pass == MAE_PASS_FORWARD;
  const bool before =
      mae_op_refresh_reads(op) && tape->pass == MAE_PASS_AGAIN;
  return later || before ? NULL : buffer_data(tape, op->saved[i]);
}

float *mae_op_scratch(const mae_tape *tape, const mae_op *op) {
  return buffer_data(tape, op->scratch[tape->pass]);
}

const int32_t *mae_op_index(const mae_tape *tape, const mae_op *op) {
  return op->index < 0 ? NULL : tape->tables[op->index].data;
}

/* The caller may write the tables at any time, so both passes look. */
static mae_status check_index(const mae_tape *tape, const mae_op *op) {
  if (op->index < 0) return MAE_OK;
  const mae_index_table *t = &tape->tables[op->index];
  for (int64_t i = 0; i < t->batch * t->count; i++)
    if (t->data[i] < 0 || t->data[i] >= op->index_limit)
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                      "%s: token number %d is outside 0 to %lld",
                      op->class->name, t->data[i],
                      (long long)op->index_limit - 1);
  return MAE_OK;
}

/* The profile's passes are the tape's. */
_Static_assert((int)MAE_PASS_FORWARD == (int)MAE_PROFILE_FORWARD &&
                   (int)MAE_PASS_AGAIN == (int)MAE_PROFILE_RECOMPUTE &&
                   (int)MAE_PASS_BACKWARD == (int)MAE_PROFILE_BACKWARD,
               "numbers of passes");

static void end_op(const mae_tape *tape, const mae_op *op, mae_span span,
                   double flops) {
  mae_span_end(tape->context->profile, span, op->part, op->class->name,
               (mae_profile_pass)tape->pass, flops);
}

/* What a pass does beside its operations. */
static void end_pass(const mae_tape *tape, mae_profile_pass pass,
                     mae_span span) {
  mae_span_end(tape->context->profile, span, "tape", "other", pass, 0);
}

/* Run an operation forward, its output going to this buffer. */
static mae_status run_forward(mae_tape *tape, mae_op *op, mae_tape_pass pass,
                              int32_t buffer) {
  tape->pass = pass;
  tape->nodes[op->out].value.data = buffer_data(tape, buffer);
  const mae_span span = mae_span_begin(tape->context->profile);
  mae_status status = op->class->forward(tape, op);
  end_op(tape, op, span, mae_op_flops(tape, op, false));
  return status;
}

static mae_status forward(mae_tape *tape) {
  for (int32_t i = 0; i < tape->n_ops; i++)
    MAE_TRY(check_index(tape, &tape->ops[i]));
  mae_blas_enter();
  mae_status status = MAE_OK;
  for (int32_t i = 0; i < tape->n_ops && status == MAE_OK; i++) {
    mae_op *op = &tape->ops[i];
    status = run_forward(tape, op, MAE_PASS_FORWARD,
                         tape->nodes[op->out].value_buffer);
  }
  mae_blas_leave();
  return status;
}

mae_status mae_tape_forward(mae_tape *tape) {
  MAE_REQUIRE(tape);
  if (!tape->planned)
    return mae_fail(MAE_ERROR_STATE, "forward before mae_tape_plan");
  const mae_span span = mae_span_begin(tape->context->profile);
  tape->forward_done = false;
  mae_status status = forward(tape);
  tape->forward_done = status == MAE_OK;
  end_pass(tape, MAE_PROFILE_FORWARD, span);
  return status;
}

void mae_tape_watch(mae_tape *tape, const mae_tape_watcher *watcher) {
  tape->watcher = watcher ? *watcher : (mae_tape_watcher){0};
}

/* One variable may be in two slots. */
static bool stands_before(const mae_op *op, int32_t slot) {
  for (int32_t k = 0; k < slot; k++)
    if (op->in[k] == op->in[slot]) return true;
  return false;
}

/* Operation i has run backward. */
static void tell_watcher(mae_tape *tape, int32_t i) {
  const mae_tape_watcher *w = &tape->watcher;
  if (!w->final) return;
  const mae_op *op = &tape->ops[i];
  for (int32_t slot = 0; slot < op->n_in; slot++) {
    const mae_node *node = &tape->nodes[op->in[slot]];
    if (node->kind == MAE_NODE_PARAMETER && node->requires_grad &&
        node->last_writer_op == i && !stands_before(op, slot))
      w->final(w->arg, (mae_var){op->in[slot]});
  }
  if (w->between) w->between(w->arg);
}

/* Gradients that no operation will write are zero. */
static void zero_unreached(mae_tape *tape) {
  for (int32_t i = 0; i < tape->n_nodes; i++) {
    mae_node *node = &tape->nodes[i];
    if (node->requires_grad && !node->reaches_loss && node->grad.data)
      memset(node->grad.data, 0,
             (size_t)mae_tensor_size(&node->grad) * sizeof(float));
  }
}

/* Before the last operation of a segment runs backward: compute again what
 * its backward reads. */
static mae_status recompute(mae_tape *tape, int32_t last) {
  int32_t first;
  if (!mae_tape_segment_ends(tape, last, &first)) return MAE_OK;
  for (int32_t i = first; i <= last; i++) {
    mae_op *op = &tape->ops[i];
    if (op->runs_again)
      MAE_TRY(run_forward(tape, op, MAE_PASS_AGAIN,
                          mae_node_later_buffer(&tape->nodes[op->out])));
  }
  return MAE_OK;
}

/* Before operation i runs backward, which is the first to need them. */
static mae_status refresh_for(mae_tape *tape, int32_t i) {
  for (int32_t k = 0; k <= i; k++) {
    mae_op *op = &tape->ops[k];
    if (op->refreshed_for != i) continue;
    mae_node *node = &tape->nodes[op->out];
    if (!op->class->from_saved) {
      MAE_TRY(run_forward(tape, op, MAE_PASS_AGAIN, node->again_buffer));
      continue;
    }
    tape->pass = MAE_PASS_AGAIN;
    node->value.data = buffer_data(tape, node->again_buffer);
    const mae_span span = mae_span_begin(tape->context->profile);
    op->class->from_saved(tape, op);
    end_op(tape, op, span, 0);
  }
  return MAE_OK;
}

static mae_status run_backward(mae_tape *tape) {
  for (int32_t i = tape->n_ops - 1; i >= 0; i--) {
    mae_op *op = &tape->ops[i];
    MAE_TRY(recompute(tape, i));
    MAE_TRY(refresh_for(tape, i));
    tape->pass = MAE_PASS_BACKWARD;
    if (!mae_op_runs_backward(tape, op)) continue;
    const mae_span span = mae_span_begin(tape->context->profile);
    op->class->backward(tape, op);
    end_op(tape, op, span, mae_op_flops(tape, op, true));
    tell_watcher(tape, i);
  }
  return MAE_OK;
}

static mae_status backward(mae_tape *tape, float seed, int32_t accumulate) {
  for (int32_t i = 0; i < tape->n_ops; i++)
    MAE_TRY(check_index(tape, &tape->ops[i]));
  /* The backward pass overwrites memory the forward pass filled. */
  tape->forward_done = false;
  tape->accumulate = accumulate != 0;
  if (!accumulate) zero_unreached(tape);
  mae_tensor *grad = &tape->nodes[tape->loss].grad;
  if (mae_tensor_size(grad) == 1) grad->data[0] = seed;
  mae_blas_enter();
  mae_status status = run_backward(tape);
  mae_blas_leave();
  return status;
}

mae_status mae_tape_backward(mae_tape *tape, float seed, int32_t accumulate) {
  MAE_REQUIRE(tape);
  if (!tape->planned || tape->loss == MAE_NO_VAR)
    return mae_fail(MAE_ERROR_STATE, "backward on a tape planned without loss");
  if (!tape->forward_done)
    return mae_fail(MAE_ERROR_STATE, "backward without a forward before it");
  const mae_span span = mae_span_begin(tape->context->profile);
  mae_status status = backward(tape, seed, accumulate);
  end_pass(tape, MAE_PROFILE_BACKWARD, span);
  return status;
}

mae_tensor *mae_tape_value(mae_tape *tape, mae_var var) {
  mae_node *node = node_of(tape, var);
  if (!node || !tape->planned) return NULL;
  bool stays = node->kind != MAE_NODE_COMPUTED || node->keep;
  return stays || var.id == tape->loss ? &node->value : NULL;
}

mae_tensor *mae_tape_grad(mae_tape *tape, mae_var var) {
  mae_node *node = node_of(tape, var);
  if (!node || !tape->planned || !node->grad.data) return NULL;
  bool stays = node->kind != MAE_NODE_COMPUTED || var.id == tape->loss;
  return stays ? &node->grad : NULL;
}

int32_t *mae_tape_index_data(mae_tape *tape, mae_index index) {
  return tape && tape->planned && index.id >= 0 && index.id < tape->n_tables
             ? tape->tables[index.id].data
             : NULL;
}
