/* gather_tokens, unshuffle_tokens, concat_token and add_position on the tape. */
#include "autograd/tape.h"

enum { BATCH, IN, OUT, WIDTH }; /* IN, OUT: tokens per image, see each */
enum { X, ROW };                /* inputs: tokens, and a token or table */

static mae_status expect_tokens(mae_tape *tape, const mae_op *op,
                                const mae_tensor *x) {
  if (x->ndim == 3) return MAE_OK;
  return mae_tape_fail(tape, MAE_ERROR_SHAPE, "%s: x %s is not [B, T, D]",
                       op->class->name, mae_tensor_shape_text(x).text);
}

/* One token, or as many as that. */
static mae_status expect_rows(mae_tape *tape, const mae_op *op, int64_t width,
                              int64_t rows) {
  const mae_tensor *row = mae_op_shape(tape, op, ROW);
  const int64_t size = mae_tensor_size(row);
  if (size == width || (size % width == 0 && size / width == rows))
    return MAE_OK;
  return mae_tape_fail(tape, MAE_ERROR_SHAPE,
                       "%s: token %s is not of width %lld", op->class->name,
                       mae_tensor_shape_text(row).text, (long long)width);
}

/* ------------------------------------------------------------- gather --- */

static mae_status gather_forward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const int64_t *n = op->size;
  c->kernels->gather_forward(c->pool, n[BATCH], n[IN], n[OUT], n[WIDTH],
                             mae_op_in(tape, op, X), mae_op_index(tape, op),
                             mae_op_out(tape, op));
  return MAE_OK;
}

static void gather_backward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const int64_t *n = op->size;
  bool add = false;
  float *dx = mae_op_dx(tape, op, X, &add);
  if (dx)
    c->kernels->gather_backward(c->pool, n[BATCH], n[IN], n[OUT], n[WIDTH],
                                mae_op_index(tape, op), mae_op_dy(tape, op), dx,
                                add);
}

static const mae_op_class gather_class = {
    .name = "gather_tokens", .forward = gather_forward,
    .backward = gather_backward, .identity = -1,
    .refresh = MAE_REFRESH_CHEAP};

/* Batch and count of a table; both 0 for one the tape does not know, which
 * mae_tape_use_index then refuses. */
static mae_index_table table_shape(const mae_tape *tape, mae_index index) {
  if (index.id < 0 || index.id >= tape->n_tables)
    return (mae_index_table){.batch = 0};
  return tape->tables[index.id];
}

mae_status mae_tape_gather_tokens(mae_tape *tape, mae_var x, mae_index index,
                                  mae_var *out) {
  mae_op *op;
  MAE_TRY(mae_tape_record(tape, &gather_class, &x, 1, out, &op));
  const mae_tensor *t = mae_op_shape(tape, op, X);
  MAE_TRY(expect_tokens(tape, op, t));
  if (index.id == MAE_NO_VAR)
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                         "gather_tokens: no index");
  int64_t count = table_shape(tape, index).count;
  MAE_TRY(mae_tape_use_index(tape, op, index, t->shape[0], count, t->shape[1]));
  const int64_t shape[] = {t->shape[0], count, t->shape[2]};
  op->size[BATCH] = t->shape[0];
  op->size[IN] = t->shape[1];
  op->size[OUT] = count;
  op->size[WIDTH] = t->shape[2];
  return mae_tape_output(tape, op, 3, shape, out);
}

/* ---------------------------------------------------------- unshuffle --- */

/* IN: kept patches, OUT: all patches; flag: a token for each of those. */
static mae_status unshuffle_forward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const int64_t *n = op->size;
  c->kernels->unshuffle_forward(c->pool, n[BATCH], n[IN], n[OUT], n[WIDTH],
                                mae_op_in(tape, op, X),
                                mae_op_in(tape, op, ROW), op->flag,
                                mae_op_index(tape, op), mae_op_out(tape, op));
  return MAE_OK;
}

static void unshuffle_backward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const int64_t *n = op->size;
  bool add_x = false, add_token = false;
  float *dx = mae_op_dx(tape, op, X, &add_x);
  float *dtoken = mae_op_dx(tape, op, ROW, &add_token);
  c->kernels->unshuffle_backward(c->pool, n[BATCH], n[IN], n[OUT], n[WIDTH],
                                 mae_op_index(tape, op), mae_op_dy(tape, op),
                                 dx, add_x, dtoken, op->flag, add_token);
}

static const mae_op_class unshuffle_class = {
    .name = "unshuffle_tokens", .forward = unshuffle_forward,
    .backward = unshuffle_backward, .identity = -1,
    .refresh = MAE_REFRESH_CHEAP};

