#include "tool/decoder.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

typedef enum slot_state { SLOT_FREE, SLOT_BUSY, SLOT_READY } slot_state;

/* Image i passes through slot i % slots. */
typedef struct slot {
  slot_state state;
  bool ok;
  float *pixels;
  char problem[512];
} slot;

/* Each has a session of its own, for preprocessing alone. */
typedef struct worker {
  decoder *decoder;
  mae_context *context;
  mae_session *session;
  pthread_t thread;
  bool running;
} worker;

struct decoder {
  const char *const *paths;
  const mae_dataset *dataset;
  size_t count;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  size_t taken, given; /* images begun; images handed out */
  bool stop;
  slot *slots;
  size_t n_slots;
  float *pixels; /* of all slots */
  worker *workers;
  int32_t n_workers;
};

/* Wait for an image to work on; false when there is none left. */
static bool take(decoder *d, size_t *image) {
  bool taken = false;
  pthread_mutex_lock(&d->lock);
  while (!d->stop && d->taken < d->count &&
         d->slots[d->taken % d->n_slots].state != SLOT_FREE)
    pthread_cond_wait(&d->changed, &d->lock);
  if (!d->stop && d->taken < d->count) {
    *image = d->taken++;
    d->slots[*image % d->n_slots].state = SLOT_BUSY;
    taken = true;
  }
  pthread_mutex_unlock(&d->lock);
  return taken;
}

static void set_state(decoder *d, slot *s, slot_state state) {
  pthread_mutex_lock(&d->lock);
  s->state = state;
  pthread_cond_broadcast(&d->changed);
  pthread_mutex_unlock(&d->lock);
}

static mae_status decode(mae_session *session, const decoder *d, size_t number,
                         float *pixels) {
  mae_image image;
  if (d->dataset)
    MAE_TRY(mae_dataset_load_image(d->dataset, (int64_t)number, &image));
  else
    MAE_TRY(mae_image_load(d->paths[number], &image));
  mae_status status = mae_session_preprocess(session, &image, pixels);
  mae_image_free(&image);
  return status;
}

static void *work(void *argument) {
  worker *w = argument;
  decoder *d = w->decoder;
  size_t image;
  while (take(d, &image)) {
    slot *s = &d->slots[image % d->n_slots];
    s->ok = decode(w->session, d, image, s->pixels) == MAE_OK;
    if (!s->ok) snprintf(s->problem, sizeof s->problem, "%s", mae_last_error());
    set_state(d, s, SLOT_READY);
  }
  return NULL;
}

static mae_status start_worker(decoder *d, const decoder_options *o) {
  worker *w = &d->workers[d->n_workers++];
  mae_context_options single;
  mae_context_options_init(&single, sizeof single);
  single.threads = 1;
  mae_session_options look = *o->look;
  look.batch_size = 1;
  w->decoder = d;
  MAE_TRY(mae_context_create(&single, &w->context));
  MAE_TRY(mae_session_create(w->context, o->model, &look, &w->session));
  w->running = !pthread_create(&w->thread, NULL, work, w);
  if (!w->running)
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "cannot start a thread");
  return MAE_OK;
}

static mae_status make_slots(decoder *d, const decoder_options *o) {
  const size_t values = o->image_values;
  d->n_slots = o->ahead + (size_t)o->threads;
  d->slots = mae_calloc(d->n_slots, sizeof *d->slots);
  d->pixels = mae_calloc(d->n_slots, values * sizeof *d->pixels);
  d->workers = mae_calloc((size_t)o->threads, sizeof *d->workers);
  if (!d->slots || !d->pixels || !d->workers) return MAE_ERROR_OUT_OF_MEMORY;
  for (size_t i = 0; i < d->n_slots; i++)
    d->slots[i].pixels = d->pixels + i * values;
  return MAE_OK;
}

mae_status decoder_start(const decoder_options *options, decoder **out) {
  decoder *d = mae_calloc(1, sizeof *d);
  if (!d) return MAE_ERROR_OUT_OF_MEMORY;
  d->paths = options->paths;
  d->dataset = options->dataset;
  d->count = options->count;
  pthread_mutex_init(&d->lock, NULL);
  pthread_cond_init(&d->changed, NULL);
  mae_status status = make_slots(d, options);
  for (int32_t i = 0; status == MAE_OK && i < options->threads; i++)
    status = start_worker(d, options);
  if (status == MAE_OK)
    *out = d;
  else
    decoder_stop(d);
  return status;
}

bool decoder_next(decoder *d, decoded *out) {
  if (d->given) set_state(d, &d->slots[(d->given - 1) % d->n_slots], SLOT_FREE);
  if (d->given == d->count) return false;
  slot *s = &d->slots[d->given % d->n_slots];
  pthread_mutex_lock(&d->lock);
  while (s->state != SLOT_READY) pthread_cond_wait(&d->changed, &d->lock);
  pthread_mutex_unlock(&d->lock);
  out->number = d->given++;
  out->path = d->dataset
                  ? mae_dataset_name(d->dataset, (int64_t)out->number)
                  : d->paths[out->number];
  out->pixels = s->ok ? s->pixels : NULL;
  out->problem = s->ok ? NULL : s->problem;
  return true;
}

void decoder_stop(decoder *d) {
  if (!d) return;
  pthread_mutex_lock(&d->lock);
  d->stop = true;
  pthread_cond_broadcast(&d->changed);
  pthread_mutex_unlock(&d->lock);
  for (int32_t i = 0; i < d->n_workers; i++) {
    worker *w = &d->workers[i];
    if (w->running) pthread_join(w->thread, NULL);
    mae_session_destroy(w->session);
    mae_context_destroy(w->context);
  }
  pthread_cond_destroy(&d->changed);
  pthread_mutex_destroy(&d->lock);
  free(d->workers);
  free(d->pixels);
  free(d->slots);
  free(d);
}
