/* mae plan: what pretraining a model would take, before it is begun. */
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "tool/commands.h"
#include "tool/model_options.h"
#include "tool/parse.h"
#include "tool/precision.h"
#include "tool/say.h"

static const char help[] =
    "Usage: mae plan [OPTION]...\n"
    "\n"
    "Say how much memory and arithmetic pretraining a model takes, as it is\n"
    "and with what lies inside the blocks computed again in the backward pass,\n"
    "and whether it fits this machine's memory now.\n"
    "\n"
    "      --batch N            images per step (64)\n"
    "      --mask-ratio X       of the patches hidden, in (0, 1) (0.75)\n"
    "      --recompute          the run will compute again\n"
    "      --update-in-backward  it will update each parameter as soon as its\n"
    "                           gradient is there, and keep no gradients\n"
    "      --threads N          the run will have so many (one per CPU)\n"
    PRECISION_HELP
    "\n" MODEL_HELP
    "\n"
    "Memory is of the trainer and its model: images being decoded and the\n"
    "buffers of the BLAS library come on top.  FLOPs are those of matrix\n"
    "products, two for each multiply-add.\n"
    "\n"
    "Exit status: 0; 1 when there is no such model; 2 for a mistake on the\n"
    "command line.\n";

enum {
  OPTION_BATCH = MODEL_FIELDS + MODEL_FIELD_COUNT,
  OPTION_MASK_RATIO,
  OPTION_RECOMPUTE,
  OPTION_UPDATE_IN_BACKWARD,
  OPTION_THREADS
};

static const struct option long_options[] = {
    {"batch", required_argument, NULL, OPTION_BATCH},
    {"mask-ratio", required_argument, NULL, OPTION_MASK_RATIO},
    {"recompute", no_argument, NULL, OPTION_RECOMPUTE},
    {"update-in-backward", no_argument, NULL, OPTION_UPDATE_IN_BACKWARD},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"help", no_argument, NULL, 'h'},
    PRECISION_LONG_OPTION,
    MODEL_LONG_OPTIONS,
    {0}};

typedef struct request {
  model_options model;
  mae_trainer_options trainer;
  int32_t threads;
  bool help;
} request;

/* More images or threads than the library takes are refused by it. */
static int read_option(request *r, int code, const char *value) {
  switch (code) {
    case OPTION_BATCH:
      return parse_int(value, 1, INT32_MAX, &r->trainer.batch_size)
                 ? TOOL_OK
                 : fail_usage("--batch: '%s' is no count", value);
    case OPTION_MASK_RATIO:
      return parse_real(value, 0, 1, &r->trainer.mask_ratio)
                 ? TOOL_OK
                 : fail_usage("--mask-ratio: '%s' is not in (0, 1)", value);
    case OPTION_THREADS:
      return parse_int(value, 1, INT32_MAX, &r->threads)
                 ? TOOL_OK
                 : fail_usage("--threads: '%s' is no count", value);
    case OPTION_PRECISION:
      return precision_option(value, &r->trainer.precision);
    case OPTION_RECOMPUTE: r->trainer.recompute = 1; return TOOL_OK;
    case OPTION_UPDATE_IN_BACKWARD:
      r->trainer.update_in_backward = 1;
      return TOOL_OK;
    case 'h': r->help = true; return TOOL_OK;
    default: return fail_usage("see the options");
  }
}

