/* Batches made ahead by threads.
 *
 * Batch b, counted over all epochs, lies in slot b % slots.  Rows are handed
 * out in order, so the batch that is wanted next is always being worked on;
 * a thread waits when all slots hold batches nobody has taken yet. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fork.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/pool.h"
#include "base/thread.h"
#include "data/augment.h"
#include "data/augmenter.h"
#include "data/dataset.h"
#include "data/loader.h"

enum { MOST_THREADS = 1024, MOST_PREFETCH = 1024, MOST_NAMED = 1000 };

/* Images in a row that may be unreadable. */
enum { MOST_TRIES = 1000 };

/* The order of an epoch. */
typedef struct order {
  int64_t epoch; /* -1: none yet */
  uint32_t *items;
} order;

typedef struct slot {
  float *images;   /* [batch_size, C, H, W] */
  int32_t *labels; /* [batch_size]; NULL: the dataset has none */
  int32_t left;  /* rows still to come */
  mae_status status;
  char message[512];
} slot;

typedef struct worker {
  mae_loader *loader;
  mae_context *context; /* of one thread */
  mae_preprocess *preprocess; /* without augmentation, */
  mae_augmenter *augmenter;   /* and with it */
  pthread_t thread;
} worker;

struct mae_loader {
  const mae_dataset *dataset;
  mae_loader_options options;
  mae_augment augment;
  int64_t epoch_batches, values; /* floats per image */
  worker *workers;
  int32_t n_workers, started;
  unsigned forks; /* mae_fork_count where the threads are */
  slot *slots;
  int32_t n_slots;
  pthread_mutex_t lock; /* of all that follows */
  pthread_cond_t work, done;
  bool stop, lent;
  int32_t busy;        /* threads at a row */
  int64_t current;     /* the batch that the caller gets next */
  int64_t batch;       /* the next row to hand out */
  int32_t row;
  order *orders;       /* epoch e in e % n_orders */
  int32_t n_orders;
  uint8_t *skipped;    /* [dataset's size] flags */
  int64_t n_skipped;
  char *named[MOST_NAMED];
};

static const mae_loader_options defaults = {.struct_size = sizeof defaults,
                                            .batch_size = 64,
                                            .image_height = 224,
                                            .image_width = 224,
                                            .in_chans = 3,
                                            .augment = 1,
                                            .scale_min = 0.2,
                                            .scale_max = 1,
                                            .ratio_min = 3.0 / 4,
                                            .ratio_max = 4.0 / 3,
                                            .flip = 0.5,
                                            .prefetch = 2,
                                            .ranks = 1,
                                            .rand_augment_magnitude = 9,
                                            .rand_augment_std = 0.5,
                                            .rand_augment_increasing = 1};

void mae_loader_options_init(mae_loader_options *options, size_t struct_size) {
  mae_options_write(options, struct_size, &defaults, sizeof defaults);
}

mae_status mae_loader_options_recipe(mae_loader_options *options,
                                     size_t struct_size, mae_recipe recipe) {
  mae_loader_options o = defaults;
  MAE_REQUIRE(options);
  if (recipe == MAE_RECIPE_FINETUNE || recipe == MAE_RECIPE_SCRATCH) {
    o.scale_min = 0.08;
    o.rand_augment_ops = 2;
    o.erase = recipe == MAE_RECIPE_FINETUNE ? 0.25 : 0;
  } else if (recipe != MAE_RECIPE_PRETRAIN) {
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "there is no recipe %d",
                    (int)recipe);
  }
  mae_options_write(options, struct_size, &o, sizeof o);
  return MAE_OK;
}

/* --------------------------------------------------------------- order --- */

/* Images of all ranks in a batch. */
static int64_t global_batch(const mae_loader *l) {
  return (int64_t)l->options.batch_size * l->options.ranks;
}

/* Orders draw from streams of their own; masks have stream 0. */
static uint64_t order_stream(int64_t epoch) {
  return MAE_ORDER_STREAM + (uint64_t)epoch;
}

/* The order of a batch's epoch.  There are as many as epochs in the ring, so
 * one that is replaced is of no row in work. */
static const uint32_t *order_of(mae_loader *l, int64_t batch) {
  const int64_t epoch = batch / l->epoch_batches;
  order *o = &l->orders[epoch % l->n_orders];
  if (o->epoch != epoch) {
    mae_random_permutation(l->options.seed, order_stream(epoch),
                           (size_t)l->dataset->count, o->items);
    o->epoch = epoch;
  }
  return o->items;
}

