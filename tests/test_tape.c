/* Tapes: recording and its errors, the memory plan, running graphs.  What the
 * operations compute is in test_ops.c. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef MAE_BLAS_OPENBLAS
#include <cblas.h>
#endif

#include "base/memory.h"
#include "count_alloc.h"
#include "kernels/blas.h"
#include "kernels/kernels.h"
#include "suites.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
#define SHAPE(...) \
  COUNT(((int64_t[]){__VA_ARGS__})), (int64_t[]) { __VA_ARGS__ }
#define ASSERT_OK(call) ASSERT_STATUS(MAE_OK, call)
/* Without a word to Check while all is well: its marks allocate. */
#define ASSERT_STATUS(expected, call)                                 \
  do {                                                                \
    mae_status got_status = (call);                                   \
    if (got_status != (expected))                                     \
      ck_abort_msg("%s: %s (%s)", #call, mae_status_name(got_status), \
                   mae_last_error());                                 \
  } while (0)

static mae_context *make_context(int32_t threads) {
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  o.threads = threads;
  mae_context *context;
  ASSERT_OK(mae_context_create(&o, &context));
  return context;
}

static mae_tensor *make_tensor(int32_t ndim, const int64_t *shape) {
  mae_tensor *tensor;
  ASSERT_OK(mae_tensor_create(ndim, shape, &tensor));
  return tensor;
}

/* Numbers in [-1, 1). */
static void fill(mae_tensor *tensor, uint64_t stream) {
  const int64_t n = mae_tensor_size(tensor);
  float *x = mae_tensor_data(tensor);
  ASSERT_OK(mae_random_uniform(7, stream, 0, (size_t)n, x));
  for (int64_t i = 0; i < n; i++) x[i] = 2 * x[i] - 1;
}

static size_t bytes_of(const mae_tensor *tensor) {
  return (size_t)mae_tensor_size(tensor) * sizeof(float);
}

/* ---------------------------------------------------------- recording --- */

/* A tape with one of everything, made anew for each refused call. */
static mae_context *context;
static mae_tape *tape;
static mae_tensor *weights, *weights_grad;
static mae_var x, w, b, residual, images, pred, target, mask, token, positions;
static mae_var logits, drop, live_drop;
static mae_index index23, index24; /* [2, 3], [2, 4] */

static const mae_var unknown = {99}, negative = {-2};
static const mae_index no_index = {MAE_NO_VAR};

static void make_vars(void) {
  ASSERT_OK(mae_tape_input(tape, SHAPE(2, 4, 6), 1, &x));
  ASSERT_OK(mae_tape_parameter(tape, weights, weights_grad, &w));
  ASSERT_OK(mae_tape_input(tape, SHAPE(5), 1, &b));
  ASSERT_OK(mae_tape_input(tape, SHAPE(2, 4, 5), 1, &residual));
  ASSERT_OK(mae_tape_input(tape, SHAPE(2, 1, 4, 6), 1, &images));
  ASSERT_OK(mae_tape_input(tape, SHAPE(2, 3, 4), 1, &pred));
  ASSERT_OK(mae_tape_input(tape, SHAPE(2, 3, 4), 0, &target));
  ASSERT_OK(mae_tape_input(tape, SHAPE(2, 3), 0, &mask));
  ASSERT_OK(mae_tape_input(tape, SHAPE(6), 1, &token));
  ASSERT_OK(mae_tape_input(tape, SHAPE(4, 6), 1, &positions));
  ASSERT_OK(mae_tape_input(tape, SHAPE(2, 3), 1, &logits));
  ASSERT_OK(mae_tape_input(tape, SHAPE(2), 0, &drop));
  ASSERT_OK(mae_tape_input(tape, SHAPE(2), 1, &live_drop));
  ASSERT_OK(mae_tape_index(tape, 2, 3, &index23));
  ASSERT_OK(mae_tape_index(tape, 2, 4, &index24));
}

static void new_tape(void) {
  mae_tape_destroy(tape);
  ASSERT_OK(mae_tape_create(context, &tape));
  make_vars();
}

static void set_up(void) {
  context = make_context(2);
  weights = make_tensor(SHAPE(5, 6));
  weights_grad = make_tensor(SHAPE(5, 6));
  tape = NULL;
  new_tape();
}

static void tear_down(void) {
  mae_tape_destroy(tape);
  mae_tensor_destroy(weights);
  mae_tensor_destroy(weights_grad);
  mae_context_destroy(context);
}

/* The failure sticks: to sound calls, to other unsound ones, to the plan. */
static void expect_stuck(mae_status expected, const char *call) {
  char text[256];
  snprintf(text, sizeof text, "%s", mae_last_error());
  ck_assert_msg(*text, "%s: no message", call);
  mae_var out = {-7};
  mae_index index = {-7};
  ASSERT_STATUS(expected, mae_tape_add(tape, x, x, &out));
  ck_assert_str_eq(mae_last_error(), text);
  ASSERT_STATUS(expected, mae_tape_linear(tape, x, w, b, 9, &out));
  ASSERT_STATUS(expected, mae_tape_attention(tape, unknown, 0, &out));
  ASSERT_STATUS(expected, mae_tape_input(tape, 9, NULL, 1, &out));
  ASSERT_STATUS(expected, mae_tape_parameter(tape, NULL, NULL, &out));
  ASSERT_STATUS(expected, mae_tape_index(tape, 0, 0, &index));
  ASSERT_STATUS(expected, mae_tape_keep(tape, unknown));
  ASSERT_STATUS(expected, mae_tape_plan(tape, x));
  ck_assert_str_eq(mae_last_error(), text);
  ck_assert_int_eq(out.id, -7);
  ck_assert_int_eq(index.id, -7);
  ck_assert_uint_eq(mae_tape_memory(tape), 0);
  ck_assert_ptr_null(mae_tape_value(tape, x));
  ASSERT_STATUS(MAE_ERROR_STATE, mae_tape_forward(tape));
  ASSERT_STATUS(MAE_ERROR_STATE, mae_tape_backward(tape, 1, 0));
}

