/* Datasets of every kind, and loaders over them: what comes for a number, in
 * what order, from how many threads, and what is done about damaged images. */
#include <pthread.h>
#include <stdatomic.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "count_alloc.h"
#include "data/dataset.h"
#include "folder.h"
#include "golden.h"
#include "suites.h"

#ifdef MAE_HAVE_PNG
#include <png.h>
#endif
#ifdef MAE_HAVE_ZLIB
#include <zlib.h>
#endif
#ifdef MAE_HAVE_ARCHIVE
#include <archive.h>
#include <archive_entry.h>
#endif

typedef struct file_path {
  char text[256];
} file_path;

static file_path at(const char *name) {
  file_path path;
  snprintf(path.text, sizeof path.text, "%s/%s", folder, name);
  return path;
}

static void spit(const char *name, const void *data, size_t size) {
  FILE *file = fopen(at(name).text, "wb");
  ck_assert_ptr_nonnull(file);
  ck_assert_uint_eq(fwrite(data, 1, size, file), size);
  ck_assert_int_eq(fclose(file), 0);
}

static mae_dataset *open_dataset(const char *name) {
  mae_dataset *d;
  ASSERT_OK(mae_dataset_open(at(name).text, &d));
  return d;
}

static void assert_names(const mae_dataset *d, int n, const char *const *names) {
  ck_assert_int_eq(mae_dataset_size(d), n);
  for (int i = 0; i < n; i++)
    ck_assert_str_eq(mae_dataset_name(d, i), at(names[i]).text);
  ck_assert_str_eq(mae_dataset_name(d, n), "");
  ck_assert_str_eq(mae_dataset_name(d, -1), "");
}

/* ------------------------------------------------------------- callbacks --- */

enum { N = 23, SIDE = 2 };

typedef struct source {
  atomic_int bad; /* every image whose number is a multiple of it fails, while
                     threads read ahead; 0: none */
  mae_status status;
} source;

/* An image's first pixel is its number. */
static mae_status fetch(void *arg, int64_t i, float *out) {
  const source *s = arg;
  for (int k = 0; k < SIDE * SIDE; k++) out[k] = (float)i + (float)k / 16;
  const int bad = s->bad;
  return bad && i % bad == 0 ? s->status : MAE_OK;
}

static mae_loader_options options_of(int32_t batch) {
  mae_loader_options o;
  mae_loader_options_init(&o, sizeof o);
  o.batch_size = batch;
  o.image_height = o.image_width = SIDE;
  o.in_chans = 1;
  o.seed = 5;
  return o;
}

static mae_dataset *numbers(source *s, int64_t n) {
  mae_dataset *d;
  ASSERT_OK(mae_dataset_from_callback(n, fetch, s, &d));
  return d;
}

/* The numbers of the next `batches` batches. */
static void collect(mae_loader *l, int batches, int batch, int *out) {
  for (int b = 0; b < batches; b++) {
    const float *images;
    ASSERT_OK(mae_loader_next(l, &images));
    for (int i = 0; i < batch; i++) {
      out[b * batch + i] = (int)images[i * SIDE * SIDE];
      for (int k = 0; k < SIDE * SIDE; k++)
        ck_assert_float_eq(images[i * SIDE * SIDE + k],
                           (float)out[b * batch + i] + (float)k / 16);
    }
  }
}

static void run(const mae_dataset *d, const mae_loader_options *o, int batches,
                int *out) {
  mae_loader *l;
  ASSERT_OK(mae_loader_create(d, o, &l));
  collect(l, batches, o->batch_size, out);
  mae_loader_destroy(l);
}

/* Every epoch is a permutation by seed and epoch, less what is left over. */
START_TEST(epochs_are_permutations) {
  enum { BATCH = 4, BATCHES = N / BATCH, USED = BATCH * BATCHES, EPOCHS = 3 };
  source s = {0};
  mae_dataset *d = numbers(&s, N);
  mae_loader_options o = options_of(BATCH);
  mae_loader *l;
  ASSERT_OK(mae_loader_create(d, &o, &l));
  ck_assert_int_eq(mae_loader_epoch_batches(l), BATCHES);
  int got[EPOCHS][USED];
  for (int e = 0; e < EPOCHS; e++) {
    uint32_t order[N];
    ck_assert_uint_eq(mae_loader_position(l), (uint64_t)(e * USED));
    collect(l, BATCHES, BATCH, got[e]);
    ASSERT_OK(mae_random_permutation(5, MAE_ORDER_STREAM + (uint64_t)e, N, order));
    for (int i = 0; i < USED; i++) ck_assert_int_eq(got[e][i], (int)order[i]);
  }
  ck_assert(memcmp(got[0], got[1], sizeof got[0]));
  mae_loader_destroy(l);
  o.seed = 6;
  int other[USED];
  run(d, &o, BATCHES, other);
  ck_assert(memcmp(got[0], other, sizeof other));
  mae_dataset_destroy(d);
}
END_TEST

