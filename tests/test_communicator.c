/* Several trainers that train one model: ranks are threads here, and a barrier
 * and sums in a fixed order are their communicator. */
#include <pthread.h>
#include <unistd.h>

#include "autograd/tape.h"
#include "count_alloc.h"
#include "golden.h"
#include "suites.h"
#include "train/trainer.h"

enum { IMAGES = 8, MOST_RANKS = 4, MOST_STEPS = 40, MOST_SUMS = 128 };

static char path[64];

static void make_path(void) {
  strcpy(path, "/tmp/libmae-communicator-XXXXXX");
  close(mkstemp(path));
}
static void drop_path(void) { unlink(path); }

/* ----------------------------------------------------- the communicator --- */

typedef struct crowd crowd;

typedef struct member {
  crowd *crowd;
  int rank;
  struct {
    float *data;
    int64_t n;
  } sums[MOST_SUMS];
  int n_sums;
} member;

struct crowd {
  int ranks;
  pthread_barrier_t barrier;
  member members[MOST_RANKS];
};

static mae_status start_sum(void *arg, float *data, int64_t n) {
  member *m = arg;
  if (m->n_sums == MOST_SUMS) return MAE_ERROR_OUT_OF_MEMORY;
  m->sums[m->n_sums].data = data;
  m->sums[m->n_sums++].n = n;
  return MAE_OK;
}

/* Each rank adds its slice for all. */
static void add_slice(const member *m, int sum, int64_t n) {
  const crowd *c = m->crowd;
  for (int64_t i = n * m->rank / c->ranks; i < n * (m->rank + 1) / c->ranks;
       i++) {
    float total = 0;
    for (int r = 0; r < c->ranks; r++) total += c->members[r].sums[sum].data[i];
    for (int r = 0; r < c->ranks; r++) c->members[r].sums[sum].data[i] = total;
  }
}

static mae_status wait_all(void *arg) {
  member *m = arg;
  bool alike = true;
  pthread_barrier_wait(&m->crowd->barrier);
  for (int r = 0; r < m->crowd->ranks; r++) {
    const member *other = &m->crowd->members[r];
    alike &= other->n_sums == m->n_sums;
    for (int i = 0; alike && i < m->n_sums; i++)
      alike &= other->sums[i].n == m->sums[i].n;
  }
  for (int i = 0; alike && i < m->n_sums; i++) add_slice(m, i, m->sums[i].n);
  pthread_barrier_wait(&m->crowd->barrier);
  m->n_sums = 0;
  return alike ? MAE_OK : MAE_ERROR_STATE;
}

/* ---------------------------------------------------------------- ranks --- */

typedef struct script {
  int ranks, steps;
  int32_t accum_steps;
  double clip_grad;
  int32_t recompute;
  mae_precision precision;
  int nan_step, nan_rank; /* the images of this step are not numbers */
  int skip_step;          /* this one is left out */
  const char *resume;
  int first;              /* number of the first step */
  int odd_rank, odd;      /* this rank differs in something */
  int parts;              /* one process: a step is made in so many; 0: one */
  bool classifier, mixing;
} script;

static const script plain = {.ranks = 1, .steps = 20, .accum_steps = 1,
                             .nan_step = -1, .skip_step = -1, .odd_rank = -1};

enum { CLASSES = 3 };

/* The small model's encoder under a head large enough to teach it. */
static mae_model *small_classifier(void) {
  mae_model *encoder = small_model(1), *model;
  ASSERT_OK(mae_model_classifier(encoder, CLASSES, 1, 1, &model));
  mae_model_destroy(encoder);
  mae_tensor *head = mae_model_find(model, "head.weight");
  for (int64_t i = 0; i < mae_tensor_size(head); i++) head->data[i] *= 5000;
  return model;
}

enum { ODD_OPTION = 1, ODD_PRECISION, ODD_SEED, ODD_WEIGHT, ODD_STATE, ODD_ISA };

typedef struct rank_run {
  const script *s;
  int rank;
  member *member;
  mae_context *context;
  mae_model *model;
  mae_trainer *trainer;
  mae_status status[MOST_STEPS];
  mae_step_result result[MOST_STEPS];
  char message[MOST_STEPS][256];
} rank_run;

static int parts_of(const script *s) { return s->parts ? s->parts : 1; }

