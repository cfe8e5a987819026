/* mae probe: how good features are, by a linear classifier or by neighbours. */
#include "tool/probe.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "tool/commands.h"
#include "tool/option_count.h"
#include "tool/parse.h"
#include "tool/precision.h"
#include "tool/say.h"

static const char help[] =
    "Usage: mae probe --model FILE --data PATH --val PATH [OPTION]...\n"
    "\n"
    "Train a linear classifier on the features of images whose classes are\n"
    "known, as the paper's authors probe (batch norm without weights, LARS), "
    "and\n"
    "test it on others.  The encoder stays as it is: its features are made "
    "once.\n"
    "\n"
    "  -m, --model FILE         weights\n"
    "      --data PATH          a folder with a folder of images for each "
    "class,\n"
    "                           or an IDX file with its labels beside it\n"
    "      --val PATH           such images to test on\n"
    "  -o, --out FILE           the classifier, a .safetensors file, for mae\n"
    "                           eval, predict and finetune\n"
    "      --features WHAT      class_token, or mean of the patches' (else as "
    "the\n"
    "                           model has it)\n"
    "      --knn[=K]            test the K nearest neighbours, too (20)\n"
    "      --temperature X      of their votes (0.07)\n"
    "      --no-linear          test them alone\n"
    "\n"
    "The linear classifier (defaults for the million images of ImageNet; some\n"
    "thousands want --batch 128 --blr 4):\n"
    "      --epochs N --warmup-epochs N\n"
    "                           (90, 10)\n"
    "      --batch N            images an update (16384, or all there are)\n"
    "      --blr X              learning rate per 256 images of an update "
    "(0.1)\n"
    "      --weight-decay X     (0)\n"
    "      --seed N             of its weights and the order (0)\n"
    "\n" LOOK_HELP
    "\n"
    "      --pass N             images per pass of the encoder (16)\n"
    "      --threads N          (one per CPU)\n"
    PRECISION_HELP
    "  -q, --quiet              no progress\n"
    "\n" WEIGHTS_HELP
    "\n"
    "Exit status: 0; 1 when an image could not be read (the others are still\n"
    "used) or nothing could be done; 2 for a mistake on the command line.\n";

enum { MOST_PASS = 65536, MOST_THREADS = 4096, MOST_K = 1000000 };

enum {
  OPTION_DATA = COMMAND_OPTIONS,
  OPTION_VAL,
  OPTION_FEATURES,
  OPTION_KNN,
  OPTION_TEMPERATURE,
  OPTION_NO_LINEAR,
  OPTION_EPOCHS,
  OPTION_WARMUP,
  OPTION_BATCH,
  OPTION_BLR,
  OPTION_DECAY,
  OPTION_SEED,
  OPTION_PASS,
  OPTION_THREADS
};

static const struct option long_options[] = {
    {"model", required_argument, NULL, 'm'},
    {"out", required_argument, NULL, 'o'},
    {"data", required_argument, NULL, OPTION_DATA},
    {"val", required_argument, NULL, OPTION_VAL},
    {"features", required_argument, NULL, OPTION_FEATURES},
    {"knn", optional_argument, NULL, OPTION_KNN},
    {"temperature", required_argument, NULL, OPTION_TEMPERATURE},
    {"no-linear", no_argument, NULL, OPTION_NO_LINEAR},
    {"epochs", required_argument, NULL, OPTION_EPOCHS},
    {"warmup-epochs", required_argument, NULL, OPTION_WARMUP},
    {"batch", required_argument, NULL, OPTION_BATCH},
    {"blr", required_argument, NULL, OPTION_BLR},
    {"weight-decay", required_argument, NULL, OPTION_DECAY},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"pass", required_argument, NULL, OPTION_PASS},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    PRECISION_LONG_OPTION,
    WEIGHTS_LONG_OPTIONS,
    LOOK_LONG_OPTIONS,
    {0}};

static int read_number(const char *name, const char *value, int32_t least,
                       int64_t *out) {
  int32_t number = 0;
  int status = option_count(name, value, least, INT32_MAX, &number);
  if (status == TOOL_OK) *out = number;
  return status;
}

