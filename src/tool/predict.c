/* mae predict: the likeliest classes of images. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tool/classifier.h"
#include "tool/classify.h"
#include "tool/commands.h"
#include "tool/option_count.h"
#include "tool/paths.h"
#include "tool/say.h"
#include "tool/text.h"

static const char help[] =
    "Usage: mae predict --model FILE [OPTION]... IMAGE|FOLDER|IDX...\n"
    "\n"
    "Say of each image which classes a classifier holds for the likeliest: a\n"
    "line an image with its path, and for each class its name and its\n"
    "probability, separated by tabs.\n"
    "\n"
    CLASSIFIER_MODEL_HELP
    "      --top N              classes of each image (5, or all there are)\n"
    "      --json               a JSON object a line: file, and predictions "
    "with\n"
    "                           class, index and probability\n"
    "\n" CLASSIFIER_HELP
    "\n"
    "Exit status: 0; 1 when an image could not be read (of the others it is\n"
    "still told) or nothing could be done; 2 for a mistake on the command "
    "line.\n";

enum { MOST_TOP = 1000000 };

typedef struct request {
  classifier_options classifier;
  int32_t top;
  bool json;
  failures failed;
  size_t told; /* images */
} request;

/* ------------------------------------------------------- command line --- */

enum { OPTION_TOP = COMMAND_OPTIONS, OPTION_JSON };

static const struct option long_options[] = {
    {"top", required_argument, NULL, OPTION_TOP},
    {"json", no_argument, NULL, OPTION_JSON},
    CLASSIFIER_LONG_OPTIONS,
    {0}};

static int read_option(request *r, int code, const char *value) {
  switch (code) {
    case OPTION_JSON: r->json = true; return TOOL_OK;
    case OPTION_TOP: return option_count("top", value, 1, MOST_TOP, &r->top);
    default: return fail_usage("see the options");
  }
}

static int read_options(request *r, int argc, char **argv) {
  int code;
  while ((code = getopt_long(argc, argv, CLASSIFIER_LETTERS, long_options,
                             NULL)) != -1) {
    int status = classifier_option(&r->classifier, code, optarg);
    if (status < 0) status = read_option(r, code, optarg);
    if (status != TOOL_OK) return status;
  }
  if (r->classifier.help) return TOOL_OK;
  if (!r->classifier.model_path)
    return fail_usage("which classifier? (--model FILE)");
  if (optind == argc) return fail_usage("which images?");
  return TOOL_OK;
}

/* -------------------------------------------------------------- telling --- */

typedef struct told {
  request *request;
  classifier *classifier;
  passes *passes;
  double *probabilities; /* [classes] */
  int32_t *order;
} told;

/* Softmax, and the classes from the likeliest on; of equals the lower first. */
static void rank_classes(told *t, const float *logits, int32_t top) {
  const int32_t n = t->classifier->names.count;
  double most = -INFINITY, sum = 0;
  for (int32_t c = 0; c < n; c++) most = fmax(most, logits[c]);
  for (int32_t c = 0; c < n; c++) {
    t->probabilities[c] = exp(logits[c] - most);
    sum += t->probabilities[c];
    t->order[c] = c;
  }
  for (int32_t c = 0; c < n; c++) t->probabilities[c] /= sum;
  for (int32_t k = 0; k < top; k++) {
    int32_t best = k;
    for (int32_t i = k + 1; i < n; i++) {
      const double gain =
          t->probabilities[t->order[i]] - t->probabilities[t->order[best]];
      if (gain > 0 || (gain == 0 && t->order[i] < t->order[best])) best = i;
    }
    const int32_t swapped = t->order[k];
    t->order[k] = t->order[best];
    t->order[best] = swapped;
  }
}

static void add_line(const told *t, const char *name, int32_t top, text *out) {
  text_add(out, "%s", name);
  for (int32_t k = 0; k < top; k++) {
    const int32_t c = t->order[k];
    text_add(out, "\t%s\t%.4f", class_label_of(&t->classifier->names, c).text,
             t->probabilities[c]);
  }
  text_add(out, "\n");
}

static void add_object(const told *t, const char *name, int32_t top,
                       text *out) {
  text_add(out, "{\"file\": ");
  text_add_json(out, name);
  text_add(out, ", \"predictions\": [");
  for (int32_t k = 0; k < top; k++) {
    const int32_t c = t->order[k];
    text_add(out, "%s{\"class\": ", k ? ", " : "");
    text_add_json(out, class_label_of(&t->classifier->names, c).text);
    text_add(out, ", \"index\": %d, \"probability\": %.6g}", (int)c,
             t->probabilities[c]);
  }
  text_add(out, "]}\n");
}