static void classifier_options(const script *s, mae_trainer_options *o) {
  o->ema_decay = 0.9;
  o->layer_decay = 0.75;
  o->drop_path = 0.3;
  o->label_smoothing = 0.1;
  o->trainable_blocks = 1;
  if (s->mixing) o->mixup = 0.8, o->cutmix = 1;
}

static mae_trainer_options options_of(const script *s) {
  mae_trainer_options o;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = IMAGES / (s->ranks * parts_of(s));
  o.accum_steps = s->accum_steps * parts_of(s);
  if (s->classifier) classifier_options(s, &o);
  o.clip_grad = s->clip_grad;
  o.recompute = s->recompute;
  o.precision = s->precision;
  o.base_lr = 0.032 / s->accum_steps; /* peak 1e-3 */
  o.warmup_steps = 2;
  o.total_steps = 100;
  o.seed = 5;
  return o;
}

static void be_odd(rank_run *r, mae_trainer_options *o) {
  if (r->s->odd == ODD_OPTION && !r->s->classifier) o->weight_decay = 0.06;
  if (r->s->odd == ODD_OPTION && r->s->classifier) o->drop_path = 0.31;
  if (r->s->odd == ODD_PRECISION) o->precision = MAE_PRECISION_BF16;
  if (r->s->odd == ODD_SEED) o->seed++;
  if (r->s->odd == ODD_WEIGHT)
    mae_tensor_data(mae_model_find(r->model, "norm.bias"))[3] = 1e-20f;
}

/* Everything but the steps, on the test's own thread. */
static void prepare(rank_run *r) {
  const script *s = r->s;
  const bool odd = r->rank == s->odd_rank;
  mae_trainer_options o = options_of(s);
  r->context = make_context(
      1, odd && s->odd == ODD_ISA ? MAE_ISA_PORTABLE : MAE_ISA_AUTO);
  r->model = s->classifier ? small_classifier() : small_model(1);
  if (odd) be_odd(r, &o);
  ASSERT_OK(mae_trainer_create(r->context, r->model, &o, &r->trainer));
  if (s->resume && !(odd && s->odd == ODD_STATE))
    ASSERT_OK(mae_trainer_resume(r->trainer, s->resume));
  if (!r->member) return;
  const mae_communicator c = {.struct_size = sizeof c,
                              .rank = r->rank,
                              .ranks = s->ranks,
                              .arg = r->member,
                              .start_sum = start_sum,
                              .wait_all = wait_all,
                              .bucket_bytes = 8192};
  ASSERT_OK(mae_trainer_set_communicator(r->trainer, &c));
}

static mae_status step_of(rank_run *r, const float *images, int image,
                          mae_step_result *result) {
  int32_t labels[IMAGES];
  for (int i = 0; i < IMAGES; i++) labels[i] = (image + i) * 5 % 7 % CLASSES;
  return r->s->classifier
             ? mae_trainer_step_labels(r->trainer, images, labels, NULL, result)
             : mae_trainer_step(r->trainer, images, NULL, result);
}

/* The whole step's loss where it is made in parts. */
static mae_status parts_of_step(rank_run *r, const float *images, int image,
                                mae_step_result *result) {
  const int parts = parts_of(r->s), batch = IMAGES / (r->s->ranks * parts);
  double loss = 0;
  for (int p = 0; p < parts; p++) {
    MAE_TRY(step_of(r, images + p * batch * SMALL_IMAGE, image + p * batch,
                    result));
    loss += result->loss / parts;
  }
  result->loss = loss;
  return MAE_OK;
}

static void *steps_of(void *arg) {
  rank_run *r = arg;
  const script *s = r->s;
  const int batch = IMAGES / s->ranks;
  for (int i = 0; i < s->steps; i++) {
    if (i == s->skip_step) continue;
    float *images = small_images(IMAGES, (uint64_t)(s->first + i));
    float *mine = images + r->rank * batch * SMALL_IMAGE;
    if (i == s->nan_step && r->rank == s->nan_rank) mine[7] = NAN;
    r->result[i].struct_size = sizeof r->result[i];
    r->status[i] = parts_of_step(r, mine, r->rank * batch, &r->result[i]);
    snprintf(r->message[i], sizeof r->message[i], "%s", mae_last_error());
    free(images);
  }
  return NULL;
}

