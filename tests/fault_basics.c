/* Faults: contexts, tensors, and tapes of each operation. */
#include "faults.h"

static mae_status nothing(fault_world *w) {
  (void)w;
  return MAE_OK;
}

static mae_status create_context(fault_world *w) {
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  o.threads = 3;
  o.profile = 1;
  return mae_context_create(&o, &w->made.context);
}

static const int64_t shape[] = {3, 5};

static mae_status create_tensor(fault_world *w) {
  return mae_tensor_create(2, shape, &w->made.tensor);
}

static mae_status borrow_tensor(fault_world *w) {
  static _Alignas(64) float data[15] = {1, 2, 3};
  (void)w;
  return mae_tensor_borrow(data, 2, shape, &w->made.tensor);
}

const fault_case fault_basics[] = {
    {"mae_context_create", "", MAKES_CONTEXT, nothing, create_context, NULL, 0,
     NULL},
    {"mae_tensor_create", "", MAKES_TENSOR, nothing, create_tensor, NULL, 0,
     NULL},
    {"mae_tensor_borrow", "", MAKES_TENSOR, nothing, borrow_tensor, NULL, 0,
     NULL},
    {0}};

/* ---------------------------------------------------------------- tapes --- */

enum { B = 2, T = 5, D = 8, L = T - 1 };

/* A graph of inputs and one operation on them, planned and run.  Of a tape
 * whose recording failed, plan says the same. */
typedef struct recorder {
  mae_tape *tape;
  mae_status status;
  mae_var inputs[4];
  int32_t n_inputs;
  mae_index index;
} recorder;

static mae_var input(recorder *r, int32_t ndim, const int64_t *sizes) {
  mae_var var = {MAE_NO_VAR};
  if (r->status == MAE_OK)
    r->status = mae_tape_input(r->tape, ndim, sizes, 1, &var);
  r->inputs[r->n_inputs++] = var;
  return var;
}

static mae_var input1(recorder *r, int64_t a) {
  return input(r, 1, (int64_t[]){a});
}
static mae_var input2(recorder *r, int64_t a, int64_t b) {
  return input(r, 2, (int64_t[]){a, b});
}
static mae_var input3(recorder *r, int64_t a, int64_t b, int64_t c) {
  return input(r, 3, (int64_t[]){a, b, c});
}

static void index_of(recorder *r, int64_t count) {
  if (r->status == MAE_OK)
    r->status = mae_tape_index(r->tape, B, count, &r->index);
}

typedef mae_status (*record)(recorder *r, mae_var *out);

/* A failed call leaves its var as it was, so ids stay MAE_NO_VAR, and the
 * operation on them fails in its turn: with the tape's first status. */
static mae_status run_graph(fault_world *w, recorder *r, record operation) {
  mae_var out = {MAE_NO_VAR};
  const mae_status said = operation(r, &out);
  if (r->status == MAE_OK) r->status = said;
  if (r->status == MAE_OK) r->status = mae_tape_keep(r->tape, out);
  const mae_status planned = mae_tape_plan(r->tape, out);
  if (r->status != MAE_OK)
    return planned == r->status ? planned : MAE_ERROR_STATE;
  MAE_TRY(planned);
  for (int32_t i = 0; i < r->n_inputs; i++) {
    mae_tensor *t = mae_tape_value(r->tape, r->inputs[i]);
    mae_random_uniform(1, (uint64_t)i, 0, (size_t)mae_tensor_size(t), t->data);
  }
  MAE_TRY(mae_tape_forward(r->tape));
  mae_tensor *y = mae_tape_value(r->tape, out);
  const int64_t n = mae_tensor_size(y);
  float *grad = mae_tape_grad(r->tape, out)->data;
  for (int64_t i = 0; i < n; i++) grad[i] = 1;
  MAE_TRY(mae_tape_backward(r->tape, 1, 0));
  float *to = w->out;
  for (int64_t i = 0; i < n; i++) *to++ = y->data[i];
  for (int32_t k = 0; k < r->n_inputs; k++) {
    const mae_tensor *g = mae_tape_grad(r->tape, r->inputs[k]);
    for (int64_t i = 0; g && i < mae_tensor_size(g); i++) *to++ = g->data[i];
  }
  return MAE_OK;
}

