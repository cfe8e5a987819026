/* mae predict: the likeliest classes of images. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tool/classify.h"
#include "tool/commands.h"
#include "tool/look.h"
#include "tool/option_count.h"
#include "tool/paths.h"
#include "tool/say.h"
#include "tool/text.h"
#include "tool/weights.h"

static const char help[] =
    "Usage: mae predict --model FILE [OPTION]... IMAGE|FOLDER|IDX...\n"
    "\n"
    "Say of each image which classes a classifier holds for the likeliest: a\n"
    "line an image with its path, and for each class its name and its\n"
    "probability, separated by tabs.\n"
    "\n"
    "  -m, --model FILE         a classifier, of mae finetune, mae probe, or\n"
    "                           official\n"
    "      --top N              classes of each image (5, or all there are)\n"
    "      --json               a JSON object a line: file, and predictions "
    "with\n"
    "                           class, index and probability\n"
    "\n" LOOK_HELP
    "\n"
    "      --batch N            images per pass (16)\n"
    "      --threads N          (one per CPU)\n"
    "  -q, --quiet              no progress\n"
    "\n" WEIGHTS_HELP
    "\n"
    "Exit status: 0; 1 when an image could not be read (of the others it is\n"
    "still told) or nothing could be done; 2 for a mistake on the command "
    "line.\n";

enum { MOST_BATCH = 65536, MOST_THREADS = 4096, MOST_TOP = 1000000 };

typedef struct request {
  weights_options weights;
  look_options look;
  const char *model_path;
  int32_t top, batch, threads;
  bool json, quiet, help;
  failures failed;
  size_t told; /* images */
} request;

/* ------------------------------------------------------- command line --- */

enum {
  OPTION_TOP = COMMAND_OPTIONS,
  OPTION_JSON,
  OPTION_BATCH,
  OPTION_THREADS
};

static const struct option long_options[] = {
    {"model", required_argument, NULL, 'm'},
    {"top", required_argument, NULL, OPTION_TOP},
    {"json", no_argument, NULL, OPTION_JSON},
    {"batch", required_argument, NULL, OPTION_BATCH},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    WEIGHTS_LONG_OPTIONS,
    LOOK_LONG_OPTIONS,
    {0}};

static int read_option(request *r, int code, const char *value) {
  switch (code) {
    case 'm': r->model_path = value; return TOOL_OK;
    case 'q': r->quiet = true; return TOOL_OK;
    case 'h': r->help = true; return TOOL_OK;
    case OPTION_JSON: r->json = true; return TOOL_OK;
    case OPTION_TOP: return option_count("top", value, 1, MOST_TOP, &r->top);
    case OPTION_BATCH: return option_count("batch", value, 1, MOST_BATCH, &r->batch);
    case OPTION_THREADS:
      return option_count("threads", value, 1, MOST_THREADS, &r->threads);
    default: return fail_usage("see the options");
  }
}

static int read_options(request *r, int argc, char **argv) {
  int code;
  while ((code = getopt_long(argc, argv, "hm:q", long_options, NULL)) != -1) {
    int status = weights_option(&r->weights, code, optarg);
    if (status < 0) status = look_option(&r->look, code, optarg);
    if (status < 0) status = read_option(r, code, optarg);
    if (status != TOOL_OK) return status;
  }
  if (r->help) return TOOL_OK;
  if (!r->model_path) return fail_usage("which classifier? (--model FILE)");
  if (optind == argc) return fail_usage("which images?");
  return TOOL_OK;
}

/* -------------------------------------------------------------- telling --- */

typedef struct told {
  request *request;
  passes *passes;
  const class_names *names;
  double *probabilities; /* [classes] */
  int32_t *order;
} told;

/* Softmax, and the classes from the likeliest on; of equals the lower first. */
static void rank_classes(told *t, const float *logits, int32_t top) {
  const int32_t n = t->names->count;
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
    text_add(out, "\t%s\t%.4f", class_label_of(t->names, c).text,
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
    text_add_json(out, class_label_of(t->names, c).text);
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
  const int32_t classes = t->names->count;
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
  mae_session_options o;
  mae_config config;
  mae_session_options_init(&o, sizeof o);
  if (mae_config_init(&config, sizeof config, NULL) != MAE_OK ||
      mae_model_config(p->model, &config) != MAE_OK)
    return fail_library();
  int status = look_apply(&r->look, &config, &o);
  if (status != TOOL_OK) return status;
  if (r->batch) o.batch_size = r->batch;
  progress shown = progress_begin(p->count, r->quiet);
  const size_t before = r->told;
  p->progress = &shown;
  p->failed = &r->failed;
  p->take = take;
  p->arg = t;
  t->passes = p;
  status = classify_run(p, &o);
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

static int with_names(request *r, const passes *p, const class_names *names,
                      int n, char **arguments) {
  told t = {.request = r, .names = names};
  t.probabilities = mae_calloc((size_t)names->count, sizeof *t.probabilities);
  t.order = mae_calloc((size_t)names->count, sizeof *t.order);
  int status = t.probabilities && t.order
                   ? classify_all(&t, p, n, arguments)
                   : fail_library();
  free(t.probabilities);
  free(t.order);
  if (status != TOOL_OK) return status;
  failures_report(&r->failed, r->told + r->failed.count);
  if (!r->told) return fail("no images");
  return r->failed.count ? TOOL_FAILED : TOOL_OK;
}

static int run(request *r, int n, char **arguments) {
  mae_context_options c;
  mae_context *context = NULL;
  mae_model *model = NULL;
  class_names names = {0};
  mae_context_options_init(&c, sizeof c);
  c.threads = r->threads;
  int status = weights_load_to_use(&r->weights, r->model_path, &model);
  if (status == TOOL_OK) status = classify_names(model, r->model_path, &names);
  if (status == TOOL_OK && mae_context_create(&c, &context) != MAE_OK)
    status = fail_library();
  const passes p = {.context = context, .model = model};
  if (status == TOOL_OK) status = with_names(r, &p, &names, n, arguments);
  class_names_free(&names);
  mae_context_destroy(context);
  mae_model_destroy(model);
  return status;
}

int command_predict(int argc, char **argv) {
  request r = {.top = 5};
  weights_options_init(&r.weights);
  int status = read_options(&r, argc, argv);
  if (status == TOOL_OK && r.help) {
    fputs(help, stdout);
    return finish_output();
  }
  if (status == TOOL_OK) status = run(&r, argc - optind, argv + optind);
  failures_free(&r.failed);
  return status;
}