static int read_options(request *r, int argc, char **argv) {
  int code;
  while ((code = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
    int status = model_option(&r->model, code, optarg);
    if (status < 0) status = read_option(r, code, optarg);
    if (status != TOOL_OK) return status;
  }
  if (!r->help && optind != argc)
    return fail_usage("what is '%s'?", argv[optind]);
  return TOOL_OK;
}

/* What the system could give a new process, in bytes; 0: it does not say. */
static int64_t available_memory(void) {
  FILE *in = fopen("/proc/meminfo", "r");
  if (!in) return 0;
  char line[128];
  int64_t kilobytes = 0;
  while (fgets(line, sizeof line, in) &&
         sscanf(line, "MemAvailable: %" SCNd64, &kilobytes) != 1)
    continue;
  fclose(in);
  return kilobytes * 1024;
}

static double gib(int64_t bytes) { return (double)bytes / (1 << 30); }

static void print_model(const mae_config *c, const mae_training_plan *p,
                        const mae_trainer_options *o) {
  printf("images      %d x %d, %d channel%s, patches of %d x %d\n",
         c->image_height, c->image_width, c->in_chans,
         c->in_chans == 1 ? "" : "s", c->patch_size, c->patch_size);
  printf("encoder     %d wide, %d blocks, %d heads\n", c->embed_dim, c->depth,
         c->num_heads);
  printf("decoder     %d wide, %d blocks, %d heads\n", c->decoder_embed_dim,
         c->decoder_depth, c->decoder_num_heads);
  printf("parameters  %" PRId64 "\n", p->parameters);
  printf("step        %d image%s, %g of the patches hidden\n", o->batch_size,
         o->batch_size == 1 ? "" : "s", o->mask_ratio);
}

static void print_bytes(const char *what, int64_t as_is, int64_t again) {
  printf("%-12s%10.3f %12.3f\n", what, gib(as_is), gib(again));
}

/* [0] as it is, [1] recomputing. */
static void print_plans(const mae_training_plan p[2]) {
  puts("\nmemory, GiB      as is  recomputing");
  print_bytes("weights", p[0].weight_bytes, p[1].weight_bytes);
  print_bytes("gradients", p[0].gradient_bytes, p[1].gradient_bytes);
  print_bytes("optimiser", p[0].optimizer_bytes, p[1].optimizer_bytes);
  print_bytes("activations", p[0].activation_bytes, p[1].activation_bytes);
  print_bytes("total", p[0].total_bytes, p[1].total_bytes);
  puts("\nGFLOPs           as is  recomputing");
  printf("encoder     %10.3f              an image, forward\n",
         p[0].encoder_flops / 1e9);
  printf("decoder     %10.3f              an image, forward\n",
         p[0].decoder_flops / 1e9);
  printf("step        %10.3f %12.3f\n\n", p[0].step_flops / 1e9,
         p[1].step_flops / 1e9);
}

static void print_verdict(const mae_training_plan p[2], bool recompute) {
  const int64_t free_bytes = available_memory();
  if (!free_bytes) {
    puts("available   this system does not say");
    return;
  }
  const char *verdict = "it does not fit";
  if (p[recompute].total_bytes <= free_bytes)
    verdict = "it fits";
  else if (p[1].total_bytes <= free_bytes)
    verdict = "it does not fit; with --recompute it does";
  printf("available   %.3f GiB: %s\n", gib(free_bytes), verdict);
}

static int print_all(const request *r, const mae_config *config,
                     mae_context *context) {
  mae_training_plan plans[2];
  for (int recompute = 0; recompute < 2; recompute++) {
    mae_trainer_options o = r->trainer;
    o.recompute = recompute;
    plans[recompute] = (mae_training_plan){.struct_size = sizeof *plans};
    if (mae_trainer_plan(context, config, &o, &plans[recompute]) != MAE_OK)
      return fail_library();
  }
  print_model(config, plans, &r->trainer);
  print_plans(plans);
  print_verdict(plans, r->trainer.recompute);
  return finish_output();
}

static int run(const request *r) {
  mae_config config;
  int status = model_options_config(&r->model, &config);
  if (status != TOOL_OK) return status;
  mae_context_options options;
  mae_context_options_init(&options, sizeof options);
  options.threads = r->threads;
  mae_context *context;
  if (mae_context_create(&options, &context) != MAE_OK) return fail_library();
  status = print_all(r, &config, context);
  mae_context_destroy(context);
  return status;
}

int command_plan(int argc, char **argv) {
  request r = {.threads = 0};
  model_options_init(&r.model);
  mae_trainer_options_init(&r.trainer, sizeof r.trainer);
  int status = read_options(&r, argc, argv);
  if (status != TOOL_OK) return status;
  if (!r.help) return run(&r);
  fputs(help, stdout);
  return finish_output();
}
