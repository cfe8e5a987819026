/* What the timed programs of `make bench` share: options, a clock, and turns.
 *
 * A program says what it is, "NAME VALUE" a line, and then "ready", or "skip"
 * and why.  Each turn it prints "step WALL CPU", both in seconds; at the end
 * "peak_bytes N", the most memory it had.  With --interactive a turn comes with
 * each line of input, so that a driver can alternate programs on one machine.
 * The peers in Python (peer.py) do the same. */
#ifndef BENCH_PROGRAM_H
#define BENCH_PROGRAM_H

#include <libmae/mae.h>
#include <stdbool.h>
#include <stddef.h>

/* A failure of the library ends the program. */
void need(mae_status status);

double now(void); /* seconds */

/* Option --NAME of the command line; the last of a list has no name. */
typedef struct program_option {
  const char *name;
  const char **text; /* where its value goes: one of these */
  int *number;
  double *real;
  bool *flag;
} program_option;

/* Ends the program when it does not know an option. */
void program_options(int argc, char **argv, const program_option *options);

/* What is asked of every program. */
typedef struct turns {
  int steps;
  bool interactive;
} turns;
#define TURNS_OPTIONS(t)                          \
  {"steps", .number = &(t).steps}, {              \
    "interactive", .flag = &(t).interactive       \
  }

void skip(const char *why);
void ready(void);
/* Run each step, timed, and say how much memory was taken. */
void take_turns(const turns *t, void (*step)(void *arg), void *arg);

/* By its name.  Ends with a skip where it would be emulated. */
mae_precision precision_of(const mae_context *context, const char *name);

/* n values that peers make likewise: floats in [-2, 2). */
float *program_values(size_t n);

#endif