/* A rank_run for each rank; end them. */
static rank_run *run(const script *s) {
  static crowd c;
  pthread_t threads[MOST_RANKS];
  rank_run *runs = calloc((size_t)s->ranks, sizeof *runs);
  ck_assert_ptr_nonnull(runs);
  c.ranks = s->ranks;
  pthread_barrier_init(&c.barrier, NULL, (unsigned)s->ranks);
  for (int r = 0; r < s->ranks; r++) {
    c.members[r] = (member){.crowd = &c, .rank = r};
    runs[r].s = s;
    runs[r].rank = r;
    runs[r].member = s->ranks > 1 ? &c.members[r] : NULL;
    prepare(&runs[r]);
  }
  for (int r = 0; r < s->ranks; r++)
    ck_assert_int_eq(pthread_create(&threads[r], NULL, steps_of, &runs[r]), 0);
  for (int r = 0; r < s->ranks; r++) pthread_join(threads[r], NULL);
  pthread_barrier_destroy(&c.barrier);
  return runs;
}

static void end(rank_run *runs) {
  const int ranks = runs->s->ranks;
  for (int r = 0; r < ranks; r++) {
    mae_trainer_destroy(runs[r].trainer);
    mae_model_destroy(runs[r].model);
    mae_context_destroy(runs[r].context);
  }
  free(runs);
}

static void assert_ranks_equal(const rank_run *runs) {
  const mae_model *ema = mae_trainer_ema_model(runs[0].trainer);
  for (int r = 1; r < runs->s->ranks; r++) {
    ck_assert(same_weights(runs[0].model, runs[r].model));
    if (ema)
      ck_assert(same_weights(ema, mae_trainer_ema_model(runs[r].trainer)));
    for (int i = 0; i < runs->s->steps; i++) {
      ck_assert_int_eq(runs[r].status[i], runs[0].status[i]);
      ck_assert_double_eq(runs[r].result[i].loss, runs[0].result[i].loss);
      ck_assert_double_eq(runs[r].result[i].grad_norm,
                          runs[0].result[i].grad_norm);
    }
  }
}

/* One process and several: the same numbers but for rounding, which in bf16 a
 * sum in another order may turn the other way. */
static void assert_same_curve(const rank_run *one, const rank_run *many) {
  const double much = one->s->precision == MAE_PRECISION_BF16 ? 50 : 1;
  for (int i = 0; i < one->s->steps; i++) {
    const mae_step_result *a = &one->result[i], *b = &many->result[i];
    ck_assert_msg(many->status[i] == MAE_OK, "%s", many->message[i]);
    ck_assert_double_le(fabs(b->loss - a->loss), much * 1e-5 * a->loss);
    ck_assert_double_le(fabs(b->grad_norm - a->grad_norm),
                        much * 1e-4 * a->grad_norm);
    ck_assert_double_eq(b->learning_rate, a->learning_rate);
    ck_assert_int_eq(b->updated, a->updated);
    ck_assert_int_eq(b->step, a->step);
  }
  ck_assert_uint_eq(mae_trainer_images_seen(one->trainer),
                    mae_trainer_images_seen(many->trainer));
}

/* ---------------------------------------------------------------- tests --- */

static const script scripts[] = {
    {.ranks = 2, .accum_steps = 1}, {.ranks = 4, .accum_steps = 1},
    {.ranks = 2, .accum_steps = 2}, {.ranks = 4, .accum_steps = 4},
    {.ranks = 2, .accum_steps = 1, .clip_grad = 0.05},
    {.ranks = 4, .accum_steps = 2, .clip_grad = 0.05},
    {.ranks = 2, .accum_steps = 2, .recompute = 1},
    {.ranks = 2, .accum_steps = 2, .precision = MAE_PRECISION_BF16}};
enum { SCRIPTS = sizeof scripts / sizeof *scripts };

START_TEST(same_curve) {
  script s = plain;
  s.accum_steps = scripts[_i].accum_steps;
  s.clip_grad = scripts[_i].clip_grad;
  s.precision = scripts[_i].precision;
  rank_run *one = run(&s);
  script t = s;
  t.ranks = scripts[_i].ranks;
  t.recompute = scripts[_i].recompute;
  rank_run *many = run(&t);
  assert_ranks_equal(many);
  assert_same_curve(one, many);
  if (s.clip_grad > 0) /* it did clip */
    ck_assert_double_gt(many->result[3].grad_norm, s.clip_grad);
  end(one);
  end(many);
}
END_TEST

/* Most of a classifier's options; case i with mixing if i % 2, when the one
 * process takes the ranks' batches in turn; the last in bf16. */
