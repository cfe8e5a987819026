/* Every operation of the tape against plain loops in double precision: values,
 * and gradients by central differences of those loops, for each instruction
 * set this processor has.  MAE_SHOW_ERRORS=1 prints what was reached. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "nn/transformer_block.h"
#include "suites.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
#define ASSERT_OK(call)                                              \
  do {                                                               \
    mae_status ok_status = (call);                                   \
    if (ok_status != MAE_OK)                                         \
      ck_abort_msg("%s: %s (%s)", #call, mae_status_name(ok_status), \
                   mae_last_error());                                \
  } while (0)

/* Relative to the largest magnitude of the tensor.  f32 sums of the sizes here
 * round to a few 1e-7 of it (reached: 5e-7, and 3e-6 through the random graphs,
 * where layer norms magnify), and central differences in double add 1e-9.  A
 * slip in a formula, a tail or an index is thousands of times as large. */
static const double VALUE_BAR = 1e-5, GRAD_BAR = 2e-5;

/* ------------------------------------------------------------- graphs --- */

enum { MOST_LEAVES = 16, MOST_TABLES = 2 };

typedef enum leaf_kind {
  IS_LIVE,  /* takes a gradient */
  IS_DEAD,  /* takes one, but does not reach the loss */
  IS_FIXED, /* takes none */
  IS_MASK   /* fixed, of zeros and ones */
} leaf_kind;

typedef struct leaf {
  int64_t shape[MAE_MAX_DIMS]; /* up to the first 0 */
  leaf_kind kind;
} leaf;

#define LIVE(...)            \
  {                          \
    .shape = { __VA_ARGS__ } \
  }
#define DEAD(...) \
  { .shape = {__VA_ARGS__}, .kind = IS_DEAD }
#define FIXED(...) \
  { .shape = {__VA_ARGS__}, .kind = IS_FIXED }
#define MASK(...) \
  { .shape = {__VA_ARGS__}, .kind = IS_MASK }

typedef struct index_spec {
  int64_t batch, count;
  int32_t limit;
  bool shuffled; /* each number at most once per row, else any may repeat */
} index_spec;

typedef struct graph graph;
struct graph {
  const char *name;
  mae_status (*record)(const graph *g, mae_tape *tape, const mae_var *in,
                       const mae_index *table, mae_var *out);
  void (*plain)(const graph *g, double *const *in, int32_t *const *table,
                double *out);
  leaf in[MOST_LEAVES];
  index_spec table[MOST_TABLES];
  int32_t option[2];
};

static int32_t dims(const leaf *l) {
  int32_t n = 0;
  while (n < MAE_MAX_DIMS && l->shape[n]) n++;
  return n;
}

static int64_t size_of(const leaf *l) {
  int64_t size = 1;
  for (int32_t i = 0; i < dims(l); i++) size *= l->shape[i];
  return size;
}

static int64_t width_of(const leaf *l) { return l->shape[dims(l) - 1]; }

static int64_t rows_of(const leaf *l) { return size_of(l) / width_of(l); }

static int leaves(const graph *g) {
  int n = 0;
  while (n < MOST_LEAVES && g->in[n].shape[0]) n++;
  return n;
}

static int tables(const graph *g) {
  int n = 0;
  while (n < MOST_TABLES && g->table[n].batch) n++;
  return n;
}

static bool takes_grad(const leaf *l) {
  return l->kind == IS_LIVE || l->kind == IS_DEAD;
}

static void *make(int64_t n, size_t size) {
  void *p = calloc((size_t)n, size);
  ck_assert_ptr_nonnull(p);
  return p;
}

/* --------------------------------------------------------------- data --- */

/* xorshift64*, so that the library's generator is not on trial here. */
static uint64_t random_bits(uint64_t *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 2685821657736338717u;
}

static float random_float(uint64_t *state) { /* in [-1.5, 1.5) */
  return (float)(random_bits(state) >> 40) * (3.0f / 16777216) - 1.5f;
}

typedef struct data {
  int64_t size[MOST_LEAVES];
  float *f32[MOST_LEAVES];
  double *f64[MOST_LEAVES]; /* the same numbers */
  int32_t *table[MOST_TABLES];
} data;

static void fill_table(const index_spec *s, int32_t *out, uint64_t *state) {
  for (int64_t row = 0; row < s->batch; row++)
    for (int64_t i = 0; i < s->count; i++) {
      int32_t *at = out + row * s->count;
      at[i] = (int32_t)(random_bits(state) % (uint64_t)s->limit);
      for (int64_t j = 0; s->shuffled && j < i; j++)
        if (at[j] == at[i]) {
          at[i] = (at[i] + 1) % s->limit;
          j = -1; /* look again */
        }
    }
}

static data make_data(const graph *g) {
  data d = {.size = {0}};
  uint64_t state = 88172645463325252u;
  for (int i = 0; i < leaves(g); i++) {
    d.size[i] = size_of(&g->in[i]);
    d.f32[i] = make(d.size[i], sizeof(float));
    d.f64[i] = make(d.size[i], sizeof(double));
    for (int64_t j = 0; j < d.size[i]; j++) {
      d.f32[i][j] = random_float(&state);
      if (g->in[i].kind == IS_MASK) d.f32[i][j] = j == 1 || d.f32[i][j] > 0;
      d.f64[i][j] = d.f32[i][j];
    }
  }
  for (int i = 0; i < tables(g); i++) {
    const index_spec *s = &g->table[i];
    d.table[i] = make(s->batch * s->count, sizeof(int32_t));
    fill_table(s, d.table[i], &state);
  }
  return d;
}

static void free_data(data *d) {
  for (int i = 0; i < MOST_LEAVES; i++) {
    free(d->f32[i]);
    free(d->f64[i]);
  }
  for (int i = 0; i < MOST_TABLES; i++) free(d->table[i]);
}

/* ---------------------------------------------------------------- run --- */

typedef struct config {
  mae_isa isa;
  int32_t threads;
} config;

static config configs[12];
static int n_configs;

/* Those of the instruction sets that build and processor have. */
static void find_configs(void) {
  static const int32_t threads[] = {1, 3, 8};
  n_configs = 0;
  for (int t = 0; t < COUNT(threads); t++)
    for (int isa = MAE_ISA_PORTABLE; isa <= MAE_ISA_AMX; isa++)
      if (mae_kernels_for((mae_isa)isa))
        configs[n_configs++] = (config){(mae_isa)isa, threads[t]};
}

/* Eight threads serve the large shapes alone. */
static int small_configs(void) { return n_configs / 3 * 2; }

typedef struct run {
  const graph *graph;
  mae_context *context;
  mae_tape *tape;
  mae_var in[MOST_LEAVES], out;
  mae_index table[MOST_TABLES];
  mae_tensor *value[MOST_LEAVES], *grad[MOST_LEAVES]; /* of parameters */
} run;

static mae_context *make_context(config c) {
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  o.isa = c.isa;
  o.threads = c.threads;
  mae_context *context;
  ASSERT_OK(mae_context_create(&o, &context));
  return context;
}

/* Leaves are by turns inputs and parameters, which hold their gradients in
 * different places. */
static void add_leaf(run *r, const data *d, int i, bool wanted) {
  const leaf *l = &r->graph->in[i];
  if (i % 2 == 0) {
    ASSERT_OK(mae_tape_input(r->tape, dims(l), l->shape, wanted, &r->in[i]));
    return;
  }
  ASSERT_OK(mae_tensor_create(dims(l), l->shape, &r->value[i]));
  ASSERT_OK(mae_tensor_create(dims(l), l->shape, &r->grad[i]));
  memcpy(mae_tensor_data(r->value[i]), d->f32[i],
         (size_t)d->size[i] * sizeof(float));
  ASSERT_OK(mae_tape_parameter(r->tape, r->value[i], wanted ? r->grad[i] : NULL,
                               &r->in[i]));
}

/* wanted: bit i for the gradient of leaf i. */
static run open_run(const graph *g, const data *d, config c, unsigned wanted) {
  run r = {.graph = g, .context = make_context(c)};
  ASSERT_OK(mae_tape_create(r.context, &r.tape));
  for (int i = 0; i < leaves(g); i++)
    add_leaf(&r, d, i, takes_grad(&g->in[i]) && (wanted >> i & 1));
  for (int i = 0; i < tables(g); i++)
    ASSERT_OK(mae_tape_index(r.tape, g->table[i].batch, g->table[i].count,
                             &r.table[i]));
  ASSERT_OK(g->record(g, r.tape, r.in, r.table, &r.out));
  ASSERT_OK(mae_tape_plan(r.tape, r.out));
  for (int i = 0; i < leaves(g); i += 2)
    memcpy(mae_tensor_data(mae_tape_value(r.tape, r.in[i])), d->f32[i],
           (size_t)d->size[i] * sizeof(float));
  for (int i = 0; i < tables(g); i++)
    memcpy(mae_tape_index_data(r.tape, r.table[i]), d->table[i],
           (size_t)(g->table[i].batch * g->table[i].count) * sizeof(int32_t));
  return r;
}