/* Case i: threads and batches ahead.  None of that changes what comes. */
START_TEST(threads_do_not_matter) {
  enum { BATCH = 3, BATCHES = 40 };
  static const int32_t ways[][2] = {{1, 1}, {2, 2}, {4, 1}, {3, 20}, {5, 60}};
  source s = {0};
  mae_dataset *d = numbers(&s, N);
  mae_loader_options o = options_of(BATCH);
  int want[BATCH * BATCHES], got[BATCH * BATCHES];
  o.threads = 1;
  run(d, &o, BATCHES, want);
  o.threads = ways[_i][0];
  o.prefetch = ways[_i][1];
  run(d, &o, BATCHES, got);
  ck_assert_mem_eq(got, want, sizeof got);
  mae_dataset_destroy(d);
}
END_TEST

START_TEST(seek_goes_anywhere) {
  enum { BATCH = 3, BATCHES = 30 };
  source s = {0};
  mae_dataset *d = numbers(&s, N);
  mae_loader_options o = options_of(BATCH);
  mae_loader *l;
  int want[BATCH * BATCHES], got[BATCH];
  o.threads = 3;
  run(d, &o, BATCHES, want);
  ASSERT_OK(mae_loader_create(d, &o, &l));
  const int places[] = {7, 0, 29, 7, 8, 9, 20, 1, 0, 0};
  for (int round = 0; round < 20; round++)
    for (int i = 0; i < 10; i++) {
      ASSERT_OK(mae_loader_seek(l, (uint64_t)(places[i] * BATCH)));
      ck_assert_uint_eq(mae_loader_position(l), (uint64_t)(places[i] * BATCH));
      if (round % 2) continue; /* seek again while threads are at work */
      collect(l, 1, BATCH, got);
      ck_assert_mem_eq(got, want + places[i] * BATCH, sizeof got);
    }
  ASSERT_FAILS(mae_loader_seek(l, 4), MAE_ERROR_INVALID_ARGUMENT, "batch of 3");
  ASSERT_FAILS(mae_loader_seek(l, UINT64_MAX - UINT64_MAX % 3),
               MAE_ERROR_INVALID_ARGUMENT, "batch");
  mae_loader_destroy(l);
  mae_dataset_destroy(d);
}
END_TEST

/* The ranks' batches side by side are the batches of one process. */
START_TEST(ranks_share_a_batch) {
  enum { GLOBAL = 6, BATCHES = 12 };
  source s = {0};
  mae_dataset *d = numbers(&s, N);
  mae_loader_options o = options_of(GLOBAL);
  int want[GLOBAL * BATCHES], got[GLOBAL * BATCHES];
  run(d, &o, BATCHES, want);
  for (int ranks = 2; ranks <= 3; ranks++)
    for (int rank = 0; rank < ranks; rank++) {
      const int each = GLOBAL / ranks;
      mae_loader *l;
      o.batch_size = each;
      o.rank = rank;
      o.ranks = ranks;
      ASSERT_OK(mae_loader_create(d, &o, &l));
      ck_assert_int_eq(mae_loader_epoch_batches(l), N / GLOBAL);
      collect(l, BATCHES, each, got);
      ck_assert_uint_eq(mae_loader_position(l), GLOBAL * BATCHES);
      for (int b = 0; b < BATCHES; b++)
        ck_assert_mem_eq(got + b * each, want + b * GLOBAL + rank * each,
                         (size_t)each * sizeof *got);
      mae_loader_destroy(l);
    }
  mae_dataset_destroy(d);
}
END_TEST

/* An unreadable image is replaced by the next in the epoch's order. */
START_TEST(unreadable_images_are_skipped) {
  enum { BATCH = 5, BATCHES = 40 };
  source s = {.bad = 4, .status = MAE_ERROR_FORMAT};
  mae_dataset *d = numbers(&s, N);
  mae_loader_options o = options_of(BATCH);
  for (int32_t threads = 1; threads <= 3; threads++) {
    mae_loader *l;
    int got[BATCH * BATCHES];
    o.threads = threads;
    ASSERT_OK(mae_loader_create(d, &o, &l));
    ck_assert_int_eq(mae_loader_skipped(l), 0);
    collect(l, BATCHES, BATCH, got);
    for (int i = 0; i < BATCH * BATCHES; i++) {
      uint32_t order[N];
      int k = i % 20;
      ASSERT_OK(mae_random_permutation(5, MAE_ORDER_STREAM + (uint64_t)(i / 20), N, order));
      while (order[k % N] % 4 == 0) k++;
      ck_assert_int_eq(got[i], (int)order[k % N]);
    }
    ck_assert_int_eq(mae_loader_skipped(l), 6); /* each once: 0, 4, ..., 20 */
    for (int i = 0; i < 6; i++) {
      const char *item = mae_loader_skipped_item(l, i);
      ck_assert_msg(strstr(item, "MAE_ERROR_FORMAT") != NULL, "%s", item);
    }
    ck_assert_ptr_null(mae_loader_skipped_item(l, 6));
    ck_assert_ptr_null(mae_loader_skipped_item(l, -1));
    mae_loader_destroy(l);
  }
  mae_dataset_destroy(d);
}
END_TEST

