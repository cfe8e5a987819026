/* mae: pretraining, features, reconstructions and weights files on the command
 * line. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "libmae/mae.h"
#include "tool/commands.h"
#include "tool/interrupt.h"
#include "tool/say.h"

static const struct command {
  const char *name, *summary;
  int (*run)(int argc, char **argv);
} commands[] = {
    {"pretrain", "train a model on images without labels", command_pretrain},
    {"finetune", "train a classifier on images whose classes are known",
     command_finetune},
    {"features", "features of images, as .npy or .safetensors",
     command_features},
    {"reconstruct", "draw images, what the model sees, and what it makes of it",
     command_reconstruct},
    {"probe", "how good features are, by a linear classifier or neighbours",
     command_probe},
    {"eval", "how often a classifier is right", command_eval},
    {"predict", "the likeliest classes of images", command_predict},
    {"plan", "memory and arithmetic that pretraining takes", command_plan},
    {"info", "what is in a weights file", command_info},
    {"convert", "rewrite a weights file under other names", command_convert},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static int print_help(void) {
  puts("Usage: mae COMMAND ...\n\nMasked Autoencoders.  Commands:");
  for (int i = 0; i < COMMANDS; i++)
    printf("  %-13s%s\n", commands[i].name, commands[i].summary);
  puts(
      "\n`mae COMMAND --help` says more of each; `mae --version` the version.");
  return finish_output();
}

static const struct command *find(const char *name) {
  for (int i = 0; i < COMMANDS; i++)
    if (!strcmp(commands[i].name, name)) return &commands[i];
  return NULL;
}

static int run(const struct command *command, int argc, char **argv) {
  say_as(command->name);
  return command->run(argc, argv);
}

int main(int argc, char **argv) {
  interrupt_begin();
  if (argc < 2) return fail_usage("which command?");
  const char *name = argv[1];
  bool help = !strcmp(name, "help") || !strcmp(name, "--help");
  if (!strcmp(name, "--version")) {
    printf("mae %s\n", mae_version());
    return finish_output();
  }
  if ((help && argc == 2) || !strcmp(name, "-h")) return print_help();
  const struct command *command = find(help ? argv[2] : name);
  if (!command)
    return fail_usage("there is no command '%s'", help ? argv[2] : name);
  if (!help) return run(command, argc - 1, argv + 1);
  char option[] = "--help"; /* `mae help features` */
  char *asked[] = {argv[2], option, NULL};
  return run(command, 2, asked);
}