static void close_run(run *r) {
  mae_tape_destroy(r->tape);
  mae_context_destroy(r->context);
  for (int i = 0; i < MOST_LEAVES; i++) {
    mae_tensor_destroy(r->value[i]);
    mae_tensor_destroy(r->grad[i]);
  }
}

static int64_t out_size(run *r) {
  return mae_tensor_size(mae_tape_value(r->tape, r->out));
}

static const float *out_of(run *r) {
  return mae_tensor_data(mae_tape_value(r->tape, r->out));
}

static float *grad_of(run *r, int i) {
  return mae_tensor_data(mae_tape_grad(r->tape, r->in[i]));
}

/* The gradient of the output, the same for each run. */
static float *make_seed(int64_t n) {
  float *seed = make(n, sizeof *seed);
  uint64_t state = 2463534242u;
  for (int64_t i = 0; i < n; i++) seed[i] = random_float(&state);
  return seed;
}

static void step(run *r, const float *seed, int32_t accumulate) {
  ASSERT_OK(mae_tape_forward(r->tape));
  memcpy(mae_tensor_data(mae_tape_grad(r->tape, r->out)), seed,
         (size_t)out_size(r) * sizeof *seed);
  ASSERT_OK(mae_tape_backward(r->tape, seed[0], accumulate));
}

/* What is there before must not matter. */
static void spoil_grads(run *r, const data *d) {
  for (int i = 0; i < leaves(r->graph); i++)
    for (int64_t j = 0; grad_of(r, i) && j < d->size[i]; j++)
      grad_of(r, i)[j] = NAN;
}

/* ------------------------------------------------------------ compare --- */

/* The largest difference relative to the largest magnitude wanted; where that
 * is 0, only 0 will do. */
static double relative_error(const float *got, const double *want, int64_t n) {
  double most = 0, error = 0;
  for (int64_t i = 0; i < n; i++) {
    most = fmax(most, fabs(want[i]));
    double e = fabs((double)got[i] - want[i]);
    if (!(e <= error)) error = e; /* NaN sticks */
    if (isnan(e)) return INFINITY;
  }
  return error == 0 ? 0 : error / most;
}

static void expect(const run *r, const char *what, int i, const float *got,
                   const double *want, int64_t n, double bar) {
  double error = relative_error(got, want, n);
  if (getenv("MAE_SHOW_ERRORS"))
    printf("error %-28s %-9s %2d %.2e\n", r->graph->name, what, i, error);
  ck_assert_msg(error <= bar, "%s, isa %d, %d threads: %s %d is off by %g",
                r->graph->name, (int)mae_context_isa(r->context),
                mae_context_threads(r->context), what, i, error);
}

static void expect_floats(const run *r, const char *what, int i,
                          const float *got, const float *want, double factor,
                          int64_t n, double bar) {
  double *wide = make(n, sizeof *wide);
  for (int64_t j = 0; j < n; j++) wide[j] = factor * want[j];
  expect(r, what, i, got, wide, n, bar);
  free(wide);
}

static double weighted(const graph *g, data *d, const float *seed, double *y,
                       int64_t n) {
  g->plain(g, d->f64, d->table, y);
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += seed[i] * y[i];
  return sum;
}

/* d sum(seed * y) / d leaf i, by central differences. */
static double *differences(const graph *g, data *d, int i, const float *seed,
                           int64_t n) {
  const double h = 1e-5;
  double *y = make(n, sizeof *y), *grad = make(d->size[i], sizeof *grad);
  for (int64_t j = 0; j < d->size[i]; j++) {
    const double x = d->f64[i][j];
    d->f64[i][j] = x + h;
    grad[j] = weighted(g, d, seed, y, n);
    d->f64[i][j] = x - h;
    grad[j] = (grad[j] - weighted(g, d, seed, y, n)) / (2 * h);
    d->f64[i][j] = x;
  }
  free(y);
  return grad;
}

static void expect_value(run *r, data *d, double bar) {
  double *y = make(out_size(r), sizeof *y);
  r->graph->plain(r->graph, d->f64, d->table, y);
  expect(r, "value", 0, out_of(r), y, out_size(r), bar);
  free(y);
}

/* One gradient alone comes out as it does among all. */
static void expect_alone(const graph *g, const data *d, config c, int i,
                         const float *seed, const double *grad) {
  if (g->in[i].kind != IS_LIVE) return;
  run r = open_run(g, d, c, 1u << i);
  for (int j = 0; j < leaves(g); j++)
    if (j != i) ck_assert_ptr_null(mae_tape_grad(r.tape, r.in[j]));
  spoil_grads(&r, d);
  step(&r, seed, 0);
  expect(&r, "alone", i, grad_of(&r, i), grad, d->size[i], GRAD_BAR);
  close_run(&r);
}

/* BLIS begins sums with what is there. */
#if defined(MAE_BLAS_BLIS)
#define DOUBLED_BAR 2e-6
#else
#define DOUBLED_BAR 1e-6
#endif

/* A second step adds its gradient or overwrites the first. */
static void expect_accumulation(run *r, const data *d, const float *seed) {
  float *first[MOST_LEAVES] = {0};
  for (int i = 0; i < leaves(r->graph); i++)
    if (grad_of(r, i)) {
      first[i] = make(d->size[i], sizeof(float));
      memcpy(first[i], grad_of(r, i), (size_t)d->size[i] * sizeof(float));
    }
  step(r, seed, 1);
  for (int i = 0; i < leaves(r->graph); i++)
    if (first[i])
      expect_floats(r, "doubled", i, grad_of(r, i), first[i], 2, d->size[i],
                    DOUBLED_BAR);
  step(r, seed, 0);
  for (int i = 0; i < leaves(r->graph); i++)
    if (first[i])
      ck_assert_mem_eq(grad_of(r, i), first[i],
                       (size_t)d->size[i] * sizeof(float));
  for (int i = 0; i < MOST_LEAVES; i++) free(first[i]);
}

static void check_graph(const graph *g, config c) {
  data d = make_data(g);
  run r = open_run(g, &d, c, ~0u);
  float *seed = make_seed(out_size(&r));
  spoil_grads(&r, &d);
  step(&r, seed, 0);
  expect_value(&r, &d, VALUE_BAR);
  for (int i = 0; i < leaves(g); i++) {
    if (!takes_grad(&g->in[i])) {
      ck_assert_ptr_null(grad_of(&r, i));
      continue;
    }
    double *grad = differences(g, &d, i, seed, out_size(&r));
    expect(&r, "gradient", i, grad_of(&r, i), grad, d.size[i], GRAD_BAR);
    expect_alone(g, &d, c, i, seed, grad);
    free(grad);
  }
  expect_accumulation(&r, &d, seed);
  close_run(&r);
  free(seed);
  free_data(&d);
}

static void check_graphs(const graph *g, int n, config c) {
  for (int i = 0; i < n; i++) check_graph(&g[i], c);
}

/* ------------------------------------------------------------- linear --- */

static double plain_gelu(double x) { return 0.5 * x * erfc(-x * M_SQRT1_2); }

static void plain_linear(int64_t rows, int64_t in, int64_t out, bool gelu,
                         const double *x, const double *w, const double *b,
                         const double *residual, double *y) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < out; j++) {
      double sum = b[j];
      for (int64_t k = 0; k < in; k++) sum += x[i * in + k] * w[j * in + k];
      if (gelu) sum = plain_gelu(sum);
      y[i * out + j] = sum + (residual ? residual[i * out + j] : 0);
    }
}

/* x, w, b; option: the activation. */
static mae_status record_linear(const graph *g, mae_tape *tape,
                                const mae_var *in, const mae_index *table,
                                mae_var *out) {
  (void)table;
  return mae_tape_linear(tape, in[0], in[1], in[2],
                         (mae_activation)g->option[0], out);
}

static void linear_plainly(const graph *g, double *const *in,
                           int32_t *const *table, double *out) {
  (void)table;
  plain_linear(rows_of(&g->in[0]), width_of(&g->in[0]), g->in[1].shape[0],
               g->option[0] == MAE_ACTIVATION_GELU, in[0], in[1], in[2], NULL,
               out);
}

#define LINEAR record_linear, linear_plainly

static const graph linear_graphs[] = {
    {"linear 5x17x33", LINEAR, .in = {LIVE(5, 17), LIVE(33, 17), LIVE(33)}},
    {"linear 3 dims", LINEAR, .in = {LIVE(2, 3, 33), LIVE(5, 33), LIVE(5)}},
    {"linear vector", LINEAR, .in = {LIVE(5), LIVE(3, 5), LIVE(3)}},
    {"linear 1x1x1", LINEAR, .in = {LIVE(1, 1), LIVE(1, 1), LIVE(1)}},
    {"linear patch weight", LINEAR,
     .in = {LIVE(1, 2, 12), LIVE(7, 3, 2, 2), LIVE(7)}},
};

