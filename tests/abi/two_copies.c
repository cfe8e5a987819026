/* Two copies of the library in one process, as when two plugins bring their
 * own, at work at once: each gives its bits, and the BLAS library, which they
 * share, is set afterwards as before.  two_copies ONE.so OTHER.so */
#include <cblas.h>
#include <dlfcn.h>
#include <libmae/mae.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>



enum { SIDE = 64, IMAGES = 4, WIDTH = 96, ROUNDS = 15 };

#define CALLS(X)                                                          \
  X(mae_context_options_init) X(mae_context_create) X(mae_context_destroy) \
  X(mae_config_init) X(mae_model_create) X(mae_model_destroy)             \
  X(mae_session_create) X(mae_session_features) X(mae_session_destroy)    \
  X(mae_random_normal)

typedef struct copy {
  void *handle;
#define MEMBER(name) __typeof__(name) *name;
  CALLS(MEMBER)
  mae_isa isa;
  int32_t threads;
  const float *images;
  float alone[IMAGES * WIDTH], out[IMAGES * WIDTH];
  int bad;
} copy;

static void need(int ok, const char *what) {
  if (ok) return;
  printf("two copies: %s\n", what);
  exit(EXIT_FAILURE);
}

static void open_copy(copy *c, const char *path) {
  c->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  need(c->handle != NULL, dlerror());
#define LOOK_UP(name)                                  \
  *(void **)&c->name = dlsym(c->handle, #name);        \
  need(c->name != NULL, #name);
  CALLS(LOOK_UP)
}

static void extract(copy *c, float *out) {
  mae_context_options o;
  mae_config config;
  mae_context *context;
  mae_model *model;
  mae_session *session;
  c->mae_context_options_init(&o, sizeof o);
  o.isa = c->isa;
  o.threads = c->threads;
  need(!c->mae_context_create(&o, &context), "context");
  need(!c->mae_config_init(&config, sizeof config, NULL), "config");
  config.image_height = config.image_width = SIDE;
  config.in_chans = 1;
  config.patch_size = 8;
  config.embed_dim = WIDTH;
  config.depth = 2;
  config.num_heads = 4;
  config.decoder_embed_dim = config.decoder_depth = config.decoder_num_heads = 0;
  need(!c->mae_model_create(&config, 3, &model), "model");
  need(!c->mae_session_create(context, model, NULL, &session), "session");
  need(!c->mae_session_features(session, c->images, IMAGES, NULL, out),
       "features");
  c->mae_session_destroy(session);
  c->mae_model_destroy(model);
  c->mae_context_destroy(context);
}

static void *work(void *arg) {
  copy *c = arg;
  for (int i = 0; i < ROUNDS; i++) {
    extract(c, c->out);
    if (memcmp(c->out, c->alone, sizeof c->out)) c->bad = 1;
  }
  return NULL;
}

int main(int argc, char **argv) {
  static copy copies[2];
  static float images[IMAGES * SIDE * SIDE];
  pthread_t ids[2];
  need(argc == 3, "usage: two_copies ONE.so OTHER.so");
  openblas_set_num_threads(2);
  for (int i = 0; i < 2; i++) {
    copy *c = &copies[i];
    open_copy(c, argv[1 + i]);
    c->isa = i ? MAE_ISA_PORTABLE : MAE_ISA_AUTO;
    c->threads = 1 + i;
    c->images = images;
    c->mae_random_normal(1, 2, 0, IMAGES * SIDE * SIDE, images);
    extract(c, c->alone);
  }
  need(copies[0].mae_model_create != copies[1].mae_model_create,
       "they are one and the same");
  for (int i = 0; i < 2; i++)
    need(!pthread_create(&ids[i], NULL, work, &copies[i]), "thread");
  for (int i = 0; i < 2; i++) pthread_join(ids[i], NULL);
  need(!copies[0].bad && !copies[1].bad, "other bits than alone");
  need(openblas_get_num_threads() == 2, "BLAS is not as it was set");
  printf("two copies of the library work side by side\n");
  for (int i = 0; i < 2; i++) dlclose(copies[i].handle);
  return 0;
}
