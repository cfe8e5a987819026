/* attention on the tape. */
#include "autograd/attention_weights.h"
#include "autograd/tape.h"

enum { BATCH, TOKENS, HEADS, HEAD_DIM };
enum { LOG_SUM, KEPT }; /* what is saved, the latter in bf16 */

static mae_status forward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const int64_t *n = op->size;
  c->kernels->attention_forward(
      c->pool, n[BATCH], n[TOKENS], n[HEADS], n[HEAD_DIM],
      mae_op_in(tape, op, 0), mae_op_out(tape, op),
      mae_op_saved(tape, op, LOG_SUM), mae_op_saved(tape, op, KEPT),
      mae_op_scratch(tape, op));
  return MAE_OK;
}

static void backward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const int64_t *n = op->size;
  bool add = false;
  float *dqkv = mae_op_dx(tape, op, 0, &add);
  const uint16_t *kept = mae_op_saved(tape, op, KEPT);
  if (dqkv)
    c->kernels->attention_backward(
        c->pool, n[BATCH], n[TOKENS], n[HEADS], n[HEAD_DIM],
        kept ? NULL : mae_op_in(tape, op, 0), kept, mae_op_out(tape, op),
        mae_op_saved(tape, op, LOG_SUM), mae_op_dy(tape, op), dqkv, add,
        mae_op_scratch(tape, op));
}

/* q k^T and probabilities times v; backward the first again, and the gradients
 * of all four factors. */
static double products(const mae_tape *tape, const mae_op *op, bool backward) {
  (void)tape;
  const int64_t *n = op->size;
  return (backward ? 5.0 : 2.0) * (double)(n[BATCH] * n[HEADS] * n[HEAD_DIM]) *
         (double)n[TOKENS] * (double)n[TOKENS];
}

static const mae_op_class class = {
    .name = "attention", .forward = forward, .backward = backward,
    .backward_reads = 1, .backward_reads_output = true, .identity = -1,
    .refresh = MAE_REFRESH_DEAR, .products = products};

/* In bf16, where backward makes do with what is saved. */
static const mae_op_class bf16_class = {
    .name = "attention", .forward = forward, .backward = backward,
    .backward_reads_output = true, .identity = -1, .products = products};

static mae_status weights_forward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const int64_t *n = op->size;
  c->kernels->attention_weights(c->pool, n[BATCH], n[TOKENS], n[HEADS],
                                n[HEAD_DIM], mae_op_in(tape, op, 0),
                                mae_op_out(tape, op));
  return MAE_OK;
}

static const mae_op_class weights_class = {
    .name = "attention_weights", .forward = weights_forward, .identity = -1};

/* Begin either operation: check qkv and set the sizes. */
static mae_status record(mae_tape *tape, const mae_op_class *of, mae_var qkv,
                         int32_t num_heads, mae_var *out, mae_op **made) {
  mae_op *op;
  MAE_TRY(mae_tape_record(tape, of, &qkv, 1, out, &op));
  const mae_tensor *t = mae_op_shape(tape, op, 0);
  if (num_heads < 1 || t->ndim != 3 || t->shape[2] % (3 * (int64_t)num_heads))
    return mae_tape_fail(tape, MAE_ERROR_SHAPE,
                         "%s: qkv %s does not split into 3 x %d heads",
                         of->name, mae_tensor_shape_text(t).text, num_heads);
  int64_t *n = op->size;
  n[BATCH] = t->shape[0];
  n[TOKENS] = t->shape[1];
  n[HEADS] = num_heads;
  n[HEAD_DIM] = t->shape[2] / (3 * n[HEADS]);
  *made = op;
  return MAE_OK;
}

mae_status mae_tape_attention_weights(mae_tape *tape, mae_var qkv,
                                      int32_t num_heads, mae_var *out) {
  mae_op *op = NULL;
  MAE_TRY(record(tape, &weights_class, qkv, num_heads, out, &op));
  if (tape->nodes[qkv.id].requires_grad)
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                         "attention_weights: forward only");
  const int64_t *n = op->size;
  const int64_t shape[] = {n[BATCH], n[HEADS], n[TOKENS], n[TOKENS]};
  return mae_tape_output(tape, op, 4, shape, out);
}

/* For all workers; false when it is too much. */
static bool scratch_bytes(const mae_tape *tape, const int64_t *n, bool backward,
                          size_t *bytes) {
  const int64_t threads = mae_pool_threads(tape->context->pool);
  int64_t floats;
  if (!mae_attention_scratch(n[TOKENS], n[HEAD_DIM], backward, &floats) ||
      !mae_mul(floats, threads * (int64_t)sizeof(float), &floats))
    return false;
  *bytes = (size_t)floats;
  return true;
}

mae_status mae_tape_attention(mae_tape *tape, mae_var qkv, int32_t num_heads,
                              mae_var *out) {
  mae_op *op = NULL;
  const bool in_bf16 = tape && tape->precision == MAE_PRECISION_BF16;
  MAE_TRY(record(tape, in_bf16 ? &bf16_class : &class, qkv, num_heads, out,
                 &op));
  const mae_tensor *t = mae_op_shape(tape, op, 0);
  const int64_t *n = op->size, heads = n[HEADS];
  op->saved_bytes[LOG_SUM] =
      (size_t)(n[BATCH] * heads * n[TOKENS]) * sizeof(float);
  if (in_bf16)
    op->saved_bytes[KEPT] = (size_t)mae_tensor_size(t) * sizeof(uint16_t);
  if (t->shape[2] > INT32_MAX ||
      !scratch_bytes(tape, n, false, &op->forward_scratch) ||
      !scratch_bytes(tape, n, true, &op->backward_scratch))
    return mae_tape_fail(tape, MAE_ERROR_SHAPE, "attention: %s is too large",
                         mae_tensor_shape_text(t).text);
  const int64_t shape[] = {n[BATCH], n[TOKENS], heads * n[HEAD_DIM]};
  return mae_tape_output(tape, op, 3, shape, out);
}