/* ---------------------------------------------------------------- rows --- */

static mae_status put_encoded(worker *w, const mae_encoded *in, uint64_t number,
                              float *out) {
  const mae_loader_options *o = &w->loader->options;
  mae_image image = {0};
  int32_t width = 0, height = 0, shrink = 1;
  mae_crop crop = {0};
  if (o->augment) {
    MAE_TRY(mae_image_size(in, &width, &height));
    crop = mae_augment_draw(&w->loader->augment, width, height, o->seed,
                            number);
    if (!o->full_decode)
      shrink = mae_image_best_shrink(crop.width, crop.height, o->image_width,
                                     o->image_height);
  }
  MAE_TRY(mae_image_decode_shrunk(in, shrink, &image));
  mae_status status;
  if (o->augment)
    status = mae_augmenter_run(w->augmenter, w->context, &image,
                               mae_crop_box(&crop, width, height, &image),
                               crop.flip, number, out);
  else
    status = mae_preprocess_run(w->preprocess, w->context, &image, out);
  mae_image_free(&image);
  return status;
}

static mae_status put_pixels(worker *w, const mae_image *image, uint64_t number,
                             float *out) {
  const mae_loader_options *o = &w->loader->options;
  if (!o->augment)
    return mae_preprocess_run(w->preprocess, w->context, image, out);
  const mae_crop crop = mae_augment_draw(&w->loader->augment, image->width,
                                         image->height, o->seed, number);
  return mae_augmenter_run(
      w->augmenter, w->context, image,
      mae_crop_box(&crop, image->width, image->height, image), crop.flip,
      number, out);
}

static mae_status put_item(worker *w, int64_t i, uint64_t number, float *out) {
  const mae_dataset *d = w->loader->dataset;
  if (d->callback) {
    mae_status status = d->callback(d->arg, i, out);
    return status == MAE_OK ? MAE_OK : mae_fail(status, "the callback's %s",
                                                mae_status_name(status));
  }
  mae_item item = {0};
  MAE_TRY(d->class->fetch(d, i, &item));
  mae_status status = item.encoded.data
                          ? put_encoded(w, &item.encoded, number, out)
                          : put_pixels(w, &item.pixels, number, out);
  mae_item_free(&item);
  return status;
}

/* The latest message, after the image's name unless it holds that. */
static char *skip_text(const mae_dataset *d, int64_t i) {
  const char *name = mae_dataset_name(d, i), *why = mae_last_error();
  char number[32];
  if (!*name) {
    snprintf(number, sizeof number, "image %lld", (long long)i);
    name = number;
  }
  if (strstr(why, name)) return strdup(why);
  const size_t size = strlen(name) + strlen(why) + 3;
  char *text = malloc(size);
  if (text) snprintf(text, size, "%s: %s", name, why);
  return text;
}

static void note_skip(mae_loader *l, int64_t i) {
  pthread_mutex_lock(&l->lock);
  if (!l->skipped[i]) {
    l->skipped[i] = 1;
    if (l->n_skipped < MOST_NAMED)
      l->named[l->n_skipped] = skip_text(l->dataset, i);
    l->n_skipped++;
  }
  pthread_mutex_unlock(&l->lock);
}

/* A row by the order of its epoch; in place of an unreadable image, the next.
 * label may be NULL. */
static mae_status put_row(worker *w, const uint32_t *items, int64_t at,
                          uint64_t number, float *out, int32_t *label) {
  mae_loader *l = w->loader;
  const int64_t n = l->dataset->count;
  const int64_t tries = n < MOST_TRIES ? n : MOST_TRIES;
  for (int64_t k = 0; k < tries; k++) {
    const int64_t i = items[(at + k) % n];
    mae_status status = put_item(w, i, number, out);
    if (label) *label = mae_dataset_label(l->dataset, i);
    if (status == MAE_OK || status == MAE_ERROR_OUT_OF_MEMORY) return status;
    note_skip(l, i);
  }
  return mae_fail(MAE_ERROR_FORMAT,
                  "%lld images in a row cannot be read, the last: %s",
                  (long long)tries, mae_last_error());
}

/* ------------------------------------------------------------- threads --- */

