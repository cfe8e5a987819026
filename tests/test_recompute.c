/* Checkpointed segments of tapes: the same bits in less memory. */
#include "autograd/attention_weights.h"
#include "autograd/measure.h"
#include "autograd/passing.h"
#include "autograd/tape.h"
#include "count_alloc.h"
#include "golden.h"
#include "suites.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
#define SHAPE(...) \
  COUNT(((int64_t[]){__VA_ARGS__})), (int64_t[]) { __VA_ARGS__ }

/* ------------------------------------------- a net of every operation --- */

enum { B = 2, SIDE = 8, PATCH = 2, KEPT = 6, PATCHES = 16, WIDTH = 12 };
enum { MOST_PARAMS = 64, MOST_VARS = 64 };

/* cuts 0: no segments and all values kept; else a number that says where
 * segments begin and end, and which values are kept. */
typedef struct net {
  mae_context *context;
  mae_tape *tape;
  uint64_t cuts;
  int places;
  mae_tensor *value[MOST_PARAMS], *grad[MOST_PARAMS];
  int n_params;
  mae_var var[MOST_VARS]; /* the computed ones */
  int n_vars;
  mae_var images, mask, loss;
  mae_index keep, restore, patches;
} net;

static void fill(mae_tensor *t, uint64_t seed, uint64_t stream) {
  ASSERT_OK(mae_random_normal(seed, stream, 0, (size_t)mae_tensor_size(t),
                              t->data));
}

static mae_var weight(net *n, bool frozen, int32_t ndim,
                      const int64_t *shape) {
  const int i = n->n_params++;
  ck_assert_int_lt(i, MOST_PARAMS);
  ASSERT_OK(mae_tensor_create(ndim, shape, &n->value[i]));
  ASSERT_OK(mae_tensor_create(ndim, shape, &n->grad[i]));
  fill(n->value[i], 3, (uint64_t)i);
  mae_var out;
  ASSERT_OK(mae_tape_parameter(n->tape, n->value[i],
                               frozen ? NULL : n->grad[i], &out));
  return out;
}

static float draw(net *n) {
  float x;
  ASSERT_OK(mae_random_uniform(n->cuts, 5, (uint64_t)n->places++, 1, &x));
  return x;
}

/* Before an operation: perhaps a boundary. */
static net *cut(net *n) {
  if (!n->cuts) return n;
  float x = draw(n);
  if (x < 0.35f)
    ASSERT_OK(mae_tape_checkpoint(n->tape, 1));
  else if (x < 0.45f)
    ASSERT_OK(mae_tape_checkpoint(n->tape, 0));
  return n;
}

/* After one: perhaps keep its value. */
static mae_var made(net *n, mae_var var) {
  ck_assert_int_lt(n->n_vars, MOST_VARS);
  if (!n->cuts || draw(n) < 0.15f) ASSERT_OK(mae_tape_keep(n->tape, var));
  return n->var[n->n_vars++] = var;
}

static mae_var norm(net *n, mae_var x) {
  mae_var w = weight(n, false, SHAPE(WIDTH));
  mae_var b = weight(n, false, SHAPE(WIDTH));
  ASSERT_OK(mae_tape_layer_norm(cut(n)->tape, x, w, b, 1e-6f, &x));
  return made(n, x);
}

static mae_var linear(net *n, mae_var x, bool frozen, int64_t from, int64_t to,
                      mae_activation activation) {
  mae_var w = weight(n, frozen, SHAPE(to, from));
  mae_var b = weight(n, frozen, SHAPE(to));
  ASSERT_OK(mae_tape_linear(cut(n)->tape, x, w, b, activation, &x));
  return made(n, x);
}

static mae_var add(net *n, mae_var a, mae_var b) {
  ASSERT_OK(mae_tape_add(cut(n)->tape, a, b, &a));
  return made(n, a);
}

static mae_var block(net *n, mae_var x) {
  mae_var a = linear(n, norm(n, x), false, WIDTH, 3 * WIDTH, 0);
  ASSERT_OK(mae_tape_attention(cut(n)->tape, a, 3, &a));
  made(n, a);
  mae_var w = weight(n, false, SHAPE(WIDTH, WIDTH));
  mae_var b = weight(n, false, SHAPE(WIDTH)), h;
  ASSERT_OK(mae_tape_linear_add(cut(n)->tape, a, w, b, x, &h));
  made(n, h);
  a = linear(n, norm(n, h), false, WIDTH, 2 * WIDTH, MAE_ACTIVATION_GELU);
  a = linear(n, a, true, 2 * WIDTH, WIDTH, MAE_ACTIVATION_NONE);
  return add(n, add(n, a, a), h);
}