START_TEST(nothing_readable) {
  source s = {.bad = 1, .status = MAE_ERROR_IO};
  mae_dataset *d = numbers(&s, N);
  mae_loader_options o = options_of(4);
  mae_loader *l;
  const float *images = NULL;
  ASSERT_OK(mae_loader_create(d, &o, &l));
  for (int i = 0; i < 2; i++)
    ASSERT_FAILS(mae_loader_next(l, &images), MAE_ERROR_FORMAT,
                 "23 images in a row");
  ck_assert_ptr_null(images);
  ck_assert_int_eq(mae_loader_skipped(l), N);
  s.bad = 0; /* now they can be read */
  ASSERT_OK(mae_loader_seek(l, 0));
  ASSERT_OK(mae_loader_next(l, &images));
  mae_loader_destroy(l);
  s = (source){.bad = 1, .status = MAE_ERROR_OUT_OF_MEMORY};
  ASSERT_OK(mae_loader_create(d, &o, &l));
  ASSERT_FAILS(mae_loader_next(l, &images), MAE_ERROR_OUT_OF_MEMORY,
               "callback");
  ck_assert_int_eq(mae_loader_skipped(l), 0);
  mae_loader_destroy(l);
  mae_dataset_destroy(d);
}
END_TEST

/* Batches ahead are bounded; what is lent stays as it is. */
static atomic_int fetched;

static mae_status counting(void *arg, int64_t i, float *out) {
  (void)arg, (void)i;
  for (int k = 0; k < SIDE * SIDE; k++) out[k] = (float)fetched;
  atomic_fetch_add(&fetched, 1);
  return MAE_OK;
}

START_TEST(works_ahead_within_bounds) {
  enum { BATCH = 2, AHEAD = 3 };
  mae_dataset *d;
  mae_loader_options o = options_of(BATCH);
  mae_loader *l;
  const float *images;
  o.prefetch = AHEAD;
  o.threads = 2;
  ASSERT_OK(mae_dataset_from_callback(1000, counting, NULL, &d));
  ASSERT_OK(mae_loader_create(d, &o, &l));
  for (int b = 0; b < 5; b++) {
    ASSERT_OK(mae_loader_next(l, &images));
    const float first = images[0];
    const int most = (b + 1 + AHEAD) * BATCH;
    for (int wait = 0; fetched < most && wait < 2000; wait++) usleep(1000);
    usleep(10000);
    ck_assert_int_eq(fetched, most);
    ck_assert_float_eq(images[0], first);
  }
  mae_loader_destroy(l);
  mae_dataset_destroy(d);
}
END_TEST

/* At any moment, with threads waiting or at work. */
START_TEST(destroy_at_any_time) {
  source s = {0};
  mae_dataset *d = numbers(&s, N);
  for (int i = 0; i < 60; i++) {
    mae_loader_options o = options_of(1 + i % 5);
    mae_loader *l;
    const float *images;
    o.threads = 1 + i % 4;
    o.prefetch = 1 + i % 7;
    ASSERT_OK(mae_loader_create(d, &o, &l));
    for (int k = 0; k < i % 6; k++) ASSERT_OK(mae_loader_next(l, &images));
    mae_loader_destroy(l);
  }
  mae_loader_destroy(NULL);
  mae_dataset_destroy(d);
  mae_dataset_destroy(NULL);
}
END_TEST

static atomic_int handled, handled_by_worker;
static _Thread_local volatile sig_atomic_t is_worker;

static mae_status fetch_as_worker(void *arg, int64_t i, float *out) {
  is_worker = 1;
  return fetch(arg, i, out);
}

static void on_signal(int number) {
  (void)number;
  handled++;
  if (is_worker) handled_by_worker++;
}

START_TEST(signals_stay_with_the_application) {
  source s = {0};
  mae_dataset *d;
  mae_loader_options o = options_of(2);
  mae_loader *l;
  const float *images;
  ASSERT_OK(mae_dataset_from_callback(N, fetch_as_worker, &s, &d));
  o.threads = 4;
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  ASSERT_OK(mae_loader_create(d, &o, &l));
  for (int i = 0; i < 100; i++) {
    ASSERT_OK(mae_loader_next(l, &images));
    kill(getpid(), SIGUSR1);
  }
  mae_loader_destroy(l);
  ck_assert_int_gt(handled, 0);
  ck_assert_int_eq(handled_by_worker, 0);
  mae_dataset_destroy(d);
}
END_TEST

