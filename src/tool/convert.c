/* mae convert: rewrite weights under other names. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "tool/commands.h"
#include "tool/interrupt.h"
#include "tool/parse.h"
#include "tool/say.h"
#include "tool/weights.h"

static const char help[] =
    "Usage: mae convert [OPTION]... IN OUT --to official|hf\n"
    "\n"
    "Rewrite a weights file.\n"
    "\n"
    "      --to official        OUT.safetensors, names as in the authors' "
    "code,\n"
    "                           which timm's are too\n"
    "      --to hf              Hugging Face names: OUT is a folder, made if\n"
    "                           missing, for transformers' from_pretrained, "
    "or\n"
    "                           a file that ends in .safetensors\n"
    "      --f16                half precision, half the size\n"
    "      --image-size N|HxW   interpolate the positions to this size\n"
    "\n" WEIGHTS_HELP
    "\n"
    "Exit status: 0; 1 when it failed; 2 for a mistake on the command line.\n"
    "Tensors that the model has no place for are named on stderr.\n";

enum { OPTION_TO = COMMAND_OPTIONS, OPTION_F16, OPTION_SIZE };

static const struct option long_options[] = {
    {"to", required_argument, NULL, OPTION_TO},
    {"f16", no_argument, NULL, OPTION_F16},
    {"image-size", required_argument, NULL, OPTION_SIZE},
    {"help", no_argument, NULL, 'h'},
    WEIGHTS_LONG_OPTIONS,
    {0}};

typedef struct request {
  weights_options weights;
  mae_layout layout;
  mae_dtype dtype;
  bool layout_given, help;
} request;

static int read_layout(request *r, const char *value) {
  r->layout_given = true;
  if (!strcmp(value, "official"))
    r->layout = MAE_LAYOUT_OFFICIAL;
  else if (!strcmp(value, "hf"))
    r->layout = MAE_LAYOUT_HUGGING_FACE;
  else
    return fail_usage("--to: '%s' is not official or hf", value);
  return TOOL_OK;
}

static int read_option(request *r, int code, const char *value) {
  mae_load_options *load = &r->weights.load;
  switch (code) {
    case OPTION_TO: return read_layout(r, value);
    case OPTION_F16: r->dtype = MAE_DTYPE_F16; return TOOL_OK;
    case 'h': r->help = true; return TOOL_OK;
    case OPTION_SIZE:
      if (parse_size(value, &load->image_height, &load->image_width))
        return TOOL_OK;
      return fail_usage("--image-size: '%s' is not N or HxW", value);
    default: return fail_usage("see the options");
  }
}

static bool ends_in(const char *text, const char *suffix) {
  size_t n = strlen(text), m = strlen(suffix);
  return n >= m && !strcmp(text + n - m, suffix);
}

static int read_options(request *r, int argc, char **argv) {
  int code;
  while ((code = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
    int status = weights_option(&r->weights, code, optarg);
    if (status < 0) status = read_option(r, code, optarg);
    if (status != TOOL_OK) return status;
  }
  if (r->help) return TOOL_OK;
  if (argc - optind != 2) return fail_usage("give two files: IN OUT");
  if (!r->layout_given) return fail_usage("to what? (--to official|hf)");
  if (r->layout == MAE_LAYOUT_OFFICIAL &&
      !ends_in(argv[optind + 1], ".safetensors"))
    return fail_usage("%s does not end in .safetensors", argv[optind + 1]);
  return TOOL_OK;
}

static int run(const request *r, const char *in, const char *out) {
  mae_model *model;
  mae_load_report *report;
  const char *name;
  int status = weights_load(&r->weights, in, &model, &report);
  if (status != TOOL_OK) return status;
  for (int32_t i = 0; (name = mae_load_report_item(report, MAE_LOAD_EXTRA, i));
       i++)
    say("not carried over: %s", name);
  interrupt_hold(); /* the library's temporary files are its own */
  if (mae_model_export(model, r->layout, r->dtype, out) != MAE_OK)
    status = fail_library();
  interrupt_release();
  mae_load_report_destroy(report);
  mae_model_destroy(model);
  return status;
}

int command_convert(int argc, char **argv) {
  request r = {.layout_given = false};
  weights_options_init(&r.weights);
  int status = read_options(&r, argc, argv);
  if (status != TOOL_OK) return status;
  if (!r.help) return run(&r, argv[optind], argv[optind + 1]);
  fputs(help, stdout);
  return finish_output();
}
