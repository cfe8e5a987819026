/* What the tool tells its user, on stderr: "mae features: ...". */
#ifndef MAE_TOOL_SAY_H
#define MAE_TOOL_SAY_H

#include <stdbool.h>

/* Exit statuses of every command. */
enum { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_USAGE = 2 };

/* The command that messages begin with. */
void say_as(const char *command);

/* Say nothing, as another process says the same. */
void say_nothing(bool nothing);

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, returning TOOL_FAILED. */
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The library's latest message, returning TOOL_FAILED. */
int fail_library(void);

/* The same, and where to find help, returning TOOL_USAGE. */
int fail_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* End stdout: TOOL_FAILED when what was printed could not be written. */
int finish_output(void);

#endif