START_TEST(steady_batches_allocate_nothing) {
  if (count_alloc_calls() < 0) return;
  source s = {0};
  mae_dataset *d = numbers(&s, N);
  mae_loader_options o = options_of(2);
  mae_loader *l;
  const float *images;
  ASSERT_OK(mae_loader_create(d, &o, &l));
  for (int i = 0; i < 30; i++) ASSERT_OK(mae_loader_next(l, &images));
  long before = count_alloc_calls();
  int failed = 0;
  for (int i = 0; i < 50; i++) failed |= mae_loader_next(l, &images);
  long after = count_alloc_calls();
  ck_assert_int_eq(failed, 0);
  ck_assert_int_eq(after - before, 0);
  mae_loader_destroy(l);
  mae_dataset_destroy(d);
}
END_TEST

START_TEST(bad_options) {
  source s = {0};
  mae_dataset *d = numbers(&s, N);
  mae_loader_options bad[12];
  const float zero = 0;
  for (int i = 0; i < 12; i++) bad[i] = options_of(4);
  bad[0].batch_size = 0;
  bad[1].batch_size = 24;
  bad[2].image_height = 0;
  bad[3].in_chans = -1;
  bad[4].augment = 2;
  bad[5].scale_min = 0;
  bad[6].ratio_max = 0.1;
  bad[7].flip = 1.5;
  bad[8].prefetch = 0;
  bad[9].rank = 1;
  bad[10].threads = -1;
  bad[11].std = &zero;
  static const char *const words[] = {
      "batch_size", "23 images", "image_height", "in_chans", "augment", "scale",
      "ratio",      "flip",      "prefetch",     "rank",     "threads", "std"};
  for (int i = 0; i < 12; i++) {
    mae_loader *l = NULL;
    ASSERT_FAILS(mae_loader_create(d, &bad[i], &l), MAE_ERROR_INVALID_ARGUMENT,
                 words[i]);
    ck_assert_ptr_null(l);
  }
  mae_loader *l = NULL;
  ASSERT_FAILS(mae_loader_create(NULL, NULL, &l), MAE_ERROR_INVALID_ARGUMENT,
               "dataset");
  ASSERT_FAILS(mae_loader_create(d, NULL, NULL), MAE_ERROR_INVALID_ARGUMENT,
               "out");
  ASSERT_FAILS(mae_loader_next(NULL, NULL), MAE_ERROR_INVALID_ARGUMENT, "l is");
  mae_dataset_destroy(d);
  ASSERT_FAILS(mae_dataset_from_callback(0, fetch, &s, &d),
               MAE_ERROR_INVALID_ARGUMENT, "0 images");
  ASSERT_FAILS(mae_dataset_from_callback(1, NULL, &s, &d),
               MAE_ERROR_INVALID_ARGUMENT, "fetch");
}
END_TEST

/* ------------------------------------------------------------------- IDX --- */

#ifdef MAE_HAVE_ZLIB
/* n images of height x width, [n, height, width] or with 3 channels. */
static void spit_idx(const char *name, int n, int height, int width,
                     int channels) {
  size_t size = (size_t)(n * height * width * channels), head = 16;
  unsigned char *data = calloc(1, size + 20);
  data[2] = 8;
  data[3] = channels == 3 ? 4 : 3;
  data[7] = (unsigned char)n;
  data[11] = (unsigned char)height;
  data[15] = (unsigned char)width;
  if (channels == 3) {
    data[19] = 3;
    head = 20;
  }
  for (size_t i = 0; i < size; i++) data[head + i] = (unsigned char)(i * 37);
  spit(name, data, head + size);
  free(data);
}

/* Without augmentation a loader gives what a session's preprocessing gives. */
START_TEST(idx_images) {
  const int channels = _i ? 3 : 1;
  spit_idx("images-idx", 5, 20, 16, channels);
  mae_dataset *d = open_dataset("images-idx");
  ck_assert_int_eq(mae_dataset_size(d), 5);
  ck_assert_str_eq(mae_dataset_name(d, 3), at("images-idx#3").text);
  mae_context *context = make_context(1, MAE_ISA_AUTO);
  mae_model *model = small_model(1);
  mae_session *session;
  ASSERT_OK(mae_session_create(context, model, NULL, &session));
  mae_loader_options o = options_of(5);
  mae_loader *l;
  o.image_height = o.image_width = 16;
  o.augment = 0;
  ASSERT_OK(mae_loader_create(d, &o, &l));
  const float *images;
  ASSERT_OK(mae_loader_next(l, &images));
  uint32_t order[5];
  ASSERT_OK(mae_random_permutation(5, MAE_ORDER_STREAM, 5, order));
  unsigned char pixels[5 * 20 * 16 * 3];
  for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (unsigned char)(i * 37);
  for (int i = 0; i < 5; i++) {
    float want[SMALL_IMAGE];
    mae_image image = {pixels + order[i] * (size_t)(320 * channels), 16, 20,
                       channels, 0};
    ASSERT_OK(mae_session_preprocess(session, &image, want));
    ck_assert_mem_eq(images + i * SMALL_IMAGE, want, sizeof want);
  }
  mae_loader_destroy(l);
  mae_session_destroy(session);
  mae_model_destroy(model);
  mae_context_destroy(context);
  mae_dataset_destroy(d);
}
END_TEST