/* A row to make; false: the loader ends.  Under the lock. */
static bool take(mae_loader *l, int64_t *batch, int32_t *row) {
  while (!l->stop && l->batch - l->current + l->lent >= l->n_slots)
    pthread_cond_wait(&l->work, &l->lock);
  if (l->stop) return false;
  *batch = l->batch;
  *row = l->row++;
  if (l->row == l->options.batch_size) {
    l->row = 0;
    l->batch++;
  }
  l->busy++;
  return true;
}

/* Under the lock. */
static void finish(mae_loader *l, slot *s, mae_status status) {
  if (status != MAE_OK && s->status == MAE_OK) {
    s->status = status;
    snprintf(s->message, sizeof s->message, "%s", mae_last_error());
  }
  l->busy--;
  if (--s->left == 0 || l->busy == 0) pthread_cond_broadcast(&l->done);
}

static void *worker_main(void *arg) {
  worker *w = arg;
  mae_loader *l = w->loader;
  int64_t batch;
  int32_t row;
  pthread_mutex_lock(&l->lock);
  while (take(l, &batch, &row)) {
    const uint32_t *items = order_of(l, batch);
    slot *s = &l->slots[batch % l->n_slots];
    pthread_mutex_unlock(&l->lock);
    const int64_t in_batch = (int64_t)l->options.rank * l->options.batch_size +
                             row;
    const int64_t number = batch * global_batch(l) + in_batch;
    const int64_t at = batch % l->epoch_batches * global_batch(l) + in_batch;
    mae_status status = put_row(w, items, at, (uint64_t)number,
                                s->images + row * l->values,
                                s->labels ? s->labels + row : NULL);
    pthread_mutex_lock(&l->lock);
    finish(l, s, status);
  }
  pthread_mutex_unlock(&l->lock);
  return NULL;
}

static mae_status start_workers(mae_loader *l) {
  if (l->started == l->n_workers) return MAE_OK;
  l->forks = mae_fork_count();
  int error = 0;
  while (l->started < l->n_workers && !error) {
    worker *w = &l->workers[l->started];
    error = mae_thread_start(&w->thread, worker_main, w);
    if (!error) l->started++;
  }
  if (l->started) return MAE_OK; /* fewer are slower, no more */
  return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "cannot start a thread");
}

/* In a child made by fork the threads are not there, and what they were at is
 * half done. */
static bool is_inherited(const mae_loader *l) {
  return l->started && l->forks != mae_fork_count();
}

static mae_status refuse_inherited(const mae_loader *l) {
  if (!is_inherited(l)) return MAE_OK;
  return mae_fail(MAE_ERROR_STATE,
                  "the loader's threads stayed with the parent process; make a "
                  "loader in this one");
}

/* --------------------------------------------------------------- calls --- */

static void empty(slot *s, int32_t rows) {
  s->left = rows;
  s->status = MAE_OK;
}

mae_status mae_loader_next(mae_loader *l, const float **images) {
  MAE_REQUIRE(l);
  MAE_REQUIRE(images);
  MAE_TRY(refuse_inherited(l));
  MAE_TRY(start_workers(l));
  pthread_mutex_lock(&l->lock);
  if (l->lent) {
    empty(&l->slots[(l->current - 1) % l->n_slots], l->options.batch_size);
    l->lent = false;
    pthread_cond_broadcast(&l->work);
  }
  slot *s = &l->slots[l->current % l->n_slots];
  while (s->left) pthread_cond_wait(&l->done, &l->lock);
  const mae_status status = s->status;
  if (status == MAE_OK) {
    l->current++;
    l->lent = true;
  }
  pthread_mutex_unlock(&l->lock);
  if (status != MAE_OK) return mae_fail(status, "%s", s->message);
  *images = s->images;
  return MAE_OK;
}

const int32_t *mae_loader_labels(const mae_loader *l) {
  return l && l->lent ? l->slots[(l->current - 1) % l->n_slots].labels : NULL;
}

mae_status mae_loader_seek(mae_loader *l, uint64_t image) {
  MAE_REQUIRE(l);
  MAE_TRY(refuse_inherited(l));
  const uint64_t global = (uint64_t)global_batch(l);
  if (image % global || image / global > INT64_MAX / 2 / global)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "image %llu is not the first of a batch of %llu",
                    (unsigned long long)image, (unsigned long long)global);
  pthread_mutex_lock(&l->lock);
  /* Nothing more is handed out while the ring seems full. */
  l->current = l->batch - l->n_slots - 1;
  while (l->busy) pthread_cond_wait(&l->done, &l->lock);
  l->lent = false;
  l->current = l->batch = (int64_t)(image / global);
  l->row = 0;
  for (int32_t i = 0; i < l->n_slots; i++)
    empty(&l->slots[i], l->options.batch_size);
  pthread_cond_broadcast(&l->work);
  pthread_mutex_unlock(&l->lock);
  return MAE_OK;
}

