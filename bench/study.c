/* Compares variants of pretraining and of evaluation on Fashion-MNIST.
 *
 *   study [--smoke] [--cells N] [--runs FOLDER] [--docs FOLDER]
 *
 * Runs the cells that FOLDER/results.jsonl (runs/study) lacks, at most N of
 * them, then writes study.md and study/ with its plots in FOLDER (docs).
 * --cells 0 writes the document alone.  --smoke: a study so small that it takes
 * seconds. */
#include <errno.h>
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

static void run_cells(const study_bench *bench, int32_t most,
                      study_results *results, const char *path,
                      const char *settings) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  const int32_t seeds = bench->settings->seeds, cells = count_cells(seeds);
  study_cell cell;
  for (int32_t i = 0; most > 0 && study_cell_at(seeds, i, &cell); i++) {
    if (finished(bench, results, &cell)) continue;
    const study_result r = study_run(bench, &cell);
    study_results_add(results, path, settings, &r);
    say(i, cells, &r, (double)t.tv_sec);
    most--;
  }
}

static void run(const arguments *a, study_results *results, const char *path,
                const char *settings) {
  study_data data = study_data_load(a->settings);
  study_bench bench = {a->settings, &data, NULL, in(3, a->runs, "models")};
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  o.threads = a->settings->threads;
  make_folder(a->runs);
  make_folder(bench.models);
  need(mae_context_create(&o, &bench.context));
  run_cells(&bench, a->cells, results, path, settings);
  mae_context_destroy(bench.context);
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
