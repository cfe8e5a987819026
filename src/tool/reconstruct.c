/* mae reconstruct: draw original | masked | reconstruction. */
#include <getopt.h>
#include <stdio.h>

#include "base/error.h"
#include "tool/commands.h"
#include "tool/context.h"
#include "tool/failures.h"
#include "tool/look.h"
#include "tool/parse.h"
#include "tool/paths.h"
#include "tool/precision.h"
#include "tool/profile.h"
#include "tool/say.h"
#include "tool/scene.h"
#include "tool/weights.h"

static const char help[] =
    "Usage: mae reconstruct --model FILE [OPTION]... IMAGE|FOLDER... "
    "-o OUT.png\n"
    "\n"
    "Draw for each image a row: the image, what the encoder sees of it, and\n"
    "the image with the removed patches as the decoder predicts them.  When\n"
    "the model was trained on normalised patches, each predicted patch has "
    "the\n"
    "mean and the contrast of the true one.\n"
    "\n"
    "  -m, --model FILE         weights with a decoder\n"
    "  -o, --out FILE           a PNG\n"
    "      --mask-ratio X       share of the patches to remove (0.75)\n"
    "      --seed N             of the masks (0)\n"
    PRECISION_HELP
    "\n" LOOK_HELP "\n" WEIGHTS_HELP
    "\n"
    "Exit status: 0; 1 when an image could not be read (the others are still\n"
    "drawn) or nothing could be done; 2 for a mistake on the command line.\n";

/* More make no picture that one can look at. */
enum { MOST_IMAGES = 1000 };

typedef struct request {
  weights_options weights;
  look_options look;
  const char *model_path, *out_path;
  double mask_ratio;
  uint64_t seed;
  mae_precision precision;
  bool help;
  path_list paths;
  failures failed;
} request;

/* ------------------------------------------------------- command line --- */

enum { OPTION_RATIO = COMMAND_OPTIONS, OPTION_SEED };

static const struct option long_options[] = {
    {"model", required_argument, NULL, 'm'},
    {"out", required_argument, NULL, 'o'},
    {"mask-ratio", required_argument, NULL, OPTION_RATIO},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"help", no_argument, NULL, 'h'},
    PRECISION_LONG_OPTION,
    WEIGHTS_LONG_OPTIONS,
    LOOK_LONG_OPTIONS,
    {0}};

static int read_option(request *r, int code, const char *value) {
  switch (code) {
    case 'm': r->model_path = value; return TOOL_OK;
    case 'o': r->out_path = value; return TOOL_OK;
    case 'h': r->help = true; return TOOL_OK;
    case OPTION_RATIO:
      if (parse_real(value, 0, 1, &r->mask_ratio)) return TOOL_OK;
      return fail_usage("--mask-ratio: '%s' is not 0 to 1", value);
    case OPTION_SEED:
      if (parse_seed(value, &r->seed)) return TOOL_OK;
      return fail_usage("--seed: '%s' is no seed", value);
    case OPTION_PRECISION: return precision_option(value, &r->precision);
    default: return fail_usage("see the options");
  }
}

static int read_options(request *r, int argc, char **argv) {
  int code;
  while ((code = getopt_long(argc, argv, "hm:o:", long_options, NULL)) != -1) {
    int status = weights_option(&r->weights, code, optarg);
    if (status < 0) status = look_option(&r->look, code, optarg);
    if (status < 0) status = read_option(r, code, optarg);
    if (status != TOOL_OK) return status;
  }
  if (r->help) return TOOL_OK;
  if (!r->model_path) return fail_usage("which weights? (--model FILE)");
  if (!r->out_path) return fail_usage("where to? (-o OUT.png)");
  if (optind == argc) return fail_usage("which images?");
  return TOOL_OK;
}

/* ------------------------------------------------------------- working --- */

