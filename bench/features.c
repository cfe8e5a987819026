/* Times features of ViT-B/16 from images that are ready.
 *
 *   features --model FILE [--batch N] [--steps N] [--threads N]
 *            [--precision f32|bf16] [--throughput] [--pixels] [--interactive]
 *   features --write FILE      a new model, for all that read one
 *
 * A step is a call with --batch images; --throughput: each thread has passes of
 * its own.  --pixels: from 8-bit images of 500 x 375, resized and cropped.
 * program.h says what is printed; also "features", the first few of the first
 * image.  Until "ready" it is what a user waits for: opening the weights and
 * the first features.  MAE_PROFILE=1 as in train_step. */
#include <stdio.h>
#include <stdlib.h>

#include "program.h"
#include "tool/context.h"
#include "tool/profile.h"

enum { SHOWN = 8, WIDTH = 500, HEIGHT = 375 };

typedef struct request {
  const char *model, *write, *precision;
  int batch, threads;
  bool throughput, pixels;
  turns turns;
} request;

static request read_request(int argc, char **argv) {
  static request r = {.precision = "f32", .batch = 1, .turns.steps = 5};
  const program_option options[] = {
      {"model", .text = &r.model},
      {"write", .text = &r.write},
      {"precision", .text = &r.precision},
      {"batch", .number = &r.batch},
      {"threads", .number = &r.threads},
      {"throughput", .flag = &r.throughput},
      {"pixels", .flag = &r.pixels},
      TURNS_OPTIONS(r.turns),
      {0}};
  program_options(argc, argv, options);
  return r;
}

static int write_model(const char *path) {
  mae_config config;
  mae_model *model;
  need(mae_config_init(&config, sizeof config, "vit_b16"));
  need(mae_model_create(&config, 1, &model));
  need(mae_model_save(model, path));
  mae_model_destroy(model);
  return 0;
}

static mae_model *open_model(const char *path) {
  mae_load_options o;
  mae_model *model;
  mae_load_options_init(&o, sizeof o);
  o.map = 1;
  need(mae_model_import(path, &o, &model, NULL));
  return model;
}

static mae_session *open_session(const request *r, mae_context *context,
                                 const mae_model *model) {
  mae_session_options o;
  mae_session *session;
  mae_session_options_init(&o, sizeof o);
  o.batch_size = r->batch;
  o.precision = precision_of(context, r->precision);
  o.pack_weights = r->turns.steps > 0; /* no use for the first features */
  if (r->throughput) {
    const int threads = mae_context_threads(context);
    o.mode = MAE_MODE_THROUGHPUT;
    o.batch_size = (r->batch + threads - 1) / threads;
  }
  need(mae_session_create(context, model, &o, &session));
  return session;
}

typedef struct call {
  mae_session *session;
  int batch;
  float *images;      /* [batch, 3, 224, 224]; or NULL */
  mae_image *pictures; /* [batch]; or NULL */
  float *out;
} call;

static void step(void *arg) {
  const call *c = arg;
  need(c->pictures
           ? mae_features_u8(c->session, c->pictures, c->batch, c->out)
           : mae_session_features(c->session, c->images, c->batch, NULL,
                                  c->out));
}

/* One picture, batch times. */
static mae_image *make_pictures(int batch) {
  static uint8_t data[WIDTH * HEIGHT * 3];
  mae_image *pictures = malloc((size_t)batch * sizeof *pictures);
  if (!pictures) exit(1);
  for (size_t i = 0; i < sizeof data; i++)
    data[i] = (uint8_t)(i * 2654435761u >> 13);
  for (int i = 0; i < batch; i++)
    pictures[i] = (mae_image){
        .data = data, .width = WIDTH, .height = HEIGHT, .channels = 3};
  return pictures;
}

static call make_call(const request *r, mae_session *session) {
  call c = {.session = session, .batch = r->batch};
  if (r->pixels)
    c.pictures = make_pictures(r->batch);
  else
    c.images = program_values((size_t)r->batch * 3 * 224 * 224);
  c.out = malloc((size_t)r->batch * sizeof *c.out *
                 (size_t)mae_session_feature_size(session));
  if (!c.out) exit(1);
  return c;
}

static void introduce(const mae_context *context, const call *c) {
  printf("version libmae %s\nisa %s\nthreads %d\nfeatures", mae_version(),
         isa_name(context), mae_context_threads(context));
  for (int i = 0; i < SHOWN; i++) printf(" %.7g", (double)c->out[i]);
  putchar('\n');
}

int main(int argc, char **argv) {
  const request r = read_request(argc, argv);
  if (r.write) return write_model(r.write);
  if (!r.model) return 2;
  mae_context *context;
  need(open_context(r.threads, &context));
  mae_model *model = open_model(r.model);
  mae_session *session = open_session(&r, context, model);
  call c = make_call(&r, session);
  step(&c);
  mae_context_profile_reset(context);
  introduce(context, &c);
  ready();
  take_turns(&r.turns, step, &c);
  profile_print(context, stdout);
  free(c.out);
  free(c.images);
  free(c.pictures);
  mae_session_destroy(session);
  mae_model_destroy(model);
  mae_context_destroy(context);
  return 0;
}