static mae_status on_tape(fault_world *w, record operation) {
  recorder r = {.index = {MAE_NO_VAR}};
  MAE_TRY(mae_tape_create(w->context, &r.tape));
  mae_status status = run_graph(w, &r, operation);
  mae_tape_destroy(r.tape);
  return status;
}

/* GRAPH(name, what fills in *out): the run of a case. */
#define GRAPH(name, ...)                                     \
  static mae_status record_##name(recorder *r, mae_var *out) \
      __VA_ARGS__ static mae_status name(fault_world *w) {   \
    return on_tape(w, record_##name);                        \
  }

/* Of the inputs' statuses the first counts, in run_graph; a tape that failed
 * records nothing. */
GRAPH(add, {
  mae_var a = input2(r, B, D), b = input2(r, B, D);
  return mae_tape_add(r->tape, a, b, out);
})
GRAPH(linear, {
  mae_var x = input3(r, B, T, D), weight = input2(r, 4, D),
          bias = input1(r, 4);
  return mae_tape_linear(r->tape, x, weight, bias, MAE_ACTIVATION_GELU, out);
})
GRAPH(bf16, {
  mae_var x = input3(r, B, T, D), weight = input2(r, 4, D),
          bias = input1(r, 4);
  MAE_TRY(mae_tape_set_precision(r->tape, MAE_PRECISION_BF16));
  return mae_tape_linear(r->tape, x, weight, bias, MAE_ACTIVATION_NONE, out);
})
GRAPH(linear_add, {
  mae_var x = input3(r, B, T, D), weight = input2(r, 4, D),
          bias = input1(r, 4), residual = input3(r, B, T, 4);
  return mae_tape_linear_add(r->tape, x, weight, bias, residual, out);
})
GRAPH(layer_norm, {
  mae_var x = input3(r, B, T, D), weight = input1(r, D), bias = input1(r, D);
  return mae_tape_layer_norm(r->tape, x, weight, bias, 1e-6f, out);
})
GRAPH(attention, {
  return mae_tape_attention(r->tape, input3(r, B, T, 3 * D), 2, out);
})
GRAPH(patchify, {
  mae_var images = input(r, 4, (int64_t[]){B, 1, 8, 8});
  index_of(r, 2);
  return mae_tape_patchify(r->tape, images, 4, MAE_PATCH_CPQ, r->index, out);
})
GRAPH(gather, {
  mae_var x = input3(r, B, T, D);
  index_of(r, 2);
  return mae_tape_gather_tokens(r->tape, x, r->index, out);
})
GRAPH(unshuffle, {
  mae_var x = input3(r, B, 1 + 2, D), token = input1(r, D);
  index_of(r, L);
  return mae_tape_unshuffle_tokens(r->tape, x, token, r->index, out);
})
GRAPH(concat, {
  mae_var token = input1(r, D), x = input3(r, B, T, D);
  return mae_tape_concat_token(r->tape, token, x, out);
})
GRAPH(position, {
  mae_var x = input3(r, B, T, D), table = input2(r, T, D);
  return mae_tape_add_position(r->tape, x, table, r->index, out);
})
/* Targets, masks and scales take no gradient. */
static mae_var constant(recorder *r, int32_t ndim, const int64_t *sizes) {
  mae_var var = {MAE_NO_VAR};
  if (r->status == MAE_OK)
    r->status = mae_tape_input(r->tape, ndim, sizes, 0, &var);
  r->inputs[r->n_inputs++] = var;
  return var;
}
GRAPH(masked_mse, {
  mae_var pred = input3(r, B, L, D);
  mae_var target = constant(r, 3, (int64_t[]){B, L, D});
  mae_var mask = constant(r, 2, (int64_t[]){B, L});
  return mae_tape_masked_mse(r->tape, pred, target, mask, 1, out);
})
GRAPH(mean_tokens, {
  return mae_tape_mean_tokens(r->tape, input3(r, B, T, D), 1, L, out);
})
GRAPH(cross_entropy, {
  mae_var logits = input2(r, B, D);
  mae_var target = constant(r, 2, (int64_t[]){B, D});
  return mae_tape_softmax_cross_entropy(r->tape, logits, target, out);
})
GRAPH(drop_path, {
  mae_var x = input3(r, B, T, D), scale = constant(r, 1, (int64_t[]){B});
  mae_var residual = input3(r, B, T, D);
  return mae_tape_drop_path_add(r->tape, x, scale, residual, out);
})
/* Two segments, of which the first runs again. */
GRAPH(checkpoint, {
  mae_var x = input3(r, B, T, D), weight = input1(r, D), bias = input1(r, D);
  mae_var y = {MAE_NO_VAR};
  MAE_TRY(mae_tape_checkpoint(r->tape, 1));
  MAE_TRY(mae_tape_layer_norm(r->tape, x, weight, bias, 1e-6f, &y));
  MAE_TRY(mae_tape_checkpoint(r->tape, 0));
  return mae_tape_layer_norm(r->tape, y, weight, bias, 1e-6f, out);
})
/* So many that every array of the tape grows. */
GRAPH(keep, {
  mae_var x = input2(r, B, D);
  for (int i = 0; i < 100; i++) {
    mae_var y = {MAE_NO_VAR};
    MAE_TRY(mae_tape_add(r->tape, x, x, &y));
    MAE_TRY(mae_tape_keep(r->tape, y));
    if (i % 8 == 0) x = y;
  }
  return mae_tape_add(r->tape, x, x, out);
})
GRAPH(index, {
  for (int i = 0; i < 100; i++) index_of(r, 2);
  mae_var x = input3(r, B, T, D);
  return mae_tape_gather_tokens(r->tape, x, r->index, out);
})
GRAPH(inputs, {
  mae_var x = input2(r, B, D);
  for (int i = 0; i < 100; i++) {
    input2(r, B, D);
    r->n_inputs--;
  }
  return mae_tape_add(r->tape, x, x, out);
})

/* As many parameters, whose tensors are the model's. */
static mae_status record_parameters(recorder *r, const mae_model *model,
                                    mae_var *out) {
  for (int32_t i = 0; i < mae_model_num_tensors(model); i++)
    MAE_TRY(mae_tape_parameter(r->tape, mae_model_tensor(model, i), NULL, out));
  return MAE_OK;
}

static mae_status parameters(fault_world *w) {
  mae_tape *tape;
  mae_var last = {MAE_NO_VAR};
  MAE_TRY(mae_tape_create(w->context, &tape));
  recorder r = {.tape = tape};
  mae_status status = record_parameters(&r, w->model, &last);
  const mae_status planned = mae_tape_plan(tape, (mae_var){MAE_NO_VAR});
  if (status != MAE_OK && status != planned) status = MAE_ERROR_STATE;
  if (status == MAE_OK) status = planned;
  if (status == MAE_OK) status = mae_tape_forward(tape);
  mae_tape_destroy(tape);
  return status;
}

static mae_status make_parameters(fault_world *w) {
  MAE_TRY(fault_make_context(w));
  return fault_make_model(w);
}

#define TAPE(call, name) \
  {"mae_tape_" call, "", MAKES_NOTHING, fault_make_context, name, NULL, 0, NULL}
const fault_case fault_tapes[] = {
    TAPE("create", add),
    TAPE("plan", linear),
    TAPE("input", inputs),
    TAPE("index", index),
    TAPE("keep", keep),
    TAPE("checkpoint", checkpoint),
    TAPE("linear", linear),
    TAPE("set_precision", bf16),
    TAPE("linear_add", linear_add),
    TAPE("layer_norm", layer_norm),
    TAPE("attention", attention),
    TAPE("add", add),
    TAPE("patchify", patchify),
    TAPE("gather_tokens", gather),
    TAPE("unshuffle_tokens", unshuffle),
    TAPE("concat_token", concat),
    TAPE("add_position", position),
    TAPE("masked_mse", masked_mse),
    TAPE("mean_tokens", mean_tokens),
    TAPE("softmax_cross_entropy", cross_entropy),
    TAPE("drop_path_add", drop_path),
    {"mae_tape_parameter", "", MAKES_NOTHING, make_parameters, parameters, NULL,
     0, NULL},
    {0}};