/* Augmented images change from epoch to epoch, and come again after a seek,
 * from any number of threads. */
START_TEST(augmentation_is_a_function_of_the_number) {
  enum { EACH = 5 * SMALL_IMAGE };
  spit_idx("images-idx", 5, 20, 16, 1);
  mae_dataset *d = open_dataset("images-idx");
  float *epochs[3];
  for (int i = 0; i < 3; i++) epochs[i] = malloc(EACH * sizeof(float));
  for (int32_t threads = 1; threads <= 3; threads++) {
    mae_loader_options o = options_of(5);
    mae_loader *l;
    const float *images;
    o.image_height = o.image_width = 16;
    o.threads = threads;
    ASSERT_OK(mae_loader_create(d, &o, &l));
    for (int e = 0; e < 3; e++) {
      ASSERT_OK(mae_loader_next(l, &images));
      if (threads == 1) memcpy(epochs[e], images, EACH * sizeof(float));
      ck_assert_mem_eq(images, epochs[e], EACH * sizeof(float));
    }
    ASSERT_OK(mae_loader_seek(l, 5));
    ASSERT_OK(mae_loader_next(l, &images));
    ck_assert_mem_eq(images, epochs[1], EACH * sizeof(float));
    mae_loader_destroy(l);
  }
  ck_assert(memcmp(epochs[0], epochs[1], EACH * sizeof(float)));
  for (int i = 0; i < 3; i++) free(epochs[i]);
  mae_dataset_destroy(d);
}
END_TEST

START_TEST(idx_of_other_things) {
  static const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 7, 7};
  mae_dataset *d = NULL;
  spit("labels", labels, sizeof labels);
  ASSERT_FAILS(mae_dataset_open(at("labels").text, &d), MAE_ERROR_FORMAT,
               "height");
  spit_idx("none", 0, 4, 4, 1);
  ASSERT_FAILS(mae_dataset_open(at("none").text, &d), MAE_ERROR_NOT_FOUND,
               "no images");
  spit("text", "hello, this is no image at all", 30);
  ASSERT_FAILS(mae_dataset_open(at("text").text, &d), MAE_ERROR_FORMAT, "IDX");
  ck_assert_ptr_null(d);
}
END_TEST

/* Sixteen kilobytes, which would ask for gigabytes of names. */
START_TEST(idx_of_very_many_images) {
  enum { MANY = (1 << 24) + 1, PIECE = 1 << 16 };
  static const unsigned char head[] = {0, 0, 8, 3, 1, 0, 0, 1,
                                       0, 0, 0, 1, 0, 0, 0, 1};
  static const unsigned char zeros[PIECE];
  mae_dataset *d = NULL;
  gzFile out = gzopen(at("many").text, "wb");
  ck_assert_int_eq(gzwrite(out, head, sizeof head), sizeof head);
  for (int left = MANY; left > 0; left -= PIECE) {
    const int n = left < PIECE ? left : PIECE;
    ck_assert_int_eq(gzwrite(out, zeros, (unsigned)n), n);
  }
  ck_assert_int_eq(gzclose(out), Z_OK);
  ASSERT_FAILS(mae_dataset_open(at("many").text, &d), MAE_ERROR_UNSUPPORTED,
               "more than 16777216 images");
}
END_TEST
#endif

/* --------------------------------------------------------- folders, lists --- */

static void mkdirs(const char *const *names, int n) {
  for (int i = 0; i < n; i++)
    ck_assert_int_eq(mkdir(at(names[i]).text, 0755), 0);
}

START_TEST(image_folders) {
  static const char *const folders[] = {"all", "all/b", "all/a", "all/b/deep"};
  static const char *const files[] = {"all/b/deep/x.PNG", "all/z.webp",
                                      "all/a/2.jpg",      "all/a/10.JPeG",
                                      "all/notes.txt",    "all/jpg",
                                      "all/b.jpg",        "all/b/.jpg"};
  static const char *const want[] = {"all/a/10.JPeG",    "all/a/2.jpg",
                                     "all/b.jpg",        "all/b/deep/x.PNG",
                                     "all/link.png",     "all/z.webp"};
  mkdirs(folders, 4);
  for (int i = 0; i < 8; i++) spit(files[i], "x", 1);
  ck_assert_int_eq(symlink("a/2.jpg", at("all/link.png").text), 0);
  ck_assert_int_eq(symlink("..", at("all/a/loop").text), 0);
  ck_assert_int_eq(symlink("nowhere", at("all/dead.png").text), 0);
  ck_assert_int_eq(symlink("all", at("entry").text), 0);
  ck_assert_int_eq(mkfifo(at("all/pipe.png").text, 0644), 0);
  mae_dataset *d = open_dataset("all");
  assert_names(d, 6, want);
  mae_dataset_destroy(d);
  d = open_dataset("all///");
  ck_assert_str_eq(mae_dataset_name(d, 0), at(want[0]).text);
  mae_dataset_destroy(d);
  d = open_dataset("entry");
  ck_assert_int_eq(mae_dataset_size(d), 6);
  mae_dataset_destroy(d);
}
END_TEST