START_TEST(classifier_curve) {
  script s = plain, t;
  s.classifier = true;
  s.accum_steps = 1 + _i / 2;
  s.precision = _i == 4 ? MAE_PRECISION_BF16 : MAE_PRECISION_F32;
  t = s;
  t.ranks = _i < 2 ? 2 : 4;
  s.mixing = t.mixing = _i % 2;
  if (s.mixing) s.parts = t.ranks;
  rank_run *one = run(&s), *many = run(&t);
  assert_ranks_equal(many);
  assert_same_curve(one, many);
  const mae_tensor *x =
      mae_model_find(mae_trainer_ema_model(one->trainer), "head.weight");
  const mae_tensor *y =
      mae_model_find(mae_trainer_ema_model(many->trainer), "head.weight");
  ck_assert_double_le(relative_error(y->data, x->data, mae_tensor_size(x)),
                      _i == 4 ? 5e-3 : 1e-4);
  end(one);
  end(many);
}
END_TEST

/* Case i: in the first or the last step of an update. */
START_TEST(nan_on_one_rank) {
  script s = plain;
  s.ranks = 4;
  s.steps = 12;
  s.accum_steps = 2;
  s.nan_step = 4 + _i;
  s.nan_rank = 2;
  rank_run *ill = run(&s);
  for (int r = 0; r < s.ranks; r++)
    for (int i = 0; i < s.steps; i++)
      ck_assert_int_eq(ill[r].status[i],
                       i == s.nan_step ? MAE_ERROR_NON_FINITE : MAE_OK);
  ck_assert_ptr_nonnull(strstr(ill[0].message[s.nan_step], "1 of 4 ranks"));
  assert_ranks_equal(ill);
  /* As if it had not been, but for the step that was dropped with it. */
  ck_assert_int_eq(mae_trainer_steps(ill->trainer), 5);
  if (_i == 0) {
    script t = s;
    t.nan_step = -1;
    t.skip_step = 4;
    rank_run *well = run(&t);
    ck_assert(same_weights(ill->model, well->model));
    end(well);
  }
  end(ill);
}
END_TEST

/* Trained by one, two or four ranks, continued by another number. */
START_TEST(checkpoint_of_any_ranks) {
  static const int from[] = {2, 4, 1, 2}, to[] = {1, 2, 4, 4};
  script whole = plain;
  whole.accum_steps = 2;
  rank_run *straight = run(&whole);
  script head = whole, tail = whole;
  head.ranks = from[_i];
  head.steps = 8;
  rank_run *first = run(&head);
  ASSERT_OK(mae_trainer_save(first[head.ranks - 1].trainer, path));
  tail.ranks = to[_i];
  tail.first = 8;
  tail.steps = 12;
  tail.resume = path;
  rank_run *second = run(&tail);
  assert_ranks_equal(second);
  for (int i = 0; i < tail.steps; i++) {
    const mae_step_result *a = &straight->result[8 + i];
    const mae_step_result *b = &second->result[i];
    ck_assert_double_le(fabs(b->loss - a->loss), 1e-5 * a->loss);
    ck_assert_int_eq(b->step, a->step);
  }
  ck_assert_uint_eq(mae_trainer_images_seen(second->trainer), 20 * IMAGES);
  end(straight);
  end(first);
  end(second);
}
END_TEST

START_TEST(no_checkpoint_between_updates) {
  script s = plain;
  s.ranks = 2;
  s.steps = 3;
  s.accum_steps = 2;
  rank_run *two = run(&s);
  ASSERT_FAILS(mae_trainer_save(two->trainer, path), MAE_ERROR_STATE,
               "after the update");
  ASSERT_FAILS(mae_trainer_set_communicator(two->trainer, NULL),
               MAE_ERROR_STATE, "middle");
  s.ranks = 1;
  rank_run *one = run(&s);
  ASSERT_OK(mae_trainer_save(one->trainer, path));
  ASSERT_FAILS(mae_trainer_resume(two->trainer, path), MAE_ERROR_MISMATCH,
               "2 ranks");
  end(one);
  s.ranks = 2;
  end(two);
}
END_TEST