uint64_t mae_loader_position(const mae_loader *l) {
  return l ? (uint64_t)(l->current * global_batch(l)) : 0;
}

int64_t mae_loader_epoch_batches(const mae_loader *l) {
  return l ? l->epoch_batches : 0;
}

/* The lock is the loader's own affair. */
static pthread_mutex_t *lock_of(const mae_loader *l) {
  return &((mae_loader *)(uintptr_t)l)->lock;
}

int64_t mae_loader_skipped(const mae_loader *l) {
  if (!l) return 0;
  if (is_inherited(l)) return l->n_skipped;
  pthread_mutex_lock(lock_of(l));
  const int64_t n = l->n_skipped;
  pthread_mutex_unlock(lock_of(l));
  return n;
}

const char *mae_loader_skipped_item(const mae_loader *l, int64_t i) {
  if (i < 0 || i >= MOST_NAMED || i >= mae_loader_skipped(l)) return NULL;
  return l->named[i] ? l->named[i] : "";
}

const mae_loader_options *mae_loader_options_of(const mae_loader *l) {
  return &l->options;
}

const mae_dataset *mae_loader_dataset_of(const mae_loader *l) {
  return l->dataset;
}

/* ------------------------------------------------------------ creation --- */

static mae_status check_range(const char *what, int32_t value, int32_t least,
                              int32_t most) {
  if (value >= least && value <= most) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                  "mae_loader_options: %s is %d, not %d to %d", what, value,
                  least, most);
}

static mae_status check(const mae_loader_options *o) {
  MAE_TRY(check_range("batch_size", o->batch_size, 1, 65536));
  MAE_TRY(check_range("image_height", o->image_height, 1, 65536));
  MAE_TRY(check_range("image_width", o->image_width, 1, 65536));
  MAE_TRY(check_range("in_chans", o->in_chans, 1, 4096));
  MAE_TRY(check_range("augment", o->augment, 0, 1));
  MAE_TRY(check_range("full_decode", o->full_decode, 0, 1));
  MAE_TRY(mae_augmenter_check(o));
  MAE_TRY(check_range("threads", o->threads, 0, MOST_THREADS));
  MAE_TRY(check_range("prefetch", o->prefetch, 1, MOST_PREFETCH));
  MAE_TRY(check_range("ranks", o->ranks, 1, 1 << 20));
  return check_range("rank", o->rank, 0, o->ranks - 1);
}

static mae_status init_worker(mae_loader *l, worker *w) {
  const mae_loader_options *o = &l->options;
  mae_context_options c;
  mae_context_options_init(&c, sizeof c);
  c.threads = 1;
  w->loader = l;
  MAE_TRY(mae_context_create(&c, &w->context));
  if (o->augment) return mae_augmenter_create(o, &w->augmenter);
  return mae_preprocess_create(o->in_chans, o->image_height, o->image_width, 0,
                               o->mean, o->std, &w->preprocess);
}

static mae_status make_slots(mae_loader *l) {
  const mae_loader_options *o = &l->options;
  l->n_slots = o->prefetch + 1;
  l->slots = mae_calloc((size_t)l->n_slots, sizeof *l->slots);
  if (!l->slots) return MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t i = 0; i < l->n_slots; i++) {
    l->slots[i].images = mae_calloc((size_t)o->batch_size,
                                    (size_t)l->values * sizeof(float));
    if (!l->slots[i].images) return MAE_ERROR_OUT_OF_MEMORY;
    empty(&l->slots[i], o->batch_size);
  }
  return MAE_OK;
}

static mae_status make_labels(mae_loader *l) {
  if (!mae_dataset_num_classes(l->dataset)) return MAE_OK;
  for (int32_t i = 0; i < l->n_slots; i++) {
    l->slots[i].labels =
        mae_calloc((size_t)l->options.batch_size, sizeof(int32_t));
    if (!l->slots[i].labels) return MAE_ERROR_OUT_OF_MEMORY;
  }
  return MAE_OK;
}