START_TEST(folders_without_images) {
  static const char *const names[] = {"empty", "empty/more"};
  mae_dataset *d = NULL;
  mkdirs(names, 2);
  ASSERT_FAILS(mae_dataset_open(at("empty").text, &d), MAE_ERROR_NOT_FOUND,
               "no images");
  ASSERT_FAILS(mae_dataset_open(at("absent").text, &d), MAE_ERROR_NOT_FOUND,
               "absent");
  if (geteuid()) { /* root reads all */
    ck_assert_int_eq(chmod(at("empty/more").text, 0), 0);
    ASSERT_FAILS(mae_dataset_open(at("empty").text, &d), MAE_ERROR_IO, "more");
    chmod(at("empty/more").text, 0755);
  }
  ASSERT_FAILS(mae_dataset_open(NULL, &d), MAE_ERROR_INVALID_ARGUMENT, "path");
  ASSERT_FAILS(mae_dataset_open(folder, NULL), MAE_ERROR_INVALID_ARGUMENT,
               "out");
  ck_assert_ptr_null(d);
}
END_TEST

START_TEST(lists) {
  static const char text[] = "a/1.jpg\r\n\n/absolute.png\nlast one.webp";
  static const char *const want[] = {"a/1.jpg", "last one.webp"};
  spit("some.txt", text, sizeof text - 1);
  mae_dataset *d = open_dataset("some.txt");
  ck_assert_int_eq(mae_dataset_size(d), 3);
  ck_assert_str_eq(mae_dataset_name(d, 0), at(want[0]).text);
  ck_assert_str_eq(mae_dataset_name(d, 1), "/absolute.png");
  ck_assert_str_eq(mae_dataset_name(d, 2), at(want[1]).text);
  mae_dataset_destroy(d);
  ck_assert_int_eq(chdir(folder), 0); /* a list without a folder */
  ASSERT_OK(mae_dataset_open("some.txt", &d));
  ck_assert_str_eq(mae_dataset_name(d, 0), "a/1.jpg");
  mae_dataset_destroy(d);
  d = NULL;
  spit("zero.list", "a\0b\n", 4);
  ASSERT_FAILS(mae_dataset_open(at("zero.list").text, &d), MAE_ERROR_FORMAT,
               "line 1");
  spit("blank.lst", "\n\r\n", 3);
  ASSERT_FAILS(mae_dataset_open(at("blank.lst").text, &d), MAE_ERROR_NOT_FOUND,
               "no images");
  ck_assert_ptr_null(d);
}
END_TEST

#ifdef MAE_HAVE_PNG
/* A grey PNG of one level. */
static size_t make_png(unsigned char level, unsigned char *out, size_t room) {
  unsigned char pixels[12 * 10];
  memset(pixels, level, sizeof pixels);
  png_image image = {.version = PNG_IMAGE_VERSION, .width = 12, .height = 10,
                     .format = PNG_FORMAT_GRAY};
  png_alloc_size_t size = room;
  ck_assert(png_image_write_to_memory(&image, out, &size, 0, pixels, 0, NULL));
  return size;
}

static void spit_png(const char *name, unsigned char level) {
  unsigned char data[2000];
  spit(name, data, make_png(level, data, sizeof data));
}

static int level_of(float value) {
  return (int)lround((value * 0.226 + 0.449) * 255);
}

/* All readable images once: the levels. */
static void read_levels(const mae_dataset *d, int32_t augment, int *levels,
                        int64_t *skipped, char *why, size_t room) {
  const int n = (int)mae_dataset_size(d);
  mae_loader_options o = options_of(n);
  mae_loader *l;
  const float *images;
  o.augment = augment;
  ASSERT_OK(mae_loader_create(d, &o, &l));
  ASSERT_OK(mae_loader_next(l, &images));
  for (int i = 0; i < n; i++) levels[i] = level_of(images[i * SIDE * SIDE]);
  for (int round = 0; round < 3; round++)
    ASSERT_OK(mae_loader_next(l, &images));
  *skipped = mae_loader_skipped(l);
  const char *item = mae_loader_skipped_item(l, 0);
  snprintf(why, room, "%s", item ? item : "");
  mae_loader_destroy(l);
}