/* A rank that is not like the others: all of them say so. */
START_TEST(ranks_that_differ) {
  static const char *const words[] = {
      NULL,      "options", "options",        "options",
      "weights", "weights", "instruction set"};
  script s = plain;
  s.steps = 2;
  rank_run *one = run(&s);
  ASSERT_OK(mae_trainer_save(one->trainer, path));
  s.ranks = 4;
  s.odd_rank = 2;
  s.odd = _i;
  if (_i == ODD_STATE) s.resume = path;
  if (_i == ODD_ISA && mae_context_isa(one->context) == MAE_ISA_PORTABLE)
    s.odd = ODD_OPTION;
  rank_run *runs = run(&s);
  for (int r = 0; r < s.ranks; r++)
    for (int i = 0; i < s.steps; i++) {
      ck_assert_int_eq(runs[r].status[i], MAE_ERROR_MISMATCH);
      ck_assert_ptr_nonnull(strstr(runs[r].message[i], "rank 2"));
      ck_assert_ptr_nonnull(strstr(runs[r].message[i], words[s.odd]));
    }
  if (_i != ODD_WEIGHT && _i != ODD_STATE) assert_ranks_equal(runs);
  end(runs);
  s.ranks = 1;
  end(one);
}
END_TEST

/* Case 0: alike; 1: apart in an option that is of classifiers alone. */
START_TEST(classifiers_that_differ) {
  script s = plain;
  s.classifier = true;
  s.ranks = 2;
  s.steps = 1;
  s.odd = ODD_OPTION;
  s.odd_rank = _i ? 1 : -1;
  rank_run *runs = run(&s);
  for (int r = 0; r < s.ranks; r++)
    ck_assert_int_eq(runs[r].status[0], _i ? MAE_ERROR_MISMATCH : MAE_OK);
  end(runs);
}
END_TEST

/* ----------------------------------------------- one rank on its own --- */

/* Rank 0 of 2 whose other half always has the same gradient. */
typedef struct echo {
  struct {
    float *data, *copy;
    int64_t n;
    int after; /* operations done before it began */
  } sums[MOST_SUMS];
  int n_sums, between, waits;
  bool keep; /* copies, to see that nothing writes to what is being summed */
  bool changed;
  int fail_sum, fail_progress, fail_wait; /* how many calls from now; 0: no */
} echo;

static mae_status count_down(int *n) {
  return *n && !--*n ? MAE_ERROR_IO : MAE_OK;
}

static mae_status echo_start(void *arg, float *data, int64_t n) {
  echo *e = arg;
  if (count_down(&e->fail_sum)) return MAE_ERROR_IO;
  const int i = e->n_sums++;
  e->sums[i].data = data;
  e->sums[i].n = n;
  e->sums[i].after = e->between;
  if (e->keep) {
    e->sums[i].copy = malloc((size_t)n * sizeof *data);
    memcpy(e->sums[i].copy, data, (size_t)n * sizeof *data);
  }
  return MAE_OK;
}

static mae_status echo_progress(void *arg) {
  echo *e = arg;
  e->between++;
  return count_down(&e->fail_progress);
}

static mae_status echo_wait(void *arg) {
  echo *e = arg;
  e->waits++;
  for (int i = 0; i < e->n_sums; i++) {
    if (e->sums[i].copy)
      e->changed |= memcmp(e->sums[i].copy, e->sums[i].data,
                           (size_t)e->sums[i].n * sizeof(float)) != 0;
    free(e->sums[i].copy);
    e->sums[i].copy = NULL;
    for (int64_t k = 0; k < e->sums[i].n; k++) e->sums[i].data[k] *= 2;
  }
  if (!e->keep) e->n_sums = 0;
  return count_down(&e->fail_wait);
}

static const char *echo_text(void *arg) {
  (void)arg;
  return "the cable is out";
}

typedef struct alone {
  mae_context *context;
  mae_model *model;
  mae_trainer *trainer;
  float *images;
} alone;

/* The agreement at the first step is not for an echo: it is passed by. */
static void begin(alone *a, echo *e, int64_t bucket_bytes,
                  int32_t accum_steps) {
  script s = plain;
  s.ranks = 2;
  s.accum_steps = accum_steps;
  const mae_trainer_options o = options_of(&s);
  const mae_communicator c = {.struct_size = sizeof c,
                              .ranks = 2,
                              .arg = e,
                              .start_sum = echo_start,
                              .progress = echo_progress,
                              .wait_all = echo_wait,
                              .error_text = echo_text,
                              .bucket_bytes = bucket_bytes};
  a->context = make_context(2, MAE_ISA_AUTO);
  a->model = small_model(1);
  a->images = small_images(IMAGES / 2, 3);
  ASSERT_OK(mae_trainer_create(a->context, a->model, &o, &a->trainer));
  ASSERT_OK(mae_trainer_set_communicator(a->trainer, &c));
  a->trainer->agreed = true;
}