/* What the images alone, without gradients, are made into. */
static void aside(net *n) {
  mae_var x;
  ASSERT_OK(mae_tape_input(n->tape, SHAPE(B, 3, 3 * WIDTH), 0, &x));
  ASSERT_OK(mae_tape_attention_weights(cut(n)->tape, x, 3, &x));
  ASSERT_OK(mae_tape_keep(n->tape, x));
}

static void record(net *n) {
  const mae_index all = {MAE_NO_VAR};
  mae_var x, target, early;
  ASSERT_OK(mae_tape_input(n->tape, SHAPE(B, 1, SIDE, SIDE), 1, &n->images));
  ASSERT_OK(mae_tape_input(n->tape, SHAPE(B, PATCHES), 0, &n->mask));
  ASSERT_OK(mae_tape_input(n->tape, SHAPE(B, PATCHES, WIDTH), 0, &target));
  ASSERT_OK(mae_tape_index(n->tape, B, KEPT, &n->keep));
  ASSERT_OK(mae_tape_index(n->tape, B, PATCHES, &n->restore));
  ASSERT_OK(mae_tape_index(n->tape, B, PATCHES, &n->patches));
  aside(n);
  ASSERT_OK(mae_tape_patchify(cut(n)->tape, n->images, PATCH, MAE_PATCH_CPQ,
                              n->keep, &x));
  x = linear(n, made(n, x), false, PATCH * PATCH, WIDTH, MAE_ACTIVATION_NONE);
  mae_var token = weight(n, false, SHAPE(WIDTH));
  ASSERT_OK(mae_tape_concat_token(cut(n)->tape, token, x, &x));
  mae_var table = weight(n, false, SHAPE(1 + PATCHES, WIDTH));
  made(n, x);
  ASSERT_OK(mae_tape_add_position(cut(n)->tape, x, table, n->keep, &x));
  early = made(n, x);
  x = add(n, block(n, early), early);
  ASSERT_OK(mae_tape_unshuffle_tokens(cut(n)->tape, x, token, n->restore, &x));
  ASSERT_OK(mae_tape_add_position(cut(n)->tape, made(n, x), table, all, &x));
  x = block(n, made(n, x));
  ASSERT_OK(mae_tape_gather_tokens(cut(n)->tape, x, n->patches, &x));
  ASSERT_OK(mae_tape_masked_mse(cut(n)->tape, made(n, x), target, n->mask, 0,
                                &n->loss));
}

static net open_net(mae_context *context, mae_precision precision,
                    uint64_t cuts) {
  net n = {.context = context, .cuts = cuts};
  ASSERT_OK(mae_tape_create(context, &n.tape));
  ASSERT_OK(mae_tape_set_precision(n.tape, precision));
  record(&n);
  ASSERT_OK(mae_tape_plan(n.tape, n.loss));
  return n;
}

static void close_net(net *n) {
  mae_tape_destroy(n->tape);
  for (int i = 0; i < n->n_params; i++) {
    mae_tensor_destroy(n->value[i]);
    mae_tensor_destroy(n->grad[i]);
  }
}

/* Inputs and indices anew, a step with them. */
static void step(net *n, uint64_t seed, int32_t accumulate) {
  uint32_t order[PATCHES];
  for (int32_t id = 0; id < 4; id++) /* all inputs lie among the first */
    if (mae_tape_value(n->tape, (mae_var){id}))
      fill(mae_tape_value(n->tape, (mae_var){id}), seed, (uint64_t)id);
  float *mask = mae_tape_value(n->tape, n->mask)->data;
  for (int i = 0; i < B * PATCHES; i++) mask[i] = i % 3 == 0;
  ASSERT_OK(mae_random_permutation(seed, 9, PATCHES, order));
  for (int i = 0; i < B * PATCHES; i++) {
    int32_t k = (int32_t)order[i % PATCHES];
    mae_tape_index_data(n->tape, n->restore)[i] = k;
    mae_tape_index_data(n->tape, n->patches)[i] = k; /* class token as well */
    if (i < B * KEPT) mae_tape_index_data(n->tape, n->keep)[i] = k;
  }
  ASSERT_OK(mae_tape_forward(n->tape));
  ASSERT_OK(mae_tape_backward(n->tape, 1, accumulate));
}

