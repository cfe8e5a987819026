/* mae info: what is in a weights file. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "tool/commands.h"
#include "tool/say.h"
#include "tool/weights.h"

static const char help[] =
    "Usage: mae info [OPTION]... FILE\n"
    "\n"
    "Say what model a weights file holds, and which tensors are missing, not\n"
    "used, or of the wrong shape.\n"
    "\n"
    "      --tensors            list every tensor of the model with its shape\n"
    "\n" WEIGHTS_HELP
    "\n"
    "Exit status: 0; 1 when the file cannot be used; 2 for a mistake on the\n"
    "command line.\n";

enum { OPTION_TENSORS = COMMAND_OPTIONS };

static const struct option long_options[] = {
    {"tensors", no_argument, NULL, OPTION_TENSORS},
    {"help", no_argument, NULL, 'h'},
    WEIGHTS_LONG_OPTIONS,
    {0}};

typedef struct request {
  weights_options weights;
  bool tensors, help;
} request;

static int read_option(request *r, int code) {
  switch (code) {
    case OPTION_TENSORS: r->tensors = true; return TOOL_OK;
    case 'h': r->help = true; return TOOL_OK;
    default: return fail_usage("see the options");
  }
}

static int read_options(request *r, int argc, char **argv) {
  int code;
  while ((code = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
    int status = weights_option(&r->weights, code, optarg);
    if (status < 0) status = read_option(r, code);
    if (status != TOOL_OK) return status;
  }
  if (!r->help && argc - optind != 1) return fail_usage("give one file");
  return TOOL_OK;
}

/* The preset of this encoder, or NULL. */
static const char *preset_of(const mae_config *c) {
  static const char *const names[] = {"vit_b16", "vit_l16", "vit_h14"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    mae_config p;
    if (mae_config_init(&p, sizeof p, names[i]) == MAE_OK &&
        p.embed_dim == c->embed_dim && p.depth == c->depth &&
        p.num_heads == c->num_heads && p.patch_size == c->patch_size)
      return names[i];
  }
  return NULL;
}

static void print_file(const char *path, const mae_load_report *report) {
  struct stat info;
  const char *names = mae_load_report_layout(report) == MAE_LAYOUT_OFFICIAL
                          ? "official"
                          : "Hugging Face";
  printf("file        %s", path);
  if (!stat(path, &info) && S_ISREG(info.st_mode))
    printf(" (%.1f MB)", (double)info.st_size / 1e6);
  printf("\nformat      %s, %s names\n", mae_load_report_format(report), names);
}

static void print_encoder(const mae_config *c) {
  const char *preset = preset_of(c);
  printf("images      %d x %d, %d channel%s\n", c->image_height, c->image_width,
         c->in_chans, c->in_chans == 1 ? "" : "s");
  printf("patches     %d x %d of %d x %d pixels\n",
         c->image_height / c->patch_size, c->image_width / c->patch_size,
         c->patch_size, c->patch_size);
  printf("encoder     %d wide, %d blocks, %d heads, MLP ratio %g%s%s%s\n",
         c->embed_dim, c->depth, c->num_heads, c->mlp_ratio, preset ? " (" : "",
         preset ? preset : "", preset ? ")" : "");
  printf("norms       epsilon %g%s\n", c->layer_norm_eps,
         c->global_pool ? ", of the mean of the patch tokens at the end" : "");
}

static void print_rest(const mae_config *c) {
  if (c->decoder_depth)
    printf("decoder     %d wide, %d blocks, %d heads, predicts %s\n",
           c->decoder_embed_dim, c->decoder_depth, c->decoder_num_heads,
           c->norm_pix_loss ? "normalised patches" : "pixels");
  else
    puts("decoder     none");
  if (c->encoder_mask_tokens)
    puts("            mask tokens are the encoder's");
  if (c->num_classes)
    printf("head        %d classes\n", c->num_classes);
  else
    puts("head        none");
}

