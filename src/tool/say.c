#include "tool/say.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "libmae/mae.h"

static const char *command;
static bool silent;

void say_as(const char *name) { command = name; }
void say_nothing(bool nothing) { silent = nothing; }

static void say_list(const char *format, va_list args) {
  if (silent) return;
  fflush(stdout);
  fprintf(stderr, "mae%s%s: ", command ? " " : "", command ? command : "");
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
}

void say(const char *format, ...) {
  va_list args;
  va_start(args, format);
  say_list(format, args);
  va_end(args);
}

int fail(const char *format, ...) {
  va_list args;
  va_start(args, format);
  say_list(format, args);
  va_end(args);
  return TOOL_FAILED;
}

int fail_library(void) { return fail("%s", mae_last_error()); }

int fail_usage(const char *format, ...) {
  va_list args;
  va_start(args, format);
  say_list(format, args);
  va_end(args);
  if (!silent)
    fprintf(stderr, "Try: mae%s%s --help\n", command ? " " : "",
            command ? command : "");
  return TOOL_USAGE;
}

int finish_output(void) {
  if (!fflush(stdout) && !ferror(stdout)) return TOOL_OK;
  return fail("cannot write the output: %s", strerror(errno));
}
