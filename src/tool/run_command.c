/* The command line of a run: its folder, its settings. */
#include "tool/run.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tool/mpi.h"
#include "tool/say.h"

static const char help_options[] =
    "\n"
    "  -o, --out RUN             the folder\n"
    "      --resume              go on with the run in it, bit for bit, with "
    "its\n"
    "                            settings; options given change them\n"
    "      --force               delete the run in it, and begin anew\n"
    "      --config FILE         settings from a file: lines of `key = "
    "value`,\n"
    "                            keys as below; options given win\n"
    "  -q, --quiet               no progress\n"
    "\n";

static const char help_end[] =
    "\n"
    "SIGINT (Ctrl-C) and SIGTERM finish the update, write a checkpoint and end\n"
    "with status 130 and 143; a second one ends at once.  Other statuses: 0, "
    "1\n"
    "for a failure, 2 for a mistake on the command line or in a file of\n"
    "settings.\n";

/* An option that is a setting, kept until the files have been read. */
typedef struct given {
  int setting;
  const char *value;
} given;

typedef struct command_line {
  const char *out, *config;
  bool resume, force, quiet, help;
  given *given;
  int n_given;
} command_line;

enum { OPTION_RESUME = 1, OPTION_FORCE, OPTION_CONFIG, OPTION_SETTINGS = 1000 };

/* The options of all settings, and these; free them. */
static struct option *make_options(run_kind kind) {
  static const struct option fixed[] = {
      {"out", required_argument, NULL, 'o'},
      {"resume", no_argument, NULL, OPTION_RESUME},
      {"force", no_argument, NULL, OPTION_FORCE},
      {"config", required_argument, NULL, OPTION_CONFIG},
      {"quiet", no_argument, NULL, 'q'},
      {"help", no_argument, NULL, 'h'}};
  const size_t n_fixed = sizeof fixed / sizeof *fixed;
  size_t most = n_fixed + (size_t)settings_count() + 1, n = n_fixed;
  struct option *list = mae_calloc(most, sizeof *list);
  if (!list) return NULL;
  memcpy(list, fixed, sizeof fixed);
  for (int i = 0; i < settings_count(); i++)
    if (settings_name(kind, i))
      list[n++] = (struct option){settings_name(kind, i), required_argument,
                                  NULL, OPTION_SETTINGS + i};
  return list;
}

static int number_of(run_kind kind, const char *name) {
  int i = 0;
  while (!settings_name(kind, i) || strcmp(settings_name(kind, i), name)) i++;
  return i;
}

static int read_option(command_line *c, run_kind kind, int code,
                       const char *value) {
  switch (code) {
    case 'o': c->out = value; return TOOL_OK;
    case 'q': c->quiet = true; return TOOL_OK;
    case 'h': c->help = true; return TOOL_OK;
    case 'm': code = OPTION_SETTINGS + number_of(kind, "model"); break;
    case OPTION_RESUME: c->resume = true; return TOOL_OK;
    case OPTION_FORCE: c->force = true; return TOOL_OK;
    case OPTION_CONFIG: c->config = value; return TOOL_OK;
    default: break;
  }
  if (code < OPTION_SETTINGS) return fail_usage("see the options");
  /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): tested before */
  c->given[c->n_given++] = (given){code - OPTION_SETTINGS, value};
  return TOOL_OK;
}

static int read_command_line(command_line *c, run_kind kind, int argc,
                             char **argv) {
  struct option *options = make_options(kind);
  c->given = mae_calloc((size_t)argc, sizeof *c->given);
  int status = options && c->given ? TOOL_OK : fail_library(), code;
  const char *letters = kind == RUN_FINETUNE ? "hm:o:q" : "ho:q";
  while (status == TOOL_OK &&
         (code = getopt_long(argc, argv, letters, options, NULL)) != -1)
    status = read_option(c, kind, code, optarg);
  free(options);
  if (status != TOOL_OK || c->help) return status;
  if (optind < argc)
    return fail_usage("what is '%s' for? (--data PATH)", argv[optind]);
  if (!c->out) return fail_usage("where to? (--out RUN)");
  if (c->resume && c->force)
    return fail_usage("--resume or --force, not both");
  return TOOL_OK;
}

/* The run's own settings, then the file's, then the options. */
static int read_settings(const command_line *c, run *r) {
  run_settings *s = &r->settings;
  int status = TOOL_OK;
  settings_init(s, r->task->kind);
  if (r->resume)
    status = settings_read(s, run_file(&r->folder, "config.txt").text);
  if (status == TOOL_OK && c->config) status = settings_read(s, c->config);
  for (int i = 0; status == TOOL_OK && i < c->n_given; i++)
    status = settings_set(s, c->given[i].setting, "--", c->given[i].value);
  if (status == TOOL_OK && !*s->data)
    return fail_usage("which images? (--data PATH)");
  return status;
}

/* One process looks after the folder. */
static int open_folder(const command_line *c, run *r) {
  bool exists = false;
  int status = TOOL_OK;
  if (mpi_rank() == 0)
    status = run_folder_open(&r->folder, c->out, &exists);
  else
    snprintf(r->folder.path, sizeof r->folder.path, "%s", c->out);
  if (mpi_any(status != TOOL_OK)) return status ? status : TOOL_FAILED;
  exists = mpi_any(exists);
  if (exists && !c->resume && !c->force)
    return fail_usage("%s has a run in it: --resume continues it, --force "
                      "deletes it", c->out);
  if (!exists && c->resume)
    return fail_usage("%s has no run in it to resume", c->out);
  r->resume = c->resume;
  r->force = exists && c->force;
  return TOOL_OK;
}

static int run_request(const command_line *c, run *r) {
  int status = open_folder(c, r);
  if (status == TOOL_OK) status = read_settings(c, r);
  if (status == TOOL_OK) status = run_train(r);
  run_folder_close(&r->folder);
  return status;
}

static int print_help(const run_task *task) {
  fputs(task->help, stdout);
  fputs(help_options, stdout);
  settings_print_help(task->kind);
  fputs(help_end, stdout);
  return finish_output();
}

static int make_run(const run_task *task, const command_line *c) {
  run *r = mae_calloc(1, sizeof *r);
  if (!r) return fail_library();
  r->task = task;
  r->folder.lock = -1;
  r->quiet = c->quiet;
  int status = run_request(c, r);
  free(r);
  return status;
}

static int read_and_run(const run_task *task, int argc, char **argv) {
  command_line c = {0};
  int status = read_command_line(&c, task->kind, argc, argv);
  if (status == TOOL_OK && c.help)
    status = mpi_rank() ? TOOL_OK : print_help(task);
  else if (status == TOOL_OK)
    status = make_run(task, &c);
  free(c.given);
  return status;
}

int run_command(const run_task *task, int argc, char **argv) {
  int status = mpi_begin(&argc, &argv);
  if (status != TOOL_OK) return status;
  say_nothing(mpi_rank() > 0); /* mistakes on the command line: once */
  status = read_and_run(task, argc, argv);
  mpi_end();
  return status;
}