static const graph gelu_graphs[] = {
    {"gelu 5x5x33", LINEAR, .in = {LIVE(5, 5), LIVE(33, 5), LIVE(33)},
     .option = {1}},
    {"gelu 2x3x17x5", LINEAR, .in = {LIVE(2, 3, 17), LIVE(5, 17), LIVE(5)},
     .option = {1}},
};

START_TEST(linear) {
  check_graphs(linear_graphs, COUNT(linear_graphs), configs[_i]);
}
END_TEST

START_TEST(linear_gelu) {
  check_graphs(gelu_graphs, COUNT(gelu_graphs), configs[_i]);
}
END_TEST

/* x, w, b, residual. */
static mae_status record_linear_add(const graph *g, mae_tape *tape,
                                    const mae_var *in, const mae_index *table,
                                    mae_var *out) {
  (void)g, (void)table;
  return mae_tape_linear_add(tape, in[0], in[1], in[2], in[3], out);
}

static void linear_add_plainly(const graph *g, double *const *in,
                               int32_t *const *table, double *out) {
  (void)table;
  plain_linear(rows_of(&g->in[0]), width_of(&g->in[0]), g->in[1].shape[0],
               false, in[0], in[1], in[2], in[3], out);
}

#define LINEAR_ADD record_linear_add, linear_add_plainly

static const graph linear_add_graphs[] = {
    {"linear_add 5x17x33", LINEAR_ADD,
     .in = {LIVE(5, 17), LIVE(33, 17), LIVE(33), LIVE(5, 33)}},
    {"linear_add 2x3x5x17", LINEAR_ADD,
     .in = {LIVE(2, 3, 5), LIVE(17, 5), LIVE(17), LIVE(2, 3, 17)}},
};

START_TEST(linear_add) {
  check_graphs(linear_add_graphs, COUNT(linear_add_graphs), configs[_i]);
}
END_TEST

/* --------------------------------------------------------- layer norm --- */

static const float EPS = 1e-6f;

static void plain_layer_norm(int64_t rows, int64_t n, double eps,
                             const double *x, const double *w, const double *b,
                             double *y) {
  for (int64_t row = 0; row < rows; row++, x += n, y += n) {
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < n; i++) mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
      variance += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (int64_t i = 0; i < n; i++)
      y[i] = (x[i] - mean) / sqrt(variance + eps) * w[i] + b[i];
  }
}

/* x, w, b; option: eps in millionths, 0 for EPS. */
static float eps_of(const graph *g) {
  return g->option[0] ? (float)g->option[0] * 1e-6f : EPS;
}

static mae_status record_layer_norm(const graph *g, mae_tape *tape,
                                    const mae_var *in, const mae_index *table,
                                    mae_var *out) {
  (void)table;
  return mae_tape_layer_norm(tape, in[0], in[1], in[2], eps_of(g), out);
}

static void layer_norm_plainly(const graph *g, double *const *in,
                               int32_t *const *table, double *out) {
  (void)table;
  plain_layer_norm(rows_of(&g->in[0]), width_of(&g->in[0]), eps_of(g), in[0],
                   in[1], in[2], out);
}

#define LAYER_NORM record_layer_norm, layer_norm_plainly

static const graph layer_norm_graphs[] = {
    {"layer_norm 3x5", LAYER_NORM, .in = {LIVE(3, 5), LIVE(5), LIVE(5)}},
    {"layer_norm 2x3x17", LAYER_NORM,
     .in = {LIVE(2, 3, 17), LIVE(17), LIVE(17)}},
    {"layer_norm 5x33", LAYER_NORM, .in = {LIVE(5, 33), LIVE(33), LIVE(33)}},
    {"layer_norm large eps", LAYER_NORM,
     .in = {LIVE(2, 32), LIVE(32), LIVE(32)}, .option = {500000}},
};

START_TEST(layer_norm) {
  check_graphs(layer_norm_graphs, COUNT(layer_norm_graphs), configs[_i]);
}
END_TEST

/* ---------------------------------------------------------- attention --- */

/* One head: q, k, v and y begin at it. */
static void plain_head(int64_t tokens, int64_t d, int64_t width,
                       const double *q, const double *k, const double *v,
                       double *y) {
  double *p = make(tokens, sizeof *p);
  for (int64_t i = 0; i < tokens; i++) {
    double sum = 0;
    for (int64_t j = 0; j < tokens; j++) {
      double score = 0;
      for (int64_t c = 0; c < d; c++)
        score += q[i * 3 * width + c] * k[j * 3 * width + c];
      sum += p[j] = exp(score / sqrt((double)d));
    }
    for (int64_t c = 0; c < d; c++) {
      y[i * width + c] = 0;
      for (int64_t j = 0; j < tokens; j++)
        y[i * width + c] += p[j] / sum * v[j * 3 * width + c];
    }
  }
  free(p);
}

static void plain_attention(int64_t batch, int64_t tokens, int64_t width,
                            int64_t heads, const double *qkv, double *y) {
  const int64_t d = width / heads;
  for (int64_t b = 0; b < batch; b++)
    for (int64_t h = 0; h < heads; h++) {
      const double *q = qkv + b * tokens * 3 * width + h * d;
      plain_head(tokens, d, width, q, q + width, q + 2 * width,
                 y + b * tokens * width + h * d);
    }
}

/* qkv; option: heads. */
static mae_status record_attention(const graph *g, mae_tape *tape,
                                   const mae_var *in, const mae_index *table,
                                   mae_var *out) {
  (void)table;
  return mae_tape_attention(tape, in[0], g->option[0], out);
}

static void attention_plainly(const graph *g, double *const *in,
                              int32_t *const *table, double *out) {
  (void)table;
  const int64_t *s = g->in[0].shape;
  plain_attention(s[0], s[1], s[2] / 3, g->option[0], in[0], out);
}

#define ATTENTION record_attention, attention_plainly

static const graph attention_graphs[] = {
    {"attention 2x5x3x5", ATTENTION, .in = {LIVE(2, 5, 45)}, .option = {3}},
    {"attention 1x17x1x3", ATTENTION, .in = {LIVE(1, 17, 9)}, .option = {1}},
    {"attention 1x3x2x17", ATTENTION, .in = {LIVE(1, 3, 102)}, .option = {2}},
    {"attention one token", ATTENTION, .in = {LIVE(3, 1, 12)}, .option = {2}},
    {"attention 33 tokens", ATTENTION, .in = {LIVE(1, 33, 6)}, .option = {2}},
};

START_TEST(attention) {
  check_graphs(attention_graphs, COUNT(attention_graphs), configs[_i]);
}
END_TEST

/* q = c, k = s c for s = 1, -1: scores far from zero on either side, which must
 * neither overflow nor vanish; v and what is added to q and k are random. */
static void far_scores(data *d, int64_t width, float c, float s) {
  const float shift[] = {c, s * c, 0};
  for (int64_t i = 0; i < d->size[0]; i++)
    d->f64[0][i] = d->f32[0][i] += shift[i / width % 3];
}

static void expect_finite(const float *x, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(x[i])) ck_abort_msg("%g", x[i]);
}

START_TEST(attention_of_far_scores) {
  graph g = {"attention far", ATTENTION, .in = {LIVE(2, 5, 15)}, .option = {1}};
  const float size[] = {12, 12, 1e4f, 1e4f};
  for (int i = 0; i < COUNT(size); i++) {
    data d = make_data(&g);
    far_scores(&d, 5, size[i], i % 2 ? -1 : 1);
    run r = open_run(&g, &d, configs[_i], ~0u);
    float *seed = make_seed(out_size(&r));
    step(&r, seed, 0);
    /* The scores, some 320, round to 2^-15. */
    if (size[i] < 100) expect_value(&r, &d, 1e-4);
    expect_finite(out_of(&r), out_size(&r));
    expect_finite(grad_of(&r, 0), d.size[0]);
    close_run(&r);
    free(seed);
    free_data(&d);
  }
}
END_TEST

/* ---------------------------------------------------------------- add --- */

static mae_status record_add(const graph *g, mae_tape *tape, const mae_var *in,
                             const mae_index *table, mae_var *out) {
  (void)g, (void)table;
  return mae_tape_add(tape, in[0], in[1], out);
}

static void add_plainly(const graph *g, double *const *in,
                        int32_t *const *table, double *out) {
  (void)table;
  for (int64_t i = 0; i < size_of(&g->in[0]); i++) out[i] = in[0][i] + in[1][i];
}

#define ADD record_add, add_plainly

static const graph add_graphs[] = {
    {"add 5", ADD, .in = {LIVE(5), LIVE(5)}},
    {"add 2x3x1x17", ADD, .in = {LIVE(2, 3, 1, 17), LIVE(2, 3, 1, 17)}},
};

START_TEST(add) { check_graphs(add_graphs, COUNT(add_graphs), configs[_i]); }
END_TEST

/* ----------------------------------------------------------- patchify --- */

/* images; option: patch size, order; a table or none. */
static mae_status record_patchify(const graph *g, mae_tape *tape,
                                  const mae_var *in, const mae_index *table,
                                  mae_var *out) {
  mae_index keep = tables(g) ? table[0] : (mae_index){MAE_NO_VAR};
  return mae_tape_patchify(tape, in[0], g->option[0],
                           (mae_patch_order)g->option[1], keep, out);
}

