/* Compares variants of pretraining and of evaluation on Fashion-MNIST.
 *
 *   study [--smoke] [--cells N] [--runs FOLDER] [--docs FOLDER]
 *
 * Runs the cells that FOLDER/results.jsonl (runs/study) lacks, at most N of
 * them, then writes study.md and study/ with its plots in FOLDER (docs).
 * --cells 0 writes the document alone.  --smoke: a study so small that it takes
 * seconds. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "study_run.h"
#include "study_view.h"

typedef struct arguments {
  const study_settings *settings;
  int32_t cells; /* to run at most */
  const char *runs, *docs;
} arguments;

static int usage(void) {
  fprintf(stderr, "usage: study [--smoke] [--cells N] [--runs FOLDER] "
                  "[--docs FOLDER]\n");
  return 2;
}

static bool parse(int argc, char **argv, arguments *a) {
  *a = (arguments){&study_full, INT32_MAX, "runs/study", "docs"};
  for (int i = 1; i < argc; i++) {
    const bool more = i + 1 < argc;
    if (!strcmp(argv[i], "--smoke"))
      a->settings = &study_smoke;
    else if (!strcmp(argv[i], "--cells") && more)
      a->cells = atoi(argv[++i]);
    else if (!strcmp(argv[i], "--runs") && more)
      a->runs = argv[++i];
    else if (!strcmp(argv[i], "--docs") && more)
      a->docs = argv[++i];
    else
      return false;
  }
  return true;
}

static void stop(const char *path) {
  fprintf(stderr, "study: %s: %s\n", path, strerror(errno));
  exit(1);
}

/* FOLDER/NAME, in static memory of its own for each slot. */
static const char *in(int slot, const char *folder, const char *name) {
  static char paths[4][1024];
  const size_t size = sizeof paths[slot];
  errno = ENAMETOOLONG;
  if (snprintf(paths[slot], size, "%s/%s", folder, name) >= (int)size)
    stop(folder);
  return paths[slot];
}

static void make_folder(const char *path) {
  if (mkdir(path, 0777) && errno != EEXIST) stop(path);
}

/* ---------------------------------------------------------------- files --- */

static void write_file(const char *path, text *t) {
  FILE *file = fopen(path, "w");
  if (!file || t->failed) stop(path);
  fwrite(t->bytes, 1, t->size, file);
  if (ferror(file) | fclose(file)) stop(path);
  text_free(t);
}

static void write_document(const study_view *v, const char *docs) {
  const char *plots = in(0, docs, "study"), *name;
  text t = {NULL, 0, 0, false};
  make_folder(docs);
  make_folder(plots);
  for (int i = 0; study_figure(v, i, &name, &t); i++)
    write_file(in(1, plots, name), &t);
  study_document(v, &t);
  write_file(in(1, docs, "study.md"), &t);
}

/* ---------------------------------------------------------------- cells --- */

/* Finished, and the model that the rest of its cells need is there. */
static bool finished(const study_bench *bench, const study_results *results,
                     const study_cell *cell) {
  if (!study_results_find(results, cell->variant->name, cell->protocol->name,
                          cell->seed))
    return false;
  return cell->protocol->kind != STUDY_PRETRAIN ||
         !access(study_model_path(bench, cell), R_OK);
}

static void say(int32_t i, int32_t cells, const study_result *r, double start) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  const int all = (int)((double)t.tv_sec - start);
  printf("%3d/%d  %d:%02d  seed %d  %s, %s: ", i + 1, cells, all / 60, all % 60,
         r->cell.seed, r->cell.variant->label, r->cell.protocol->label);
  if (r->cell.protocol->kind == STUDY_PRETRAIN)
    printf("loss %.4f, %.1f ms a step", r->values[STUDY_LOSS],
           r->values[STUDY_STEP_MS]);
  else
    printf("%.2f %%", 100 * r->values[STUDY_TOP1]);
  printf(", %.1f s\n", r->values[STUDY_SECONDS]);
  fflush(stdout);
}

