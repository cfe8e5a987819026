/* A program of the first release: compiled against its header, run against
 * today's library (make abi-program).  New calls do not belong here. */
#include "mae-0.1.0.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 16, IMAGE = SIDE * SIDE, IMAGES = 8, WIDTH = 32, CLASSES = 3 };

static void fail(int line, const char *what) {
  printf("program.c:%d: %s: %s\n", line, what, mae_last_error());
  exit(EXIT_FAILURE);
}
#define CHECK(x) ((x) ? (void)0 : fail(__LINE__, #x))
#define OK(call) CHECK((call) == MAE_OK)

/* What follows a struct in memory, which a library that believes the struct
 * larger would change. */
typedef unsigned char guard[256];
#define GUARDED(type)   \
  struct {              \
    type o;             \
    guard after;        \
  }
#define ARM(x) memset(&(x), 0xA5, sizeof(x))
#define INTACT(x) CHECK(intact((x).after))

static int intact(const unsigned char *after) {
  size_t i;
  for (i = 0; i < sizeof(guard); i++)
    if (after[i] != 0xA5) return 0;
  return 1;
}

static float images[IMAGES * IMAGE];
static const int32_t labels[IMAGES] = {0, 1, 2, 0, 1, 2, 0, 1};

static int finite_row(const float *x, size_t n) {
  size_t i;
  for (i = 0; i < n; i++)
    if (!(fabs((double)x[i]) < 1e6)) return 0;
  return 1;
}

static mae_context *context_of(void) {
  GUARDED(mae_context_options) c;
  mae_context *context;
  ARM(c);
  mae_context_options_init(&c.o, sizeof c.o);
  INTACT(c);
  CHECK(c.o.threads == 0 && c.o.isa == MAE_ISA_AUTO);
  c.o.threads = 2;
  OK(mae_context_create(&c.o, &context));
  CHECK(mae_context_threads(context) == 2);
  return context;
}

static mae_model *model_of(int32_t decoder) {
  GUARDED(mae_config) c;
  mae_model *model;
  ARM(c);
  OK(mae_config_init(&c.o, sizeof c.o, "vit_b16"));
  INTACT(c);
  CHECK(c.o.embed_dim == 768 && c.o.mlp_ratio == 4);
  c.o.image_height = c.o.image_width = SIDE;
  c.o.patch_size = 4;
  c.o.in_chans = 1;
  c.o.embed_dim = WIDTH;
  c.o.depth = 2;
  c.o.num_heads = 4;
  c.o.decoder_embed_dim = decoder ? 16 : 0;
  c.o.decoder_depth = decoder ? 1 : 0;
  c.o.decoder_num_heads = decoder ? 2 : 0;
  OK(mae_model_create(&c.o, 7, &model));
  ARM(c);
  c.o.struct_size = sizeof c.o;
  OK(mae_model_config(model, &c.o));
  INTACT(c);
  CHECK(c.o.embed_dim == WIDTH && c.o.encoder_mask_tokens == 0);
  return model;
}

static void features(mae_context *context, const mae_model *model) {
  GUARDED(mae_session_options) s;
  mae_session *session;
  mae_image pixels;
  static uint8_t bytes[20 * 30 * 3];
  static float out[IMAGES * WIDTH], back[IMAGES * IMAGE];
  double loss;
  ARM(s);
  mae_session_options_init(&s.o, sizeof s.o);
  INTACT(s);
  CHECK(s.o.batch_size == 16 && s.o.mask_ratio == 0.75 && !s.o.mean);
  OK(mae_session_create(context, model, &s.o, &session));
  CHECK(mae_session_feature_size(session) == WIDTH);
  OK(mae_session_features(session, images, IMAGES, NULL, out));
  CHECK(finite_row(out, IMAGES * WIDTH));
  OK(mae_session_forward(session, images, IMAGES, NULL, &loss, NULL, NULL));
  CHECK(loss > 0 && loss < 100);
  OK(mae_session_reconstruct(session, images, IMAGES, NULL, back, NULL));
  CHECK(finite_row(back, IMAGES * IMAGE));
  memset(&pixels, 0, sizeof pixels);
  pixels.data = bytes;
  pixels.width = 20;
  pixels.height = 30;
  pixels.channels = 3;
  OK(mae_features_u8(session, &pixels, 1, out));
  mae_session_destroy(session);
}

static void files(mae_model *model, const char *path) {
  GUARDED(mae_load_options) l;
  mae_load_report *report = NULL;
  mae_model *again;
  ARM(l);
  mae_load_options_init(&l.o, sizeof l.o);
  INTACT(l);
  CHECK(l.o.norm_pix_loss == -1);
  OK(mae_model_save(model, path));
  OK(mae_model_import(path, &l.o, &again, &report));
  CHECK(mae_load_report_count(report, MAE_LOAD_MISSING) == 0);
  CHECK(mae_model_num_tensors(again) == mae_model_num_tensors(model));
  mae_load_report_destroy(report);
  mae_model_destroy(again);
}

static mae_status sum(void *arg, float *data, int64_t n) {
  (void)arg, (void)data, (void)n;
  return MAE_OK;
}

static mae_status wait_all(void *arg) {
  (void)arg;
  return MAE_OK;
}

static mae_status fetch(void *arg, int64_t i, float *out) {
  (void)arg;
  memcpy(out, images + i * IMAGE, IMAGE * sizeof *out);
  return MAE_OK;
}