static void expect_bits(const mae_tensor *a, const mae_tensor *b,
                        const char *what, int i, uint64_t cuts) {
  if (memcmp(a->data, b->data, (size_t)mae_tensor_size(a) * sizeof(float)))
    ck_abort_msg("%s %d differs, cuts %d", what, i, (int)cuts);
}

static void expect_same(net *n, net *full) {
  for (int i = 0; i < n->n_params; i++)
    expect_bits(n->grad[i], full->grad[i], "gradient", i, n->cuts);
  expect_bits(mae_tape_grad(n->tape, n->images),
              mae_tape_grad(full->tape, full->images), "gradient of images", 0,
              n->cuts);
  expect_bits(mae_tape_value(n->tape, n->loss),
              mae_tape_value(full->tape, full->loss), "loss", 0, n->cuts);
  for (int i = 0; i < n->n_vars; i++)
    if (mae_tape_value(n->tape, n->var[i]))
      expect_bits(mae_tape_value(n->tape, n->var[i]),
                  mae_tape_value(full->tape, full->var[i]), "value", i,
                  n->cuts);
}

/* Every operation, cut in many ways; the second step adds to the first one's
 * gradients, over what that one left in memory.  Case i: i % 2 + 1 threads, f32
 * and then bf16. */
START_TEST(same_bits) {
  mae_context *context = make_context(_i % 2 + 1, MAE_ISA_AUTO);
  const mae_precision precision = (mae_precision)(_i / 2);
  enum { WAYS = 150 };
  int again = 0;
  net full = open_net(context, precision, 0);
  const double plain = mae_tape_step_flops(full.tape);
  for (uint64_t cuts = 1; cuts <= WAYS; cuts++) {
    net n = open_net(context, precision, cuts);
    again += mae_tape_step_flops(n.tape) > plain;
    for (int s = 0; s < 3; s++) {
      step(&n, (uint64_t)(10 + s), s == 1);
      step(&full, (uint64_t)(10 + s), s == 1);
      expect_same(&n, &full);
    }
    close_net(&n);
  }
  ck_assert_int_gt(again, WAYS / 2); /* and they did compute again */
  close_net(&full);
  mae_context_destroy(context);
}
END_TEST

static mae_context *context;
static mae_tape *tape;

static void set_up(void) {
  context = make_context(2, MAE_ISA_AUTO);
  ASSERT_OK(mae_tape_create(context, &tape));
}

static void tear_down(void) {
  mae_tape_destroy(tape);
  mae_context_destroy(context);
}

/* An operation whose backward reads its output alone: dx = dy * y, y = 3 x. */
static mae_status triple(mae_tape *t, mae_op *op) {
  for (int64_t i = 0; i < op->size[0]; i++)
    mae_op_out(t, op)[i] = 3 * mae_op_in(t, op, 0)[i];
  return MAE_OK;
}

static void triple_backward(mae_tape *t, mae_op *op) {
  bool add = false;
  float *dx = mae_op_dx(t, op, 0, &add);
  for (int64_t i = 0; i < op->size[0]; i++)
    dx[i] = (add ? dx[i] : 0) + mae_op_dy(t, op)[i] * mae_op_out(t, op)[i];
}

static const mae_op_class triple_class = {
    .name = "triple", .forward = triple, .backward = triple_backward,
    .backward_reads_output = true, .identity = -1};

