/* mae features: images in, an array of features out. */
#include "tool/features.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "tool/commands.h"
#include "tool/option_count.h"
#include "tool/parse.h"
#include "tool/precision.h"
#include "tool/rows.h"
#include "tool/say.h"

static const char help[] =
    "Usage: mae features --model FILE [OPTION]... IMAGE|FOLDER... -o OUT.npy\n"
    "\n"
    "Write the features of images, one row for each that can be read, in the\n"
    "order given.  Folders are searched, with the folders in them, for .jpg,\n"
    ".jpeg, .png and .webp.  OUT.npy comes with OUT.txt, which has the path "
    "of\n"
    "each row on a line; OUT.safetensors has the array as \"features\", and "
    "the\n"
    "paths as a JSON list under \"files\" in its metadata.\n"
    "\n"
    "  -m, --model FILE         weights\n"
    "  -o, --out FILE           .npy or .safetensors\n"
    "      --list FILE          paths from a file too, one a line; a lone -\n"
    "                           in place of an image takes them from stdin\n"
    "  -0, --null               such lists are separated by zero bytes\n"
    "      --output WHAT        class: the class token [N, D] (the default);\n"
    "                           mean: of the patch tokens [N, D];\n"
    "                           tokens: class token and patches [N, 1+L, D];\n"
    "                           attention: [N, heads, 1+L, 1+L];\n"
    "                           logits: of a classifier [N, classes]\n"
    "      --blocks I,J,...     after these blocks (0: the first, -1: the\n"
    "                           last, the default); several: [N, blocks, ...]\n"
    "      --no-final-norm      leave out the encoder's last norm\n"
    "      --l2                 scale each feature vector to length 1\n"
    "      --f16                half precision, half the size\n"
    "\n" LOOK_HELP
    "\n"
    "      --batch N            images per pass (16)\n"
    "      --threads N          (one per CPU)\n"
    "      --mode latency|throughput\n"
    "                           all threads on one pass (the default), or "
    "each\n"
    "                           on images of its own\n"
    PRECISION_HELP
    "  -q, --quiet              no progress\n"
    "  -v, --verbose            say at once what cannot be read\n"
    "\n" WEIGHTS_HELP
    "\n"
    "Exit status: 0; 1 when an image could not be read (the others are still\n"
    "written) or nothing could be done; 2 for a mistake on the command line.\n";

enum { MOST_BATCH = 65536, MOST_THREADS = 4096 };

/* ------------------------------------------------------- command line --- */

enum {
  OPTION_LIST = COMMAND_OPTIONS,
  OPTION_OUTPUT,
  OPTION_BLOCKS,
  OPTION_NO_NORM,
  OPTION_L2,
  OPTION_F16,
  OPTION_BATCH,
  OPTION_THREADS,
  OPTION_MODE
};

static const struct option long_options[] = {
    {"model", required_argument, NULL, 'm'},
    {"out", required_argument, NULL, 'o'},
    {"list", required_argument, NULL, OPTION_LIST},
    {"null", no_argument, NULL, '0'},
    {"output", required_argument, NULL, OPTION_OUTPUT},
    {"blocks", required_argument, NULL, OPTION_BLOCKS},
    {"no-final-norm", no_argument, NULL, OPTION_NO_NORM},
    {"l2", no_argument, NULL, OPTION_L2},
    {"f16", no_argument, NULL, OPTION_F16},
    {"batch", required_argument, NULL, OPTION_BATCH},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"mode", required_argument, NULL, OPTION_MODE},
    {"quiet", no_argument, NULL, 'q'},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    PRECISION_LONG_OPTION,
    WEIGHTS_LONG_OPTIONS,
    LOOK_LONG_OPTIONS,
    {0}};

/* The number of a word in a list that ends with NULL, or -1. */
static int index_of(const char *word, const char *const *words) {
  for (int i = 0; words[i]; i++)
    if (!strcmp(words[i], word)) return i;
  return -1;
}

static int read_output(features_request *r, const char *value) {
  /* In the order of mae_features. */
  static const char *const words[] = {"class", "mean", "tokens", "attention",
                                      "logits", NULL};
  int i = index_of(value, words);
  if (i < 0)
    return fail_usage(
        "--output: '%s' is not class, mean, tokens, attention or logits",
        value);
  r->output = (mae_features)i;
  return TOOL_OK;
}

static int read_mode(features_request *r, const char *value) {
  static const char *const words[] = {"latency", "throughput", NULL};
  int i = index_of(value, words);
  if (i < 0)
    return fail_usage("--mode: '%s' is not latency or throughput", value);
  r->mode = (mae_mode)i;
  return TOOL_OK;
}