mae_status mae_tape_unshuffle_tokens(mae_tape *tape, mae_var x, mae_var token,
                                     mae_index restore, mae_var *out) {
  const mae_var in[] = {x, token};
  mae_op *op;
  MAE_TRY(mae_tape_record(tape, &unshuffle_class, in, 2, out, &op));
  const mae_tensor *t = mae_op_shape(tape, op, X);
  MAE_TRY(expect_tokens(tape, op, t));
  if (restore.id == MAE_NO_VAR)
    return mae_tape_fail(tape, MAE_ERROR_INVALID_ARGUMENT,
                         "unshuffle_tokens: no index");
  int64_t patches = table_shape(tape, restore).count;
  MAE_TRY(expect_rows(tape, op, t->shape[2], 1 + patches));
  op->flag = mae_tensor_size(mae_op_shape(tape, op, ROW)) != t->shape[2];
  MAE_TRY(mae_tape_use_index(tape, op, restore, t->shape[0], patches, patches));
  const int64_t shape[] = {t->shape[0], 1 + patches, t->shape[2]};
  op->size[BATCH] = t->shape[0];
  op->size[IN] = t->shape[1] - 1;
  op->size[OUT] = patches;
  op->size[WIDTH] = t->shape[2];
  return mae_tape_output(tape, op, 3, shape, out);
}

/* -------------------------------------------------------- class token --- */

/* IN: tokens without the class token. */
static mae_status concat_forward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const int64_t *n = op->size;
  c->kernels->concat_forward(c->pool, n[BATCH], n[IN], n[WIDTH],
                             mae_op_in(tape, op, ROW), mae_op_in(tape, op, X),
                             mae_op_out(tape, op));
  return MAE_OK;
}

static void concat_backward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const int64_t *n = op->size;
  bool add_x = false, add_token = false;
  float *dx = mae_op_dx(tape, op, X, &add_x);
  float *dtoken = mae_op_dx(tape, op, ROW, &add_token);
  c->kernels->concat_backward(c->pool, n[BATCH], n[IN], n[WIDTH],
                              mae_op_dy(tape, op), dtoken, add_token, dx,
                              add_x);
}

static const mae_op_class concat_class = {
    .name = "concat_token", .forward = concat_forward,
    .backward = concat_backward, .identity = -1};

mae_status mae_tape_concat_token(mae_tape *tape, mae_var token, mae_var x,
                                 mae_var *out) {
  const mae_var in[] = {x, token};
  mae_op *op;
  MAE_TRY(mae_tape_record(tape, &concat_class, in, 2, out, &op));
  const mae_tensor *t = mae_op_shape(tape, op, X);
  MAE_TRY(expect_tokens(tape, op, t));
  MAE_TRY(expect_rows(tape, op, t->shape[2], 1));
  const int64_t shape[] = {t->shape[0], 1 + t->shape[1], t->shape[2]};
  op->size[BATCH] = t->shape[0];
  op->size[IN] = t->shape[1];
  op->size[WIDTH] = t->shape[2];
  return mae_tape_output(tape, op, 3, shape, out);
}

/* ---------------------------------------------------------- positions --- */

/* IN: rows of the table, OUT: tokens without the class token. */
static mae_status position_forward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const int64_t *n = op->size;
  c->kernels->position_forward(c->pool, n[BATCH], n[OUT], n[WIDTH],
                               mae_op_in(tape, op, X), mae_op_in(tape, op, ROW),
                               mae_op_index(tape, op), mae_op_out(tape, op));
  return MAE_OK;
}

static void position_backward(mae_tape *tape, mae_op *op) {
  mae_context *c = tape->context;
  const int64_t *n = op->size;
  bool add_x = false, add_table = false;
  float *dx = mae_op_dx(tape, op, X, &add_x);
  float *dtable = mae_op_dx(tape, op, ROW, &add_table);
  const float *dy = mae_op_dy(tape, op);
  if (dtable)
    c->kernels->position_backward(c->pool, n[BATCH], n[OUT], n[IN], n[WIDTH],
                                  mae_op_index(tape, op), dy, dtable,
                                  add_table);
  if (dx)
    c->kernels->add_backward(c->pool, n[BATCH] * (1 + n[OUT]) * n[WIDTH], dy,
                             dx, add_x);
}

static const mae_op_class position_class = {
    .name = "add_position", .forward = position_forward,
    .backward = position_backward, .identity = X};

mae_status mae_tape_add_position(mae_tape *tape, mae_var x, mae_var table,
                                 mae_index index, mae_var *out) {
  const mae_var in[] = {x, table};
  mae_op *op;
  MAE_TRY(mae_tape_record(tape, &position_class, in, 2, out, &op));
  const mae_tensor *t = mae_op_shape(tape, op, X);
  const mae_tensor *positions = mae_op_shape(tape, op, ROW);
  MAE_TRY(expect_tokens(tape, op, t));
  int64_t count = t->shape[1] - 1;
  int64_t rows = mae_tensor_size(positions) / t->shape[2];
  if (positions->shape[positions->ndim - 1] != t->shape[2] ||
      (index.id == MAE_NO_VAR && rows != 1 + count))
    return mae_tape_fail(tape, MAE_ERROR_SHAPE,
                         "add_position: table %s does not fit x %s",
                         mae_tensor_shape_text(positions).text,
                         mae_tensor_shape_text(t).text);
  MAE_TRY(mae_tape_use_index(tape, op, index, t->shape[0], count, rows - 1));
  op->size[BATCH] = t->shape[0];
  op->size[IN] = rows;
  op->size[OUT] = count;
  op->size[WIDTH] = t->shape[2];
  return mae_tape_output(tape, op, 3, t->shape, out);
}