/* A recording call that fails, on a tape of its own. */
#define REFUSED(expected, call)    \
  do {                             \
    new_tape();                    \
    out.id = -7;                   \
    ASSERT_STATUS(expected, call); \
    ck_assert_int_eq(out.id, -7);  \
    expect_stuck(expected, #call); \
  } while (0)
#define WRONG_SHAPE(call) REFUSED(MAE_ERROR_SHAPE, call)
#define INVALID(call) REFUSED(MAE_ERROR_INVALID_ARGUMENT, call)

START_TEST(refused_leaves) {
  mae_var out;
  INVALID(mae_tape_input(tape, 1, NULL, 0, &out));
  INVALID(mae_tape_input(tape, SHAPE(1), 0, NULL));
  WRONG_SHAPE(mae_tape_input(tape, 0, (int64_t[]){1}, 0, &out));
  WRONG_SHAPE(mae_tape_input(tape, -1, (int64_t[]){1}, 0, &out));
  WRONG_SHAPE(mae_tape_input(tape, SHAPE(1, 1, 1, 1, 1), 0, &out));
  WRONG_SHAPE(mae_tape_input(tape, SHAPE(3, 0), 0, &out));
  WRONG_SHAPE(mae_tape_input(tape, SHAPE(-3), 0, &out));
  WRONG_SHAPE(mae_tape_input(tape, SHAPE(INT64_MAX / 2, 3), 0, &out));
  WRONG_SHAPE(mae_tape_input(tape, SHAPE(1, INT64_MAX), 0, &out));
  INVALID(mae_tape_parameter(tape, NULL, weights_grad, &out));
  INVALID(mae_tape_parameter(tape, weights, NULL, NULL));
  mae_tensor *other = make_tensor(SHAPE(6, 5));
  WRONG_SHAPE(mae_tape_parameter(tape, weights, other, &out));
  mae_tensor *same = make_tensor(SHAPE(5, 6));
  INVALID(mae_tape_parameter(tape, same, weights_grad, &out));
  mae_tensor_destroy(same);
  mae_tensor_destroy(other);
}
END_TEST

START_TEST(refused_indices) {
  mae_index out;
  WRONG_SHAPE(mae_tape_index(tape, 0, 3, &out));
  WRONG_SHAPE(mae_tape_index(tape, 3, -1, &out));
  WRONG_SHAPE(mae_tape_index(tape, 1 << 20, 1 << 20, &out));
  WRONG_SHAPE(mae_tape_index(tape, INT64_MAX, 3, &out));
  INVALID(mae_tape_index(tape, 2, 3, NULL));
}
END_TEST

START_TEST(refused_linear) {
  mae_var out;
  const int none = MAE_ACTIVATION_NONE;
  INVALID(mae_tape_linear(tape, x, w, b, 2, &out));
  INVALID(mae_tape_linear(tape, x, w, b, none, NULL));
  INVALID(mae_tape_linear(tape, unknown, w, b, none, &out));
  INVALID(mae_tape_linear(tape, x, negative, b, none, &out));
  INVALID(mae_tape_linear(tape, x, w, (mae_var){MAE_NO_VAR}, none, &out));
  WRONG_SHAPE(mae_tape_linear(tape, residual, w, b, none, &out));
  WRONG_SHAPE(mae_tape_linear(tape, x, b, b, none, &out));
  WRONG_SHAPE(mae_tape_linear(tape, x, positions, b, none, &out));
  WRONG_SHAPE(mae_tape_linear(tape, x, w, token, none, &out));
  WRONG_SHAPE(mae_tape_linear(tape, x, w, w, none, &out));
  INVALID(mae_tape_linear_add(tape, x, w, b, unknown, &out));
  WRONG_SHAPE(mae_tape_linear_add(tape, x, w, b, x, &out));
  WRONG_SHAPE(mae_tape_linear_add(tape, x, w, token, residual, &out));
}
END_TEST

START_TEST(refused_rows) {
  mae_var out;
  INVALID(mae_tape_layer_norm(tape, x, token, token, -1, &out));
  INVALID(mae_tape_layer_norm(tape, x, token, token, NAN, &out));
  INVALID(mae_tape_layer_norm(tape, x, unknown, token, 0, &out));
  INVALID(mae_tape_layer_norm(tape, x, token, token, 0, NULL));
  WRONG_SHAPE(mae_tape_layer_norm(tape, x, b, token, 0, &out));
  WRONG_SHAPE(mae_tape_layer_norm(tape, x, token, b, 0, &out));
  WRONG_SHAPE(mae_tape_add(tape, x, residual, &out));
  WRONG_SHAPE(mae_tape_add(tape, b, token, &out));
  INVALID(mae_tape_add(tape, x, unknown, &out));
  INVALID(mae_tape_add(tape, x, x, NULL));
  WRONG_SHAPE(mae_tape_attention(tape, x, 0, &out));
  WRONG_SHAPE(mae_tape_attention(tape, x, -1, &out));
  WRONG_SHAPE(mae_tape_attention(tape, x, 4, &out)); /* 6 = 3 x 2 */
  WRONG_SHAPE(mae_tape_attention(tape, x, INT32_MAX, &out));
  WRONG_SHAPE(mae_tape_attention(tape, residual, 1, &out)); /* 5 */
  WRONG_SHAPE(mae_tape_attention(tape, token, 1, &out));
  INVALID(mae_tape_attention(tape, negative, 1, &out));
}
END_TEST

START_TEST(refused_tokens) {
  mae_var out;
  mae_index other = {9};
  INVALID(mae_tape_gather_tokens(tape, x, no_index, &out));
  INVALID(mae_tape_gather_tokens(tape, x, other, &out));
  INVALID(mae_tape_gather_tokens(tape, unknown, index23, &out));
  WRONG_SHAPE(mae_tape_gather_tokens(tape, token, index23, &out));
  INVALID(mae_tape_unshuffle_tokens(tape, x, token, no_index, &out));
  INVALID(mae_tape_unshuffle_tokens(tape, x, token, other, &out));
  INVALID(mae_tape_unshuffle_tokens(tape, x, unknown, index24, &out));
  WRONG_SHAPE(mae_tape_unshuffle_tokens(tape, x, b, index24, &out));
  WRONG_SHAPE(mae_tape_unshuffle_tokens(tape, mask, token, index24, &out));
  WRONG_SHAPE(mae_tape_concat_token(tape, b, x, &out));
  WRONG_SHAPE(mae_tape_concat_token(tape, token, mask, &out));
  INVALID(mae_tape_concat_token(tape, unknown, x, &out));
  WRONG_SHAPE(mae_tape_add_position(tape, x, token, no_index, &out));
  WRONG_SHAPE(mae_tape_add_position(tape, residual, positions, no_index, &out));
  WRONG_SHAPE(mae_tape_add_position(tape, x, positions, index24, &out));
  WRONG_SHAPE(mae_tape_add_position(tape, token, positions, no_index, &out));
  INVALID(mae_tape_add_position(tape, x, positions, other, &out));
  INVALID(mae_tape_add_position(tape, x, unknown, no_index, &out));
}
END_TEST

START_TEST(refused_batch) { /* an index for another batch than x has */
  mae_var out, one;
  for (int i = 0; i < 3; i++) {
    new_tape();
    ASSERT_OK(mae_tape_input(tape, SHAPE(1, 4, 6), 1, &one));
    mae_status status =
        i == 0   ? mae_tape_gather_tokens(tape, one, index23, &out)
        : i == 1 ? mae_tape_unshuffle_tokens(tape, one, token, index23, &out)
                 : mae_tape_add_position(tape, one, positions, index23, &out);
    ck_assert_int_eq(status, MAE_ERROR_SHAPE);
    expect_stuck(MAE_ERROR_SHAPE, "another batch");
  }
}
END_TEST

START_TEST(refused_images) {
  mae_var out;
  mae_index other = {9};
  WRONG_SHAPE(mae_tape_patchify(tape, images, 0, 0, no_index, &out));
  WRONG_SHAPE(mae_tape_patchify(tape, images, -2, 0, no_index, &out));
  WRONG_SHAPE(mae_tape_patchify(tape, images, 3, 0, no_index, &out));
  WRONG_SHAPE(mae_tape_patchify(tape, images, 4, 0, no_index, &out));
  WRONG_SHAPE(mae_tape_patchify(tape, x, 2, 0, no_index, &out));
  INVALID(mae_tape_patchify(tape, images, 2, 2, no_index, &out));
  INVALID(mae_tape_patchify(tape, images, 2, 0, other, &out));
  INVALID(mae_tape_patchify(tape, unknown, 2, 0, no_index, &out));
  WRONG_SHAPE(mae_tape_masked_mse(tape, pred, x, mask, 0, &out));
  WRONG_SHAPE(mae_tape_masked_mse(tape, pred, target, target, 0, &out));
  WRONG_SHAPE(mae_tape_masked_mse(tape, mask, mask, mask, 0, &out));
  INVALID(mae_tape_masked_mse(tape, pred, pred, mask, 0, &out));
  INVALID(mae_tape_masked_mse(tape, pred, unknown, mask, 0, &out));
  INVALID(mae_tape_masked_mse(tape, pred, target, mask, 0, NULL));
}
END_TEST

START_TEST(refused_single_pixel) { /* has no unbiased variance */
  mae_var one, goal, out;
  ASSERT_OK(mae_tape_input(tape, SHAPE(2, 3, 1), 1, &one));
  ASSERT_OK(mae_tape_input(tape, SHAPE(2, 3, 1), 0, &goal));
  ASSERT_STATUS(MAE_ERROR_SHAPE,
                mae_tape_masked_mse(tape, one, goal, mask, 1, &out));
}
END_TEST

START_TEST(refused_classifiers) {
  mae_var out;
  INVALID(mae_tape_mean_tokens(tape, x, -1, 1, &out));
  INVALID(mae_tape_mean_tokens(tape, x, 0, 0, &out));
  INVALID(mae_tape_mean_tokens(tape, x, 1, 4, &out)); /* of 4 */
  INVALID(mae_tape_mean_tokens(tape, x, 4, 1, &out));
  INVALID(mae_tape_mean_tokens(tape, x, 1, INT64_MAX, &out));
  INVALID(mae_tape_mean_tokens(tape, x, INT64_MAX, 1, &out));
  WRONG_SHAPE(mae_tape_mean_tokens(tape, mask, 0, 1, &out));
  INVALID(mae_tape_mean_tokens(tape, unknown, 0, 1, &out));
  INVALID(mae_tape_mean_tokens(tape, x, 0, 1, NULL));
  WRONG_SHAPE(mae_tape_softmax_cross_entropy(tape, x, x, &out));
  WRONG_SHAPE(mae_tape_softmax_cross_entropy(tape, logits, token, &out));
  INVALID(mae_tape_softmax_cross_entropy(tape, logits, logits, &out));
  INVALID(mae_tape_softmax_cross_entropy(tape, unknown, mask, &out));
  INVALID(mae_tape_softmax_cross_entropy(tape, logits, unknown, &out));
  WRONG_SHAPE(mae_tape_drop_path_add(tape, x, drop, residual, &out));
  WRONG_SHAPE(mae_tape_drop_path_add(tape, x, token, x, &out));
  WRONG_SHAPE(mae_tape_drop_path_add(tape, x, x, x, &out));
  INVALID(mae_tape_drop_path_add(tape, x, live_drop, x, &out));
  INVALID(mae_tape_drop_path_add(tape, x, unknown, x, &out));
  INVALID(mae_tape_drop_path_add(tape, x, drop, unknown, &out));
}
END_TEST

START_TEST(null_tape) {
  mae_var out = {-7};
  mae_index index = {-7};
  const mae_status bad = MAE_ERROR_INVALID_ARGUMENT;
  ASSERT_STATUS(bad, mae_tape_create(NULL, &tape));
  ASSERT_STATUS(bad, mae_tape_create(context, NULL));
  ASSERT_STATUS(bad, mae_tape_input(NULL, SHAPE(1), 0, &out));
  ASSERT_STATUS(bad, mae_tape_parameter(NULL, weights, NULL, &out));
  ASSERT_STATUS(bad, mae_tape_index(NULL, 1, 1, &index));
  ASSERT_STATUS(bad, mae_tape_linear(NULL, x, w, b, 0, &out));
  ASSERT_STATUS(bad, mae_tape_linear_add(NULL, x, w, b, residual, &out));
  ASSERT_STATUS(bad, mae_tape_layer_norm(NULL, x, token, token, 0, &out));
  ASSERT_STATUS(bad, mae_tape_attention(NULL, x, 1, &out));
  ASSERT_STATUS(bad, mae_tape_add(NULL, x, x, &out));
  ASSERT_STATUS(bad, mae_tape_patchify(NULL, images, 2, 0, no_index, &out));
  ASSERT_STATUS(bad, mae_tape_gather_tokens(NULL, x, index23, &out));
  ASSERT_STATUS(bad, mae_tape_unshuffle_tokens(NULL, x, token, index23, &out));
  ASSERT_STATUS(bad, mae_tape_concat_token(NULL, token, x, &out));
  ASSERT_STATUS(bad, mae_tape_add_position(NULL, x, positions, no_index, &out));
  ASSERT_STATUS(bad, mae_tape_masked_mse(NULL, pred, target, mask, 0, &out));
  ASSERT_STATUS(bad, mae_tape_mean_tokens(NULL, x, 0, 1, &out));
  ASSERT_STATUS(bad, mae_tape_softmax_cross_entropy(NULL, pred, target, &out));
  ASSERT_STATUS(bad, mae_tape_drop_path_add(NULL, x, b, x, &out));
  ASSERT_STATUS(bad, mae_tape_keep(NULL, x));
  ASSERT_STATUS(bad, mae_tape_plan(NULL, x));
  ASSERT_STATUS(bad, mae_tape_forward(NULL));
  ASSERT_STATUS(bad, mae_tape_backward(NULL, 1, 0));
  ck_assert_uint_eq(mae_tape_memory(NULL), 0);
  ck_assert_ptr_null(mae_tape_value(NULL, x));
  ck_assert_ptr_null(mae_tape_grad(NULL, x));
  ck_assert_ptr_null(mae_tape_index_data(NULL, index23));
  mae_tape_destroy(NULL);
  ck_assert_int_eq(out.id, -7);
  ck_assert_int_eq(index.id, -7);
}
END_TEST

START_TEST(refused_keep) {
  mae_var out = {-7};
  REFUSED(MAE_ERROR_INVALID_ARGUMENT, mae_tape_keep(tape, unknown));
  REFUSED(MAE_ERROR_INVALID_ARGUMENT, mae_tape_keep(tape, negative));
}
END_TEST

/* A refused plan leaves the tape open. */
START_TEST(refused_plan) {
  mae_var out, frozen;
  const mae_status bad = MAE_ERROR_INVALID_ARGUMENT;
  ASSERT_OK(mae_tape_add(tape, x, x, &out));
  ASSERT_OK(mae_tape_add(tape, target, target, &frozen));
  ASSERT_STATUS(bad, mae_tape_plan(tape, unknown));
  ASSERT_STATUS(bad, mae_tape_plan(tape, negative));
  ASSERT_STATUS(bad, mae_tape_plan(tape, x));
  ASSERT_STATUS(bad, mae_tape_plan(tape, w));
  ASSERT_STATUS(bad, mae_tape_plan(tape, frozen));
  ASSERT_OK(mae_tape_add(tape, out, x, &out));
  ASSERT_OK(mae_tape_plan(tape, out));
}
END_TEST

/* -------------------------------------------------------------- order --- */

START_TEST(planned_tape_takes_no_more) {
  mae_var out, more = {-7};
  const mae_status state = MAE_ERROR_STATE;
  ASSERT_OK(mae_tape_add(tape, x, x, &out));
  ASSERT_OK(mae_tape_plan(tape, out));
  ASSERT_STATUS(state, mae_tape_plan(tape, out));
  ASSERT_STATUS(state, mae_tape_keep(tape, out));
  ASSERT_STATUS(state, mae_tape_input(tape, SHAPE(1), 0, &more));
  ASSERT_STATUS(state, mae_tape_parameter(tape, weights, NULL, &more));
  ASSERT_STATUS(state, mae_tape_index(tape, 1, 1, &index23));
  ASSERT_STATUS(state, mae_tape_add(tape, x, x, &more));
  ASSERT_STATUS(state, mae_tape_add(tape, x, x, NULL));
  ASSERT_STATUS(state, mae_tape_add(tape, x, b, &more));
  ASSERT_STATUS(state, mae_tape_linear(tape, x, w, b, 9, &more));
  ASSERT_STATUS(state, mae_tape_add(tape, x, x, &more));
  ck_assert_int_eq(more.id, -7);
  ASSERT_OK(mae_tape_forward(tape)); /* and none of this has hurt it */
  ASSERT_OK(mae_tape_backward(tape, 1, 0));
}
END_TEST

START_TEST(calls_out_of_order) {
  mae_var out;
  const mae_status state = MAE_ERROR_STATE;
  ASSERT_OK(mae_tape_add(tape, x, x, &out));
  ASSERT_STATUS(state, mae_tape_forward(tape));
  ASSERT_STATUS(state, mae_tape_backward(tape, 1, 0));
  ASSERT_OK(mae_tape_plan(tape, out));
  ASSERT_STATUS(state, mae_tape_backward(tape, 1, 0));
  ASSERT_OK(mae_tape_forward(tape));
  ASSERT_OK(mae_tape_forward(tape));
  ASSERT_OK(mae_tape_backward(tape, 1, 0));
  ASSERT_STATUS(state, mae_tape_backward(tape, 1, 0));
}
END_TEST

START_TEST(forward_alone) {
  mae_var out;
  ASSERT_OK(mae_tape_add(tape, x, x, &out));
  ASSERT_OK(mae_tape_keep(tape, out));
  ASSERT_OK(mae_tape_plan(tape, (mae_var){MAE_NO_VAR}));
  fill(mae_tape_value(tape, x), 1);
  ASSERT_OK(mae_tape_forward(tape));
  ASSERT_STATUS(MAE_ERROR_STATE, mae_tape_backward(tape, 1, 0));
  const float *in = mae_tensor_data(mae_tape_value(tape, x));
  const float *y = mae_tensor_data(mae_tape_value(tape, out));
  for (int i = 0; i < 48; i++) ck_assert_float_eq(y[i], 2 * in[i]);
  ck_assert_ptr_null(mae_tape_grad(tape, x)); /* nor memory for it */
}
END_TEST

START_TEST(empty_tape) {
  mae_tape *empty;
  ASSERT_OK(mae_tape_create(context, &empty));
  ASSERT_OK(mae_tape_plan(empty, (mae_var){MAE_NO_VAR}));
  ASSERT_OK(mae_tape_forward(empty));
  mae_tape_destroy(empty);
}
END_TEST

/* What may be read, and when. */
START_TEST(lent_tensors) {
  mae_var hidden, kept, out;
  ASSERT_OK(mae_tape_add(tape, x, x, &hidden));
  ASSERT_OK(mae_tape_add(tape, hidden, x, &kept));
  ASSERT_OK(mae_tape_add(tape, kept, x, &out));
  ASSERT_OK(mae_tape_keep(tape, kept));
  ck_assert_uint_eq(mae_tape_memory(tape), 0);
  ck_assert_ptr_null(mae_tape_value(tape, x));
  ck_assert_ptr_null(mae_tape_grad(tape, w));
  ck_assert_ptr_null(mae_tape_index_data(tape, index23));
  ASSERT_OK(mae_tape_plan(tape, out));
  ck_assert_uint_gt(mae_tape_memory(tape), 0);
  ck_assert_ptr_nonnull(mae_tape_value(tape, x));
  ck_assert_ptr_nonnull(mae_tape_grad(tape, x));
  ck_assert_ptr_nonnull(mae_tape_value(tape, target));
  ck_assert_ptr_null(mae_tape_grad(tape, target));
  ck_assert_ptr_null(mae_tape_value(tape, hidden));
  ck_assert_ptr_null(mae_tape_grad(tape, hidden));
  ck_assert_ptr_nonnull(mae_tape_value(tape, kept));
  ck_assert_ptr_nonnull(mae_tape_value(tape, out));
  ck_assert_ptr_nonnull(mae_tape_grad(tape, out));
  ck_assert_ptr_null(mae_tape_value(tape, unknown));
  ck_assert_ptr_null(mae_tape_grad(tape, negative));
  ck_assert_ptr_null(mae_tape_index_data(tape, no_index));
  ck_assert_ptr_nonnull(mae_tape_index_data(tape, index24));
  ck_assert_ptr_eq(mae_tensor_data(mae_tape_value(tape, w)),
                   mae_tensor_data(weights));
  ck_assert_ptr_eq(mae_tensor_data(mae_tape_grad(tape, w)),
                   mae_tensor_data(weights_grad));
  uintptr_t at = (uintptr_t)mae_tensor_data(mae_tape_value(tape, kept));
  ck_assert_uint_eq(at % MAE_ALIGNMENT, 0);
}
END_TEST

START_TEST(frozen_weights) {
  mae_var frozen, out;
  new_tape();
  ASSERT_OK(mae_tape_parameter(tape, weights, NULL, &frozen));
  ASSERT_OK(mae_tape_linear(tape, x, frozen, b, 0, &out));
  ASSERT_OK(mae_tape_plan(tape, out));
  ck_assert_ptr_null(mae_tape_grad(tape, frozen));
  memset(mae_tensor_data(weights_grad), 0x55, bytes_of(weights_grad));
  mae_tensor *before = make_tensor(SHAPE(5, 6));
  memset(mae_tensor_data(before), 0x55, bytes_of(before));
  ASSERT_OK(mae_tape_forward(tape));
  ASSERT_OK(mae_tape_backward(tape, 1, 1));
  ck_assert_mem_eq(mae_tensor_data(weights_grad), mae_tensor_data(before),
                   bytes_of(before));
  mae_tensor_destroy(before);
}
END_TEST

/* Recorded twice, weights are one variable, so that no use is lost. */
START_TEST(parameter_recorded_twice) {
  mae_var again, frozen, sum, out;
  ASSERT_OK(mae_tape_parameter(tape, weights, weights_grad, &again));
  ASSERT_OK(mae_tape_parameter(tape, weights, NULL, &frozen));
  ASSERT_OK(mae_tape_add(tape, w, frozen, &sum));
  ASSERT_OK(mae_tape_add(tape, sum, again, &out));
  ASSERT_OK(mae_tape_plan(tape, out));
  ASSERT_OK(mae_tape_forward(tape));
  float *seed = mae_tensor_data(mae_tape_grad(tape, out));
  for (int i = 0; i < 30; i++) seed[i] = 1;
  ASSERT_OK(mae_tape_backward(tape, 1, 0));
  for (int i = 0; i < 30; i++)
    ck_assert_float_eq(mae_tensor_data(weights_grad)[i], 2);
}
END_TEST

/* ------------------------------------------------------------ indices --- */

/* Records operation i of those with an index; *limit: its numbers are below. */
static mae_var record_indexed(int i, mae_index *index, int32_t *limit) {
  mae_var out;
  *index = index23;
  *limit = 4;
  if (i == 0) {
    ASSERT_OK(mae_tape_gather_tokens(tape, x, index23, &out));
  } else if (i == 1) {
    ASSERT_OK(mae_tape_unshuffle_tokens(tape, x, token, index24, &out));
    *index = index24;
  } else if (i == 2) {
    ASSERT_OK(mae_tape_add_position(tape, x, positions, index23, &out));
    *limit = 3; /* row 0 is the class token's */
  } else {
    ASSERT_OK(mae_tape_patchify(tape, images, 2, 0, index23, &out));
    *limit = 6;
  }
  return out;
}

START_TEST(index_out_of_range) {
  mae_index index;
  int32_t limit;
  mae_var out = record_indexed(_i, &index, &limit);
  ASSERT_OK(mae_tape_plan(tape, out));
  fill(mae_tape_value(tape, x), 1);
  fill(mae_tape_value(tape, images), 2);
  int32_t *numbers = mae_tape_index_data(tape, index);
  numbers[1] = limit - 1;
  ASSERT_OK(mae_tape_forward(tape));
  const mae_tensor *y = mae_tape_value(tape, out);
  float *before = malloc(bytes_of(y));
  memcpy(before, mae_tensor_data(y), bytes_of(y));
  const int32_t bad[] = {-1, limit, INT32_MAX, INT32_MIN};
  for (int i = 0; i < COUNT(bad); i++) {
    numbers[5] = bad[i];
    /* Spoilt since the forward pass, then before one. */
    ASSERT_STATUS(MAE_ERROR_INVALID_ARGUMENT, mae_tape_backward(tape, 1, 0));
    ASSERT_STATUS(MAE_ERROR_INVALID_ARGUMENT, mae_tape_forward(tape));
    ck_assert_ptr_nonnull(strstr(mae_last_error(), "token number"));
    ASSERT_STATUS(MAE_ERROR_STATE, mae_tape_backward(tape, 1, 0));
    ck_assert_mem_eq(mae_tensor_data(y), before, bytes_of(y));
    numbers[5] = 0;
    ASSERT_OK(mae_tape_forward(tape));
    ck_assert_mem_eq(mae_tensor_data(y), before, bytes_of(y));
  }
  ASSERT_OK(mae_tape_backward(tape, 1, 0));
  free(before);
}
END_TEST

/* --------------------------------------------------------- small nets --- */

/* A residual network of blocks that hold attention, norms and an MLP, over
 * [2, TOKENS, WIDTH]: every way memory is shared. */
enum { BLOCKS = 3, TOKENS = 7, WIDTH = 12, PER_BLOCK = 14 };

typedef struct net {
  mae_context *context;
  mae_tape *tape;
  mae_tensor *value[BLOCKS * PER_BLOCK], *grad[BLOCKS * PER_BLOCK];
  int count;
  bool keep; /* every value */
  mae_var x, loss;
} net;

static mae_var weight(net *n, int32_t ndim, const int64_t *shape) {
  const int i = n->count++;
  n->value[i] = make_tensor(ndim, shape);
  n->grad[i] = make_tensor(ndim, shape);
  fill(n->value[i], (uint64_t)i);
  mae_var out;
  ASSERT_OK(mae_tape_parameter(n->tape, n->value[i], n->grad[i], &out));
  return out;
}

static mae_var kept(net *n, mae_var var) {
  if (n->keep) ASSERT_OK(mae_tape_keep(n->tape, var));
  return var;
}

static mae_var norm(net *n, mae_var in) {
  mae_var scale = weight(n, SHAPE(WIDTH)), shift = weight(n, SHAPE(WIDTH)), out;
  ASSERT_OK(mae_tape_layer_norm(n->tape, in, scale, shift, 1e-6f, &out));
  return kept(n, out);
}

static mae_var dense(net *n, mae_var in, int64_t from, int64_t to,
                     mae_activation activation) {
  mae_var weights_of = weight(n, SHAPE(to, from)), bias = weight(n, SHAPE(to));
  mae_var out;
  ASSERT_OK(mae_tape_linear(n->tape, in, weights_of, bias, activation, &out));
  return kept(n, out);
}

static mae_var dense_add(net *n, mae_var in, int64_t from, mae_var to) {
  mae_var weights_of = weight(n, SHAPE(WIDTH, from));
  mae_var bias = weight(n, SHAPE(WIDTH)), out;
  ASSERT_OK(mae_tape_linear_add(n->tape, in, weights_of, bias, to, &out));
  return kept(n, out);
}

static mae_var block(net *n, mae_var in) {
  mae_var out = norm(n, in);
  out = dense(n, out, WIDTH, 3 * WIDTH, MAE_ACTIVATION_NONE);
  ASSERT_OK(mae_tape_attention(n->tape, out, 3, &out));
  mae_var middle = dense_add(n, kept(n, out), WIDTH, in);
  out = norm(n, middle);
  out = dense(n, out, WIDTH, 4 * WIDTH, MAE_ACTIVATION_GELU);
  out = dense_add(n, out, 4 * WIDTH, middle);
  return dense_add(n, out, WIDTH, out);
}

static net open_net(mae_context *of, bool keep, bool train) {
  net n = {.context = of, .keep = keep};
  ASSERT_OK(mae_tape_create(of, &n.tape));
  ASSERT_OK(mae_tape_input(n.tape, SHAPE(2, TOKENS, WIDTH), 1, &n.x));
  mae_var out = n.x;
  for (int i = 0; i < BLOCKS; i++) out = block(&n, out);
  ASSERT_OK(mae_tape_add(n.tape, out, n.x, &n.loss));
  ASSERT_OK(mae_tape_keep(n.tape, n.loss));
  ASSERT_OK(mae_tape_plan(n.tape, train ? n.loss : (mae_var){MAE_NO_VAR}));
  fill(mae_tape_value(n.tape, n.x), 1000);
  return n;
}

static void close_net(net *n) {
  mae_tape_destroy(n->tape);
  for (int i = 0; i < n->count; i++) {
    mae_tensor_destroy(n->value[i]);
    mae_tensor_destroy(n->grad[i]);
  }
}

static void step(net *n) {
  ASSERT_OK(mae_tape_forward(n->tape));
  fill(mae_tape_grad(n->tape, n->loss), 2000);
  ASSERT_OK(mae_tape_backward(n->tape, 1, 0));
}

static void expect_same_bits(const mae_tensor *one, const mae_tensor *two) {
  ck_assert_mem_eq(mae_tensor_data(one), mae_tensor_data(two), bytes_of(one));
}

static void expect_same(net *one, net *two) {
  expect_same_bits(mae_tape_value(one->tape, one->loss),
                   mae_tape_value(two->tape, two->loss));
  expect_same_bits(mae_tape_grad(one->tape, one->x),
                   mae_tape_grad(two->tape, two->x));
  for (int i = 0; i < one->count; i++)
    expect_same_bits(one->grad[i], two->grad[i]);
}

/* ------------------------------------------------------------- memory --- */

enum { DEEP = 40, SIDE = 64 };

/* One whose products need no scratch. */
static mae_context *portable_context(void) {
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  o.isa = MAE_ISA_PORTABLE;
  mae_context *portable;
  ASSERT_OK(mae_context_create(&o, &portable));
  return portable;
}

/* Memory of DEEP layers of SIDE x SIDE: SIDE^2 floats for each value. */
static size_t chain_memory(bool residuals, bool keep, bool train) {
  mae_tape *deep;
  mae_var in, weights_of, bias, out;
  mae_context *portable = portable_context();
  ASSERT_OK(mae_tape_create(portable, &deep));
  ASSERT_OK(mae_tape_input(deep, SHAPE(SIDE, SIDE), 1, &in));
  ASSERT_OK(mae_tape_input(deep, SHAPE(SIDE, SIDE), 0, &weights_of));
  ASSERT_OK(mae_tape_input(deep, SHAPE(SIDE), 0, &bias));
  out = in;
  for (int i = 0; i < DEEP; i++) {
    if (residuals)
      ASSERT_OK(mae_tape_add(deep, out, weights_of, &out));
    else
      ASSERT_OK(mae_tape_linear(deep, out, weights_of, bias, 0, &out));
    if (keep) ASSERT_OK(mae_tape_keep(deep, out));
  }
  ASSERT_OK(mae_tape_plan(deep, train ? out : (mae_var){MAE_NO_VAR}));
  ASSERT_OK(mae_tape_forward(deep));
  if (train) ASSERT_OK(mae_tape_backward(deep, 1, 0));
  size_t memory = mae_tape_memory(deep);
  mae_tape_destroy(deep);
  mae_context_destroy(portable);
  return memory;
}

START_TEST(plan_shares_memory) {
  const size_t value = SIDE * SIDE * sizeof(float), bias = 256;
  const size_t leaves = 2 * value + bias;
  /* Forward alone: a layer's input and output live at a time. */
  ck_assert_uint_eq(chain_memory(false, false, false), leaves + 2 * value);
  ck_assert_uint_eq(chain_memory(false, true, false), leaves + DEEP * value);
  /* Backward, a layer reads its input, where that one's gradient goes then; a
   * sum reads nothing.  The gradients of a chain of sums are one, but for the
   * input's and the loss's. */
  ck_assert_uint_le(chain_memory(false, false, true),
                    leaves + (DEEP + 2) * value);
  ck_assert_uint_le(chain_memory(true, false, true), leaves + 5 * value);
}
END_TEST

/* Attention's blocks, for each thread. */
START_TEST(plan_gives_threads_scratch) {
  mae_var qkv, out;
  mae_tape *alone;
  ASSERT_OK(mae_tape_create(context, &alone));
  ASSERT_OK(mae_tape_input(alone, SHAPE(1, 64, 24), 0, &qkv));
  ASSERT_OK(mae_tape_attention(alone, qkv, 2, &out));
  ASSERT_OK(mae_tape_plan(alone, (mae_var){MAE_NO_VAR}));
  int64_t floats;
  ck_assert(mae_attention_scratch(64, 4, false, &floats));
  ck_assert_uint_eq(
      mae_tape_memory(alone),
      sizeof(float) * (64 * 24 + 64 * 8 +
                       (size_t)floats * (size_t)mae_context_threads(context)));
  mae_tape_destroy(alone);
}
END_TEST

/* Values survive as long as they are needed: a plan that keeps all of them
 * gives the same, bit for bit, and so does one for forward alone. */
START_TEST(plan_loses_nothing) {
  mae_context *portable = portable_context();
  net lean = open_net(portable, false, true);
  net full = open_net(portable, true, true);
  net forward = open_net(portable, false, false);
  size_t memory[] = {mae_tape_memory(forward.tape), mae_tape_memory(lean.tape),
                     mae_tape_memory(full.tape)};
  ck_assert_uint_lt(3 * memory[0], memory[1]);
  ck_assert_uint_lt(memory[1], memory[2]);
  for (int i = 0; i < 2; i++) { /* again, over what the first step left */
    step(&lean);
    step(&full);
    ASSERT_OK(mae_tape_forward(forward.tape));
    expect_same(&lean, &full);
    expect_same_bits(mae_tape_value(forward.tape, forward.loss),
                     mae_tape_value(full.tape, full.loss));
  }
  close_net(&lean);
  close_net(&full);
  close_net(&forward);
  mae_context_destroy(portable);
}
END_TEST

/* Inputs and the loss stay as they were through both passes. */
START_TEST(inputs_stay) {
  net n = open_net(context, false, true);
  mae_tensor *before = make_tensor(SHAPE(2, TOKENS, WIDTH));
  fill(before, 1000);
  step(&n);
  expect_same_bits(mae_tape_value(n.tape, n.x), before);
  memcpy(mae_tensor_data(before),
         mae_tensor_data(mae_tape_value(n.tape, n.loss)), bytes_of(before));
  step(&n);
  expect_same_bits(mae_tape_value(n.tape, n.loss), before);
  mae_tensor_destroy(before);
  close_net(&n);
}
END_TEST

/* -------------------------------------------------------- determinism --- */

START_TEST(same_threads_same_bits) {
  mae_context *one = make_context(_i), *two = make_context(_i);
  net a = open_net(one, false, true), c = open_net(two, false, true);
  step(&a);
  for (int i = 0; i < 5; i++) {
    step(&c);
    expect_same(&a, &c);
  }
  close_net(&a);
  close_net(&c);
  mae_context_destroy(one);
  mae_context_destroy(two);
}
END_TEST

static void *step_often(void *n) {
  for (int i = 0; i < 20; i++) step(n);
  return NULL;
}

/* Tapes of one context in several threads take turns at its pool. */
START_TEST(shared_context) {
  net n[3], alone = open_net(context, false, true);
  pthread_t thread[COUNT(n)];
  step(&alone);
  for (int i = 0; i < COUNT(n); i++) n[i] = open_net(context, false, true);
  for (int i = 0; i < COUNT(n); i++)
    ck_assert_int_eq(pthread_create(&thread[i], NULL, step_often, &n[i]), 0);
  for (int i = 0; i < COUNT(n); i++) pthread_join(thread[i], NULL);
  for (int i = 0; i < COUNT(n); i++) {
    expect_same(&n[i], &alone);
    close_net(&n[i]);
  }
  close_net(&alone);
}
END_TEST

/* ------------------------------------------------------------ running --- */

START_TEST(steps_allocate_nothing) {
  net n = open_net(context, false, true);
  step(&n); /* the BLAS library may set itself up */
  ck_assert_int_ge(count_alloc_calls(), 0);
  const long before = count_alloc_calls();
  for (int i = 0; i < 10; i++) step(&n);
  ck_assert_int_eq(count_alloc_calls(), before);
  free(calloc(3, (size_t)_i + 5)); /* the count is alive */
  ck_assert_int_gt(count_alloc_calls(), before);
  close_net(&n);
}
END_TEST

/* -> GELU -> out, trained by plain descent to multiply its two inputs. */
START_TEST(descent) {
  enum { N = 64, HIDDEN = 16, STEPS = 800 };
  net n = {.context = context};
  mae_var goal, all, h, y;
  ASSERT_OK(mae_tape_create(context, &n.tape));
  ASSERT_OK(mae_tape_input(n.tape, SHAPE(1, N, 2), 0, &n.x));
  ASSERT_OK(mae_tape_input(n.tape, SHAPE(1, N, 1), 0, &goal));
  ASSERT_OK(mae_tape_input(n.tape, SHAPE(1, N), 0, &all));
  h = dense(&n, n.x, 2, HIDDEN, MAE_ACTIVATION_GELU);
  y = dense(&n, h, HIDDEN, 1, MAE_ACTIVATION_NONE);
  ASSERT_OK(mae_tape_masked_mse(n.tape, y, goal, all, 0, &n.loss));
  ASSERT_OK(mae_tape_plan(n.tape, n.loss));
  fill(mae_tape_value(n.tape, n.x), 5);
  const float *in = mae_tensor_data(mae_tape_value(n.tape, n.x));
  for (int i = 0; i < N; i++) {
    mae_tensor_data(mae_tape_value(n.tape, goal))[i] =
        in[2 * i] * in[2 * i + 1];
    mae_tensor_data(mae_tape_value(n.tape, all))[i] = 1;
  }
  const float *loss = mae_tensor_data(mae_tape_value(n.tape, n.loss));
  float first = 0;
  for (int i = 0; i < STEPS; i++) {
    ASSERT_OK(mae_tape_forward(n.tape));
    ASSERT_OK(mae_tape_backward(n.tape, 1, 0));
    if (i == 0) first = *loss;
    for (int p = 0; p < n.count; p++)
      for (int64_t j = 0; j < mae_tensor_size(n.value[p]); j++)
        mae_tensor_data(n.value[p])[j] -= 0.1f * mae_tensor_data(n.grad[p])[j];
  }
  ck_assert_msg(*loss < first / 50, "loss %g, then %g", first, *loss);
  close_net(&n);
}
END_TEST

/* The seed is the gradient of the loss, so gradients are linear in it. */
START_TEST(seed_scales_gradients) {
  mae_var out;
  ASSERT_OK(mae_tape_masked_mse(tape, pred, target, mask, 0, &out));
  ASSERT_OK(mae_tape_plan(tape, out));
  fill(mae_tape_value(tape, pred), 1);
  fill(mae_tape_value(tape, target), 2);
  for (int i = 0; i < 6; i++)
    mae_tensor_data(mae_tape_value(tape, mask))[i] = i % 2;
  const float *grad = mae_tensor_data(mae_tape_grad(tape, pred));
  float first[24];
  ASSERT_OK(mae_tape_forward(tape));
  ASSERT_OK(mae_tape_backward(tape, 1, 0));
  memcpy(first, grad, sizeof first);
  ASSERT_OK(mae_tape_forward(tape));
  ASSERT_OK(mae_tape_backward(tape, -4, 0)); /* exact in binary */
  for (int i = 0; i < 24; i++) ck_assert_float_eq(grad[i], -4 * first[i]);
}
END_TEST

#ifdef MAE_BLAS_OPENBLAS
START_TEST(blas_threads_stay) {
  net n = open_net(context, false, true);
  for (int threads = 1; threads <= 2; threads++) {
    openblas_set_num_threads(threads);
    const int before = openblas_get_num_threads();
    step(&n);
    ck_assert_int_eq(openblas_get_num_threads(), before);
    mae_tensor_data(mae_tape_value(n.tape, n.x))[0] = NAN;
    ASSERT_OK(mae_tape_forward(n.tape));
    ck_assert_int_eq(openblas_get_num_threads(), before);
  }
  close_net(&n);
}
END_TEST

/* The last to leave restores it, no sooner. */
START_TEST(blas_users_nest) {
  openblas_set_num_threads(2);
  const int before = openblas_get_num_threads();
  mae_blas_enter();
  ck_assert_int_eq(openblas_get_num_threads(), 1);
  mae_blas_enter();
  mae_blas_leave();
  ck_assert_int_eq(openblas_get_num_threads(), 1);
  mae_blas_leave();
  ck_assert_int_eq(openblas_get_num_threads(), before);
}
END_TEST

/* Passes of several threads that overlap leave it, and ones that fail. */
START_TEST(blas_threads_stay_after_many) {
  openblas_set_num_threads(2);
  const int before = openblas_get_num_threads();
  mae_context *single = make_context(1); /* whose callers take no turns */
  net n[3];
  pthread_t thread[COUNT(n)];
  for (int i = 0; i < COUNT(n); i++) n[i] = open_net(single, false, true);
  for (int i = 0; i < COUNT(n); i++)
    ck_assert_int_eq(pthread_create(&thread[i], NULL, step_often, &n[i]), 0);
  for (int i = 0; i < COUNT(n); i++) pthread_join(thread[i], NULL);
  ck_assert_int_eq(openblas_get_num_threads(), before);
  for (int i = 0; i < COUNT(n); i++) close_net(&n[i]);
  mae_context_destroy(single);

  mae_var out;
  ASSERT_OK(mae_tape_masked_mse(tape, pred, target, mask, 0, &out));
  ASSERT_OK(mae_tape_plan(tape, out));
  ASSERT_STATUS(MAE_ERROR_INVALID_ARGUMENT, mae_tape_forward(tape));
  ck_assert_int_eq(openblas_get_num_threads(), before);
}
END_TEST
#endif

/* -------------------------------------------------------------- suite --- */

static void add_recording(TCase *tests) {
  tcase_add_test(tests, refused_leaves);
  tcase_add_test(tests, refused_indices);
  tcase_add_test(tests, refused_linear);
  tcase_add_test(tests, refused_rows);
  tcase_add_test(tests, refused_tokens);
  tcase_add_test(tests, refused_batch);
  tcase_add_test(tests, refused_images);
  tcase_add_test(tests, refused_classifiers);
  tcase_add_test(tests, refused_single_pixel);
  tcase_add_test(tests, null_tape);
  tcase_add_test(tests, refused_keep);
  tcase_add_test(tests, refused_plan);
  tcase_add_test(tests, planned_tape_takes_no_more);
  tcase_add_test(tests, calls_out_of_order);
  tcase_add_test(tests, forward_alone);
  tcase_add_test(tests, empty_tape);
  tcase_add_test(tests, lent_tensors);
  tcase_add_test(tests, frozen_weights);
  tcase_add_test(tests, parameter_recorded_twice);
  tcase_add_loop_test(tests, index_out_of_range, 0, 4);
}

static void add_running(TCase *tests) {
  tcase_add_test(tests, plan_shares_memory);
  tcase_add_test(tests, plan_gives_threads_scratch);
  tcase_add_test(tests, plan_loses_nothing);
  tcase_add_test(tests, inputs_stay);
  tcase_add_loop_test(tests, same_threads_same_bits, 1, 4);
  tcase_add_test(tests, shared_context);
  tcase_add_test(tests, descent);
  tcase_add_test(tests, seed_scales_gradients);
  if (count_alloc_calls() >= 0) tcase_add_test(tests, steps_allocate_nothing);
#ifdef MAE_BLAS_OPENBLAS
  tcase_add_test(tests, blas_threads_stay);
  tcase_add_test(tests, blas_users_nest);
  tcase_add_test(tests, blas_threads_stay_after_many);
#endif
}

Suite *tape_suite(void) {
  Suite *suite = suite_create("tape");
  TCase *recording = tcase_create("recording"), *running = tcase_create("run");
  TCase *const cases[] = {recording, running};
  for (int i = 0; i < COUNT(cases); i++) {
    tcase_add_checked_fixture(cases[i], set_up, tear_down);
    tcase_set_timeout(cases[i], 120);
    suite_add_tcase(suite, cases[i]);
  }
  add_recording(recording);
  add_running(running);
  return suite;
}