static void patchify_plainly(const graph *g, double *const *in,
                             int32_t *const *table, double *out) {
  const int64_t *s = g->in[0].shape, p = g->option[0], across = s[3] / p;
  const int64_t all = s[2] / p * across;
  const int64_t count = tables(g) ? g->table[0].count : all;
  const bool chans_last = g->option[1] == MAE_PATCH_PQC;
  for (int64_t b = 0; b < s[0]; b++)
    for (int64_t k = 0; k < count; k++)
      for (int64_t c = 0; c < s[1]; c++)
        for (int64_t i = 0; i < p * p; i++) {
          int64_t patch = tables(g) ? table[0][b * count + k] : k;
          int64_t y = patch / across * p + i / p,
                  x = patch % across * p + i % p;
          int64_t to = chans_last ? i * s[1] + c : c * p * p + i;
          out[(b * count + k) * s[1] * p * p + to] =
              in[0][((b * s[1] + c) * s[2] + y) * s[3] + x];
        }
}

#define PATCHIFY record_patchify, patchify_plainly

static const graph patchify_graphs[] = {
    {"patchify cpq", PATCHIFY, .in = {LIVE(2, 3, 6, 9)}, .option = {3, 0}},
    {"patchify pqc", PATCHIFY, .in = {LIVE(2, 3, 6, 9)}, .option = {3, 1}},
    {"patchify 1 pqc", PATCHIFY, .in = {LIVE(1, 2, 3, 2)}, .option = {1, 1}},
    {"patchify one patch", PATCHIFY, .in = {LIVE(2, 1, 5, 5)},
     .option = {5, 0}},
    {"patchify cpq keep", PATCHIFY, .in = {LIVE(2, 3, 6, 9)},
     .table = {{2, 4, 6, true}}, .option = {3, 0}},
    {"patchify pqc keep", PATCHIFY, .in = {LIVE(3, 2, 4, 8)},
     .table = {{3, 5, 8, true}}, .option = {2, 1}},
    {"patchify repeated", PATCHIFY, .in = {LIVE(2, 1, 4, 4)},
     .table = {{2, 9, 4, false}}, .option = {2, 0}},
};

START_TEST(patchify) {
  check_graphs(patchify_graphs, COUNT(patchify_graphs), configs[_i]);
}
END_TEST

/* ------------------------------------------------------------- tokens --- */

static mae_status record_gather(const graph *g, mae_tape *tape,
                                const mae_var *in, const mae_index *table,
                                mae_var *out) {
  (void)g;
  return mae_tape_gather_tokens(tape, in[0], table[0], out);
}

static void gather_plainly(const graph *g, double *const *in,
                           int32_t *const *table, double *out) {
  const int64_t *s = g->in[0].shape, n = g->table[0].count;
  for (int64_t b = 0; b < s[0]; b++)
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = 0; j < s[2]; j++)
        out[(b * n + i) * s[2] + j] =
            in[0][(b * s[1] + table[0][b * n + i]) * s[2] + j];
}

#define GATHER record_gather, gather_plainly

static const graph gather_graphs[] = {
    {"gather shuffle", GATHER, .in = {LIVE(2, 7, 5)},
     .table = {{2, 7, 7, true}}},
    {"gather keep", GATHER, .in = {LIVE(3, 7, 17)}, .table = {{3, 3, 7, true}}},
    {"gather repeated", GATHER, .in = {LIVE(2, 3, 33)},
     .table = {{2, 8, 3, false}}},
};

START_TEST(gather_tokens) {
  check_graphs(gather_graphs, COUNT(gather_graphs), configs[_i]);
}
END_TEST

/* x, token; a table. */
static mae_status record_unshuffle(const graph *g, mae_tape *tape,
                                   const mae_var *in, const mae_index *table,
                                   mae_var *out) {
  (void)g;
  return mae_tape_unshuffle_tokens(tape, in[0], in[1], table[0], out);
}

static void unshuffle_plainly(const graph *g, double *const *in,
                              int32_t *const *table, double *out) {
  const int64_t *s = g->in[0].shape, n = g->table[0].count, kept = s[1] - 1;
  const int64_t step = g->in[1].shape[1] == 1 + n ? s[2] : 0; /* of tokens */
  for (int64_t b = 0; b < s[0]; b++)
    for (int64_t i = 0; i <= n; i++)
      for (int64_t j = 0; j < s[2]; j++) {
        int64_t from = i ? table[0][b * n + i - 1] : -1;
        out[(b * (1 + n) + i) * s[2] + j] =
            from < kept ? in[0][(b * s[1] + 1 + from) * s[2] + j]
                        : in[1][i * step + j];
      }
}

#define UNSHUFFLE record_unshuffle, unshuffle_plainly

static const graph unshuffle_graphs[] = {
    {"unshuffle", UNSHUFFLE, .in = {LIVE(2, 4, 5), LIVE(5)},
     .table = {{2, 7, 7, true}}},
    {"unshuffle 17", UNSHUFFLE, .in = {LIVE(3, 3, 17), LIVE(1, 1, 17)},
     .table = {{3, 5, 5, true}}},
    {"unshuffle none kept", UNSHUFFLE, .in = {LIVE(2, 1, 33), LIVE(33)},
     .table = {{2, 3, 3, true}}},
    {"unshuffle all kept", UNSHUFFLE, .in = {LIVE(2, 5, 5), DEAD(5)},
     .table = {{2, 4, 4, true}}},
    {"unshuffle repeated", UNSHUFFLE, .in = {LIVE(2, 3, 5), LIVE(5)},
     .table = {{2, 7, 7, false}}},
    {"unshuffle among rows", UNSHUFFLE, .in = {LIVE(3, 3, 17), LIVE(1, 8, 17)},
     .table = {{3, 7, 7, true}}},
    {"unshuffle among rows, repeated", UNSHUFFLE,
     .in = {LIVE(2, 3, 5), LIVE(1, 8, 5)}, .table = {{2, 7, 7, false}}},
};

START_TEST(unshuffle_tokens) {
  check_graphs(unshuffle_graphs, COUNT(unshuffle_graphs), configs[_i]);
}
END_TEST

/* token, x. */
static mae_status record_concat(const graph *g, mae_tape *tape,
                                const mae_var *in, const mae_index *table,
                                mae_var *out) {
  (void)g, (void)table;
  return mae_tape_concat_token(tape, in[0], in[1], out);
}

static void concat_plainly(const graph *g, double *const *in,
                           int32_t *const *table, double *out) {
  (void)table;
  const int64_t *s = g->in[1].shape, n = s[1] * s[2];
  for (int64_t b = 0; b < s[0]; b++) {
    double *y = out + b * (n + s[2]);
    memcpy(y, in[0], (size_t)s[2] * sizeof *y);
    memcpy(y + s[2], in[1] + b * n, (size_t)n * sizeof *y);
  }
}

#define CONCAT record_concat, concat_plainly

static const graph concat_graphs[] = {
    {"concat 5", CONCAT, .in = {LIVE(5), LIVE(2, 3, 5)}},
    {"concat 17", CONCAT, .in = {LIVE(1, 1, 17), LIVE(3, 1, 17)}},
    {"concat 33", CONCAT, .in = {LIVE(1, 33), LIVE(1, 2, 33)}},
};

START_TEST(concat_token) {
  check_graphs(concat_graphs, COUNT(concat_graphs), configs[_i]);
}
END_TEST

/* x, table of positions; an index or none. */
static mae_status record_position(const graph *g, mae_tape *tape,
                                  const mae_var *in, const mae_index *table,
                                  mae_var *out) {
  mae_index index = tables(g) ? table[0] : (mae_index){MAE_NO_VAR};
  return mae_tape_add_position(tape, in[0], in[1], index, out);
}

static void position_plainly(const graph *g, double *const *in,
                             int32_t *const *table, double *out) {
  const int64_t *s = g->in[0].shape;
  for (int64_t b = 0; b < s[0]; b++)
    for (int64_t i = 0; i < s[1]; i++)
      for (int64_t j = 0; j < s[2]; j++) {
        int64_t row = i;
        if (i && tables(g)) row = 1 + table[0][b * (s[1] - 1) + i - 1];
        int64_t at = (b * s[1] + i) * s[2] + j;
        out[at] = in[0][at] + in[1][row * s[2] + j];
      }
}

#define POSITION record_position, position_plainly

static const graph position_graphs[] = {
    {"position all", POSITION, .in = {LIVE(2, 4, 5), LIVE(4, 5)}},
    {"position class only", POSITION, .in = {LIVE(2, 1, 5), LIVE(1, 5)}},
    {"position index", POSITION, .in = {LIVE(2, 4, 17), LIVE(1, 8, 17)},
     .table = {{2, 3, 7, true}}},
    {"position repeated", POSITION, .in = {LIVE(2, 6, 33), LIVE(4, 33)},
     .table = {{2, 5, 3, false}}},
};