START_TEST(outputs_are_made_again) {
  enum { N = 16 };
  mae_var x, y;
  mae_op *op;
  ASSERT_OK(mae_tape_input(tape, SHAPE(N), 1, &x));
  y = x;
  for (int i = 0; i < 6; i++) {
    if (i % 2 == 0) ASSERT_OK(mae_tape_checkpoint(tape, 1));
    ASSERT_OK(mae_tape_record(tape, &triple_class, &y, 1, &y, &op));
    op->size[0] = N;
    ASSERT_OK(mae_tape_output(tape, op, SHAPE(N), &y));
  }
  ASSERT_OK(mae_tape_plan(tape, y));
  for (int i = 0; i < N; i++) mae_tape_value(tape, x)->data[i] = 1;
  ASSERT_OK(mae_tape_forward(tape));
  for (int i = 0; i < N; i++) mae_tape_grad(tape, y)->data[i] = 1;
  ASSERT_OK(mae_tape_backward(tape, 1, 0));
  for (int i = 0; i < N; i++) /* 3^(6 + 5 + 4 + 3 + 2 + 1) in float */
    ck_assert_float_eq_tol(mae_tape_grad(tape, x)->data[i], 10460353203.f,
                           1e4f);
  for (int i = 0; i < tape->n_ops; i++) /* the next segment's input stays */
    ck_assert_int_eq(tape->ops[i].runs_again, i % 2 == 0);
}
END_TEST

/* ------------------------------------------------------------ refreshes --- */

/* What can be made anew from what stays is not kept, outside segments and
 * where its own operation runs backward. */
START_TEST(refreshes) {
  enum { N = 16, NARROW = 8, WIDE = 32 };
  const bool frozen = _i & 1, segment = _i & 2;
  mae_var x, w1, b1, w2, b2, w3, b3, norm, hidden, y;
  ASSERT_OK(mae_tape_input(tape, SHAPE(N, NARROW), !frozen, &x));
  ASSERT_OK(mae_tape_input(tape, SHAPE(NARROW), !frozen, &w1));
  ASSERT_OK(mae_tape_input(tape, SHAPE(NARROW), !frozen, &b1));
  ASSERT_OK(mae_tape_input(tape, SHAPE(WIDE, NARROW), !frozen, &w2));
  ASSERT_OK(mae_tape_input(tape, SHAPE(WIDE), !frozen, &b2));
  ASSERT_OK(mae_tape_input(tape, SHAPE(NARROW, WIDE), 1, &w3));
  ASSERT_OK(mae_tape_input(tape, SHAPE(NARROW), 1, &b3));
  ASSERT_OK(mae_tape_checkpoint(tape, segment));
  ASSERT_OK(mae_tape_layer_norm(tape, x, w1, b1, 1e-6f, &norm));
  ASSERT_OK(mae_tape_linear(tape, norm, w2, b2, MAE_ACTIVATION_GELU, &hidden));
  ASSERT_OK(mae_tape_linear(tape, hidden, w3, b3, MAE_ACTIVATION_NONE, &y));
  ASSERT_OK(mae_tape_plan(tape, y));
  const bool expected = !frozen && !segment;
  ck_assert_int_eq(tape->ops[0].refreshed_for, expected ? 1 : -1);
  ck_assert_int_eq(tape->ops[1].refreshed_for, expected ? 2 : -1);
  ck_assert_int_eq(tape->ops[2].refreshed_for, -1);
}
END_TEST

enum { TOKENS = 5, GATHERED = 3, HEADS = 2, DIM = 8 };

/* y = gathered rows of attention, through a linear layer, and the gradient of
 * qkv, of a tape that spares memory or not. */
static mae_tape *attend_and_gather(const mae_tensor *w, bool spares_memory,
                                   mae_var *qkv) {
  mae_tape *t;
  mae_index rows;
  mae_var weight, bias, x;
  ASSERT_OK(mae_tape_create(context, &t));
  ASSERT_OK(mae_tape_input(t, SHAPE(B, TOKENS, 3 * DIM), 1, qkv));
  ASSERT_OK(mae_tape_input(t, SHAPE(DIM), 0, &bias));
  if (spares_memory)
    ASSERT_OK(mae_tape_passing_parameter(t, w, &weight));
  else
    ASSERT_OK(mae_tape_parameter(t, w, NULL, &weight));
  ASSERT_OK(mae_tape_index(t, B, GATHERED, &rows));
  ASSERT_OK(mae_tape_attention(t, *qkv, HEADS, &x));
  ASSERT_OK(mae_tape_gather_tokens(t, x, rows, &x));
  ASSERT_OK(mae_tape_linear(t, x, weight, bias, MAE_ACTIVATION_GELU, &x));
  ASSERT_OK(mae_tape_linear(t, x, weight, bias, MAE_ACTIVATION_GELU, &x));
  ASSERT_OK(mae_tape_plan(t, x));
  for (int i = 0; i < B * GATHERED; i++)
    mae_tape_index_data(t, rows)[i] = i % TOKENS;
  fill(mae_tape_value(t, *qkv), 1, 1);
  fill(mae_tape_value(t, bias), 1, 2);
  ASSERT_OK(mae_tape_forward(t));
  ASSERT_OK(mae_tape_backward(t, 1, 0));
  return t;
}