static int32_t on_step(void *arg, const mae_progress *p) {
  int *calls = arg;
  CHECK(p->struct_size >= sizeof *p && p->epochs == 2 && p->step->loss > 0);
  CHECK(p->step->struct_size >= sizeof *p->step && !p->event);
  ++*calls;
  return 0;
}

static void fit(mae_trainer *trainer) {
  GUARDED(mae_loader_options) l;
  GUARDED(mae_fit_options) f;
  mae_dataset *dataset;
  mae_loader *loader;
  int calls = 0;
  ARM(l);
  mae_loader_options_init(&l.o, sizeof l.o);
  INTACT(l);
  CHECK(l.o.batch_size == 64 && l.o.flip == 0.5 && l.o.rand_augment_ops == 0);
  l.o.batch_size = 4;
  l.o.image_height = l.o.image_width = SIDE;
  l.o.in_chans = 1;
  l.o.threads = 2;
  OK(mae_dataset_from_callback(IMAGES, fetch, NULL, &dataset));
  OK(mae_loader_create(dataset, &l.o, &loader));
  ARM(f);
  mae_fit_options_init(&f.o, sizeof f.o);
  INTACT(f);
  CHECK(f.o.epochs == 800 && f.o.save_best == 1);
  f.o.epochs = 2;
  f.o.on_step = on_step;
  f.o.arg = &calls;
  OK(mae_trainer_fit(trainer, loader, &f.o));
  CHECK(calls == 4);
  mae_loader_destroy(loader);
  mae_dataset_destroy(dataset);
}

static void training(mae_context *context, mae_model *model) {
  GUARDED(mae_trainer_options) t;
  GUARDED(mae_step_result) r;
  GUARDED(mae_training_plan) p;
  GUARDED(mae_communicator) m;
  GUARDED(mae_config) c;
  mae_trainer *trainer;
  ARM(t);
  mae_trainer_options_init(&t.o, sizeof t.o);
  INTACT(t);
  CHECK(t.o.batch_size == 64 && t.o.beta2 == 0.95);
  CHECK(t.o.trainable_blocks == -1 && t.o.mix_prob == 1);
  t.o.batch_size = 4;
  ARM(c);
  c.o.struct_size = sizeof c.o;
  OK(mae_model_config(model, &c.o));
  ARM(p);
  p.o.struct_size = sizeof p.o;
  OK(mae_trainer_plan(context, &c.o, &t.o, &p.o));
  INTACT(p);
  CHECK(p.o.total_bytes > 0 && p.o.step_flops > 0);
  OK(mae_trainer_create(context, model, &t.o, &trainer));
  memset(&m, 0, sizeof m);
  m.o.struct_size = sizeof m.o;
  m.o.ranks = 1;
  m.o.start_sum = sum;
  m.o.wait_all = wait_all;
  OK(mae_trainer_set_communicator(trainer, &m.o));
  fit(trainer);
  ARM(r);
  r.o.struct_size = sizeof r.o;
  OK(mae_trainer_step(trainer, images, NULL, &r.o));
  INTACT(r);
  CHECK(r.o.step == 5 && r.o.updated == 1 && r.o.loss > 0);
  mae_trainer_destroy(trainer);
}

static void classify(mae_context *context, const mae_model *model) {
  GUARDED(mae_probe_options) o;
  mae_evaluation *evaluation;
  float weight[CLASSES * IMAGE], bias[CLASSES], votes[IMAGES * CLASSES];
  mae_model *classifier;
  ARM(o);
  mae_probe_options_init(&o.o, sizeof o.o);
  INTACT(o);
  CHECK(o.o.epochs == 90 && o.o.batch_size == 16384 && !o.o.on_epoch);
  OK(mae_linear_probe(context, images, labels, IMAGES, IMAGE, CLASSES, &o.o,
                      weight, bias));
  CHECK(finite_row(weight, CLASSES * IMAGE) && finite_row(bias, CLASSES));
  OK(mae_knn_classify(context, images, labels, IMAGES, IMAGE, CLASSES, images,
                      IMAGES, 1, 0.07, votes));
  OK(mae_evaluation_create(CLASSES, &evaluation));
  OK(mae_evaluation_add(evaluation, votes, labels, IMAGES));
  CHECK(mae_evaluation_top1(evaluation) == 1);
  mae_evaluation_destroy(evaluation);
  OK(mae_model_classifier(model, CLASSES, 0, 1, &classifier));
  mae_model_destroy(classifier);
}

static void tape(mae_context *context) {
  static const int64_t shape[] = {2, 3};
  mae_tape *t;
  mae_var x, y;
  OK(mae_tape_create(context, &t));
  OK(mae_tape_input(t, 2, shape, 0, &x));
  OK(mae_tape_add(t, x, x, &y));
  OK(mae_tape_keep(t, y));
  y.id = MAE_NO_VAR;
  OK(mae_tape_plan(t, y));
  OK(mae_tape_forward(t));
  mae_tape_destroy(t);
}

int main(int argc, char **argv) {
  mae_context *context = context_of();
  mae_model *model = model_of(1);
  CHECK(argc == 2);
  CHECK(MAE_VERSION_MAJOR == 0 && MAE_VERSION_MINOR == 1);
  OK(mae_random_normal(1, 2, 0, IMAGES * IMAGE, images));
  tape(context);
  features(context, model);
  files(model, argv[1]);
  training(context, model);
  classify(context, model);
  mae_model_destroy(model);
  model = model_of(0);
  mae_model_destroy(model);
  mae_context_destroy(context);
  printf("a program of 0.1.0 runs with %s\n", mae_version());
  return 0;
}
