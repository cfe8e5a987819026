/* Classifiers against PyTorch in double precision (make_finetune.py of
 * tests/data).  The bar is that of test_parity.c, 1e-4 relative to the largest
 * value of each tensor; MAE_SHOW_PARITY=1 prints what was reached. */
#include "golden.h"
#include "model/graph.h"
#include "suites.h"

static const double BAR = 1e-4;

/* --------------------------------------------------------- operations --- */

static const double OP_BAR = 2e-6;

enum { X, OTHER, RESIDUAL, INPUTS };

typedef struct op_case {
  const char *prefix;
  const char *in[INPUTS]; /* names in the file */
  bool live[INPUTS];
  mae_status (*record)(mae_tape *tape, const mae_var *in, mae_var *out);
} op_case;

static mae_status record_token(mae_tape *t, const mae_var *in, mae_var *out) {
  return mae_tape_mean_tokens(t, in[X], 0, 1, out);
}

static mae_status record_pool(mae_tape *t, const mae_var *in, mae_var *out) {
  return mae_tape_mean_tokens(t, in[X], 1, 6, out); /* of 7 */
}

static mae_status record_loss(mae_tape *t, const mae_var *in, mae_var *out) {
  return mae_tape_softmax_cross_entropy(t, in[X], in[OTHER], out);
}

static mae_status record_drop(mae_tape *t, const mae_var *in, mae_var *out) {
  return mae_tape_drop_path_add(t, in[X], in[OTHER], in[RESIDUAL], out);
}

static const op_case op_cases[] = {
    {"token.", {"x"}, {true}, record_token},
    {"pool.", {"x"}, {true}, record_pool},
    {"hard.", {"logits", "target"}, {true}, record_loss},
    {"smooth.", {"logits", "target"}, {true}, record_loss},
    {"soft.", {"logits", "target"}, {true}, record_loss},
    {"drop.", {"x", "scale", "residual"}, {true, false, true}, record_drop},
};

enum { OP_CASES = sizeof op_cases / sizeof *op_cases };

static mae_tensor *op_tensor(const mae_safetensors *file, const op_case *c,
                             const char *name) {
  char full[64];
  snprintf(full, sizeof full, "%s%s", c->prefix, name);
  return golden(file, full);
}

static void fill(mae_tensor *to, const mae_safetensors *file, const op_case *c,
                 const char *name) {
  mae_tensor *from = op_tensor(file, c, name);
  ck_assert_int_eq(mae_tensor_size(from), mae_tensor_size(to));
  memcpy(to->data, from->data, (size_t)mae_tensor_size(to) * sizeof(float));
  mae_tensor_destroy(from);
}

static void check_op(const mae_safetensors *file, mae_context *context,
                     const op_case *c) {
  mae_tape *tape;
  mae_var in[INPUTS], out;
  ASSERT_OK(mae_tape_create(context, &tape));
  for (int i = 0; i < INPUTS && c->in[i]; i++) {
    mae_tensor *t = op_tensor(file, c, c->in[i]);
    ASSERT_OK(mae_tape_input(tape, t->ndim, t->shape, c->live[i], &in[i]));
    mae_tensor_destroy(t);
  }
  ASSERT_OK(c->record(tape, in, &out));
  ASSERT_OK(mae_tape_plan(tape, out));
  for (int i = 0; i < INPUTS && c->in[i]; i++)
    fill(mae_tape_value(tape, in[i]), file, c, c->in[i]);
  ASSERT_OK(mae_tape_forward(tape));
  fill(mae_tape_grad(tape, out), file, c, "dy");
  ASSERT_OK(mae_tape_backward(tape, mae_tape_grad(tape, out)->data[0], 0));
  const mae_tensor *y = mae_tape_value(tape, out);
  expect_golden(file, c->prefix, "y", y->data, mae_tensor_size(y), OP_BAR);
  for (int i = 0; i < INPUTS && c->in[i]; i++) {
    const mae_tensor *grad = mae_tape_grad(tape, in[i]);
    char name[32];
    snprintf(name, sizeof name, "d%s", c->in[i]);
    if (c->live[i])
      expect_golden(file, c->prefix, name, grad->data, mae_tensor_size(grad), OP_BAR);
  }
  mae_tape_destroy(tape);
}

/* Case i: an instruction set and a thread count. */
START_TEST(operations) {
  mae_safetensors *file;
  mae_context *context = make_context(_i % 2 ? 2 : 1, isas[_i / 2]);
  ASSERT_OK(mae_safetensors_open("tests/data/golden_classifier_ops.safetensors",
                                 &file));
  for (int i = 0; i < OP_CASES; i++) check_op(file, context, &op_cases[i]);
  mae_safetensors_close(file);
  mae_context_destroy(context);
}
END_TEST

Suite *finetune_parity_suite(void) {
  Suite *suite = suite_create("finetune_parity");
  TCase *tc = tcase_create("finetune_parity");
  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, operations, 0, 2 * isa_count());
  suite_add_tcase(suite, tc);
  return suite;
}