/* What is made of something refreshed comes after that. */
START_TEST(refreshes_in_a_row) {
  enum { ATTENTION, GATHER, LINEAR };
  mae_tensor *w;
  mae_var qkv;
  ASSERT_OK(mae_tensor_create(2, (int64_t[]){DIM, DIM}, &w));
  fill(w, 2, 1);
  mae_tape *spares = attend_and_gather(w, true, &qkv);
  mae_tape *keeps = attend_and_gather(w, false, &qkv);
  const mae_op *op = spares->ops;
  ck_assert_int_eq(op[ATTENTION].refreshed_for, LINEAR);
  ck_assert_int_eq(op[GATHER].refreshed_for, LINEAR);
  ck_assert_int_lt(op[ATTENTION].again_time, op[GATHER].again_time);
  ck_assert_int_lt(op[GATHER].again_time, op[LINEAR].backward_time);
  ck_assert_int_eq(keeps->ops[ATTENTION].refreshed_for, -1);
  expect_bits(mae_tape_grad(spares, qkv), mae_tape_grad(keeps, qkv), "qkv", 0,
              0);
  mae_tape_destroy(spares);
  mae_tape_destroy(keeps);
  mae_tensor_destroy(w);
}
END_TEST

/* All that an output was made of is there until it is made anew. */
START_TEST(refreshes_find_their_inputs) {
  enum { ADDS = 2, NORM = ADDS, LINEAR };
  mae_var x, w, biases[ADDS], y;
  ASSERT_OK(mae_tape_input(tape, SHAPE(WIDTH, WIDTH), 1, &x));
  ASSERT_OK(mae_tape_input(tape, SHAPE(WIDTH, WIDTH), 1, &w));
  for (int i = 0; i < ADDS; i++) {
    ASSERT_OK(mae_tape_input(tape, SHAPE(WIDTH), 1, &biases[i]));
    ASSERT_OK(mae_tape_add(tape, biases[i], biases[i], &biases[i]));
  }
  ASSERT_OK(mae_tape_layer_norm(tape, x, biases[0], biases[1], 1e-6f, &y));
  ASSERT_OK(mae_tape_linear(tape, y, w, biases[0], MAE_ACTIVATION_NONE, &y));
  ASSERT_OK(mae_tape_plan(tape, y));
  ck_assert_int_eq(tape->ops[NORM].refreshed_for, LINEAR);
  for (int i = 0; i < ADDS; i++) {
    const mae_node *node = &tape->nodes[biases[i].id];
    ck_assert_int_ge(tape->buffers[node->value_buffer].last,
                     tape->ops[NORM].again_time);
  }
}
END_TEST

/* w's gradient, where rows of what a segment makes, and makes again later, are
 * gathered outside it and read backward. */