static void finish(alone *a) {
  mae_trainer_destroy(a->trainer);
  mae_model_destroy(a->model);
  mae_context_destroy(a->context);
  free(a->images);
}

static bool holds(const echo *e, int sum, const mae_tensor *t) {
  return t->data >= e->sums[sum].data &&
         t->data + mae_tensor_size(t) <= e->sums[sum].data + e->sums[sum].n;
}

/* Sums begin while the backward pass runs, in whole parameters, each in one
 * sum, whose gradient nothing touches any more. */
START_TEST(overlap) {
  static const int64_t bytes[] = {1, 4096, 12000, 0};
  echo e = {.keep = true};
  alone a;
  begin(&a, &e, bytes[_i], 1);
  ASSERT_OK(mae_trainer_step(a.trainer, a.images, NULL, NULL));
  ck_assert(!e.changed);
  ck_assert_int_eq(e.waits, 1);
  ck_assert_int_eq(e.sums[0].n, 2); /* the loss */
  int found = 0, trainable = 0;
  for (int32_t i = 0; i < mae_model_num_tensors(a.model); i++) {
    const mae_tensor *t =
        mae_trainer_gradient(a.trainer, mae_model_tensor_name(a.model, i));
    if (!t) continue;
    trainable++;
    for (int k = 1; k < e.n_sums; k++) found += holds(&e, k, t);
  }
  ck_assert_int_eq(found, trainable);
  const int buckets = e.n_sums - 1;
  if (_i == 0) ck_assert_int_eq(buckets, trainable);
  if (_i == 1) ck_assert_int_gt(buckets, 5);
  if (_i == 2) ck_assert_int_gt(buckets, 1);
  if (_i == 3) ck_assert_int_eq(buckets, 1);
  /* The first right away, the last at the very end, the others between. */
  if (_i == 0) ck_assert_int_le(e.sums[1].after, 3);
  if (buckets > 1) ck_assert_int_lt(e.sums[1].after, e.between / 2);
  if (_i < 2) ck_assert_int_lt(e.sums[buckets / 2].after, e.between * 3 / 4);
  ck_assert_int_ge(e.sums[buckets].after, e.between - 4);
  finish(&a);
}
END_TEST

/* Only the last step of an update sums gradients. */
START_TEST(accumulation_sums_once) {
  echo e = {.keep = true};
  alone a;
  begin(&a, &e, 0, 3);
  for (int i = 0; i < 6; i++) {
    e.n_sums = 0;
    ASSERT_OK(mae_trainer_step(a.trainer, a.images, NULL, NULL));
    ck_assert_int_eq(e.n_sums, i % 3 == 2 ? 2 : 1);
  }
  ck_assert(!e.changed);
  finish(&a);
}
END_TEST

/* Case i: which call fails, and when.  The step fails with the callback's
 * text, nothing stays under way, and the next step is as if none had been. */
START_TEST(failing_callback) {
  static const echo failing[] = {
      {.fail_sum = 1}, {.fail_sum = 3}, {.fail_progress = 1},
      {.fail_progress = 20}, {.fail_wait = 1}};
  static const char *const words[] = {"a sum", "a sum", "progress", "progress",
                                      "waiting"};
  echo e = {0}, f = {0};
  alone a, b;
  begin(&a, &e, 4096, 1);
  begin(&b, &f, 4096, 1);
  ASSERT_OK(mae_trainer_step(a.trainer, a.images, NULL, NULL));
  ASSERT_OK(mae_trainer_step(b.trainer, b.images, NULL, NULL));
  e = failing[_i];
  ASSERT_FAILS(mae_trainer_step(a.trainer, a.images, NULL, NULL), MAE_ERROR_IO,
               words[_i]);
  ck_assert_ptr_nonnull(strstr(mae_last_error(), "the cable is out"));
  ck_assert_ptr_nonnull(strstr(mae_last_error(), "rank 0 of 2"));
  ck_assert_int_eq(e.waits, 1);
  ck_assert_int_eq(mae_trainer_steps(a.trainer), 1);
  ck_assert(same_weights(a.model, b.model));
  for (int i = 0; i < 3; i++) {
    ASSERT_OK(mae_trainer_step(a.trainer, a.images, NULL, NULL));
    ASSERT_OK(mae_trainer_step(b.trainer, b.images, NULL, NULL));
  }
  ck_assert(same_weights(a.model, b.model));
  finish(&a);
  finish(&b);
}
END_TEST