START_TEST(add_position) {
  check_graphs(position_graphs, COUNT(position_graphs), configs[_i]);
}
END_TEST

/* --------------------------------------------------------------- loss --- */

/* The square error of one patch, summed. */
static double plain_patch_error(int64_t n, bool normalise, const double *pred,
                                const double *target) {
  double mean = 0, variance = 0, sum = 0;
  for (int64_t i = 0; i < n; i++) mean += target[i] / (double)n;
  for (int64_t i = 0; i < n; i++)
    variance += (target[i] - mean) * (target[i] - mean) / (double)(n - 1);
  for (int64_t i = 0; i < n; i++) {
    double t = target[i];
    if (normalise) t = (t - mean) / sqrt(variance + 1e-6);
    sum += (pred[i] - t) * (pred[i] - t);
  }
  return sum;
}

/* pred, target, mask; option: normalise. */
static mae_status record_mse(const graph *g, mae_tape *tape, const mae_var *in,
                             const mae_index *table, mae_var *out) {
  (void)table;
  return mae_tape_masked_mse(tape, in[0], in[1], in[2], g->option[0], out);
}

static void mse_plainly(const graph *g, double *const *in,
                        int32_t *const *table, double *out) {
  (void)table;
  const int64_t n = width_of(&g->in[0]);
  double sum = 0, removed = 0;
  for (int64_t i = 0; i < rows_of(&g->in[0]); i++) {
    sum += in[2][i] / (double)n *
           plain_patch_error(n, g->option[0], in[0] + i * n, in[1] + i * n);
    removed += in[2][i];
  }
  *out = sum / removed;
}

#define MSE record_mse, mse_plainly

static const graph mse_graphs[] = {
    {"mse 2x3x5", MSE, .in = {LIVE(2, 3, 5), FIXED(2, 3, 5), MASK(2, 3)}},
    {"mse 1x5x33", MSE, .in = {LIVE(1, 5, 33), FIXED(1, 5, 33), MASK(1, 5)}},
    {"mse one value", MSE, .in = {LIVE(2, 3, 1), FIXED(2, 3, 1), MASK(2, 3)}},
    {"mse norm 5", MSE, .in = {LIVE(2, 3, 5), FIXED(2, 3, 5), MASK(2, 3)},
     .option = {1}},
    {"mse norm 17", MSE, .in = {LIVE(3, 5, 17), FIXED(3, 5, 17), MASK(3, 5)},
     .option = {1}},
};

START_TEST(masked_mse) {
  check_graphs(mse_graphs, COUNT(mse_graphs), configs[_i]);
}
END_TEST

/* A mask that removes nothing has no mean; the tape recovers after. */
START_TEST(masked_mse_of_nothing) {
  data d = make_data(&mse_graphs[0]);
  run r = open_run(&mse_graphs[0], &d, configs[_i], ~0u);
  float *mask = mae_tensor_data(mae_tape_value(r.tape, r.in[2]));
  memset(mask, 0, (size_t)d.size[2] * sizeof *mask);
  ck_assert_int_eq(mae_tape_forward(r.tape), MAE_ERROR_INVALID_ARGUMENT);
  ck_assert_int_eq(mae_tape_backward(r.tape, 1, 0), MAE_ERROR_STATE);
  memcpy(mask, d.f32[2], (size_t)d.size[2] * sizeof *mask);
  ASSERT_OK(mae_tape_forward(r.tape));
  expect_value(&r, &d, VALUE_BAR);
  close_run(&r);
  free_data(&d);
}
END_TEST

/* -------------------------------------------------------- mean tokens --- */

/* x; option: the first token and how many. */
static mae_status record_mean(const graph *g, mae_tape *tape, const mae_var *in,
                              const mae_index *table, mae_var *out) {
  (void)table;
  return mae_tape_mean_tokens(tape, in[0], g->option[0], g->option[1], out);
}

static void mean_plainly(const graph *g, double *const *in,
                         int32_t *const *table, double *out) {
  (void)table;
  const int64_t *s = g->in[0].shape;
  for (int64_t b = 0; b < s[0]; b++)
    for (int64_t j = 0; j < s[2]; j++) {
      double sum = 0;
      for (int64_t i = 0; i < g->option[1]; i++)
        sum += in[0][(b * s[1] + g->option[0] + i) * s[2] + j];
      out[b * s[2] + j] = sum / g->option[1];
    }
}

#define MEAN record_mean, mean_plainly

static const graph mean_graphs[] = {
    {"mean of the class token", MEAN, .in = {LIVE(2, 4, 5)}, .option = {0, 1}},
    {"mean of the patches", MEAN, .in = {LIVE(3, 6, 17)}, .option = {1, 5}},
    {"mean of some", MEAN, .in = {LIVE(2, 7, 33)}, .option = {2, 3}},
    {"mean of the last", MEAN, .in = {LIVE(2, 3, 1)}, .option = {2, 1}},
    {"mean of all", MEAN, .in = {LIVE(1, 3, 8)}, .option = {0, 3}},
};

START_TEST(mean_tokens) {
  check_graphs(mean_graphs, COUNT(mean_graphs), configs[_i]);
}
END_TEST

/* ------------------------------------------------------ cross-entropy --- */

/* logits, target. */
static mae_status record_entropy(const graph *g, mae_tape *tape,
                                 const mae_var *in, const mae_index *table,
                                 mae_var *out) {
  (void)g, (void)table;
  return mae_tape_softmax_cross_entropy(tape, in[0], in[1], out);
}

static double plain_entropy(int64_t n, const double *x, const double *t) {
  double top = x[0], sum = 0, loss = 0;
  for (int64_t i = 1; i < n; i++) top = fmax(top, x[i]);
  for (int64_t i = 0; i < n; i++) sum += exp(x[i] - top);
  for (int64_t i = 0; i < n; i++) loss += t[i] * (log(sum) - (x[i] - top));
  return loss;
}

static void entropy_plainly(const graph *g, double *const *in,
                            int32_t *const *table, double *out) {
  (void)table;
  const int64_t rows = rows_of(&g->in[0]), n = width_of(&g->in[0]);
  *out = 0;
  for (int64_t i = 0; i < rows; i++)
    *out += plain_entropy(n, in[0] + i * n, in[1] + i * n) / (double)rows;
}

#define ENTROPY record_entropy, entropy_plainly

/* The targets are any numbers, so that their sum has its part too. */
static const graph entropy_graphs[] = {
    {"cross_entropy 2x5", ENTROPY, .in = {LIVE(2, 5), FIXED(2, 5)}},
    {"cross_entropy 3x17", ENTROPY, .in = {LIVE(3, 17), FIXED(3, 17)}},
    {"cross_entropy 1x33", ENTROPY, .in = {LIVE(1, 33), FIXED(1, 33)}},
    {"cross_entropy 4x32", ENTROPY, .in = {LIVE(4, 32), FIXED(4, 32)}},
    {"cross_entropy 2x2", ENTROPY, .in = {LIVE(2, 2), FIXED(2, 2)}},
    {"cross_entropy of labels", ENTROPY, .in = {LIVE(3, 10), MASK(3, 10)}},
};

START_TEST(cross_entropy) {
  check_graphs(entropy_graphs, COUNT(entropy_graphs), configs[_i]);
}
END_TEST

/* With one class every prediction is right: loss and gradient are 0. */
START_TEST(cross_entropy_of_one_class) {
  graph g = {"one class", ENTROPY, .in = {LIVE(3, 1), FIXED(3, 1)}};
  data d = make_data(&g);
  run r = open_run(&g, &d, configs[_i], ~0u);
  const float seed = 1;
  step(&r, &seed, 0);
  ck_assert(*out_of(&r) == 0);
  for (int i = 0; i < 3; i++) ck_assert(grad_of(&r, 0)[i] == 0);
  close_run(&r);
  free_data(&d);
}
END_TEST

/* Logits far from zero and from each other neither overflow nor vanish, and a
 * sure prediction keeps the digits of its small loss. */
START_TEST(cross_entropy_of_far_logits) {
  enum { N = 19 };
  graph g = {"far logits", ENTROPY, .in = {LIVE(1, N), FIXED(1, N)}};
  const float top[] = {5, 200, 1e4f, -1e4f}, gap[] = {12, 14, 1e4f, 40};
  for (int k = 0; k < COUNT(top) * 2; k++) {
    data d = make_data(&g);
    const int label = k % 2 ? 18 : 3; /* in the last, partial vector too */
    for (int i = 0; i < N; i++) {
      d.f64[0][i] = d.f32[0][i] = top[k / 2] - (i == label ? 0 : gap[k / 2]);
      d.f64[1][i] = d.f32[1][i] = i == label;
    }
    run r = open_run(&g, &d, configs[_i], ~0u);
    const float seed = 1;
    step(&r, &seed, 0);
    /* 1 + 18 e^-gap is summed with a few roundings of 2^-24 each. */
    const double want = log1p((N - 1) * exp(-gap[k / 2]));
    ck_assert_msg(fabs(*out_of(&r) - want) <= 4e-7, "%g, not %g",
                  *out_of(&r), want);
    double sum = 0;
    for (int i = 0; i < N; i++) {
      double p = exp(-want - (i == label ? 0 : gap[k / 2])) - (i == label);
      ck_assert(fabs(grad_of(&r, 0)[i] - p) <= 4e-7);
      sum += grad_of(&r, 0)[i];
    }
    ck_assert(fabs(sum) <= 6e-7);
    close_run(&r);
    free_data(&d);
  }
}
END_TEST

