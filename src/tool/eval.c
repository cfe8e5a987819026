/* mae eval: how often a classifier is right. */
#include <getopt.h>
#include <stdio.h>

#include "tool/classify.h"
#include "tool/commands.h"
#include "tool/confusion.h"
#include "tool/look.h"
#include "tool/option_count.h"
#include "tool/say.h"
#include "tool/weights.h"

static const char help[] =
    "Usage: mae eval --model FILE --data PATH [OPTION]...\n"
    "\n"
    "Test a classifier on images whose classes are known: the share whose "
    "class\n"
    "comes first (top-1), or among the first five; the mean cross-entropy; "
    "for\n"
    "up to 20 classes the table of what was told for what.\n"
    "\n"
    "  -m, --model FILE         a classifier, of mae finetune, mae probe, or\n"
    "                           official\n"
    "      --data PATH          a folder with a folder of images for each "
    "class,\n"
    "                           or an IDX file with its labels beside it\n"
    "      --confusion FILE     that table as a .csv file\n"
    "\n" LOOK_HELP
    "\n"
    "      --batch N            images per pass (16)\n"
    "      --threads N          (one per CPU)\n"
    "  -q, --quiet              no progress\n"
    "\n" WEIGHTS_HELP
    "\n"
    "Exit status: 0; 1 when an image could not be read (the others are still\n"
    "tested) or nothing could be done; 2 for a mistake on the command line.\n";

enum { MOST_BATCH = 65536, MOST_THREADS = 4096 };

typedef struct request {
  weights_options weights;
  look_options look;
  const char *model_path, *data_path, *confusion_path;
  int32_t batch, threads;
  bool quiet, help;
  failures failed;
} request;

/* ------------------------------------------------------- command line --- */

enum {
  OPTION_DATA = COMMAND_OPTIONS,
  OPTION_CONFUSION,
  OPTION_BATCH,
  OPTION_THREADS
};

static const struct option long_options[] = {
    {"model", required_argument, NULL, 'm'},
    {"data", required_argument, NULL, OPTION_DATA},
    {"confusion", required_argument, NULL, OPTION_CONFUSION},
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
    case OPTION_DATA: r->data_path = value; return TOOL_OK;
    case OPTION_CONFUSION: r->confusion_path = value; return TOOL_OK;
    case OPTION_BATCH:
      return option_count("batch", value, 1, MOST_BATCH, &r->batch);
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
  if (optind < argc) return fail_usage("what is '%s'?", argv[optind]);
  if (!r->model_path) return fail_usage("which classifier? (--model FILE)");
  if (!r->data_path) return fail_usage("which images? (--data PATH)");
  return TOOL_OK;
}

/* ------------------------------------------------------------- working --- */

static int tell(const request *r, const mae_evaluation *e,
                const class_names *names) {
  failures_report(&r->failed,
                  (size_t)mae_evaluation_count(e) + r->failed.count);
  if (!mae_evaluation_count(e)) return fail("nothing to test on");
  classify_print(e, names->count, true);
  if (names->count <= CONFUSION_MOST_PRINTED) confusion_print(e, names);
  if (r->confusion_path &&
      confusion_write(e, names, r->confusion_path) != MAE_OK)
    return fail_library();
  int status = finish_output();
  return r->failed.count ? TOOL_FAILED : status;
}

static int test(request *r, passes *p, const class_names *names) {
  mae_session_options o;
  mae_config config;
  mae_evaluation *e;
  mae_session_options_init(&o, sizeof o);
  if (mae_config_init(&config, sizeof config, NULL) != MAE_OK ||
      mae_model_config(p->model, &config) != MAE_OK)
    return fail_library();
  int status = look_apply(&r->look, &config, &o);
  if (status != TOOL_OK) return status;
  if (r->batch) o.batch_size = r->batch;
  progress shown = progress_begin((size_t)mae_dataset_size(p->dataset),
                                  r->quiet);
  p->progress = &shown;
  p->failed = &r->failed;
  status = classify_evaluate(p, &o, &e);
  if (status != TOOL_OK) return status;
  progress_end(&shown, (size_t)mae_evaluation_count(e));
  status = tell(r, e, names);
  mae_evaluation_destroy(e);
  return status;
}

static int run(request *r) {
  mae_context_options c;
  mae_context *context = NULL;
  mae_model *model = NULL;
  mae_dataset *dataset = NULL;
  class_names names = {0};
  mae_context_options_init(&c, sizeof c);
  c.threads = r->threads;
  int status = weights_load_to_use(&r->weights, r->model_path, &model);
  if (status == TOOL_OK) status = classify_names(model, r->model_path, &names);
  if (status == TOOL_OK &&
      (class_names_open(r->data_path, &names, &dataset) != MAE_OK ||
       mae_context_create(&c, &context) != MAE_OK))
    status = fail_library();
  passes p = {.context = context, .model = model, .dataset = dataset};
  if (status == TOOL_OK) status = test(r, &p, &names);
  class_names_free(&names);
  mae_dataset_destroy(dataset);
  mae_context_destroy(context);
  mae_model_destroy(model);
  return status;
}

int command_eval(int argc, char **argv) {
  request r = {.batch = 0};
  weights_options_init(&r.weights);
  int status = read_options(&r, argc, argv);
  if (status == TOOL_OK && r.help) {
    fputs(help, stdout);
    return finish_output();
  }
  if (status == TOOL_OK) status = run(&r);
  failures_free(&r.failed);
  return status;
}