/* Alone again, the steps are those of a trainer that never had ranks. */
START_TEST(communicator_taken_away) {
  echo e = {0};
  alone a, b;
  begin(&a, &e, 1, 1);
  begin(&b, &e, 1, 1);
  const mae_communicator one = {.struct_size = sizeof one, .ranks = 1};
  ASSERT_OK(mae_trainer_set_communicator(a.trainer, NULL));
  ASSERT_OK(mae_trainer_set_communicator(b.trainer, &one));
  mae_trainer_destroy(b.trainer);
  script s = plain;
  s.ranks = 2;
  const mae_trainer_options o = options_of(&s);
  ASSERT_OK(mae_trainer_create(b.context, b.model, &o, &b.trainer));
  for (int i = 0; i < 3; i++) {
    ASSERT_OK(mae_trainer_step(a.trainer, a.images, NULL, NULL));
    ASSERT_OK(mae_trainer_step(b.trainer, b.images, NULL, NULL));
  }
  ck_assert_int_eq(e.waits + e.between + e.n_sums, 0);
  ck_assert(same_weights(a.model, b.model));
  ck_assert_uint_eq(mae_trainer_images_seen(a.trainer), 3 * IMAGES / 2);
  finish(&a);
  finish(&b);
}
END_TEST

START_TEST(steady_step_allocates_nothing) {
  if (count_alloc_calls() < 0) return; /* another allocator: not countable */
  echo e = {0};
  alone a;
  begin(&a, &e, 4096, 2);
  for (int i = 0; i < 4; i++)
    ASSERT_OK(mae_trainer_step(a.trainer, a.images, NULL, NULL));
  long before = count_alloc_calls();
  int failed = 0; /* Check's own assertions allocate */
  for (int i = 0; i < 10; i++)
    failed |= mae_trainer_step(a.trainer, a.images, NULL, NULL);
  long after = count_alloc_calls();
  ck_assert_int_eq(failed, 0);
  ck_assert_int_eq(after - before, 0);
  finish(&a);
}
END_TEST

START_TEST(bad_communicators) {
  echo e = {0};
  alone a;
  begin(&a, &e, 0, 1);
  const mae_communicator good = {.struct_size = sizeof good,
                                 .ranks = 2,
                                 .start_sum = echo_start,
                                 .wait_all = echo_wait};
  mae_communicator c;
  ASSERT_FAILS(mae_trainer_set_communicator(NULL, &good),
               MAE_ERROR_INVALID_ARGUMENT, "trainer");
  c = good, c.struct_size = 0;
  ASSERT_FAILS(mae_trainer_set_communicator(a.trainer, &c),
               MAE_ERROR_INVALID_ARGUMENT, "struct_size");
  c = good, c.ranks = 0;
  ASSERT_FAILS(mae_trainer_set_communicator(a.trainer, &c),
               MAE_ERROR_INVALID_ARGUMENT, "rank 0 of 0");
  c = good, c.rank = 2;
  ASSERT_FAILS(mae_trainer_set_communicator(a.trainer, &c),
               MAE_ERROR_INVALID_ARGUMENT, "rank 2 of 2");
  c = good, c.rank = -1;
  ASSERT_FAILS(mae_trainer_set_communicator(a.trainer, &c),
               MAE_ERROR_INVALID_ARGUMENT, "rank -1");
  c = good, c.start_sum = NULL;
  ASSERT_FAILS(mae_trainer_set_communicator(a.trainer, &c),
               MAE_ERROR_INVALID_ARGUMENT, "start_sum");
  c = good, c.wait_all = NULL;
  ASSERT_FAILS(mae_trainer_set_communicator(a.trainer, &c),
               MAE_ERROR_INVALID_ARGUMENT, "wait_all");
  c = good, c.bucket_bytes = -1;
  ASSERT_FAILS(mae_trainer_set_communicator(a.trainer, &c),
               MAE_ERROR_INVALID_ARGUMENT, "bucket_bytes");
  ASSERT_OK(mae_trainer_step(a.trainer, a.images, NULL, NULL)); /* the first */
  ck_assert_int_eq(e.waits, 1);
  finish(&a);
}
END_TEST