/* A NaN must not be lost: the trainer looks for it in the loss. */
START_TEST(cross_entropy_of_nan) {
  graph g = {"nan", ENTROPY, .in = {LIVE(2, 21), FIXED(2, 21)}};
  for (int at = 0; at < 42; at++) {
    data d = make_data(&g);
    d.f32[0][at] = at % 2 ? NAN : INFINITY;
    run r = open_run(&g, &d, configs[_i], ~0u);
    ASSERT_OK(mae_tape_forward(r.tape));
    ck_assert(isnan(*out_of(&r)));
    close_run(&r);
    free_data(&d);
  }
}
END_TEST

/* ---------------------------------------------------------- drop path --- */

/* x, scale, residual. */
static mae_status record_drop_path(const graph *g, mae_tape *tape,
                                   const mae_var *in, const mae_index *table,
                                   mae_var *out) {
  (void)g, (void)table;
  return mae_tape_drop_path_add(tape, in[0], in[1], in[2], out);
}

static void plain_drop_path(int64_t batch, int64_t n, const double *x,
                            const double *scale, const double *residual,
                            double *y) {
  for (int64_t i = 0; i < batch * n; i++)
    y[i] = residual[i] + scale[i / n] * x[i];
}

static void drop_path_plainly(const graph *g, double *const *in,
                              int32_t *const *table, double *out) {
  (void)table;
  const int64_t batch = g->in[0].shape[0];
  plain_drop_path(batch, size_of(&g->in[0]) / batch, in[0], in[1], in[2], out);
}

#define DROP_PATH record_drop_path, drop_path_plainly

static const graph drop_path_graphs[] = {
    {"drop_path 2x3x5", DROP_PATH,
     .in = {LIVE(2, 3, 5), FIXED(2), LIVE(2, 3, 5)}},
    {"drop_path 5x17", DROP_PATH, .in = {LIVE(5, 17), FIXED(5), LIVE(5, 17)}},
    {"drop_path 3", DROP_PATH, .in = {LIVE(3), FIXED(3), LIVE(3)}},
    {"drop_path off and on", DROP_PATH,
     .in = {LIVE(4, 2, 33), MASK(4), LIVE(4, 2, 33)}},
};

/* x + scale x: one variable in both places. */
static mae_status record_drop_path_self(const graph *g, mae_tape *tape,
                                        const mae_var *in,
                                        const mae_index *table, mae_var *out) {
  (void)g, (void)table;
  return mae_tape_drop_path_add(tape, in[0], in[1], in[0], out);
}

static void drop_path_self_plainly(const graph *g, double *const *in,
                                   int32_t *const *table, double *out) {
  (void)table;
  const int64_t batch = g->in[0].shape[0];
  plain_drop_path(batch, size_of(&g->in[0]) / batch, in[0], in[1], in[0], out);
}

static const graph drop_path_self_graph = {
    "drop_path of itself", record_drop_path_self, drop_path_self_plainly,
    .in = {LIVE(3, 2, 5), FIXED(3)}};

START_TEST(drop_path_add) {
  check_graphs(drop_path_graphs, COUNT(drop_path_graphs), configs[_i]);
  check_graph(&drop_path_self_graph, configs[_i]);
}
END_TEST

/* -------------------------------------------------- transformer block --- */

/* x, the block's parameters, two scales; option: heads, without scales. */
static mae_status record_block(const graph *g, mae_tape *tape,
                               const mae_var *in, const mae_index *table,
                               mae_var *out) {
  (void)table;
  *out = mae_nn_transformer_block(
      tape, in[0], in + 1, g->option[0], EPS,
      g->option[1] ? NULL : in + 1 + MAE_BLOCK_PARAMS);
  return MAE_OK; /* a failure above shows in the plan */
}

/* y = residual + scale f(x), f being linear. */
static void plain_branch(const graph *g, const double *x, const double *w,
                         const double *b, const double *scale,
                         const double *residual, int64_t in, double *y) {
  const int64_t *s = g->in[0].shape;
  const double ones[] = {1, 1, 1};
  double *f = make(size_of(&g->in[0]), sizeof *f);
  plain_linear(s[0] * s[1], in, s[2], false, x, w, b, NULL, f);
  plain_drop_path(s[0], s[1] * s[2], f, g->option[1] ? ones : scale, residual,
                  y);
  free(f);
}

static void block_plainly(const graph *g, double *const *in,
                          int32_t *const *table, double *out) {
  (void)table;
  const int64_t *s = g->in[0].shape, rows = s[0] * s[1], n = s[2];
  const int64_t hidden = g->in[1 + MAE_BLOCK_FC1_BIAS].shape[0];
  double *const *p = in + 1, *const *scale = p + MAE_BLOCK_PARAMS;
  double *norm = make(rows * n, sizeof *norm), *h = make(rows * n, sizeof *h);
  double *wide = make(rows * (3 * n + hidden), sizeof *wide);
  plain_layer_norm(rows, n, EPS, in[0], p[MAE_BLOCK_NORM1_WEIGHT],
                   p[MAE_BLOCK_NORM1_BIAS], norm);
  plain_linear(rows, n, 3 * n, false, norm, p[MAE_BLOCK_QKV_WEIGHT],
               p[MAE_BLOCK_QKV_BIAS], NULL, wide);
  plain_attention(s[0], s[1], n, g->option[0], wide, norm);
  plain_branch(g, norm, p[MAE_BLOCK_PROJ_WEIGHT], p[MAE_BLOCK_PROJ_BIAS],
               scale[0], in[0], n, h);
  plain_layer_norm(rows, n, EPS, h, p[MAE_BLOCK_NORM2_WEIGHT],
                   p[MAE_BLOCK_NORM2_BIAS], norm);
  plain_linear(rows, n, hidden, true, norm, p[MAE_BLOCK_FC1_WEIGHT],
               p[MAE_BLOCK_FC1_BIAS], NULL, wide);
  plain_branch(g, wide, p[MAE_BLOCK_FC2_WEIGHT], p[MAE_BLOCK_FC2_BIAS],
               scale[1], h, hidden, out);
  free(norm);
  free(h);
  free(wide);
}

/* The scales are not alike, so that neither can stand for the other. */
#define BLOCK_LEAVES(B, T, D, H)                                             \
  {                                                                          \
    LIVE(B, T, D), LIVE(D), LIVE(D), LIVE(3 * D, D), LIVE(3 * D), LIVE(D, D), \
        LIVE(D), LIVE(D), LIVE(D), LIVE(H, D), LIVE(H), LIVE(D, H), LIVE(D), \
        FIXED(B), FIXED(B)                                                   \
  }

static const graph block_graphs[] = {
    {"block with drop path", record_block, block_plainly,
     .in = BLOCK_LEAVES(3, 4, 6, 8), .option = {2, 0}},
    {"block", record_block, block_plainly, .in = BLOCK_LEAVES(2, 3, 6, 7),
     .option = {3, 1}},
};

START_TEST(transformer_block) {
  check_graphs(block_graphs, COUNT(block_graphs), configs[_i]);
}
END_TEST

/* ------------------------------------------------------------- larger --- */

/* Shapes that split into several pieces and blocks: linear by rows and by
 * columns, images, tokens, columns of weights. */