static void gather_from_segment(bool segment, float *gradient) {
  enum { GATHER = 2, READER };
  mae_tape *t;
  mae_index rows;
  mae_var x, w, b, a, inside, outside, y;
  ASSERT_OK(mae_tape_create(context, &t));
  ASSERT_OK(mae_tape_input(t, SHAPE(B, TOKENS, DIM), 1, &x));
  ASSERT_OK(mae_tape_input(t, SHAPE(DIM, DIM), 1, &w));
  ASSERT_OK(mae_tape_input(t, SHAPE(DIM), 1, &b));
  ASSERT_OK(mae_tape_index(t, B, GATHERED, &rows));
  ASSERT_OK(mae_tape_checkpoint(t, segment));
  ASSERT_OK(mae_tape_linear(t, x, w, b, MAE_ACTIVATION_NONE, &a));
  ASSERT_OK(mae_tape_linear(t, a, w, b, MAE_ACTIVATION_NONE, &inside));
  ASSERT_OK(mae_tape_checkpoint(t, 0));
  ASSERT_OK(mae_tape_gather_tokens(t, a, rows, &outside));
  ASSERT_OK(mae_tape_linear(t, outside, w, b, MAE_ACTIVATION_NONE, &outside));
  ASSERT_OK(mae_tape_gather_tokens(t, inside, rows, &inside));
  ASSERT_OK(mae_tape_add(t, inside, outside, &y));
  ASSERT_OK(mae_tape_plan(t, y));
  ck_assert_int_eq(t->ops[GATHER].refreshed_for, READER);
  ck_assert_int_ge(t->buffers[t->nodes[a.id].value_buffer].last,
                   t->ops[GATHER].again_time);
  for (int i = 0; i < B * GATHERED; i++)
    mae_tape_index_data(t, rows)[i] = (2 * i) % TOKENS;
  fill(mae_tape_value(t, x), 1, 1);
  fill(mae_tape_value(t, w), 1, 2);
  fill(mae_tape_value(t, b), 1, 3);
  ASSERT_OK(mae_tape_forward(t));
  ASSERT_OK(mae_tape_backward(t, 1, 0));
  memcpy(gradient, mae_tape_grad(t, w)->data, DIM * DIM * sizeof *gradient);
  mae_tape_destroy(t);
}

START_TEST(refreshes_from_segments) {
  float kept[DIM * DIM], again[DIM * DIM];
  gather_from_segment(false, kept);
  gather_from_segment(true, again);
  ck_assert_mem_eq(kept, again, sizeof kept);
}
END_TEST

/* ------------------------------------------------------------- memory --- */

/* A passing input's place is free for what comes after its last reader. */
START_TEST(inputs_may_pass) {
  enum { N = 64 };
  size_t memory[2];
  for (int passing = 0; passing < 2; passing++) {
    mae_tape *t;
    mae_var x, y;
    ASSERT_OK(mae_tape_create(context, &t));
    if (passing)
      ASSERT_OK(mae_tape_passing_input(t, SHAPE(N, N), &x));
    else
      ASSERT_OK(mae_tape_input(t, SHAPE(N, N), 0, &x));
    y = x;
    for (int i = 0; i < 4; i++) ASSERT_OK(mae_tape_add(t, y, y, &y));
    ASSERT_OK(mae_tape_keep(t, y));
    ASSERT_OK(mae_tape_plan(t, (mae_var){MAE_NO_VAR}));
    for (int pass = 1; pass <= 2; pass++) {
      const mae_tensor *in = mae_tape_value(t, x), *out = mae_tape_value(t, y);
      for (int i = 0; i < N * N; i++) in->data[i] = (float)(pass * i);
      ASSERT_OK(mae_tape_forward(t));
      int wrong = 0;
      for (int i = 0; i < N * N; i++)
        wrong += out->data[i] != (float)(16 * pass * i);
      ck_assert_int_eq(wrong, 0);
    }
    memory[passing] = mae_tape_memory(t);
    mae_tape_destroy(t);
  }
  ck_assert_uint_le(memory[1] + N * N * sizeof(float), memory[0]);
}
END_TEST

enum { DEEP = 8, INNER = 5, ROWS = 64 };

/* DEEP segments of INNER layers, each of which has an input to keep. */
static size_t chain_memory(bool recompute) {
  mae_tape *t;
  mae_var x, w, b;
  mae_context *portable = make_context(2, MAE_ISA_PORTABLE);
  ASSERT_OK(mae_tape_create(portable, &t)); /* its products need no scratch */
  ASSERT_OK(mae_tape_input(t, SHAPE(ROWS, ROWS), 1, &x));
  ASSERT_OK(mae_tape_input(t, SHAPE(ROWS, ROWS), 0, &w));
  ASSERT_OK(mae_tape_input(t, SHAPE(ROWS), 0, &b));
  for (int i = 0; i < DEEP; i++) {
    ASSERT_OK(mae_tape_checkpoint(t, recompute));
    for (int k = 0; k < INNER; k++)
      ASSERT_OK(mae_tape_linear(t, x, w, b, 0, &x));
  }
  ASSERT_OK(mae_tape_plan(t, x));
  ASSERT_OK(mae_tape_forward(t));
  ASSERT_OK(mae_tape_backward(t, 1, 0));
  size_t memory = mae_tape_memory(t);
  mae_tape_destroy(t);
  mae_context_destroy(portable);
  return memory;
}