/* A parameter that two operations use is final after the second of them, one
 * that an operation uses twice is told of once. */
typedef struct watched {
  mae_var once, twice;
  int done, once_at, twice_at, calls;
} watched;

static void on_final(void *arg, mae_var parameter) {
  watched *w = arg;
  w->calls++;
  if (parameter.id == w->once.id) w->once_at = w->done;
  if (parameter.id == w->twice.id) w->twice_at = w->done;
}

static void on_between(void *arg) { ((watched *)arg)->done++; }

START_TEST(shared_parameter) {
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_tape *tape;
  const int64_t square[] = {4, 4}, four[] = {4};
  mae_tensor *w[2], *dw[2], *b, *db;
  for (int i = 0; i < 2; i++) {
    ASSERT_OK(mae_tensor_create(2, square, &w[i]));
    ASSERT_OK(mae_tensor_create(2, square, &dw[i]));
  }
  ASSERT_OK(mae_tensor_create(1, four, &b));
  ASSERT_OK(mae_tensor_create(1, four, &db));
  watched seen = {0};
  mae_var x, bias, y;
  ASSERT_OK(mae_tape_create(context, &tape));
  ASSERT_OK(mae_tape_input(tape, 2, square, 0, &x));
  ASSERT_OK(mae_tape_parameter(tape, w[0], dw[0], &seen.twice));
  ASSERT_OK(mae_tape_parameter(tape, w[1], dw[1], &seen.once));
  ASSERT_OK(mae_tape_parameter(tape, b, db, &bias));
  ASSERT_OK(mae_tape_linear(tape, x, seen.twice, bias, MAE_ACTIVATION_NONE, &y));
  ASSERT_OK(mae_tape_linear(tape, y, seen.once, bias, MAE_ACTIVATION_NONE, &y));
  ASSERT_OK(
      mae_tape_linear(tape, y, seen.twice, bias, MAE_ACTIVATION_NONE, &y));
  ASSERT_OK(mae_tape_add(tape, seen.twice, seen.twice, &x));
  ASSERT_OK(mae_tape_add(tape, x, y, &y));
  ASSERT_OK(mae_tape_plan(tape, y));
  const mae_tape_watcher watcher = {on_final, on_between, &seen};
  mae_tape_watch(tape, &watcher);
  for (int pass = 0; pass < 2; pass++) {
    seen.done = seen.calls = 0;
    ASSERT_OK(mae_tape_forward(tape));
    ASSERT_OK(mae_tape_backward(tape, 1, 0));
    ck_assert_int_eq(seen.calls, 3);
    ck_assert_int_eq(seen.done, 5);
    ck_assert_int_eq(seen.once_at, 3);
    ck_assert_int_eq(seen.twice_at, 4);
  }
  mae_tape_destroy(tape);
  for (int i = 0; i < 2; i++) {
    mae_tensor_destroy(w[i]);
    mae_tensor_destroy(dw[i]);
  }
  mae_tensor_destroy(b);
  mae_tensor_destroy(db);
  mae_context_destroy(context);
}
END_TEST

Suite *communicator_suite(void) {
  Suite *suite = suite_create("communicator");
  TCase *tc = tcase_create("communicator");
  tcase_set_timeout(tc, 120);
  tcase_add_checked_fixture(tc, make_path, drop_path);
  tcase_add_loop_test(tc, same_curve, 0, SCRIPTS);
  tcase_add_loop_test(tc, classifier_curve, 0, 5);
  tcase_add_loop_test(tc, nan_on_one_rank, 0, 2);
  tcase_add_loop_test(tc, checkpoint_of_any_ranks, 0, 4);
  tcase_add_test(tc, no_checkpoint_between_updates);
  tcase_add_loop_test(tc, ranks_that_differ, ODD_OPTION, ODD_ISA + 1);
  tcase_add_loop_test(tc, classifiers_that_differ, 0, 2);
  tcase_add_loop_test(tc, overlap, 0, 4);
  tcase_add_test(tc, accumulation_sums_once);
  tcase_add_loop_test(tc, failing_callback, 0, 5);
  tcase_add_test(tc, communicator_taken_away);
  tcase_add_test(tc, steady_step_allocates_nothing);
  tcase_add_test(tc, bad_communicators);
  tcase_add_test(tc, shared_parameter);
  suite_add_tcase(suite, tc);
  return suite;
}
