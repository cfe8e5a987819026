/* Whole runs: callbacks, stopping, checkpoints, failures, bit-exact resume. */
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "golden.h"
#include "suites.h"

enum { BATCH = 4, IMAGES = 22, BATCHES = 5 };

static char top[] = "/tmp/libmae-fit-XXXXXX", folder[64], path[160];

static void make_folder(void) {
  strcpy(top, "/tmp/libmae-fit-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(top));
  snprintf(folder, sizeof folder, "%s/run", top);
}

static void drop_folder(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", top);
  ck_assert_int_eq(system(command), 0);
}

static const char *file_in(const char *where, const char *name) {
  snprintf(path, sizeof path, "%s/%s", where, name);
  return path;
}

static const char *checkpoint(int step) {
  static char name[64];
  snprintf(name, sizeof name, "checkpoint-%08d.safetensors", step);
  return name;
}

static int exists(const char *name) {
  return access(file_in(folder, name), F_OK) == 0;
}

static int count_files(void) {
  int n = 0;
  DIR *dir = opendir(folder);
  if (!dir) return 0;
  for (struct dirent *d; (d = readdir(dir));) n += d->d_name[0] != '.';
  closedir(dir);
  return n;
}

/* ----------------------------------------------------------------- runs --- */

static int64_t bad_image = -1; /* comes as NaN */

static mae_status fetch(void *arg, int64_t i, float *out) {
  (void)arg;
  mae_random_normal(5, 98, (uint64_t)i * SMALL_IMAGE, SMALL_IMAGE, out);
  if (i == bad_image) out[0] = NAN;
  return MAE_OK;
}

typedef struct run {
  mae_context *context;
  mae_model *model;
  mae_trainer *trainer;
  mae_dataset *dataset;
  mae_loader *loader;
} run;

enum { CLASSES = 3 };

/* A model of that many classes of images; 0: an autoencoder. */
static mae_model *make_model(int32_t classes) {
  mae_model *encoder = small_model(1), *model;
  if (!classes) return encoder;
  ASSERT_OK(mae_model_classifier(encoder, classes, 0, 1, &model));
  mae_model_destroy(encoder);
  return model;
}

static void set_labels(mae_dataset *dataset) {
  int32_t labels[IMAGES];
  for (int i = 0; i < IMAGES; i++) labels[i] = i * 5 % 7 % CLASSES;
  ASSERT_OK(mae_dataset_set_labels(dataset, labels, CLASSES, NULL));
}

static mae_loader *make_loader(const mae_dataset *dataset) {
  mae_loader_options l;
  mae_loader *loader;
  mae_loader_options_init(&l, sizeof l);
  l.batch_size = BATCH;
  l.image_height = l.image_width = 16;
  l.in_chans = 1;
  l.seed = 3;
  l.threads = 1;
  ASSERT_OK(mae_loader_create(dataset, &l, &loader));
  return loader;
}

static run start_with(int32_t accum, int32_t classes) {
  run r = {.context = make_context(1, MAE_ISA_AUTO),
           .model = make_model(classes)};
  mae_trainer_options o;
  mae_trainer_options_init(&o, sizeof o);
  if (classes) o.mixup = o.drop_path = o.ema_decay = 0.5;
  o.batch_size = BATCH;
  o.accum_steps = accum;
  o.base_lr = 0.02;
  o.total_steps = 40;
  ASSERT_OK(mae_trainer_create(r.context, r.model, &o, &r.trainer));
  ASSERT_OK(mae_dataset_from_callback(IMAGES, fetch, NULL, &r.dataset));
  if (classes) set_labels(r.dataset);
  r.loader = make_loader(r.dataset);
  return r;
}

static run start(int32_t accum) { return start_with(accum, 0); }

static void stop(run *r) {
  mae_loader_destroy(r->loader);
  mae_dataset_destroy(r->dataset);
  mae_trainer_destroy(r->trainer);
  mae_model_destroy(r->model);
  mae_context_destroy(r->context);
}

static bool same(const run *a, const run *b) {
  return same_weights(a->model, b->model);
}

/* What the callbacks saw. */
typedef struct diary {
  int steps, epochs, updates, events;
  int64_t stop_after; /* steps; 0: never */
  int stop_epoch;
  double loss_sum, losses[64];
  char event[512];
  mae_progress last;
  mae_step_result last_step;
  void (*before)(struct diary *l); /* what a step does besides */
} diary;

static int32_t on_step(void *arg, const mae_progress *p) {
  diary *l = arg;
  if (p->event) {
    l->events++;
    snprintf(l->event, sizeof l->event, "%s", p->event);
    return 0;
  }
  ck_assert_uint_eq(p->struct_size, sizeof *p);
  ck_assert_int_eq(p->batches, BATCHES);
  l->loss_sum = p->batch == 1 ? p->step->loss : l->loss_sum + p->step->loss;
  ck_assert_double_eq_tol(p->epoch_loss, l->loss_sum / (double)p->batch, 1e-9);
  l->steps++;
  l->updates += p->step->updated;
  l->last = *p;
  l->last_step = *p->step;
  if (l->before) l->before(l);
  return l->stop_after && l->steps >= l->stop_after;
}

static int32_t on_epoch(void *arg, const mae_progress *p) {
  diary *l = arg;
  ck_assert_ptr_null(p->event);
  ck_assert_int_eq(p->batch, l->last.batch);
  l->losses[l->epochs++] = p->epoch_loss;
  return l->stop_epoch && l->epochs >= l->stop_epoch;
}

static mae_fit_options options(diary *l) {
  mae_fit_options o;
  mae_fit_options_init(&o, sizeof o);
  ck_assert_int_eq(o.epochs, 800);
  ck_assert_int_eq(o.keep_checkpoints, 3);
  ck_assert_double_eq(o.checkpoint_minutes, 10);
  o.epochs = 4;
  o.checkpoint_folder = folder;
  o.on_step = on_step;
  o.on_epoch = on_epoch;
  o.arg = l;
  return o;
}

enum { OFTEN = 1 }; /* nanominutes: after each update */

/* ---------------------------------------------------------------- tests --- */

START_TEST(whole_run) {
  run r = start(1);
  diary l = {.steps = 0};
  mae_fit_options o = options(&l);
  ASSERT_OK(mae_trainer_fit(r.trainer, r.loader, &o));
  ck_assert_int_eq(l.steps, 4 * BATCHES);
  ck_assert_int_eq(l.updates, 4 * BATCHES);
  ck_assert_int_eq(l.epochs, 4);
  ck_assert_int_eq(l.events, 0);
  ck_assert_int_eq(l.last.epoch, 4);
  ck_assert_int_eq(l.last.epochs, 4);
  ck_assert_int_eq(l.last.batch, BATCHES);
  ck_assert_int_eq(l.last_step.step, 4 * BATCHES);
  ck_assert_double_gt(l.last.images_per_second, 0);
  ck_assert_double_gt(l.last.seconds, 0);
  ck_assert_double_eq(l.last.seconds_left, 0);
  ck_assert_double_lt(l.losses[3], l.losses[0]);
  ck_assert_uint_eq(mae_trainer_images_seen(r.trainer), 4 * BATCHES * BATCH);
  ck_assert_int_eq(count_files(), 2);
  ck_assert(exists(checkpoint(20)));
  mae_model *best;
  ASSERT_OK(mae_model_load(file_in(folder, "best.safetensors"), &best));
  mae_model_destroy(best);
  /* Nothing is left to do; with more epochs there is. */
  ASSERT_OK(mae_trainer_fit(r.trainer, r.loader, &o));
  ck_assert_int_eq(l.steps, 20);
  o.epochs = 5;
  ASSERT_OK(mae_trainer_fit(r.trainer, r.loader, &o));
  ck_assert_int_eq(l.steps, 25);
  ck_assert_int_eq(l.epochs, 5);
  stop(&r);
}
END_TEST

/* Without options, folder or callbacks it still trains. */
START_TEST(bare_run) {
  run r = start(1);
  mae_fit_options o;
  mae_fit_options_init(&o, sizeof o);
  o.epochs = 1;
  ASSERT_OK(mae_trainer_fit(r.trainer, r.loader, &o));
  ck_assert_int_eq(mae_trainer_steps(r.trainer), BATCHES);
  stop(&r);
}
END_TEST

static int32_t stop_by_step(void *arg, const mae_progress *p) {
  diary *l = arg;
  ck_assert_msg(!p->event, "%s", p->event);
  return ++l->steps >= l->stop_after;
}

/* Stops and fresh processes change nothing, to the last bit of the last
 * checkpoint and of the best model.  An update is 1, 2 or 3 steps; those of 2
 * and 3 run across the ends of epochs. */
START_TEST(broken_run_is_bit_exact) {
  const int32_t accum = 1 + _i;
  static char whole_folder[80];
  snprintf(whole_folder, sizeof whole_folder, "%s/whole", top);
  diary l = {.steps = 0};
  mae_fit_options o = options(&l);
  o.epochs = 7;
  o.checkpoint_folder = whole_folder;
  run whole = start(accum);
  ASSERT_OK(mae_trainer_fit(whole.trainer, whole.loader, &o));
  const int64_t updates = 7 * BATCHES / accum;
  ck_assert_int_eq(mae_trainer_steps(whole.trainer), updates);
  ck_assert_int_eq(l.epochs, 7);
  o.checkpoint_folder = folder;
  int parts = 0;
  for (int64_t done = 0; done < updates; parts++) {
    uint32_t draw[2];
    ASSERT_OK(mae_random_permutation(11, (uint64_t)(parts + 50 * _i), 2, draw));
    run part = start(accum);
    char note[256] = "?";
    if (parts) {
      ASSERT_OK(mae_trainer_resume_latest(part.trainer, folder, note,
                                          sizeof note));
      ck_assert_str_eq(note, "");
    }
    diary m = {.stop_after = 2 + (int64_t)draw[0] * 3 + parts % 2};
    o.arg = &m;
    o.on_step = stop_by_step;
    o.on_epoch = NULL;
    ASSERT_OK(mae_trainer_fit(part.trainer, part.loader, &o));
    ck_assert_int_gt(mae_trainer_steps(part.trainer), done);
    done = mae_trainer_steps(part.trainer);
    ck_assert_uint_eq(mae_trainer_images_seen(part.trainer),
                      (uint64_t)(done * accum * BATCH));
    if (done == updates) ck_assert(same(&whole, &part));
    stop(&part);
  }
  ck_assert_int_gt(parts, 3);
  char command[512];
  const char *last = checkpoint((int)updates);
  snprintf(command, sizeof command,
           "cmp '%s/%s' '%s/%s' && cmp '%s/best.safetensors' "
           "'%s/best.safetensors'",
           whole_folder, last, folder, last, whole_folder, folder);
  ck_assert_int_eq(system(command), 0);
  stop(&whole);
}
END_TEST

/* A classifier's run is its steps with the loader's labels; broken off and
 * resumed, it comes to the same. */
START_TEST(classifier) {
  diary l = {.steps = 0}, m = {.stop_after = 7};
  mae_fit_options o = options(&l);
  run whole = start_with(1, CLASSES), hand = start_with(1, CLASSES);
  o.epochs = 3;
  ASSERT_OK(mae_trainer_fit(whole.trainer, whole.loader, &o));
  ck_assert_int_eq(l.steps, 3 * BATCHES);
  for (int i = 0; i < 3 * BATCHES; i++) {
    const float *images;
    ASSERT_OK(mae_loader_next(hand.loader, &images));
    ASSERT_OK(mae_trainer_step_labels(hand.trainer, images,
                                      mae_loader_labels(hand.loader), NULL,
                                      NULL));
  }
  ck_assert(same(&whole, &hand));
  o.checkpoint_folder = folder;
  o.arg = &m;
  run first = start_with(1, CLASSES), second = start_with(1, CLASSES);
  ASSERT_OK(mae_trainer_fit(first.trainer, first.loader, &o));
  ck_assert_int_eq(mae_trainer_steps(first.trainer), 7);
  ASSERT_OK(mae_trainer_resume_latest(second.trainer, folder, NULL, 0));
  o.arg = &l;
  ASSERT_OK(mae_trainer_fit(second.trainer, second.loader, &o));
  ck_assert(same(&whole, &second));
  ck_assert(exists("best.safetensors"));
  stop(&whole);
  stop(&hand);
  stop(&first);
  stop(&second);
}
END_TEST

/* Case 0: no labels; 1: of more classes than the model has. */
START_TEST(labels_mismatch) {
  run r = start(1), other = start_with(1, CLASSES + 1);
  if (_i) set_labels(r.dataset);
  mae_loader *loader = make_loader(r.dataset);
  ASSERT_FAILS(mae_trainer_fit(other.trainer, loader, NULL),
               MAE_ERROR_MISMATCH, _i ? "labels of 3 classes, the model 4"
                                      : "labels of 0 classes");
  ck_assert_int_eq(mae_trainer_steps(other.trainer), 0);
  mae_loader_destroy(loader);
  stop(&r);
  stop(&other);
}
END_TEST

START_TEST(best_left_to_the_caller) {
  diary l = {.steps = 0};
  mae_fit_options o = options(&l);
  o.epochs = 2;
  o.checkpoint_folder = folder;
  o.save_best = _i;
  run r = start(1);
  ASSERT_OK(mae_trainer_fit(r.trainer, r.loader, &o));
  ck_assert_int_eq(exists("best.safetensors"), _i);
  ck_assert(exists(checkpoint(2 * BATCHES)));
  stop(&r);
}
END_TEST

START_TEST(stop_finishes_the_update) {
  run r = start(3);
  diary l = {.stop_after = 4};
  mae_fit_options o = options(&l);
  ASSERT_OK(mae_trainer_fit(r.trainer, r.loader, &o));
  ck_assert_int_eq(l.steps, 6);
  ck_assert_int_eq(mae_trainer_steps(r.trainer), 2);
  ck_assert(exists(checkpoint(2)));
  l = (diary){.stop_epoch = 1, .loss_sum = l.loss_sum};
  ASSERT_OK(mae_trainer_fit(r.trainer, r.loader, &o));
  ck_assert_int_eq(l.steps, 6); /* 10 ends epoch 2, 12 the update */
  ck_assert(exists(checkpoint(4)));
  stop(&r);
}
END_TEST

START_TEST(keeps_the_newest) {
  run r = start(1);
  diary l = {.steps = 0};
  mae_fit_options o = options(&l);
  o.epochs = 2;
  o.checkpoint_minutes = OFTEN * 1e-9;
  o.keep_checkpoints = 1 + _i;
  ck_assert_int_eq(mkdir(folder, 0777), 0);
  static const char *const others[] = {
      "checkpoint-00000001.safetensors.bak", "checkpoint-x.safetensors",
      "checkpoint-.safetensors", "notes.txt",
      "checkpoint-00000099.safetensors"}; /* of another past */
  static const char *const left_over[] = {
      "checkpoint-00000001.safetensors.tmp-0", "best.safetensors.tmp-12"};
  for (int i = 0; i < 5; i++) fclose(fopen(file_in(folder, others[i]), "w"));
  for (int i = 0; i < 2; i++)
    fclose(fopen(file_in(folder, left_over[i]), "w"));
  ASSERT_OK(mae_trainer_fit(r.trainer, r.loader, &o));
  for (int i = 0; i < 10; i++)
    ck_assert_int_eq(exists(checkpoint(10 - i)), i <= _i);
  for (int i = 0; i < 5; i++) ck_assert(exists(others[i]));
  ck_assert_int_eq(count_files(), 5 + 1 + _i + 1);
  stop(&r);
}
END_TEST

/* Resuming passes over files that are cut short, and says so. */
START_TEST(damaged_newest) {
  run r = start(1), again = start(1);
  diary l = {.stop_after = 6};
  mae_fit_options o = options(&l);
  o.checkpoint_minutes = OFTEN * 1e-9;
  ASSERT_OK(mae_trainer_fit(r.trainer, r.loader, &o));
  ck_assert_int_eq(truncate(file_in(folder, checkpoint(6)), 3000), 0);
  ck_assert_int_eq(truncate(file_in(folder, checkpoint(5)), 0), 0);
  char note[1024] = "";
  ASSERT_OK(mae_trainer_resume_latest(again.trainer, folder, note,
                                      sizeof note));
  ck_assert_int_eq(mae_trainer_steps(again.trainer), 4);
  ck_assert_msg(strstr(note, checkpoint(6)), "%s", note);
  ck_assert_msg(strstr(note, checkpoint(5)), "%s", note);
  ck_assert_msg(strstr(note, "resumed from checkpoint-00000004.safetensors"),
                "%s", note);
  char small[8] = "?";
  ASSERT_OK(mae_trainer_resume_latest(again.trainer, folder, small,
                                      sizeof small));
  ck_assert_int_eq(strlen(small), 7);
  ASSERT_OK(mae_trainer_resume_latest(again.trainer, folder, NULL, 0));
  /* It goes on to the end, and keeps what is sound. */
  o.keep_checkpoints = 1;
  o.checkpoint_minutes = 0;
  l = (diary){.stop_after = 1};
  o.on_step = stop_by_step;
  o.on_epoch = NULL;
  ASSERT_OK(mae_trainer_fit(again.trainer, again.loader, &o));
  ck_assert(exists(checkpoint(5)));
  ck_assert(exists(checkpoint(6)));
  ck_assert(!exists(checkpoint(4)));
  ASSERT_OK(mae_trainer_resume_latest(r.trainer, folder, note, sizeof note));
  ck_assert_int_eq(mae_trainer_steps(r.trainer), 5);
  ck_assert_int_eq(truncate(file_in(folder, checkpoint(5)), 0), 0);
  ASSERT_FAILS(mae_trainer_resume_latest(r.trainer, folder, note, sizeof note),
               MAE_ERROR_FORMAT, checkpoint(6));
  ck_assert_int_eq(mae_trainer_steps(r.trainer), 5);
  stop(&r);
  stop(&again);
}
END_TEST

START_TEST(resume_refusals) {
  run r = start(1);
  char note[64] = "as it was";
  ASSERT_FAILS(mae_trainer_resume_latest(r.trainer, folder, note, 64),
               MAE_ERROR_NOT_FOUND, folder);
  ck_assert_int_eq(mkdir(folder, 0777), 0);
  ASSERT_FAILS(mae_trainer_resume_latest(r.trainer, folder, note, 64),
               MAE_ERROR_NOT_FOUND, "no checkpoint");
  ASSERT_FAILS(mae_trainer_resume_latest(NULL, folder, note, 64),
               MAE_ERROR_INVALID_ARGUMENT, "trainer");
  ASSERT_FAILS(mae_trainer_resume_latest(r.trainer, NULL, note, 64),
               MAE_ERROR_INVALID_ARGUMENT, "folder");
  /* A newest that is no trainer's is no damage: nothing older is taken. */
  diary l = {.stop_after = 2};
  mae_fit_options o = options(&l);
  ASSERT_OK(mae_trainer_fit(r.trainer, r.loader, &o));
  ASSERT_OK(mae_model_save(r.model, file_in(folder, checkpoint(3))));
  ASSERT_FAILS(mae_trainer_resume_latest(r.trainer, folder, note, 64),
               MAE_ERROR_MISMATCH, "trainer's state");
  ck_assert_str_eq(note, "as it was");
  stop(&r);
}
END_TEST

/* The sums in a checkpoint are checked as all that is read. */
START_TEST(damaged_sums) {
  run r = start(1);
  diary l = {.stop_after = 2};
  mae_fit_options o = options(&l);
  ASSERT_OK(mae_trainer_fit(r.trainer, r.loader, &o));
  FILE *f = fopen(file_in(folder, checkpoint(2)), "r+b");
  static char head[65536];
  size_t n = fread(head, 1, sizeof head, f);
  static const char key[] = "\"mae.fit.loss_sum\":\"0x";
  char *at = memmem(head, n, key, sizeof key - 1);
  ck_assert_ptr_nonnull(at);
  fseek(f, at - head + (long)sizeof key - 3, SEEK_SET);
  fputs(_i ? "inf\"," : "zz", f); /* breaks JSON, or the number */
  fclose(f);
  ASSERT_FAILS(mae_trainer_resume(r.trainer, path), MAE_ERROR_FORMAT,
               _i ? "" : "loss_sum");
  stop(&r);
}
END_TEST

static struct rlimit old_limit;

static void limit_files(rlim_t most) {
  struct rlimit limit = old_limit;
  limit.rlim_cur = most;
  ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The disk is full in steps 3 to 6. */
static void full_for_a_while(diary *l) {
  if (l->steps == 3) limit_files(30000);
  if (l->steps == 7) limit_files(old_limit.rlim_cur);
}

START_TEST(full_disk) {
  signal(SIGXFSZ, SIG_IGN);
  ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  run r = start(1), whole = start(1);
  diary l = {.before = full_for_a_while}, m = {.steps = 0};
  mae_fit_options o = options(&l), p = options(&m);
  o.epochs = p.epochs = 2;
  o.checkpoint_minutes = OFTEN * 1e-9;
  o.keep_checkpoints = 10;
  ASSERT_OK(mae_trainer_fit(r.trainer, r.loader, &o));
  ck_assert_int_eq(l.events, 5); /* 4 checkpoints, and the best at step 5 */
  ck_assert_msg(strstr(l.event, "cannot write"), "%s", l.event);
  ck_assert_msg(strstr(l.event, "File too large"), "%s", l.event);
  for (int i = 1; i <= 10; i++)
    ck_assert_int_eq(exists(checkpoint(i)), i < 3 || i > 6);
  ck_assert_int_eq(count_files(), 6 + 1); /* best: of epoch 2 */
  p.checkpoint_folder = NULL;
  ASSERT_OK(mae_trainer_fit(whole.trainer, whole.loader, &p));
  ck_assert(same(&r, &whole));
  stop(&r);
  stop(&whole);
}
END_TEST

static void full_from_here(diary *l) {
  if (l->steps == 3) limit_files(30000);
}

/* When the last checkpoint cannot be written the call says so, and the one
 * before stays. */
START_TEST(full_disk_at_the_end) {
  signal(SIGXFSZ, SIG_IGN);
  ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  run r = start(1);
  diary l = {.before = full_from_here};
  mae_fit_options o = options(&l);
  o.epochs = 1;
  o.checkpoint_minutes = OFTEN * 1e-9;
  mae_status status = mae_trainer_fit(r.trainer, r.loader, &o);
  limit_files(old_limit.rlim_cur);
  ck_assert_int_eq(status, MAE_ERROR_NO_SPACE);
  ck_assert_int_eq(mae_trainer_steps(r.trainer), 5);
  ASSERT_OK(mae_trainer_resume_latest(r.trainer, folder, NULL, 0));
  ck_assert_int_eq(mae_trainer_steps(r.trainer), 2);
  stop(&r);
}
END_TEST

/* The folder goes away and comes back. */
static void move_folder(diary *l) {
  char away[80];
  snprintf(away, sizeof away, "%s/away", top);
  if (l->steps == 2) ck_assert_int_eq(rename(folder, away), 0);
  if (l->steps == 4) ck_assert_int_eq(rename(away, folder), 0);
}

START_TEST(folder_lost) {
  run r = start(1);
  diary l = {.before = move_folder};
  mae_fit_options o = options(&l);
  o.epochs = 1;
  o.checkpoint_minutes = OFTEN * 1e-9;
  ASSERT_OK(mae_trainer_fit(r.trainer, r.loader, &o));
  ck_assert_int_eq(l.events, 2);
  ck_assert_msg(strstr(l.event, "No such file"), "%s", l.event);
  ck_assert(exists(checkpoint(1)));
  ck_assert(!exists(checkpoint(3)));
  ck_assert(exists(checkpoint(4)));
  stop(&r);
}
END_TEST

/* An image of NaN: an event, and a failure that leaves the checkpoints. */
START_TEST(non_finite) {
  run r = start(1);
  diary l = {.steps = 0};
  mae_fit_options o = options(&l);
  o.checkpoint_minutes = OFTEN * 1e-9;
  bad_image = 7;
  mae_status status = mae_trainer_fit(r.trainer, r.loader, &o);
  bad_image = -1;
  ck_assert_int_eq(status, MAE_ERROR_NON_FINITE);
  ck_assert_int_eq(l.events, 1);
  ck_assert_str_eq(l.event, mae_last_error());
  ck_assert_msg(strstr(l.event, "loss"), "%s", l.event);
  ck_assert_int_eq(mae_trainer_steps(r.trainer), l.steps);
  if (l.steps) ck_assert(exists(checkpoint(l.steps)));
  stop(&r);
}
END_TEST

START_TEST(bad_options) {
  run r = start(1);
  diary l = {.steps = 0};
  mae_fit_options good = options(&l), o;
  ASSERT_FAILS(mae_trainer_fit(NULL, r.loader, &good),
               MAE_ERROR_INVALID_ARGUMENT, "trainer");
  ASSERT_FAILS(mae_trainer_fit(r.trainer, NULL, &good),
               MAE_ERROR_INVALID_ARGUMENT, "loader");
  o = good, o.epochs = 0;
  ASSERT_FAILS(mae_trainer_fit(r.trainer, r.loader, &o),
               MAE_ERROR_INVALID_ARGUMENT, "epochs");
  o = good, o.epochs = INT64_MAX;
  ASSERT_FAILS(mae_trainer_fit(r.trainer, r.loader, &o),
               MAE_ERROR_INVALID_ARGUMENT, "epochs");
  o = good, o.checkpoint_minutes = -1;
  ASSERT_FAILS(mae_trainer_fit(r.trainer, r.loader, &o),
               MAE_ERROR_INVALID_ARGUMENT, "checkpoint_minutes");
  o = good, o.checkpoint_minutes = NAN;
  ASSERT_FAILS(mae_trainer_fit(r.trainer, r.loader, &o),
               MAE_ERROR_INVALID_ARGUMENT, "checkpoint_minutes");
  o = good, o.save_best = 2;
  ASSERT_FAILS(mae_trainer_fit(r.trainer, r.loader, &o),
               MAE_ERROR_INVALID_ARGUMENT, "save_best");
  o = good, o.keep_checkpoints = 0;
  ASSERT_FAILS(mae_trainer_fit(r.trainer, r.loader, &o),
               MAE_ERROR_INVALID_ARGUMENT, "keep_checkpoints");
  o = good, o.struct_size = 1;
  ASSERT_FAILS(mae_trainer_fit(r.trainer, r.loader, &o),
               MAE_ERROR_INVALID_ARGUMENT, "struct_size");
  o = good, o.checkpoint_folder = "/nowhere/at/all";
  ASSERT_FAILS(mae_trainer_fit(r.trainer, r.loader, &o), MAE_ERROR_NOT_FOUND,
               "/nowhere");
  fclose(fopen(folder, "w"));
  ASSERT_FAILS(mae_trainer_fit(r.trainer, r.loader, &good), MAE_ERROR_NOT_FOUND,
               folder);
  ck_assert_int_eq(l.steps, 0);
  run wide = start(50);
  ck_assert_int_eq(unlink(folder), 0);
  ASSERT_FAILS(mae_trainer_fit(wide.trainer, wide.loader, &good),
               MAE_ERROR_INVALID_ARGUMENT, "update");
  stop(&wide);
  stop(&r);
}
END_TEST

/* A loader that does not fit the trainer, in each way there is. */
START_TEST(loader_mismatch) {
  static const char *const words[] = {"batch_size", "image_height",
                                      "image_width", "in_chans", "rank ",
                                      "ranks"};
  run r = start(1);
  mae_loader_options o;
  mae_loader *other;
  mae_loader_options_init(&o, sizeof o);
  o.batch_size = _i == 0 ? BATCH - 2 : BATCH;
  o.image_height = _i == 1 ? 32 : 16;
  o.image_width = _i == 2 ? 32 : 16;
  o.in_chans = _i == 3 ? 3 : 1;
  o.rank = _i == 4;
  o.ranks = _i >= 4 ? 2 : 1;
  o.threads = 1;
  ASSERT_OK(mae_loader_create(r.dataset, &o, &other));
  ASSERT_FAILS(mae_trainer_fit(r.trainer, other, NULL), MAE_ERROR_MISMATCH,
               words[_i]);
  ck_assert_int_eq(mae_trainer_steps(r.trainer), 0);
  mae_loader_destroy(other);
  stop(&r);
}
END_TEST

Suite *fit_suite(void) {
  Suite *suite = suite_create("fit");
  TCase *tc = tcase_create("fit");
  tcase_set_timeout(tc, 120);
  tcase_add_checked_fixture(tc, make_folder, drop_folder);
  tcase_add_test(tc, whole_run);
  tcase_add_test(tc, bare_run);
  tcase_add_loop_test(tc, broken_run_is_bit_exact, 0, 3);
  tcase_add_test(tc, classifier);
  tcase_add_loop_test(tc, labels_mismatch, 0, 2);
  tcase_add_loop_test(tc, best_left_to_the_caller, 0, 2);
  tcase_add_test(tc, stop_finishes_the_update);
  tcase_add_loop_test(tc, keeps_the_newest, 0, 3);
  tcase_add_test(tc, damaged_newest);
  tcase_add_test(tc, resume_refusals);
  tcase_add_loop_test(tc, damaged_sums, 0, 2);
  tcase_add_test(tc, full_disk);
  tcase_add_test(tc, full_disk_at_the_end);
  tcase_add_test(tc, folder_lost);
  tcase_add_test(tc, non_finite);
  tcase_add_test(tc, bad_options);
  tcase_add_loop_test(tc, loader_mismatch, 0, 6);
  suite_add_tcase(suite, tc);
  return suite;
}