static const graph large_graphs[] = {
    {"large linear rows", LINEAR,
     .in = {LIVE(300, 65), LIVE(130, 65), LIVE(130)}},
    {"large linear columns", LINEAR,
     .in = {LIVE(7, 65), LIVE(500, 65), LIVE(500)}},
    {"large linear uneven", LINEAR,
     .in = {LIVE(260, 33), LIVE(260, 33), LIVE(260)}},
    {"large gelu rows", LINEAR,
     .in = {LIVE(9, 29, 65), LIVE(130, 65), LIVE(130)}, .option = {1}},
    {"large gelu columns", LINEAR,
     .in = {LIVE(7, 65), LIVE(500, 65), LIVE(500)}, .option = {1}},
    {"large linear_add", LINEAR_ADD,
     .in = {LIVE(9, 29, 65), LIVE(130, 65), LIVE(130), LIVE(9, 29, 130)}},
    {"large linear_add columns", LINEAR_ADD,
     .in = {LIVE(7, 65), LIVE(500, 65), LIVE(500), LIVE(7, 500)}},
    {"large layer_norm", LAYER_NORM,
     .in = {LIVE(700, 129), LIVE(129), LIVE(129)}},
    {"large layer_norm wide", LAYER_NORM,
     .in = {LIVE(67, 1031), LIVE(1031), LIVE(1031)}},
    {"large attention", ATTENTION, .in = {LIVE(6, 70, 132)}, .option = {4}},
    {"large add", ADD, .in = {LIVE(131, 1009), LIVE(131, 1009)}},
    {"large patchify", PATCHIFY, .in = {LIVE(5, 3, 64, 96)}, .option = {8, 1}},
    {"large patchify keep", PATCHIFY, .in = {LIVE(5, 3, 64, 96)},
     .table = {{5, 70, 96, true}}, .option = {8, 0}},
    {"large gather", GATHER, .in = {LIVE(5, 40, 257)},
     .table = {{5, 90, 40, false}}},
    {"large unshuffle", UNSHUFFLE, .in = {LIVE(5, 21, 257), LIVE(257)},
     .table = {{5, 60, 60, true}}},
    {"large concat", CONCAT, .in = {LIVE(257), LIVE(5, 60, 257)}},
    {"large position", POSITION, .in = {LIVE(5, 61, 257), LIVE(61, 257)}},
    {"large position index", POSITION, .in = {LIVE(5, 61, 257), LIVE(41, 257)},
     .table = {{5, 60, 40, false}}},
    {"large mse", MSE, .in = {LIVE(9, 49, 192), FIXED(9, 49, 192), MASK(9, 49)},
     .option = {1}},
    {"large mean", MEAN, .in = {LIVE(9, 50, 257)}, .option = {1, 49}},
    /* Targets of both signs would cancel to a loss of few right digits. */
    {"large cross_entropy", ENTROPY, .in = {LIVE(131, 1003), MASK(131, 1003)}},
    {"large drop_path", DROP_PATH,
     .in = {LIVE(7, 61, 257), FIXED(7), LIVE(7, 61, 257)}},
    {"large drop_path of small images", DROP_PATH,
     .in = {LIVE(9001, 9), FIXED(9001), LIVE(9001, 9)}},
};

static void compare_runs(run *r, run *base, const data *d) {
  expect_floats(r, "agree", -1, out_of(r), out_of(base), 1, out_size(r),
                VALUE_BAR);
  for (int i = 0; i < leaves(r->graph); i++)
    if (grad_of(base, i))
      expect_floats(r, "agree", i, grad_of(r, i), grad_of(base, i), 1,
                    d->size[i], GRAD_BAR);
}

/* The plain loops give the values; the portable kernels on one thread, proven
 * above on small shapes, the gradients. */
START_TEST(large_shapes) {
  const graph *g = &large_graphs[_i];
  data d = make_data(g);
  run base = open_run(g, &d, (config){MAE_ISA_PORTABLE, 1}, ~0u);
  float *seed = make_seed(out_size(&base));
  step(&base, seed, 0);
  expect_value(&base, &d, VALUE_BAR);
  for (int i = 0; i < n_configs; i++) {
    run r = open_run(g, &d, configs[i], ~0u);
    spoil_grads(&r, &d);
    step(&r, seed, 0);
    compare_runs(&r, &base, &d);
    expect_accumulation(&r, &d, seed);
    close_run(&r);
  }
  close_run(&base);
  free(seed);
  free_data(&d);
}
END_TEST

/* ---------------------------------------------------------- many uses --- */

static mae_status record_twice(const graph *g, mae_tape *tape,
                               const mae_var *in, const mae_index *table,
                               mae_var *out) {
  (void)g, (void)table;
  return mae_tape_add(tape, in[0], in[0], out);
}

static void twice_plainly(const graph *g, double *const *in,
                          int32_t *const *table, double *out) {
  (void)table;
  for (int64_t i = 0; i < size_of(&g->in[0]); i++) out[i] = 2 * in[0][i];
}

/* x w^T + b + x */
static mae_status record_own_residual(const graph *g, mae_tape *tape,
                                      const mae_var *in, const mae_index *table,
                                      mae_var *out) {
  (void)g, (void)table;
  return mae_tape_linear_add(tape, in[0], in[1], in[2], in[0], out);
}

static void own_residual_plainly(const graph *g, double *const *in,
                                 int32_t *const *table, double *out) {
  (void)table;
  int64_t n = width_of(&g->in[0]);
  plain_linear(rows_of(&g->in[0]), n, n, false, in[0], in[1], in[2], in[0],
               out);
}

/* w x^T + b, where x = w: the same variable as both factors. */
static mae_status record_square(const graph *g, mae_tape *tape,
                                const mae_var *in, const mae_index *table,
                                mae_var *out) {
  (void)g, (void)table;
  return mae_tape_linear(tape, in[0], in[0], in[1], MAE_ACTIVATION_GELU, out);
}

static void square_plainly(const graph *g, double *const *in,
                           int32_t *const *table, double *out) {
  (void)table;
  const int64_t *s = g->in[0].shape;
  plain_linear(s[0], s[1], s[0], true, in[0], in[0], in[1], NULL, out);
}

/* Dead leaves: the branch in[2] -> in[3] ends nowhere. */
static mae_status record_dead_branch(const graph *g, mae_tape *tape,
                                     const mae_var *in, const mae_index *table,
                                     mae_var *out) {
  (void)g, (void)table;
  mae_var dead;
  mae_tape_add(tape, in[0], in[2], &dead);
  mae_tape_add(tape, dead, in[3], &dead);
  mae_tape_add(tape, in[0], in[1], out);
  return mae_tape_add(tape, *out, dead, &dead); /* after the loss */
}

static const graph reuse_graphs[] = {
    {"add x x", record_twice, twice_plainly, .in = {LIVE(3, 17)}},
    {"x as its own residual", record_own_residual, own_residual_plainly,
     .in = {LIVE(5, 17), LIVE(17, 17), LIVE(17)}},
    {"x as its own weight", record_square, square_plainly,
     .in = {LIVE(5, 17), LIVE(5)}},
    {"dead branch", record_dead_branch, add_plainly,
     .in = {LIVE(3, 5), LIVE(3, 5), DEAD(3, 5), DEAD(3, 5)}},
};

START_TEST(reuse) {
  check_graphs(reuse_graphs, COUNT(reuse_graphs), configs[_i]);
}
END_TEST

/* A chain of operations, each on the result of the one before, the rest of
 * its inputs being the next leaves: gradients then live on the tape, where
 * some share memory. */
typedef struct chain_link {
  graph g;
  int slot;  /* the input that is the result before */
  int table; /* which one */
  int64_t size;
} chain_link;

static const chain_link chain[] = {
    {{"", PATCHIFY, .in = {LIVE(2, 1, 4, 6)}, .table = {{2, 2, 6, true}},
      .option = {2, 1}},
     .size = 2 * 2 * 4},
    {{"", LINEAR, .in = {LIVE(2, 2, 4), LIVE(6, 4), LIVE(6)}, .option = {1}},
     .size = 2 * 2 * 6},
    {{"", CONCAT, .in = {LIVE(6), LIVE(2, 2, 6)}},
     .slot = 1,
     .size = 2 * 3 * 6},
    {{"", POSITION, .in = {LIVE(2, 3, 6), LIVE(7, 6)},
      .table = {{2, 2, 6, true}}},
     .size = 2 * 3 * 6},
    {{"", ATTENTION, .in = {LIVE(2, 3, 6)}, .option = {1}}, .size = 2 * 3 * 2},
    {{"", UNSHUFFLE, .in = {LIVE(2, 3, 2), LIVE(2)},
      .table = {{2, 6, 6, true}}},
     .table = 1,
     .size = 2 * 7 * 2},
    {{"", POSITION, .in = {LIVE(2, 7, 2), LIVE(7, 2)}}, .size = 2 * 7 * 2},
    {{"", GATHER, .in = {LIVE(2, 7, 2)}, .table = {{2, 6, 6, true}}},
     .table = 1,
     .size = 2 * 6 * 2},
};

static mae_status record_chain(const graph *g, mae_tape *tape,
                               const mae_var *in, const mae_index *table,
                               mae_var *out) {
  (void)g;
  *out = in[0];
  for (int i = 0, next = 1; i < COUNT(chain); i++) {
    const chain_link *l = &chain[i];
    mae_var args[MOST_LEAVES];
    for (int slot = 0; slot < leaves(&l->g); slot++)
      args[slot] = slot == l->slot ? *out : in[next++];
    l->g.record(&l->g, tape, args, table + l->table, out);
  }
  return MAE_OK; /* a failure above shows in the plan */
}

static void chain_plainly(const graph *g, double *const *in,
                          int32_t *const *table, double *out) {
  double *before = make(size_of(&g->in[0]), sizeof *before);
  memcpy(before, in[0], (size_t)size_of(&g->in[0]) * sizeof *before);
  for (int i = 0, next = 1; i < COUNT(chain); i++) {
    const chain_link *l = &chain[i];
    double *args[MOST_LEAVES], *y = make(l->size, sizeof *y);
    for (int slot = 0; slot < leaves(&l->g); slot++)
      args[slot] = slot == l->slot ? before : in[next++];
    l->g.plain(&l->g, args, table + l->table, y);
    free(before);
    before = y;
  }
  memcpy(out, before, (size_t)chain[COUNT(chain) - 1].size * sizeof *out);
  free(before);
}