static int read_rate(const char *name, const char *value, double *out) {
  if (parse_real(value, 0, 1e6, out)) return TOOL_OK;
  return fail_usage("--%s: '%s' is not 0 to 1e6", name, value);
}

static int read_features(probe_request *r, const char *value) {
  if (strcmp(value, "class_token") && strcmp(value, "mean"))
    return fail_usage("--features: '%s' is not class_token or mean", value);
  r->pool = !strcmp(value, "mean");
  return TOOL_OK;
}

static int read_option(probe_request *r, int code, const char *value) {
  mae_probe_options *p = &r->probe;
  switch (code) {
    case 'm': r->model_path = value; return TOOL_OK;
    case 'o': r->out_path = value; return TOOL_OK;
    case 'q': r->quiet = true; return TOOL_OK;
    case 'h': r->help = true; return TOOL_OK;
    case OPTION_DATA: r->data_path = value; return TOOL_OK;
    case OPTION_VAL: r->val_path = value; return TOOL_OK;
    case OPTION_FEATURES: return read_features(r, value);
    case OPTION_KNN:
      r->k = 20;
      return value ? option_count("knn", value, 1, MOST_K, &r->k) : TOOL_OK;
    case OPTION_TEMPERATURE:
      if (parse_real(value, 1e-6, 1e6, &r->temperature)) return TOOL_OK;
      return fail_usage("--temperature: '%s' is not above 0", value);
    case OPTION_NO_LINEAR: r->no_linear = true; return TOOL_OK;
    case OPTION_EPOCHS: return read_number("epochs", value, 1, &p->epochs);
    case OPTION_WARMUP:
      return read_number("warmup-epochs", value, 0, &p->warmup_epochs);
    case OPTION_BATCH: return read_number("batch", value, 1, &p->batch_size);
    case OPTION_BLR: return read_rate("blr", value, &p->base_lr);
    case OPTION_DECAY:
      return read_rate("weight-decay", value, &p->weight_decay);
    case OPTION_SEED:
      if (parse_seed(value, &p->seed)) return TOOL_OK;
      return fail_usage("--seed: '%s' is no seed", value);
    case OPTION_PASS: return option_count("pass", value, 1, MOST_PASS, &r->pass);
    case OPTION_THREADS:
      return option_count("threads", value, 1, MOST_THREADS, &r->threads);
    case OPTION_PRECISION: return precision_option(value, &r->precision);
    default: return fail_usage("see the options");
  }
}

static int check(const probe_request *r) {
  if (!r->model_path) return fail_usage("which weights? (--model FILE)");
  if (!r->data_path) return fail_usage("which images? (--data PATH)");
  if (!r->val_path && !r->out_path)
    return fail_usage("which images to test on? (--val PATH)");
  if (r->k && !r->val_path)
    return fail_usage("--knn: which images to test on? (--val PATH)");
  if (r->no_linear && !r->k) return fail_usage("--no-linear goes with --knn");
  if (r->no_linear && r->out_path)
    return fail_usage("--no-linear leaves no classifier for --out");
  return TOOL_OK;
}

static int read_options(probe_request *r, int argc, char **argv) {
  int code;
  while ((code = getopt_long(argc, argv, "hm:o:q", long_options, NULL)) != -1) {
    int status = weights_option(&r->weights, code, optarg);
    if (status < 0) status = look_option(&r->look, code, optarg);
    if (status < 0) status = read_option(r, code, optarg);
    if (status != TOOL_OK) return status;
  }
  if (r->help) return TOOL_OK;
  if (optind < argc) return fail_usage("what is '%s'?", argv[optind]);
  if (r->probe.warmup_epochs > r->probe.epochs)
    r->probe.warmup_epochs = r->probe.epochs;
  return check(r);
}

int command_probe(int argc, char **argv) {
  probe_request r = {.pool = -1, .temperature = 0.07};
  weights_options_init(&r.weights);
  mae_probe_options_init(&r.probe, sizeof r.probe);
  int status = read_options(&r, argc, argv);
  if (status == TOOL_OK && r.help) {
    fputs(help, stdout);
    return finish_output();
  }
  if (status == TOOL_OK) status = probe_run(&r);
  failures_free(&r.failed);
  return status;
}