static int read_option(features_request *r, int code, const char *value) {
  switch (code) {
    case 'm': r->model_path = value; break;
    case 'o': r->out_path = value; break;
    case '0': r->null = true; break;
    case 'q': r->quiet = true; break;
    case 'v': r->failed.at_once = true; break;
    case 'h': r->help = true; break;
    case OPTION_LIST: r->list_path = value; break;
    case OPTION_NO_NORM: r->no_final_norm = true; break;
    case OPTION_L2: r->l2 = true; break;
    case OPTION_F16: r->dtype = MAE_DTYPE_F16; break;
    case OPTION_OUTPUT: return read_output(r, value);
    case OPTION_MODE: return read_mode(r, value);
    case OPTION_PRECISION: return precision_option(value, &r->precision);
    case OPTION_BLOCKS:
      if (!parse_ints(value, MOST_BLOCKS, r->blocks, &r->n_blocks))
        return fail_usage("--blocks: '%s' is not I,J,...", value);
      break;
    case OPTION_BATCH:
      return option_count("batch", value, 1, MOST_BATCH, &r->batch);
    case OPTION_THREADS:
      return option_count("threads", value, 1, MOST_THREADS, &r->threads);
    default: return fail_usage("see the options"); /* getopt said why */
  }
  return TOOL_OK;
}

static int read_options(features_request *r, int argc, char **argv) {
  int code;
  while ((code = getopt_long(argc, argv, "hm:o:0qv", long_options, NULL)) !=
         -1) {
    int status = weights_option(&r->weights, code, optarg);
    if (status < 0) status = look_option(&r->look, code, optarg);
    if (status < 0) status = read_option(r, code, optarg);
    if (status != TOOL_OK) return status;
  }
  return TOOL_OK;
}

static int check_options(const features_request *r) {
  if (!r->model_path) return fail_usage("which weights? (--model FILE)");
  if (!r->out_path) return fail_usage("where to? (-o OUT.npy)");
  if (!rows_suffix_known(r->out_path))
    return fail_usage("%s does not end in .npy or .safetensors", r->out_path);
  return TOOL_OK;
}

/* ------------------------------------------------------- images to see --- */

static bool same_file(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The list the user wrote must not be overwritten by the list of rows. */
static int check_names_path(const features_request *r) {
  struct stat names, list, input;
  char *path = rows_names_path(r->out_path);
  bool exists = path && !stat(path, &names), same = false;
  free(path);
  if (exists && r->list_path && !stat(r->list_path, &list))
    same = same_file(&names, &list);
  if (exists && !fstat(STDIN_FILENO, &input))
    same = same || same_file(&names, &input);
  if (!same) return TOOL_OK;
  return fail_usage("the list of files would be overwritten by that of rows");
}

/* A .txt of one name a line cannot hold a name with a line break. */
static int drop_unlistable(features_request *r) {
  char *names = rows_names_path(r->out_path);
  bool lines = names;
  free(names);
  size_t kept = 0;
  for (size_t i = 0; i < r->paths.count; i++) {
    char *path = r->paths.items[i];
    if (!lines || !strchr(path, '\n')) {
      r->paths.items[kept++] = path;
      continue;
    }
    int status = failures_add(
        &r->failed, path, "its name has a line break: write a .safetensors");
    r->paths.items[i] = NULL;
    free(path);
    if (status != TOOL_OK) return status;
  }
  r->paths.count = kept;
  return TOOL_OK;
}

static int gather_paths(features_request *r, int argc, char **argv) {
  int status = check_names_path(r);
  for (int i = optind; status == TOOL_OK && i < argc; i++)
    status = strcmp(argv[i], "-")
                 ? paths_add(&r->paths, argv[i], &r->failed)
                 : paths_add_from(&r->paths, "-", r->null, &r->failed);
  if (status == TOOL_OK && r->list_path)
    status = paths_add_from(&r->paths, r->list_path, r->null, &r->failed);
  if (status != TOOL_OK) return status;
  r->asked = r->paths.count + r->failed.count;
  if (!r->asked && optind == argc && !r->list_path)
    return fail_usage("which images?");
  if (!r->asked) return fail("no images found");
  return drop_unlistable(r);
}

static int run_request(features_request *r, int argc, char **argv) {
  int status = read_options(r, argc, argv);
  if (status != TOOL_OK) return status;
  if (r->help) {
    fputs(help, stdout);
    return finish_output();
  }
  status = check_options(r);
  if (status == TOOL_OK) status = gather_paths(r, argc, argv);
  if (status != TOOL_OK) return status;
  return features_run(r);
}

int command_features(int argc, char **argv) {
  features_request *r = mae_calloc(1, sizeof *r);
  if (!r) return fail_library();
  weights_options_init(&r->weights);
  int status = run_request(r, argc, argv);
  paths_free(&r->paths);
  failures_free(&r->failed);
  free(r);
  return status;
}
