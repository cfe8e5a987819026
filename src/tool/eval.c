/* mae eval: how often a classifier is right. */
#include <getopt.h>
#include <stdio.h>

#include "tool/classifier.h"
#include "tool/classify.h"
#include "tool/commands.h"
#include "tool/confusion.h"
#include "tool/say.h"

static const char help[] =
    "Usage: mae eval --model FILE --data PATH [OPTION]...\n"
    "\n"
    "Test a classifier on images whose classes are known: the share whose "
    "class\n"
    "comes first (top-1), or among the first five; the mean cross-entropy; "
    "for\n"
    "up to 20 classes the table of what was told for what.\n"
    "\n"
    CLASSIFIER_MODEL_HELP
    "      --data PATH          a folder with a folder of images for each "
    "class,\n"
    "                           or an IDX file with its labels beside it\n"
    "      --confusion FILE     that table as a .csv file\n"
    "\n" CLASSIFIER_HELP
    "\n"
    "Exit status: 0; 1 when an image could not be read (the others are still\n"
    "tested) or nothing could be done; 2 for a mistake on the command line.\n";

typedef struct request {
  classifier_options classifier;
  const char *data_path, *confusion_path;
  failures failed;
} request;

/* ------------------------------------------------------- command line --- */

enum { OPTION_DATA = COMMAND_OPTIONS, OPTION_CONFUSION };

static const struct option long_options[] = {
    {"data", required_argument, NULL, OPTION_DATA},
    {"confusion", required_argument, NULL, OPTION_CONFUSION},
    CLASSIFIER_LONG_OPTIONS,
    {0}};

static int read_option(request *r, int code, const char *value) {
  switch (code) {
    case OPTION_DATA: r->data_path = value; return TOOL_OK;
    case OPTION_CONFUSION: r->confusion_path = value; return TOOL_OK;
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
  if (optind < argc) return fail_usage("what is '%s'?", argv[optind]);
  if (!r->classifier.model_path)
    return fail_usage("which classifier? (--model FILE)");
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

static int test(request *r, classifier *c, const mae_dataset *dataset) {
  mae_evaluation *e;
  progress shown = progress_begin((size_t)mae_dataset_size(dataset),
                                  r->classifier.quiet);
  passes p = {.context = c->context,
              .model = c->model,
              .dataset = dataset,
              .progress = &shown,
              .failed = &r->failed};
  int status = classify_evaluate(&p, &c->session, &e);
  if (status != TOOL_OK) return status;
  progress_end(&shown, (size_t)mae_evaluation_count(e));
  status = tell(r, e, &c->names);
  mae_evaluation_destroy(e);
  return status;
}

static int run(request *r) {
  classifier c = {.context = NULL};
  mae_dataset *dataset = NULL;
  int status = classifier_open(&r->classifier, &c);
  if (status == TOOL_OK &&
      class_names_open(r->data_path, &c.names, &dataset) != MAE_OK)
    status = fail_library();
  if (status == TOOL_OK) status = test(r, &c, dataset);
  mae_dataset_destroy(dataset);
  classifier_close(&c);
  return status;
}

int command_eval(int argc, char **argv) {
  request r = {.data_path = NULL};
  classifier_options_init(&r.classifier);
  int status = read_options(&r, argc, argv);
  if (status == TOOL_OK && r.classifier.help) {
    fputs(help, stdout);
    return finish_output();
  }
  if (status == TOOL_OK) status = run(&r);
  failures_free(&r.failed);
  return status;
}