/* A few of the names of classes. */
static void print_classes(const mae_model *model, int32_t count) {
  enum { SHOWN = 10 };
  for (int32_t i = 0; i < SHOWN && mae_model_class_name(model, i); i++)
    printf("%s%s", i ? ", " : "classes     ", mae_model_class_name(model, i));
  if (mae_model_class_name(model, 0)) puts(count > SHOWN ? ", ..." : "");
}

static void print_channels(const char *what, const float *values,
                           int32_t count) {
  printf("%s", what);
  for (int32_t i = 0; i < count; i++)
    printf("%s%g", i ? ", " : "", (double)values[i]);
  puts("");
}

static void print_normalization(const mae_model *model, int32_t chans) {
  float *values = mae_calloc(2 * (size_t)chans, sizeof *values);
  if (values &&
      mae_model_normalization(model, values, values + chans) == MAE_OK) {
    print_channels("mean        ", values, chans);
    print_channels("deviation   ", values + chans, chans);
  }
  free(values);
}

static void print_parameters(const mae_model *model) {
  printf("parameters  %" PRId64 " in %d tensors (%" PRId64 " trainable)\n",
         mae_model_parameter_count(model, 0), mae_model_num_tensors(model),
         mae_model_parameter_count(model, 1));
}

static void print_findings(const mae_load_report *report, const char *what,
                           mae_load_finding finding) {
  int32_t count = mae_load_report_count(report, finding);
  printf("%-12s%d\n", what, count);
  for (int32_t i = 0; i < count; i++)
    printf("  %s\n", mae_load_report_item(report, finding, i));
}

static void print_report(const mae_load_report *report) {
  print_findings(report, "missing", MAE_LOAD_MISSING);
  print_findings(report, "misshapen", MAE_LOAD_MISSHAPEN);
  print_findings(report, "not used", MAE_LOAD_EXTRA);
}

static void print_tensors(const mae_model *model) {
  puts("tensors");
  for (int32_t i = 0; i < mae_model_num_tensors(model); i++) {
    const mae_tensor *t = mae_model_tensor((mae_model *)model, i);
    printf("  %s [", mae_model_tensor_name(model, i));
    for (int32_t a = 0; a < mae_tensor_ndim(t); a++)
      printf("%s%" PRId64, a ? ", " : "", mae_tensor_dim(t, a));
    puts("]");
  }
}

static int print_model(const mae_model *model, bool tensors,
                       const mae_load_report *report) {
  mae_config c;
  if (mae_config_init(&c, sizeof c, NULL) != MAE_OK ||
      mae_model_config(model, &c) != MAE_OK)
    return fail_library();
  print_encoder(&c);
  print_rest(&c);
  print_classes(model, c.num_classes);
  print_normalization(model, c.in_chans);
  print_parameters(model);
  print_report(report);
  if (tensors) print_tensors(model);
  return TOOL_OK;
}

static int run(const request *r, const char *path) {
  mae_model *model = NULL;
  mae_load_report *report = NULL;
  int status = TOOL_OK;
  if (mae_model_import(path, &r->weights.load, &model, &report) != MAE_OK)
    status = fail_weights();
  if (report) print_file(path, report);
  if (model)
    status = print_model(model, r->tensors, report);
  else if (report)
    print_report(report);
  mae_model_destroy(model);
  mae_load_report_destroy(report);
  int printed = finish_output();
  return status == TOOL_OK ? printed : status;
}

int command_info(int argc, char **argv) {
  request r = {.tensors = false};
  weights_options_init(&r.weights);
  /* Only names and shapes are looked at: most pages need never be read. */
  r.weights.load.map = 1;
  int status = read_options(&r, argc, argv);
  if (status != TOOL_OK) return status;
  if (!r.help) return run(&r, argv[optind]);
  fputs(help, stdout);
  return finish_output();
}
