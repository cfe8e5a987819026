#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

void need(mae_status status) {
  if (status == MAE_OK) return;
  fprintf(stderr, "%s: %s\n", mae_status_name(status), mae_last_error());
  exit(1);
}

double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------- options --- */

static void usage(const char *what, const program_option *options) {
  fprintf(stderr, "what is %s?  Options:", what);
  for (; options->name; options++) fprintf(stderr, " --%s", options->name);
  fputc('\n', stderr);
  exit(2);
}

static const program_option *find(const char *argument,
                                  const program_option *options) {
  for (; options->name; options++)
    if (!strncmp(argument, "--", 2) && !strcmp(argument + 2, options->name))
      return options;
  return NULL;
}

void program_options(int argc, char **argv, const program_option *options) {
  for (int i = 1; i < argc; i++) {
    const program_option *o = find(argv[i], options);
    if (!o || (!o->flag && i + 1 == argc)) usage(argv[i], options);
    if (o->flag)
      *o->flag = true;
    else if (o->number)
      *o->number = atoi(argv[++i]);
    else if (o->real)
      *o->real = atof(argv[++i]);
    else
      *o->text = argv[++i];
  }
}

mae_precision precision_of(const mae_context *context, const char *name) {
  mae_precision precision = MAE_PRECISION_F32;
  if (!strcmp(name, "bf16"))
    precision = MAE_PRECISION_BF16;
  else if (strcmp(name, "f32"))
    skip("it is neither f32 nor bf16");
  if (!mae_context_precision_is_native(context, precision))
    skip("this processor has no instructions for it");
  return precision;
}

/* --------------------------------------------------------------- turns --- */

void skip(const char *why) {
  printf("skip %s\n", why);
  exit(0);
}

void ready(void) {
  puts("ready");
  fflush(stdout);
}

static struct rusage usage_so_far(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u;
}

static double cpu_seconds(void) {
  const struct rusage u = usage_so_far();
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

void take_turns(const turns *t, void (*step)(void *arg), void *arg) {
  char line[64];
  for (int i = 0; i < t->steps; i++) {
    if (t->interactive && !fgets(line, sizeof line, stdin)) break;
    const double began = now(), cpu = cpu_seconds();
    step(arg);
    printf("step %.6f %.6f\n", now() - began, cpu_seconds() - cpu);
    fflush(stdout);
  }
  printf("peak_bytes %ld\n", usage_so_far().ru_maxrss * 1024);
}

float *program_values(size_t n) {
  float *values = malloc(n * sizeof *values);
  if (!values) exit(1);
  for (size_t i = 0; i < n; i++)
    values[i] = (float)((uint32_t)i * 2654435761u >> 16) / 16384 - 2;
  return values;
}