static mae_status make_orders(mae_loader *l) {
  const int64_t epochs = (l->n_slots - 1) / l->epoch_batches + 2;
  l->orders = mae_calloc((size_t)epochs, sizeof *l->orders);
  if (!l->orders) return MAE_ERROR_OUT_OF_MEMORY;
  for (l->n_orders = 0; l->n_orders < epochs;) {
    const int32_t i = l->n_orders++;
    l->orders[i].epoch = -1;
    l->orders[i].items = mae_calloc((size_t)l->dataset->count,
                                    sizeof *l->orders[i].items);
    if (!l->orders[i].items) return MAE_ERROR_OUT_OF_MEMORY;
  }
  l->skipped = mae_calloc((size_t)l->dataset->count, 1);
  return l->skipped ? MAE_OK : MAE_ERROR_OUT_OF_MEMORY;
}

/* Fill in a loader whose dataset and options are set. */
static mae_status set_up(mae_loader *l) {
  mae_loader_options *o = &l->options;
  MAE_TRY(check(o));
  l->augment = (mae_augment){o->scale_min, o->scale_max, o->ratio_min,
                             o->ratio_max, o->flip};
  MAE_TRY(mae_augment_check(&l->augment));
  l->epoch_batches = l->dataset->count / global_batch(l);
  if (!l->epoch_batches)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "%lld images are less than a batch of %lld",
                    (long long)l->dataset->count, (long long)global_batch(l));
  if (!mae_mul(o->image_height, o->image_width, &l->values) ||
      !mae_mul(l->values, o->in_chans, &l->values))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "images of so many values");
  l->n_workers = o->threads ? o->threads : mae_cpu_count();
  l->workers = mae_calloc((size_t)l->n_workers, sizeof *l->workers);
  if (!l->workers) return MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t i = 0; i < l->n_workers; i++)
    MAE_TRY(init_worker(l, &l->workers[i]));
  o->mean = o->std = NULL; /* the caller's, and copied */
  MAE_TRY(make_slots(l));
  MAE_TRY(make_labels(l));
  return make_orders(l);
}

mae_status mae_loader_create(const mae_dataset *dataset,
                             const mae_loader_options *options,
                             mae_loader **out) {
  MAE_REQUIRE(dataset);
  MAE_REQUIRE(out);
  mae_loader_options o = defaults;
  if (options)
    MAE_TRY(mae_options_read("mae_loader_options", &o, sizeof o, options));
  mae_loader *l = mae_calloc(1, sizeof *l);
  if (!l) return MAE_ERROR_OUT_OF_MEMORY;
  l->dataset = dataset;
  l->options = o;
  pthread_mutex_init(&l->lock, NULL);
  pthread_cond_init(&l->work, NULL);
  pthread_cond_init(&l->done, NULL);
  mae_status status = set_up(l);
  if (status != MAE_OK) {
    mae_loader_destroy(l);
    return status;
  }
  *out = l;
  return MAE_OK;
}

static void free_slots(mae_loader *l) {
  for (int32_t i = 0; l->slots && i < l->n_slots; i++) {
    free(l->slots[i].images);
    free(l->slots[i].labels);
  }
  free(l->slots);
}

static void stop_workers(mae_loader *l) {
  pthread_mutex_lock(&l->lock);
  l->stop = true;
  pthread_cond_broadcast(&l->work);
  pthread_mutex_unlock(&l->lock);
  for (int32_t i = 0; i < l->started; i++)
    pthread_join(l->workers[i].thread, NULL);
}

void mae_loader_destroy(mae_loader *l) {
  if (!l) return;
  if (is_inherited(l)) { /* only what no thread was changing */
    free_slots(l);
    return;
  }
  stop_workers(l);
  for (int32_t i = 0; l->workers && i < l->n_workers; i++) {
    mae_preprocess_destroy(l->workers[i].preprocess);
    mae_augmenter_destroy(l->workers[i].augmenter);
    mae_context_destroy(l->workers[i].context);
  }
  free_slots(l);
  for (int32_t i = 0; i < l->n_orders; i++) free(l->orders[i].items);
  for (int i = 0; i < MOST_NAMED; i++) free(l->named[i]);
  pthread_cond_destroy(&l->done);
  pthread_cond_destroy(&l->work);
  pthread_mutex_destroy(&l->lock);
  free(l->workers);
  free(l->orders);
  free(l->skipped);
  free(l);
}