/* In values: the inputs of segments but the first, of one segment all, two
 * gradients under way; input and loss with their gradients, the weights. */
START_TEST(keeps_inputs_of_segments) {
  const size_t value = ROWS * ROWS * sizeof(float), bias = 256, leaves = 5;
  ck_assert_uint_ge(chain_memory(false),
                    (leaves + DEEP * INNER - 1) * value + bias);
  ck_assert_uint_le(chain_memory(true),
                    (leaves + DEEP - 1 + INNER - 1 + 2) * value + bias);
}
END_TEST

/* Forward alone there is nothing to compute again. */
START_TEST(forward_alone_is_as_before) {
  size_t memory[2];
  for (uint64_t cuts = 0; cuts < 2; cuts++) {
    mae_var x, y;
    mae_tape *t;
    ASSERT_OK(mae_tape_create(context, &t));
    ASSERT_OK(mae_tape_input(t, SHAPE(4, 4), 1, &x));
    ASSERT_OK(mae_tape_add(t, x, x, &y));
    ASSERT_OK(mae_tape_checkpoint(t, (int32_t)cuts));
    ASSERT_OK(mae_tape_add(t, y, x, &y));
    ASSERT_OK(mae_tape_add(t, y, x, &y));
    ASSERT_OK(mae_tape_keep(t, y));
    ASSERT_OK(mae_tape_plan(t, (mae_var){MAE_NO_VAR}));
    fill(mae_tape_value(t, x), 1, 1);
    ASSERT_OK(mae_tape_forward(t));
    for (int i = 0; i < 16; i++) {
      float in = mae_tape_value(t, x)->data[i];
      ck_assert_float_eq(mae_tape_value(t, y)->data[i], in + in + in + in);
    }
    memory[cuts] = mae_tape_memory(t);
    mae_tape_destroy(t);
  }
  ck_assert_uint_eq(memory[0], memory[1]);
}
END_TEST

START_TEST(steps_allocate_nothing) {
  net n = open_net(context, MAE_PRECISION_F32, 1);
  step(&n, 1, 0); /* the BLAS library may set itself up */
  long before = count_alloc_calls();
  int failed = 0; /* Check's own assertions allocate */
  for (int i = 0; i < 5; i++)
    failed |= mae_tape_forward(n.tape) || mae_tape_backward(n.tape, 1, 0);
  long after = count_alloc_calls();
  ck_assert_int_eq(failed, 0);
  ck_assert_int_eq(after - before, 0);
  close_net(&n);
}
END_TEST

/* ------------------------------------------------------------- misuse --- */

START_TEST(refused) {
  mae_var x;
  ASSERT_FAILS(mae_tape_checkpoint(NULL, 1), MAE_ERROR_INVALID_ARGUMENT,
               "tape");
  ASSERT_OK(mae_tape_input(tape, SHAPE(4, 4), 1, &x));
  ASSERT_OK(mae_tape_checkpoint(tape, 1)); /* empty segments do no harm */
  ASSERT_OK(mae_tape_checkpoint(tape, 1));
  ASSERT_OK(mae_tape_add(tape, x, x, &x));
  ASSERT_OK(mae_tape_checkpoint(tape, 0));
  ASSERT_OK(mae_tape_checkpoint(tape, 1));
  ASSERT_OK(mae_tape_plan(tape, x));
  ASSERT_FAILS(mae_tape_checkpoint(tape, 1), MAE_ERROR_STATE, "planned");
  ASSERT_OK(mae_tape_forward(tape));
  ASSERT_OK(mae_tape_backward(tape, 1, 0));
  ASSERT_FAILS(mae_tape_backward(tape, 1, 0), MAE_ERROR_STATE, "forward");
}
END_TEST

START_TEST(refused_number) { /* sticks, as other failures of recording */
  mae_var x;
  ASSERT_OK(mae_tape_input(tape, SHAPE(4, 4), 1, &x));
  ASSERT_OK(mae_tape_add(tape, x, x, &x));
  ASSERT_FAILS(mae_tape_checkpoint(tape, _i), MAE_ERROR_INVALID_ARGUMENT,
               "recompute");
  ASSERT_FAILS(mae_tape_checkpoint(tape, 1), MAE_ERROR_INVALID_ARGUMENT,
               "recompute");
  ASSERT_FAILS(mae_tape_plan(tape, x), MAE_ERROR_INVALID_ARGUMENT, "recompute");
}
END_TEST