/* Case 0: centre crops; 1: augmented. */
START_TEST(image_files) {
  static const char *const folders[] = {"all"};
  mkdirs(folders, 1);
  for (int i = 0; i < 6; i++) {
    char name[32];
    snprintf(name, sizeof name, "all/%d.png", i);
    spit_png(name, (unsigned char)(20 + 40 * i));
  }
  spit("all/2.png", "no PNG", 6);
  mae_dataset *d = open_dataset("all");
  int levels[6], seen[6] = {0};
  int64_t skipped;
  char why[512];
  uint32_t order[6];
  read_levels(d, _i, levels, &skipped, why, sizeof why);
  ASSERT_OK(mae_random_permutation(5, MAE_ORDER_STREAM, 6, order));
  for (int i = 0; i < 6; i++) {
    int want = (int)order[i] == 2 ? (int)order[(i + 1) % 6] : (int)order[i];
    ck_assert_int_eq(levels[i], 20 + 40 * want);
    seen[want]++;
  }
  ck_assert_int_eq(seen[2], 0);
  ck_assert_int_eq(skipped, 1);
  ck_assert_msg(strstr(why, at("all/2.png").text) && strstr(why, "neither"),
                "%s", why);
  mae_dataset_destroy(d);
}
END_TEST

/* ------------------------------------------------------------ tar shards --- */

#ifdef MAE_HAVE_ARCHIVE
static void add_member(struct archive *a, const char *name, int type,
                       const void *data, size_t size) {
  struct archive_entry *e = archive_entry_new();
  archive_entry_set_pathname(e, name);
  archive_entry_set_filetype(e, (unsigned)type);
  archive_entry_set_perm(e, 0644);
  archive_entry_set_size(e, (la_int64_t)size);
  if (type == AE_IFLNK) archive_entry_set_symlink(e, "000.png");
  ck_assert_int_eq(archive_write_header(a, e), ARCHIVE_OK);
  if (size) ck_assert_int_eq(archive_write_data(a, data, size), (int)size);
  archive_entry_free(e);
}

/* A shard of PNGs at levels first, first + 10, ...; and of other things. */
static void make_tar(const char *name, int format, int first, int n) {
  struct archive *a = archive_write_new();
  archive_write_set_format(a, format);
  ck_assert_int_eq(archive_write_open_filename(a, at(name).text), ARCHIVE_OK);
  add_member(a, "folder", AE_IFDIR, NULL, 0);
  add_member(a, "link.png", AE_IFLNK, NULL, 0);
  for (int i = 0; i < n; i++) {
    char member[300];
    unsigned char data[2000];
    /* Names beyond 100 bytes take extra headers. */
    snprintf(member, sizeof member, "%s%03d.png",
             i % 2 ? "folder/a-very-long-name-a-very-long-name-a-very-long-name"
                     "-a-very-long-name-a-very-long-name-a-very-long-name-"
                     "a-very-long-name/"
                   : "",
             i);
    add_member(a, member, AE_IFREG, data,
               make_png((unsigned char)(first + 10 * i), data, sizeof data));
    snprintf(member, sizeof member, "%03d.cls", i);
    add_member(a, member, AE_IFREG, "7", 1);
  }
  ck_assert_int_eq(archive_write_close(a), ARCHIVE_OK);
  archive_write_free(a);
}

/* Case i: a tar format. */
START_TEST(tar_shards) {
  static const int formats[] = {ARCHIVE_FORMAT_TAR_USTAR,
                                ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE,
                                ARCHIVE_FORMAT_TAR_GNUTAR};
  static const char *const folders[] = {"shards"};
  mkdirs(folders, 1);
  make_tar("shards/b.tar", formats[_i], 130, 5);
  make_tar("shards/a.tar", formats[_i], 20, 7);
  mae_dataset *d = open_dataset("shards");
  ck_assert_int_eq(mae_dataset_size(d), 12);
  ck_assert_str_eq(mae_dataset_name(d, 0), at("shards/a.tar!000.png").text);
  ck_assert_msg(strstr(mae_dataset_name(d, 8), "b.tar!folder/a-very") != NULL,
                "%s", mae_dataset_name(d, 8));
  int levels[12];
  int64_t skipped;
  char why[512];
  uint32_t order[12];
  read_levels(d, 0, levels, &skipped, why, sizeof why);
  ASSERT_OK(mae_random_permutation(5, MAE_ORDER_STREAM, 12, order));
  for (int i = 0; i < 12; i++) {
    const int k = (int)order[i];
    ck_assert_int_eq(levels[i], k < 7 ? 20 + 10 * k : 130 + 10 * (k - 7));
  }
  ck_assert_int_eq(skipped, 0);
  mae_dataset_destroy(d);
  d = open_dataset("shards/b.tar");
  ck_assert_int_eq(mae_dataset_size(d), 5);
  mae_dataset_destroy(d);
}
END_TEST

static unsigned char *slurp(const char *name, size_t *size) {
  FILE *file = fopen(at(name).text, "rb");
  ck_assert_ptr_nonnull(file);
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  unsigned char *data = malloc(*size);
  ck_assert_uint_eq(fread(data, 1, *size, file), *size);
  fclose(file);
  return data;
}

/* Never a crash: an error, or images of which some are skipped. */
static void try_tar(const char *name) {
  mae_dataset *d;
  if (mae_dataset_open(at(name).text, &d) != MAE_OK) return;
  mae_loader_options o = options_of(1);
  mae_loader *l;
  const float *images;
  o.threads = 1;
  ASSERT_OK(mae_loader_create(d, &o, &l));
  for (int64_t i = 0; i < mae_dataset_size(d); i++) mae_loader_next(l, &images);
  mae_loader_destroy(l);
  mae_dataset_destroy(d);
}