static const char *image_name(const passes *p, size_t i) {
  return p->dataset ? mae_dataset_name(p->dataset, (int64_t)i) : p->paths[i];
}

static int take(void *arg, const void *outputs, const size_t *images,
                size_t n) {
  told *t = arg;
  request *r = t->request;
  const int32_t classes = t->classifier->names.count;
  const int32_t top = r->top < classes ? r->top : classes;
  text out = {NULL, 0, 0, false};
  for (size_t i = 0; i < n; i++) {
    const char *name = image_name(t->passes, images[i]);
    const float *logits = (const float *)outputs + i * (size_t)classes;
    rank_classes(t, logits, top);
    if (r->json)
      add_object(t, name, top, &out);
    else
      add_line(t, name, top, &out);
  }
  const bool failed = out.failed;
  if (!failed) fwrite(out.bytes, 1, out.size, stdout);
  text_free(&out);
  r->told += n;
  if (failed) return fail("no memory for a line");
  return finish_output();
}

/* -------------------------------------------------------------- working --- */

static int classify(told *t, passes *p) {
  request *r = t->request;
  progress shown = progress_begin(p->count, r->classifier.quiet);
  const size_t before = r->told;
  p->progress = &shown;
  p->failed = &r->failed;
  p->take = take;
  p->arg = t;
  t->passes = p;
  int status = classify_run(p, &t->classifier->session);
  if (status == TOOL_OK) progress_end(&shown, r->told - before);
  return status;
}

static int classify_paths(told *t, passes p, path_list *list) {
  int status = TOOL_OK;
  p.paths = (const char *const *)list->items;
  p.count = list->count;
  if (p.count) status = classify(t, &p);
  paths_free(list);
  return status;
}

static int classify_idx(told *t, passes p, const char *path) {
  mae_dataset *dataset;
  if (mae_dataset_open(path, &dataset) != MAE_OK)
    return failures_add(&t->request->failed, path, mae_last_error());
  p.dataset = dataset;
  p.count = (size_t)mae_dataset_size(dataset);
  int status = classify(t, &p);
  mae_dataset_destroy(dataset);
  return status;
}

/* By its name, as the MNIST family's files are called. */
static bool is_idx(const char *path) {
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  return strstr(name, "-ubyte") || strstr(name, ".idx");
}

/* In the order they are named; files between two IDX files go together. */
static int classify_all(told *t, const passes *p, int n, char **names) {
  path_list list = {0};
  int status = TOOL_OK;
  for (int i = 0; status == TOOL_OK && i < n; i++) {
    if (!is_idx(names[i])) {
      status = paths_add(&list, names[i], &t->request->failed);
      continue;
    }
    status = classify_paths(t, *p, &list);
    if (status == TOOL_OK) status = classify_idx(t, *p, names[i]);
  }
  if (status == TOOL_OK) status = classify_paths(t, *p, &list);
  paths_free(&list);
  return status;
}

static int predict(request *r, classifier *c, int n, char **arguments) {
  const passes p = {.context = c->context, .model = c->model};
  const size_t classes = (size_t)c->names.count;
  told t = {.request = r, .classifier = c};
  t.probabilities = mae_calloc(classes, sizeof *t.probabilities);
  t.order = mae_calloc(classes, sizeof *t.order);
  int status = t.probabilities && t.order
                   ? classify_all(&t, &p, n, arguments)
                   : fail_library();
  free(t.probabilities);
  free(t.order);
  if (status != TOOL_OK) return status;
  failures_report(&r->failed, r->told + r->failed.count);
  if (!r->told) return fail("no images");
  return r->failed.count ? TOOL_FAILED : TOOL_OK;
}

static int run(request *r, int n, char **arguments) {
  classifier c = {.context = NULL};
  int status = classifier_open(&r->classifier, &c);
  if (status == TOOL_OK) status = predict(r, &c, n, arguments);
  classifier_close(&c);
  return status;
}

int command_predict(int argc, char **argv) {
  request r = {.top = 5};
  classifier_options_init(&r.classifier);
  int status = read_options(&r, argc, argv);
  if (status == TOOL_OK && r.classifier.help) {
    fputs(help, stdout);
    return finish_output();
  }
  if (status == TOOL_OK) status = run(&r, argc - optind, argv + optind);
  failures_free(&r.failed);
  return status;
}