static mae_status look_at(mae_session *session, const char *path,
                          float *pixels) {
  mae_image image;
  MAE_TRY(mae_image_load(path, &image));
  mae_status status = mae_session_preprocess(session, &image, pixels);
  mae_image_free(&image);
  return status;
}

static int look_at_all(request *r, mae_session *session, scene *s) {
  for (size_t i = 0; i < r->paths.count; i++) {
    const char *path = r->paths.items[i];
    if (look_at(session, path, scene_image(s, s->n)) == MAE_OK)
      s->n++;
    else if (failures_add(&r->failed, path, mae_last_error()) != TOOL_OK)
      return TOOL_FAILED;
  }
  return TOOL_OK;
}

static int reconstruct(request *r, mae_session *session, scene *s) {
  size_t asked = r->paths.count + r->failed.count;
  if (scene_make(s, r->paths.count) != MAE_OK) return fail_library();
  int status = look_at_all(r, session, s);
  if (status != TOOL_OK) return status;
  failures_report(&r->failed, asked);
  if (!s->n) return fail("nothing to draw");
  if (mae_session_reconstruct(session, s->images, s->n, NULL, s->made,
                              s->masks) != MAE_OK ||
      scene_draw(s, r->out_path) != MAE_OK)
    return fail_library();
  return r->failed.count ? TOOL_FAILED : TOOL_OK;
}

static int check_model(const request *r, const mae_config *c) {
  if (!c->decoder_depth)
    return fail("%s has no decoder, so there is nothing to reconstruct with",
                r->model_path);
  if (c->in_chans != 1 && c->in_chans != 3)
    return fail("%s is for images of %d channels; only 1 and 3 can be drawn",
                r->model_path, (int)c->in_chans);
  return TOOL_OK;
}

static int with_session(request *r, mae_context *context, mae_model *model) {
  mae_session_options o;
  mae_session *session;
  scene s = {.n = 0};
  if (mae_config_init(&s.config, sizeof s.config, NULL) != MAE_OK ||
      mae_model_config(model, &s.config) != MAE_OK)
    return fail_library();
  int status = check_model(r, &s.config);
  if (status != TOOL_OK) return status;
  mae_session_options_init(&o, sizeof o);
  o.mask_ratio = r->mask_ratio;
  o.seed = r->seed;
  o.precision = r->precision;
  look_of_model(&r->look, model, &s.config);
  status = look_apply(&r->look, &s.config, &o);
  if (status != TOOL_OK) return status;
  s.mean = look_mean(&r->look, &s.config);
  s.std = look_std(&r->look, &s.config);
  if (mae_session_create(context, model, &o, &session) != MAE_OK)
    return fail_library();
  status = reconstruct(r, session, &s);
  scene_free(&s);
  mae_session_destroy(session);
  return status;
}

static int run(request *r) {
  mae_context *context = NULL;
  mae_model *model = NULL;
  if (r->paths.count > MOST_IMAGES)
    return fail("%zu images are more than %d", r->paths.count, MOST_IMAGES);
  int status = weights_load_to_use(&r->weights, r->model_path, &model);
  if (status == TOOL_OK && open_context(0, &context) != MAE_OK)
    status = fail_library();
  if (status == TOOL_OK) status = with_session(r, context, model);
  profile_print(context, stderr);
  mae_context_destroy(context);
  mae_model_destroy(model);
  return status;
}

static int run_request(request *r, int argc, char **argv) {
  int status = read_options(r, argc, argv);
  if (status != TOOL_OK) return status;
  if (r->help) {
    fputs(help, stdout);
    return finish_output();
  }
  for (int i = optind; status == TOOL_OK && i < argc; i++)
    status = paths_add(&r->paths, argv[i], &r->failed);
  return status == TOOL_OK ? run(r) : status;
}

int command_reconstruct(int argc, char **argv) {
  request r = {.mask_ratio = 0.75};
  weights_options_init(&r.weights);
  int status = run_request(&r, argc, argv);
  paths_free(&r.paths);
  failures_free(&r.failed);
  return status;
}