START_TEST(damaged_tars) {
  size_t size;
  make_tar("good.tar", ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE, 20, 2);
  unsigned char *data = slurp("good.tar", &size);
  for (size_t n = 0; n < size; n += 97) {
    spit("cut.tar", data, n);
    try_tar("cut.tar");
  }
  for (size_t n = 0; n < size; n += 13) {
    data[n] ^= 0x55;
    spit("flip.tar", data, size);
    try_tar("flip.tar");
    data[n] ^= 0x55;
  }
  free(data);
}
END_TEST

/* A header of a file far larger than its archive. */
START_TEST(lying_tar) {
  unsigned char block[1536] = {0};
  snprintf((char *)block, 100, "big.png");
  memcpy(block + 100, "0000644", 7);
  memcpy(block + 124, "77777777777", 11); /* 8 GB */
  block[156] = '0';
  memcpy(block + 257, "ustar\00000", 8);
  memset(block + 148, ' ', 8);
  unsigned sum = 0;
  for (int i = 0; i < 512; i++) sum += block[i];
  snprintf((char *)block + 148, 8, "%06o", sum);
  spit("lie.tar", block, sizeof block);
  mae_dataset *d = NULL;
  mae_status status = mae_dataset_open(at("lie.tar").text, &d);
  if (status == MAE_OK) { /* then the image cannot be read */
    mae_loader_options o = options_of(1);
    mae_loader *l;
    const float *images;
    ASSERT_OK(mae_loader_create(d, &o, &l));
    ASSERT_FAILS(mae_loader_next(l, &images), MAE_ERROR_FORMAT, "big.png");
    mae_loader_destroy(l);
  } else {
    ck_assert_int_eq(status, MAE_ERROR_FORMAT);
  }
  mae_dataset_destroy(d);
}
END_TEST

START_TEST(compressed_tar) {
  mae_dataset *d = NULL;
  spit("some.tar.gz", "x", 1);
  ASSERT_FAILS(mae_dataset_open(at("some.tar.gz").text, &d),
               MAE_ERROR_UNSUPPORTED, "decompress");
  static const char *const shards[] = {"shards", "shards/below"};
  mkdirs(shards, 2);
  make_tar("shards/below/a.tar", ARCHIVE_FORMAT_TAR_USTAR, 20, 2);
  d = open_dataset("shards");
  ck_assert_int_eq(mae_dataset_size(d), 2);
  mae_dataset_destroy(d);
  d = NULL;
  spit("shards/b.tgz", "x", 1); /* not left out unseen */
  ASSERT_FAILS(mae_dataset_open(at("shards").text, &d), MAE_ERROR_UNSUPPORTED,
               "b.tgz");
  spit("noise.tar", "this is no tar file", 19);
  ASSERT_FAILS(mae_dataset_open(at("noise.tar").text, &d), MAE_ERROR_FORMAT,
               "tar");
  ck_assert_ptr_null(d);
}
END_TEST
#endif
#endif

Suite *dataset_suite(void) {
  Suite *suite = suite_create("dataset");
  TCase *tc = tcase_create("dataset");
  tcase_set_timeout(tc, 120);
  tcase_add_checked_fixture(tc, make_folder, remove_folder);
  tcase_add_test(tc, epochs_are_permutations);
  tcase_add_loop_test(tc, threads_do_not_matter, 0, 5);
  tcase_add_test(tc, seek_goes_anywhere);
  tcase_add_test(tc, ranks_share_a_batch);
  tcase_add_test(tc, unreadable_images_are_skipped);
  tcase_add_test(tc, nothing_readable);
  tcase_add_test(tc, works_ahead_within_bounds);
  tcase_add_test(tc, destroy_at_any_time);
  tcase_add_test(tc, signals_stay_with_the_application);
  tcase_add_test(tc, steady_batches_allocate_nothing);
  tcase_add_test(tc, bad_options);
#ifdef MAE_HAVE_ZLIB
  tcase_add_loop_test(tc, idx_images, 0, 2);
  tcase_add_test(tc, augmentation_is_a_function_of_the_number);
  tcase_add_test(tc, idx_of_other_things);
  tcase_add_test(tc, idx_of_very_many_images);
#endif
  tcase_add_test(tc, image_folders);
  tcase_add_test(tc, folders_without_images);
  tcase_add_test(tc, lists);
#ifdef MAE_HAVE_PNG
  tcase_add_loop_test(tc, image_files, 0, 2);
#ifdef MAE_HAVE_ARCHIVE
  tcase_add_loop_test(tc, tar_shards, 0, 3);
  tcase_add_test(tc, damaged_tars);
  tcase_add_test(tc, lying_tar);
  tcase_add_test(tc, compressed_tar);
#endif
#endif
  suite_add_tcase(suite, tc);
  return suite;
}
