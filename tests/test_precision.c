/* Linear layers in bf16: the rounding of their factors, their products and
 * gradients against loops in double, models against PyTorch
 * (tests/data/make_bf16.py), and how far from f32 all that leads. */
#include <unistd.h>

#include "autograd/tape.h"
#include "base/half.h"
#include "golden.h"
#include "suites.h"

static const mae_precision BF16 = MAE_PRECISION_BF16;

static char path[] = "/tmp/libmae-precision-XXXXXX";

static void make_path(void) { close(mkstemp(path)); }
static void drop_path(void) { unlink(path); }

/* ----------------------------------------------------------- rounding --- */

/* The nearest number of 8 bits of mantissa by arithmetic, not by bits. */
static double nearest(float x) {
  if (!isfinite(x) || x == 0) return x;
  int exponent;
  frexp((double)x, &exponent);
  double unit = ldexp(1, exponent - 8 < -133 ? -133 : exponent - 8);
  double y = nearbyint((double)x / unit) * unit; /* ties to even */
  return fabs(y) >= ldexp(1, 128) ? copysign(INFINITY, (double)x) : y;
}

/* Every bf16, and what lies around the middle to the next. */
static const uint32_t below[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
enum { BELOW = 6, NUMBERS = 65536 * BELOW };

static float *all_numbers(void) {
  float *x = malloc(NUMBERS * sizeof *x);
  ck_assert_ptr_nonnull(x);
  for (uint32_t i = 0; i < NUMBERS; i++) {
    uint32_t bits = i / BELOW << 16 | below[i % BELOW];
    memcpy(&x[i], &bits, sizeof bits);
  }
  return x;
}

static void expect_rounded(const mae_context *context, const float *x,
                           const float *y) {
  const bool native = mae_context_precision_is_native(context, BF16);
  for (int i = 0; i < NUMBERS; i++) {
    const double want = nearest(x[i]);
    if (isnan(want) ? isnan(y[i]) : (double)y[i] == want) continue;
    if (native && fabs((double)x[i]) < ldexp(1, -126) && y[i] == 0) continue;
    ck_abort_msg("isa %d: %a becomes %a, not %a",
                 (int)mae_context_isa(context), (double)x[i], (double)y[i],
                 want);
  }
}

typedef struct layer {
  mae_tape *tape;
  mae_var x, w, b, residual, y;
  int64_t rows, in, out;
} layer;

enum { DX = 1, DW = 2, DB = 4, ALL = 7, GELU = 8, RESIDUAL = 16 };

/* y = x w^T + b, all inputs; what: wanted gradients, and what the layer has. */
static layer open_layer(mae_context *context, int64_t rows, int64_t in,
                        int64_t out, unsigned what) {
  layer l = {.rows = rows, .in = in, .out = out};
  const int64_t x[] = {rows, in}, w[] = {out, in}, y[] = {rows, out};
  ASSERT_OK(mae_tape_create(context, &l.tape));
  ASSERT_OK(mae_tape_set_precision(l.tape, BF16));
  ASSERT_OK(mae_tape_input(l.tape, 2, x, (what & DX) != 0, &l.x));
  ASSERT_OK(mae_tape_input(l.tape, 2, w, (what & DW) != 0, &l.w));
  ASSERT_OK(mae_tape_input(l.tape, 1, &out, (what & DB) != 0, &l.b));
  if (what & RESIDUAL) {
    ASSERT_OK(mae_tape_input(l.tape, 2, y, 1, &l.residual));
    ASSERT_OK(
        mae_tape_linear_add(l.tape, l.x, l.w, l.b, l.residual, &l.y));
  } else {
    ASSERT_OK(mae_tape_linear(
        l.tape, l.x, l.w, l.b,
        what & GELU ? MAE_ACTIVATION_GELU : MAE_ACTIVATION_NONE, &l.y));
  }
  ASSERT_OK(mae_tape_plan(l.tape, l.y));
  return l;
}

static float *value(const layer *l, mae_var var) {
  return mae_tape_value(l->tape, var)->data;
}

static float *grad(const layer *l, mae_var var) {
  mae_tensor *t = mae_tape_grad(l->tape, var);
  return t ? t->data : NULL;
}

/* Products with 1, of each factor in turn, are its rounding. */
START_TEST(rounding) {
  mae_context *context = make_context(2, isas[_i]);
  float *x = all_numbers();
  const size_t bytes = NUMBERS * sizeof *x;
  layer l = open_layer(context, NUMBERS, 1, 1, DX);
  memcpy(value(&l, l.x), x, bytes);
  *value(&l, l.w) = 1;
  ASSERT_OK(mae_tape_forward(l.tape));
  expect_rounded(context, x, value(&l, l.y));
  memcpy(grad(&l, l.y), x, bytes);
  ASSERT_OK(mae_tape_backward(l.tape, 1, 0));
  expect_rounded(context, x, grad(&l, l.x));
  mae_tape_destroy(l.tape);
  l = open_layer(context, 1, 1, NUMBERS, DW);
  *value(&l, l.x) = 1;
  memcpy(value(&l, l.w), x, bytes);
  ASSERT_OK(mae_tape_forward(l.tape));
  expect_rounded(context, x, value(&l, l.y));
  memcpy(grad(&l, l.y), x, bytes);
  ASSERT_OK(mae_tape_backward(l.tape, 1, 0));
  expect_rounded(context, x, grad(&l, l.w));
  mae_tape_destroy(l.tape);
  free(x);
  mae_context_destroy(context);
}
END_TEST

/* ----------------------------------------------------------- products --- */

static double gelu(double x) { return 0.5 * x * erfc(-x * M_SQRT1_2); }

static double gelu_slope(double x) {
  return 0.5 * erfc(-x * M_SQRT1_2) + x * exp(-x * x / 2) / sqrt(2 * M_PI);
}

static void fill(float *x, int64_t n, uint64_t stream) {
  ASSERT_OK(mae_random_normal(8, stream, 0, (size_t)n, x));
}

static double *zeros(int64_t n) {
  double *x = calloc((size_t)n, sizeof *x);
  ck_assert_ptr_nonnull(x);
  return x;
}

/* Sums of f32 round to a few 1e-7 of the largest; numbers of 8 bits, not
 * rounded, or rounded twice, are some 1e-3 off. */
static const double BAR = 1e-5;

static void expect_near(const layer *l, const char *what, const float *got,
                        const double *want, int64_t n, double bar) {
  double most = 0, error = 0;
  for (int64_t i = 0; i < n; i++) {
    most = fmax(most, fabs(want[i]));
    double e = fabs((double)got[i] - want[i]);
    if (!(e <= error)) error = e;
  }
  if (getenv("MAE_SHOW_ERRORS"))
    printf("error bf16 %lldx%lldx%lld %s %.2e\n", (long long)l->rows,
           (long long)l->in, (long long)l->out, what, error / most);
  ck_assert_msg(error <= bar * most, "%lld x %lld x %lld: %s is off by %g",
                (long long)l->rows, (long long)l->in, (long long)l->out, what,
                error / most);
}

/* What is before the activation, in double. */
static double *plain_sums(const layer *l, unsigned what) {
  double *y = zeros(l->rows * l->out);
  const float *x = value(l, l->x), *w = value(l, l->w), *b = value(l, l->b);
  for (int64_t i = 0; i < l->rows; i++)
    for (int64_t j = 0; j < l->out; j++) {
      double sum = b[j];
      for (int64_t k = 0; k < l->in; k++)
        sum += nearest(x[i * l->in + k]) * nearest(w[j * l->in + k]);
      if (what & RESIDUAL) sum += value(l, l->residual)[i * l->out + j];
      y[i * l->out + j] = sum;
    }
  return y;
}

/* dy is the gradient of the sums.  With GELU it has an error of f32, which may
 * round another way; in one row that is known, being the bias's gradient. */
static void expect_gradients(const layer *l, unsigned what, const double *dy) {
  const float *x = value(l, l->x), *w = value(l, l->w);
  const bool known = what & GELU && l->rows == 1 && what & DB;
  const double bar = what & GELU && !known ? 5e-3 : BAR;
  double *dx = zeros(l->rows * l->in), *dw = zeros(l->out * l->in);
  double *db = zeros(l->out);
  for (int64_t i = 0; i < l->rows; i++)
    for (int64_t j = 0; j < l->out; j++) {
      const double exact = dy[i * l->out + j];
      const double d = nearest(known ? grad(l, l->b)[j] : (float)exact);
      db[j] += exact;
      for (int64_t k = 0; k < l->in; k++) {
        dx[i * l->in + k] += d * nearest(w[j * l->in + k]);
        dw[j * l->in + k] += d * nearest(x[i * l->in + k]);
      }
    }
  if (what & DX) expect_near(l, "dx", grad(l, l->x), dx, l->rows * l->in, bar);
  if (what & DW) expect_near(l, "dw", grad(l, l->w), dw, l->out * l->in, bar);
  if (what & DB) expect_near(l, "db", grad(l, l->b), db, l->out, BAR);
  free(dx);
  free(dw);
  free(db);
}

/* Sum i as GELU took it, kept for the backward pass: a nearest number. */
static double kept(const layer *l, int64_t i, double sum) {
  const uint16_t *all = mae_op_saved(l->tape, &l->tape->ops[0], 0);
  const double x = (double)mae_from_bf16(all[i]);
  ck_assert_double_le(fabs(x - sum), fabs(sum) / 256 + BAR);
  return x;
}

static void check_layer(mae_context *context, int64_t rows, int64_t in,
                        int64_t out, unsigned what) {
  layer l = open_layer(context, rows, in, out, what);
  const int64_t n = rows * out;
  float *seed = malloc((size_t)n * sizeof *seed);
  ck_assert_ptr_nonnull(seed);
  fill(value(&l, l.x), rows * in, 1);
  fill(value(&l, l.w), out * in, 2);
  fill(value(&l, l.b), out, 3);
  fill(seed, n, 4);
  if (what & RESIDUAL) fill(value(&l, l.residual), n, 5);
  double *sums = plain_sums(&l, what), *want = zeros(n), *dy = zeros(n);
  for (int step = 0; step < 3; step++) { /* the second adds to the first */
    ASSERT_OK(mae_tape_forward(l.tape));
    for (int64_t i = 0; i < n; i++) {
      const double pre = what & GELU ? kept(&l, i, sums[i]) : sums[i];
      want[i] = what & GELU ? gelu(pre) : pre;
      dy[i] = what & GELU ? seed[i] * gelu_slope(pre) : seed[i];
    }
    expect_near(&l, "value", value(&l, l.y), want, n, BAR);
    memcpy(grad(&l, l.y), seed, (size_t)n * sizeof *seed);
    ASSERT_OK(mae_tape_backward(l.tape, seed[0], step == 1));
    if (step != 1) expect_gradients(&l, what, dy);
    if (what & RESIDUAL && step != 1)
      ck_assert_mem_eq(grad(&l, l.residual), seed, (size_t)n * sizeof *seed);
  }
  free(sums);
  free(want);
  free(dy);
  free(seed);
  mae_tape_destroy(l.tape);
}

static const int64_t sizes[][3] = {{1, 1, 1},    {5, 17, 33},  {33, 5, 17},
                                   {1, 64, 48},  {70, 96, 32}, {3, 256, 130},
                                   {130, 48, 7}, {257, 31, 65}};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* Case i: an instruction set, with one thread or three. */
START_TEST(products) {
  mae_context *context = make_context(_i % 2 ? 3 : 1, isas[_i / 2]);
  static const unsigned kinds[] = {ALL, ALL | GELU, ALL | RESIDUAL, DX, DW, DB,
                                   DX | GELU, DW | GELU};
  for (int s = 0; s < SIZES; s++)
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
      check_layer(context, sizes[s][0], sizes[s][1], sizes[s][2], kinds[k]);
  mae_context_destroy(context);
}
END_TEST

/* A second pass adds what the first one gave. */
START_TEST(accumulated) {
  mae_context *context = make_context(2, isas[_i]);
  layer l = open_layer(context, 20, 24, 28, ALL | GELU);
  float first[28 * 24], dy[20 * 28];
  fill(value(&l, l.x), 20 * 24, 1);
  fill(value(&l, l.w), 28 * 24, 2);
  fill(value(&l, l.b), 28, 3);
  fill(dy, 20 * 28, 4);
  for (int step = 0; step < 2; step++) {
    ASSERT_OK(mae_tape_forward(l.tape));
    memcpy(grad(&l, l.y), dy, sizeof dy);
    ASSERT_OK(mae_tape_backward(l.tape, 1, step));
    if (!step) memcpy(first, grad(&l, l.w), sizeof first);
  }
  for (int i = 0; i < 28 * 24; i++) first[i] *= 2;
  ck_assert_double_le(relative_error(grad(&l, l.w), first, 28 * 24), 1e-6);
  mae_tape_destroy(l.tape);
  mae_context_destroy(context);
}
END_TEST

/* -------------------------------------------------------------- calls --- */

/* Of three layers the one in the middle is in bf16. */
START_TEST(set_between_layers) {
  enum { N = 40 };
  const int64_t square[] = {N, N}, row = N;
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_tape *t;
  mae_var x, b, y[3];
  ASSERT_OK(mae_tape_create(context, &t));
  ASSERT_OK(mae_tape_input(t, 2, square, 0, &x));
  ASSERT_OK(mae_tape_input(t, 1, &row, 0, &b));
  for (int i = 0; i < 3; i++) {
    ASSERT_OK(mae_tape_set_precision(t, i == 1 ? BF16 : MAE_PRECISION_F32));
    ASSERT_OK(mae_tape_linear(t, x, x, b, MAE_ACTIVATION_NONE, &y[i]));
    ASSERT_OK(mae_tape_keep(t, y[i]));
  }
  ASSERT_OK(mae_tape_plan(t, (mae_var){MAE_NO_VAR}));
  fill(mae_tape_value(t, x)->data, N * N, 1);
  fill(mae_tape_value(t, b)->data, N, 2);
  ASSERT_OK(mae_tape_forward(t));
  const float *first = mae_tape_value(t, y[0])->data;
  ck_assert_mem_eq(first, mae_tape_value(t, y[2])->data,
                   N * N * sizeof *first);
  double error = relative_error(mae_tape_value(t, y[1])->data, first, N * N);
  ck_assert_double_gt(error, 1e-4);
  ck_assert_double_lt(error, 1e-2);
  mae_tape_destroy(t);
  mae_context_destroy(context);
}
END_TEST

START_TEST(refused) {
  const mae_precision none = (mae_precision)2;
  const int64_t shape[] = {4, 4};
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_model *model = small_model(1);
  mae_tape *t;
  mae_var x;
  ASSERT_FAILS(mae_tape_set_precision(NULL, BF16), MAE_ERROR_INVALID_ARGUMENT,
               "tape");
  ASSERT_OK(mae_tape_create(context, &t));
  ASSERT_OK(mae_tape_input(t, 2, shape, 1, &x));
  ASSERT_OK(mae_tape_add(t, x, x, &x));
  ASSERT_OK(mae_tape_plan(t, x));
  ASSERT_FAILS(mae_tape_set_precision(t, BF16), MAE_ERROR_STATE, "planned");
  mae_tape_destroy(t);
  ASSERT_OK(mae_tape_create(context, &t));
  ASSERT_FAILS(mae_tape_set_precision(t, none), MAE_ERROR_INVALID_ARGUMENT,
               "precision 2");
  ASSERT_FAILS(mae_tape_input(t, 2, shape, 1, &x), MAE_ERROR_INVALID_ARGUMENT,
               "precision 2"); /* sticks */
  mae_tape_destroy(t);
  mae_session_options s;
  mae_session *session = NULL;
  mae_session_options_init(&s, sizeof s);
  ck_assert_int_eq(s.precision, MAE_PRECISION_F32);
  s.precision = none;
  ASSERT_FAILS(mae_session_create(context, model, &s, &session),
               MAE_ERROR_INVALID_ARGUMENT, "mae_session_options");
  mae_trainer_options o;
  mae_trainer *trainer = NULL;
  mae_trainer_options_init(&o, sizeof o);
  ck_assert_int_eq(o.precision, MAE_PRECISION_F32);
  o.precision = (mae_precision)-1;
  ASSERT_FAILS(mae_trainer_create(context, model, &o, &trainer),
               MAE_ERROR_INVALID_ARGUMENT, "mae_trainer_options");
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

START_TEST(native) {
  mae_context *portable = make_context(1, MAE_ISA_PORTABLE);
  ck_assert_int_eq(mae_context_precision_is_native(portable, 0), 1);
  ck_assert_int_eq(mae_context_precision_is_native(portable, BF16), 0);
  ck_assert_int_eq(
      mae_context_precision_is_native(portable, (mae_precision)2), 0);
  ck_assert_int_eq(mae_context_precision_is_native(NULL, 0), 0);
  mae_context_destroy(portable);
}
END_TEST

/* ------------------------------------------------------ models, PyTorch --- */

/* A number near the middle of two bf16 may be rounded apart from the
 * reference's, by another order of a sum, and then is off as all others are in
 * f32.  Such numbers are few, but one before GELU counts for much in so small a
 * model: the reference in f32 and in f64 comes as far apart as 0.74 of what f32
 * is from bf16 in one gradient, 0.26 in all, and 1.1e-4 in the loss. */
static const double PART = 0.95, PART_OF_ALL = 0.5, LOSS_BAR = 3e-4;

typedef struct fixture {
  mae_safetensors *inputs, *file;
  const char *name;
  mae_model *model;
  mae_context *context;
  mae_tensor *images, *noises;
  int64_t batch;
  double mask_ratio, base_lr;
} fixture;

/* Case i: a model, an instruction set and a thread count. */
static fixture set_up(int i) {
  static const char *const names[] = {"tiny.", "odd."};
  fixture f = {.name = names[i % 2]};
  ASSERT_OK(mae_safetensors_open(golden_paths[i % 2], &f.inputs));
  ASSERT_OK(
      mae_safetensors_open("tests/data/golden_bf16.safetensors", &f.file));
  ASSERT_OK(mae_model_load(golden_paths[i % 2], &f.model));
  f.context = make_context(i / 2 % 2 ? 2 : 1, isas[i / 4]);
  f.images = golden(f.inputs, "golden.images");
  f.noises = golden(f.inputs, "golden.noises");
  f.batch = f.images->shape[0];
  f.mask_ratio =
      atof(mae_safetensors_metadata(f.inputs, "golden.mask_ratio"));
  mae_tensor *base_lr = golden(f.inputs, "golden.base_lr");
  f.base_lr = (double)base_lr->data[0];
  mae_tensor_destroy(base_lr);
  return f;
}

static void tear_down(fixture *f) {
  mae_tensor_destroy(f->images);
  mae_tensor_destroy(f->noises);
  mae_context_destroy(f->context);
  mae_model_destroy(f->model);
  mae_safetensors_close(f->inputs);
  mae_safetensors_close(f->file);
}

static mae_session *session_of(const fixture *f) {
  mae_session_options o;
  mae_session *s;
  mae_session_options_init(&o, sizeof o);
  o.mask_ratio = f->mask_ratio;
  o.features = MAE_FEATURES_TOKENS;
  o.precision = BF16;
  ASSERT_OK(mae_session_create(f->context, f->model, &o, &s));
  return s;
}

static double norm(const float *a, const float *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = (double)a[i] - (b ? b[i] : 0.f);
    sum += d * d;
  }
  return sqrt(sum);
}

/* Sums of the squares of relative distances. */
typedef struct distances {
  double ours, f32; /* to bf16 of the reference: the library's, f32's */
} distances;

/* The same tensor as the library made it, as the reference in bf16 and as the
 * reference in f32, under that name among the inputs. */
static void compare(const fixture *f, const char *name, const char *in_f32,
                    const float *got, distances *all) {
  char full[128];
  snprintf(full, sizeof full, "%s%s", f->name, name);
  mae_tensor *want = golden(f->file, full), *f32 = golden(f->inputs, in_f32);
  const int64_t n = mae_tensor_size(want);
  const double scale = norm(want->data, NULL, n);
  const double ours = norm(got, want->data, n) / scale;
  const double theirs = norm(f32->data, want->data, n) / scale;
  if (getenv("MAE_SHOW_PARITY"))
    printf("parity %-40s %.2e, f32 %.2e\n", full, ours, theirs);
  ck_assert_msg(ours <= PART * theirs, "%s: off by %g, f32 by %g", full, ours,
                theirs);
  all->ours += ours * ours;
  all->f32 += theirs * theirs;
  mae_tensor_destroy(want);
  mae_tensor_destroy(f32);
}

static void expect_near_bf16(const distances *all) {
  ck_assert_double_lt(sqrt(all->f32), 0.1); /* and it is not far */
  ck_assert_double_le(sqrt(all->ours), PART_OF_ALL * sqrt(all->f32));
}

START_TEST(forward) {
  fixture f = set_up(_i);
  mae_session *s = session_of(&f);
  mae_tensor *pred = golden(f.inputs, "golden.pred");
  mae_tensor *tokens = golden(f.inputs, "golden.features");
  distances all = {0, 0};
  double loss;
  ASSERT_OK(mae_session_forward(s, f.images->data, f.batch, f.noises->data,
                                &loss, pred->data, NULL));
  ASSERT_OK(mae_session_features(s, f.images->data, f.batch, NULL,
                                 tokens->data));
  float loss_f = (float)loss;
  expect_golden(f.file, f.name, "loss", &loss_f, 1, LOSS_BAR);
  compare(&f, "pred", "golden.pred", pred->data, &all);
  compare(&f, "features", "golden.features", tokens->data, &all);
  expect_near_bf16(&all);
  /* torch.autocast rounds more than factors */
  expect_golden(f.file, f.name, "autocast_loss", &loss_f, 1, 1e-3);
  expect_golden(f.file, f.name, "autocast_pred", pred->data,
                mae_tensor_size(pred), 2e-2);
  mae_tensor_destroy(pred);
  mae_tensor_destroy(tokens);
  mae_session_destroy(s);
  tear_down(&f);
}
END_TEST

static mae_trainer *trainer_of(const fixture *f) {
  mae_trainer_options o;
  mae_trainer *t;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = (int32_t)f->batch;
  o.mask_ratio = f->mask_ratio;
  o.base_lr = f->base_lr;
  o.warmup_steps = 2;
  o.total_steps = 10;
  o.precision = BF16;
  ASSERT_OK(mae_trainer_create(f->context, f->model, &o, &t));
  return t;
}

START_TEST(gradients) {
  fixture f = set_up(_i);
  mae_trainer *t = trainer_of(&f);
  distances all = {0, 0};
  int compared = 0;
  ASSERT_OK(mae_trainer_step(t, f.images->data, f.noises->data, NULL));
  for (int32_t i = 0; i < mae_model_num_tensors(f.model); i++) {
    const char *name = mae_model_tensor_name(f.model, i);
    const mae_tensor *got = mae_trainer_gradient(t, name);
    if (!got) continue;
    char full[128];
    snprintf(full, sizeof full, "grad.%s", name);
    compare(&f, full, full, got->data, &all);
    compared++;
  }
  ck_assert_int_eq(compared, mae_model_num_tensors(f.model) - 2);
  expect_near_bf16(&all);
  mae_trainer_destroy(t);
  tear_down(&f);
}
END_TEST

START_TEST(five_adamw_steps) {
  fixture f = set_up(_i);
  mae_trainer *t = trainer_of(&f);
  const int64_t noise = mae_tensor_size(f.noises) / 5;
  float losses[5];
  for (int step = 0; step < 5; step++) {
    mae_step_result r = {.struct_size = sizeof r};
    ASSERT_OK(mae_trainer_step(t, f.images->data,
                               f.noises->data + step * noise, &r));
    losses[step] = (float)r.loss;
  }
  expect_golden(f.file, f.name, "losses", losses, 5, 1e-3);
  mae_trainer_destroy(t);
  tear_down(&f);
}
END_TEST

/* The head of a classifier is a linear layer as the others. */
START_TEST(head) {
  enum { IMAGES = 5, CLASSES = 7, WIDTH = 32 };
  mae_context *context = make_context(2, isas[_i]);
  mae_model *encoder = small_model(3), *model;
  ASSERT_OK(mae_model_classifier(encoder, CLASSES, 0, 1, &model));
  float *images = small_images(IMAGES, 4), token[IMAGES * WIDTH];
  float got[IMAGES * CLASSES], want[IMAGES * CLASSES];
  mae_session_options o;
  mae_session_options_init(&o, sizeof o);
  o.precision = BF16;
  for (int logits = 0; logits < 2; logits++) {
    mae_session *s;
    o.features = logits ? MAE_FEATURES_LOGITS : MAE_FEATURES_CLASS_TOKEN;
    ASSERT_OK(mae_session_create(context, model, &o, &s));
    ASSERT_OK(mae_session_features(s, images, IMAGES, NULL,
                                   logits ? got : token));
    mae_session_destroy(s);
  }
  const float *w = mae_model_find(model, "head.weight")->data;
  for (int i = 0; i < IMAGES; i++)
    for (int c = 0; c < CLASSES; c++) {
      double sum = 0;
      for (int k = 0; k < WIDTH; k++)
        sum += nearest(token[i * WIDTH + k]) * nearest(w[c * WIDTH + k]);
      want[i * CLASSES + c] = (float)sum;
    }
  ck_assert_double_le(relative_error(got, want, IMAGES * CLASSES), BAR);
  free(images);
  mae_model_destroy(encoder);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

/* ------------------------------------------------------- beside f32 --- */

static double cosine(const float *a, const float *b, int64_t n) {
  double ab = 0, aa = 0, bb = 0;
  for (int64_t i = 0; i < n; i++) {
    ab += (double)a[i] * b[i];
    aa += (double)a[i] * a[i];
    bb += (double)b[i] * b[i];
  }
  return ab / sqrt(aa * bb);
}

static double least_cosine(mae_context *context, const mae_model *model,
                           const float *images, int64_t n, mae_features kind) {
  float *out[2];
  int64_t width = 0;
  mae_session_options o;
  mae_session_options_init(&o, sizeof o);
  o.features = kind;
  for (int k = 0; k < 2; k++) {
    mae_session *s;
    o.precision = k ? BF16 : MAE_PRECISION_F32;
    ASSERT_OK(mae_session_create(context, model, &o, &s));
    width = mae_session_feature_size(s);
    out[k] = malloc((size_t)(n * width) * sizeof **out);
    ck_assert_ptr_nonnull(out[k]);
    ASSERT_OK(mae_session_features(s, images, n, NULL, out[k]));
    mae_session_destroy(s);
  }
  double least = 1;
  for (int64_t i = 0; i < n; i++)
    least = fmin(least,
                 cosine(out[0] + i * width, out[1] + i * width, width));
  free(out[0]);
  free(out[1]);
  if (getenv("MAE_SHOW_ERRORS")) printf("1 - cosine %.2e\n", 1 - least);
  return least;
}

START_TEST(features_point_the_same_way) {
  fixture f = set_up(_i);
  for (int kind = 0; kind <= MAE_FEATURES_MEAN; kind++) {
    double least = least_cosine(f.context, f.model, f.images->data, f.batch,
                                (mae_features)kind);
    ck_assert_double_ge(least, 0.999);
    ck_assert_double_lt(least, 1 - 1e-9);
  }
  tear_down(&f);
}
END_TEST

/* Do the first images come from packed weights?  In f32 only those of passes of
 * 32 tokens or more do, which the threads' own passes need not have. */
typedef enum answer { NO, YES, PERHAPS } answer;

static answer reads_copy(const mae_context *context,
                         const mae_session_options *o) {
  if (o->precision == BF16)
    return mae_context_precision_is_native(context, BF16) ? YES : NO;
  if (mae_context_isa(context) != MAE_ISA_AMX) return NO;
  return o->mode == MAE_MODE_LATENCY ? YES : PERHAPS;
}

/* Two sessions, the second with packed weights, give the same; and the second
 * does read its copy. */
static void check_packed(mae_context *context, mae_model *model,
                         mae_session_options o) {
  enum { IMAGES = 3, MOST = 3 * 64 * 64 };
  mae_session *s[2];
  float *images = small_images(IMAGES, 4), out[2][MOST], again[MOST];
  for (int k = 0; k < 2; k++) {
    o.pack_weights = k;
    ASSERT_OK(mae_session_create(context, model, &o, &s[k]));
    ASSERT_OK(mae_session_features(s[k], images, IMAGES, NULL, out[k]));
  }
  const size_t bytes =
      (size_t)(IMAGES * mae_session_feature_size(s[0])) * sizeof(float);
  ck_assert_uint_le(bytes, sizeof again);
  ck_assert_mem_eq(out[0], out[1], bytes);
  float *weight = mae_model_find(model, "blocks.0.mlp.fc1.weight")->data;
  const float was = *weight;
  *weight += 1;
  ASSERT_OK(mae_session_features(s[0], images, IMAGES, NULL, again));
  ck_assert_mem_ne(again, out[0], bytes);
  ASSERT_OK(mae_session_features(s[1], images, IMAGES, NULL, again));
  const answer copied = reads_copy(context, &o);
  if (copied == YES)
    ck_assert_mem_eq(again, out[0], bytes / IMAGES * (size_t)o.batch_size);
  else if (copied == NO)
    ck_assert_mem_ne(again, out[0], bytes);
  *weight = was;
  for (int k = 0; k < 2; k++) mae_session_destroy(s[k]);
  free(images);
}

START_TEST(packed_weights) {
  mae_context *context = make_context(2, isas[_i]);
  mae_model *model = small_model(3);
  mae_session_options o;
  mae_session_options_init(&o, sizeof o);
  o.batch_size = 2;
  for (int way = 0; way < 8; way++) {
    o.precision = way & 1 ? BF16 : MAE_PRECISION_F32;
    o.mode = way & 2 ? MAE_MODE_THROUGHPUT : MAE_MODE_LATENCY;
    o.features = way & 4 ? MAE_FEATURES_TOKENS : MAE_FEATURES_CLASS_TOKEN;
    check_packed(context, model, o);
  }
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

/* As deep as ViT-B, through whose blocks roundings add up. */
START_TEST(features_of_twelve_blocks) {
  enum { IMAGES = 4 };
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_config c = small_config();
  mae_model *model;
  c.embed_dim = 96;
  c.depth = 12;
  c.num_heads = 6;
  ASSERT_OK(mae_model_create(&c, 5, &model));
  float *images = small_images(IMAGES, 6);
  for (int kind = 0; kind <= MAE_FEATURES_MEAN; kind++)
    ck_assert_double_ge(
        least_cosine(context, model, images, IMAGES, (mae_features)kind),
        0.999);
  free(images);
  mae_model_destroy(model);
  mae_context_destroy(context);
}
END_TEST

enum { BATCH = 8, STEPS = 60 };

static mae_trainer_options options_of(mae_precision precision) {
  mae_trainer_options o;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = BATCH;
  o.base_lr = 0.064; /* 2e-3 */
  o.warmup_steps = 5;
  o.precision = precision;
  return o;
}

static mae_trainer *start(mae_context *context, mae_precision precision,
                          mae_model **model) {
  const mae_trainer_options o = options_of(precision);
  mae_trainer *t;
  *model = small_model(1);
  ASSERT_OK(mae_trainer_create(context, *model, &o, &t));
  return t;
}

static double steps(mae_trainer *t, int from, int to, double *losses) {
  float *images = small_images(BATCH, 1);
  mae_step_result r = {.struct_size = sizeof r};
  for (int i = from; i < to; i++) {
    ASSERT_OK(mae_trainer_step(t, images, NULL, &r));
    if (losses) losses[i] = r.loss;
  }
  free(images);
  return r.loss;
}

/* The two curves stay together while the loss falls. */
START_TEST(curve_of_f32) {
  mae_context *context = make_context(2, isas[_i]);
  double losses[2][STEPS], apart = 0;
  for (int k = 0; k < 2; k++) {
    mae_model *model;
    mae_trainer *t = start(context, k ? BF16 : MAE_PRECISION_F32, &model);
    steps(t, 0, STEPS, losses[k]);
    mae_trainer_destroy(t);
    mae_model_destroy(model);
  }
  ck_assert_double_lt(losses[1][STEPS - 1], 0.9 * losses[1][0]);
  for (int i = 0; i < STEPS; i++)
    apart = fmax(apart, fabs(losses[1][i] - losses[0][i]) / losses[0][i]);
  if (getenv("MAE_SHOW_ERRORS")) printf("curves apart %.2e\n", apart);
  ck_assert_double_gt(apart, 0);
  ck_assert_double_le(apart, 5e-3);
  mae_context_destroy(context);
}
END_TEST

/* A checkpoint is f32 and goes on in either precision: case i from f32 if 0,
 * and in the other. */
START_TEST(resumed_in_the_other) {
  const mae_precision from = _i ? BF16 : MAE_PRECISION_F32;
  mae_context *context = make_context(2, MAE_ISA_AUTO);
  mae_model *models[3];
  mae_trainer *first = start(context, from, &models[0]);
  mae_trainer *same = start(context, from, &models[1]);
  mae_trainer *other = start(context, _i ? 0 : BF16, &models[2]);
  steps(first, 0, 4, NULL);
  ASSERT_OK(mae_trainer_save(first, path));
  ASSERT_OK(mae_trainer_resume(same, path));
  ASSERT_OK(mae_trainer_resume(other, path));
  ck_assert(same_weights(models[0], models[2]));
  double a = steps(first, 4, 8, NULL), b = steps(same, 4, 8, NULL);
  double c = steps(other, 4, 8, NULL);
  ck_assert(same_weights(models[0], models[1]));
  ck_assert(!same_weights(models[0], models[2]));
  ck_assert_double_eq(a, b);
  ck_assert_double_eq_tol(c, a, 5e-3 * a);
  mae_trainer_destroy(first);
  mae_trainer_destroy(same);
  mae_trainer_destroy(other);
  for (int i = 0; i < 3; i++) mae_model_destroy(models[i]);
  mae_context_destroy(context);
}
END_TEST

Suite *precision_suite(void) {
  Suite *suite = suite_create("precision");
  TCase *tc = tcase_create("precision");
  const int sets = isa_count();
  tcase_set_timeout(tc, 120);
  tcase_add_checked_fixture(tc, make_path, drop_path);
  tcase_add_loop_test(tc, rounding, 0, sets);
  tcase_add_loop_test(tc, products, 0, 2 * sets);
  tcase_add_loop_test(tc, accumulated, 0, sets);
  tcase_add_test(tc, set_between_layers);
  tcase_add_test(tc, refused);
  tcase_add_test(tc, native);
  tcase_add_loop_test(tc, forward, 0, 4 * sets);
  tcase_add_loop_test(tc, gradients, 0, 4 * sets);
  tcase_add_loop_test(tc, five_adamw_steps, 0, 4 * sets);
  tcase_add_loop_test(tc, head, 0, sets);
  tcase_add_loop_test(tc, features_point_the_same_way, 0, 4 * sets);
  tcase_add_test(tc, features_of_twelve_blocks);
  tcase_add_loop_test(tc, packed_weights, 0, sets);
  tcase_add_loop_test(tc, curve_of_f32, 0, sets);
  tcase_add_loop_test(tc, resumed_in_the_other, 0, 2);
  suite_add_tcase(suite, tc);
  return suite;
}