static int32_t count_cells(int32_t seeds) {
  study_cell cell;
  int32_t n = 0;
  while (study_cell_at(seeds, n, &cell)) n++;
  return n;
}

/* A run, shared by its workers. */
typedef struct work {
  const arguments *arguments;
  const study_data *data;
  const char *models, *path, *settings;
  double start;
  pthread_mutex_t lock; /* of all that follows */
  study_results *results;
  int32_t next, left; /* the next group; cells that may still be run */
} work;

/* Groups are the cells of one variant and seed, which share a model. */
static bool in_group(const study_cell *cell, int32_t group) {
  return cell->seed == 1 + group / STUDY_VARIANTS &&
         cell->variant == &study_variants[group % STUDY_VARIANTS];
}

static bool claim(work *w, const study_bench *bench, const study_cell *cell) {
  pthread_mutex_lock(&w->lock);
  const bool mine = w->left > 0 && !finished(bench, w->results, cell);
  if (mine) w->left--;
  pthread_mutex_unlock(&w->lock);
  return mine;
}

static void run_group(work *w, const study_bench *bench, int32_t group) {
  const int32_t seeds = bench->settings->seeds, cells = count_cells(seeds);
  study_cell cell;
  for (int32_t i = 0; study_cell_at(seeds, i, &cell); i++) {
    if (!in_group(&cell, group) || !claim(w, bench, &cell)) continue;
    const study_result r = study_run(bench, &cell);
    pthread_mutex_lock(&w->lock);
    study_results_add(w->results, w->path, w->settings, &r);
    say(i, cells, &r, w->start);
    pthread_mutex_unlock(&w->lock);
  }
}

/* Models as small as these gain more from a thread each than from sharing two:
 * a step is over sooner than threads can wait for each other. */
static void *run_groups(void *arg) {
  work *w = arg;
  const study_settings *s = w->arguments->settings;
  study_bench bench = {s, w->data, NULL, w->models};
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  o.threads = 1;
  need(mae_context_create(&o, &bench.context));
  for (;;) {
    pthread_mutex_lock(&w->lock);
    const int32_t group = w->next++;
    pthread_mutex_unlock(&w->lock);
    if (group >= s->seeds * STUDY_VARIANTS) break;
    run_group(w, &bench, group);
  }
  mae_context_destroy(bench.context);
  return NULL;
}

static void run(const arguments *a, study_results *results, const char *path,
                const char *settings) {
  study_data data = study_data_load(a->settings);
  struct timespec t;
  pthread_t threads[STUDY_JOBS];
  clock_gettime(CLOCK_MONOTONIC, &t);
  work w = {.arguments = a, .data = &data, .models = in(3, a->runs, "models"),
            .path = path, .settings = settings, .start = (double)t.tv_sec,
            .lock = PTHREAD_MUTEX_INITIALIZER, .results = results,
            .left = a->cells};
  make_folder(a->runs);
  make_folder(w.models);
  for (int i = 0; i < STUDY_JOBS; i++) {
    errno = pthread_create(&threads[i], NULL, run_groups, &w);
    if (errno) stop("a thread");
  }
  for (int i = 0; i < STUDY_JOBS; i++) pthread_join(threads[i], NULL);
  study_data_free(&data);
}

int main(int argc, char **argv) {
  arguments a;
  char settings[512];
  if (!parse(argc, argv, &a)) return usage();
  study_settings_text(a.settings, settings, sizeof settings);
  const char *path = in(2, a.runs, "results.jsonl");
  study_results results = study_results_read(path, settings);
  if (a.cells > 0) run(&a, &results, path, settings);
  write_document(&(study_view){a.settings, &results}, a.docs);
  printf("wrote %s\n", in(1, a.docs, "study.md"));
  study_results_free(&results);
  return 0;
}