static const graph chain_graph = {
    "chain", record_chain, chain_plainly,
    .in = {LIVE(2, 1, 4, 6), LIVE(6, 4), LIVE(6), LIVE(6), LIVE(7, 6), LIVE(2),
           LIVE(7, 2)},
    .table = {{2, 2, 6, true}, {2, 6, 6, true}}};

START_TEST(chained) { check_graph(&chain_graph, configs[_i]); }
END_TEST

/* Random graphs of [rows, width] values x, y and weights w, b, u, c, g: each
 * operation takes any earlier values, so that values feed several operations,
 * residuals and sums share gradient memory, and branches die. */
typedef struct random_op {
  int kind, a, b; /* operands: x, y, then earlier results */
  bool other;     /* weights u, c rather than w, b */
} random_op;

enum { SUM, PLAIN, GELU, RESIDUAL, NORM, KINDS };
enum { DAG_OPS = 9 };

static void make_dag(const graph *g, random_op ops[DAG_OPS]) {
  uint64_t state = 0x9E3779B97F4A7C15u * (uint64_t)(g->option[0] + 1);
  for (int i = 0; i < DAG_OPS; i++) {
    uint64_t bits = random_bits(&state) >> 16;
    ops[i].kind = (int)(bits % KINDS);
    ops[i].other = bits >> 8 & 1;
    /* Mostly recent ones, so that the graph is deep too. */
    int near = i + 1, any = (int)(bits >> 16 & 255) % (i + 2);
    ops[i].a = bits >> 9 & 1 ? near : any;
    ops[i].b = (int)(bits >> 24 & 255) % (i + 2);
  }
}

static mae_status record_dag(const graph *g, mae_tape *tape, const mae_var *in,
                             const mae_index *table, mae_var *out) {
  (void)table;
  random_op ops[DAG_OPS];
  make_dag(g, ops);
  mae_var value[DAG_OPS + 2] = {in[0], in[1]};
  for (int i = 0; i < DAG_OPS; i++) {
    const random_op *op = &ops[i];
    mae_var a = value[op->a], b = value[op->b], *to = &value[i + 2];
    mae_var w = in[op->other ? 4 : 2], bias = in[op->other ? 5 : 3];
    switch (op->kind) {
      case SUM: mae_tape_add(tape, a, b, to); break;
      case RESIDUAL: mae_tape_linear_add(tape, a, w, bias, b, to); break;
      case NORM: mae_tape_layer_norm(tape, a, in[6], bias, EPS, to); break;
      default:
        mae_tape_linear(tape, a, w, bias, (mae_activation)(op->kind == GELU),
                        to);
    }
  }
  *out = value[DAG_OPS + 1];
  return MAE_OK; /* a failure above shows in the plan */
}

static void plain_op(const random_op *op, int64_t rows, int64_t n,
                     double *const *in, const double *a, const double *b,
                     double *y) {
  const double *w = in[op->other ? 4 : 2], *bias = in[op->other ? 5 : 3];
  if (op->kind == NORM) {
    plain_layer_norm(rows, n, EPS, a, in[6], bias, y);
  } else if (op->kind == SUM) {
    for (int64_t i = 0; i < rows * n; i++) y[i] = a[i] + b[i];
  } else {
    plain_linear(rows, n, n, op->kind == GELU, a, w, bias,
                 op->kind == RESIDUAL ? b : NULL, y);
  }
}

static void dag_plainly(const graph *g, double *const *in,
                        int32_t *const *table, double *out) {
  (void)table;
  random_op ops[DAG_OPS];
  make_dag(g, ops);
  const int64_t rows = rows_of(&g->in[0]), n = width_of(&g->in[0]);
  double *value[DAG_OPS + 2] = {in[0], in[1]};
  for (int i = 0; i < DAG_OPS; i++) {
    value[i + 2] = i == DAG_OPS - 1 ? out : make(rows * n, sizeof(double));
    plain_op(&ops[i], rows, n, in, value[ops[i].a], value[ops[i].b],
             value[i + 2]);
  }
  for (int i = 0; i < DAG_OPS - 1; i++) free(value[i + 2]);
}

enum { DAGS = 60 };

START_TEST(random_graphs) {
  /* DEAD keeps check_graph from asking for one gradient alone: which leaves
   * reach the loss is up to chance. */
  graph g = {"random graph", record_dag, dag_plainly,
             .in = {DEAD(3, 5), DEAD(3, 5), DEAD(5, 5), DEAD(5), DEAD(5, 5),
                    DEAD(5), DEAD(5)},
             .option = {_i}};
  check_graph(&g, (config){MAE_ISA_AUTO, 2});
}
END_TEST

/* ----------------------------------------------------- accuracy of Phi --- */

/* x times the identity, so that GELU sees each float unchanged. */
typedef struct sweep {
  graph graph;
  data data;
  run run;
} sweep;

static void open_sweep(sweep *s, config c, int64_t n) {
  s->graph = (graph){"gelu sweep", LINEAR,
                     .in = {LIVE(n, 1), FIXED(1, 1), FIXED(1)}, .option = {1}};
  s->data = make_data(&s->graph);
  *s->data.f32[1] = 1;
  *s->data.f32[2] = 0;
  for (int64_t i = 0; i < n; i++)
    s->data.f32[0][i] = -12 + (float)(24 * ((double)i + 0.5) / (double)n);
  s->run = open_run(&s->graph, &s->data, c, ~0u);
}

static void close_sweep(sweep *s) {
  close_run(&s->run);
  free_data(&s->data);
}

/* Phi = gelu(x) / x, whose own rounding adds 6e-8.  Beyond 5, where x * x / 2
 * rounds to 2^-20 and more, the exponential carries that error. */
static double phi_bar(double x) {
  if (fabs(x) <= 5) return 9e-7;
  return x > 0 ? 2e-7 : 5e-6;
}

START_TEST(gelu_accuracy) {
  enum { N = 240000 };
  sweep s;
  open_sweep(&s, configs[_i], N);
  float *seed = make(N, sizeof *seed);
  for (int i = 0; i < N; i++) seed[i] = 1;
  step(&s.run, seed, 0);
  double most = 0;
  for (int i = 0; i < N; i++) {
    double x = s.data.f32[0][i], phi = 0.5 * erfc(-x * M_SQRT1_2);
    double error = fabs(out_of(&s.run)[i] / x - phi) / phi;
    double slope = phi + x * exp(-x * x / 2) / sqrt(2 * M_PI);
    double off = fabs(grad_of(&s.run, 0)[i] - slope);
    if (fabs(x) <= 5) most = fmax(most, error);
    if (!(error <= phi_bar(x) && off <= 1e-6))
      ck_abort_msg("at %g Phi is off by %g, the slope by %g", x, error, off);
  }
  if (getenv("MAE_SHOW_ERRORS")) printf("error Phi %.2e\n", most);
  free(seed);
  close_sweep(&s);
}
END_TEST

/* -------------------------------------------------------------- suite --- */

Suite *ops_suite(void) {
  find_configs();
  Suite *suite = suite_create("ops");
  TCase *tests = tcase_create("operations");
  tcase_set_timeout(tests, 300);
  const int n = small_configs();
  tcase_add_loop_test(tests, linear, 0, n);
  tcase_add_loop_test(tests, linear_gelu, 0, n);
  tcase_add_loop_test(tests, linear_add, 0, n);
  tcase_add_loop_test(tests, layer_norm, 0, n);
  tcase_add_loop_test(tests, attention, 0, n);
  tcase_add_loop_test(tests, attention_of_far_scores, 0, n);
  tcase_add_loop_test(tests, add, 0, n);
  tcase_add_loop_test(tests, patchify, 0, n);
  tcase_add_loop_test(tests, gather_tokens, 0, n);
  tcase_add_loop_test(tests, unshuffle_tokens, 0, n);
  tcase_add_loop_test(tests, concat_token, 0, n);
  tcase_add_loop_test(tests, add_position, 0, n);
  tcase_add_loop_test(tests, masked_mse, 0, n);
  tcase_add_loop_test(tests, masked_mse_of_nothing, 0, n);
  tcase_add_loop_test(tests, mean_tokens, 0, n);
  tcase_add_loop_test(tests, cross_entropy, 0, n);
  tcase_add_loop_test(tests, cross_entropy_of_one_class, 0, n);
  tcase_add_loop_test(tests, cross_entropy_of_far_logits, 0, n);
  tcase_add_loop_test(tests, cross_entropy_of_nan, 0, n);
  tcase_add_loop_test(tests, drop_path_add, 0, n);
  tcase_add_loop_test(tests, transformer_block, 0, n);
  tcase_add_loop_test(tests, reuse, 0, n);
  tcase_add_loop_test(tests, chained, 0, n);
  tcase_add_loop_test(tests, gelu_accuracy, 0, n);
  tcase_add_loop_test(tests, large_shapes, 0, COUNT(large_graphs));
  tcase_add_loop_test(tests, random_graphs, 0, DAGS);
  suite_add_tcase(suite, tests);
  return suite;
}