/* ----------------------------------------------------------- training --- */

enum { BATCH = 4, STEPS = 10 };

typedef struct run {
  mae_model *model;
  mae_trainer *trainer;
} run;

static run start(mae_context *of, const mae_config *config, int accum,
                 mae_precision precision, int32_t recompute) {
  run r;
  mae_trainer_options o;
  mae_trainer_options_init(&o, sizeof o);
  ck_assert_int_eq(o.recompute, 0);
  o.batch_size = BATCH;
  o.base_lr = 0.064;
  o.accum_steps = accum;
  o.precision = precision;
  o.recompute = recompute;
  ASSERT_OK(mae_model_create(config, 1, &r.model));
  ASSERT_OK(mae_trainer_create(of, r.model, &o, &r.trainer));
  return r;
}

static void stop(run *r) {
  mae_trainer_destroy(r->trainer);
  mae_model_destroy(r->model);
}

static void expect_same_runs(const run *a, const run *b) {
  for (int32_t i = 0; i < mae_model_num_tensors(a->model); i++) {
    const char *name = mae_model_tensor_name(a->model, i);
    expect_bits(mae_model_tensor(a->model, i), mae_model_tensor(b->model, i),
                name, i, 0);
    if (mae_trainer_gradient(a->trainer, name))
      expect_bits(mae_trainer_gradient(a->trainer, name),
                  mae_trainer_gradient(b->trainer, name), name, i, 0);
  }
}

/* Case i: i % 2 + 1 threads, i / 2 % 2 + 1 steps an update, f32 and then bf16;
 * 5 updates at least. */
START_TEST(trains_alike) {
  mae_context *of = make_context(_i % 2 + 1, MAE_ISA_AUTO);
  mae_config config = small_config();
  config.depth = 3;
  config.decoder_depth = 2;
  const int accum = _i / 2 % 2 + 1;
  const mae_precision precision = (mae_precision)(_i / 4);
  run plain = start(of, &config, accum, precision, 0);
  run again = start(of, &config, accum, precision, 1);
  for (int i = 0; i < STEPS; i++) {
    float *images = small_images(BATCH, (uint64_t)i);
    mae_step_result a = {.struct_size = sizeof a}, b = a;
    ASSERT_OK(mae_trainer_step(plain.trainer, images, NULL, &a));
    ASSERT_OK(mae_trainer_step(again.trainer, images, NULL, &b));
    ck_assert_mem_eq(&a, &b, sizeof a);
    expect_same_runs(&plain, &again);
    free(images);
  }
  ck_assert_int_ge(mae_trainer_steps(again.trainer), 5);
  stop(&plain);
  stop(&again);
  mae_context_destroy(of);
}
END_TEST

Suite *recompute_suite(void) {
  Suite *suite = suite_create("recompute");
  TCase *tc = tcase_create("recompute");
  tcase_set_timeout(tc, 120);
  tcase_add_checked_fixture(tc, set_up, tear_down);
  tcase_add_loop_test(tc, same_bits, 0, 4);
  tcase_add_test(tc, outputs_are_made_again);
  tcase_add_loop_test(tc, refreshes, 0, 4);
  tcase_add_test(tc, refreshes_in_a_row);
  tcase_add_test(tc, refreshes_find_their_inputs);
  tcase_add_test(tc, refreshes_from_segments);
  tcase_add_test(tc, inputs_may_pass);
  tcase_add_test(tc, keeps_inputs_of_segments);
  tcase_add_test(tc, forward_alone_is_as_before);
  if (count_alloc_calls() >= 0 && !BLAS_TAKES_MEMORY)
    tcase_add_test(tc, steps_allocate_nothing);
  tcase_add_test(tc, refused);
  tcase_add_loop_test(tc, refused_number, -1, 0);
  tcase_add_loop_test(tc, refused_number, 2, 3);
  tcase_add_loop_test(tc, trains_alike, 0, 8);
  suite_add_tcase(suite, tc);
  return suite;
}
