/* The folder of a run. */
#ifndef MAE_TOOL_RUN_FOLDER_H
#define MAE_TOOL_RUN_FOLDER_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct run_folder {
  char path[PATH_MAX];
  int lock; /* -1: none */
} run_folder;

/* Longest name of a file in it. */
enum { RUN_PATH = PATH_MAX + 64 };
typedef struct run_path {
  char text[RUN_PATH];
} run_path;

/* "PATH/NAME", the name being printf's. */
run_path run_file(const run_folder *folder, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Open the folder, made if missing, and keep other processes out of it for as
 * long as this one lives.  *exists tells whether there is a run in it.  Returns
 * a tool status. */
int run_folder_open(run_folder *folder, const char *path, bool *exists);
bool run_folder_has_checkpoint(const run_folder *folder);
/* Delete the run that is there, and no other files.  A tool status. */
int run_folder_clear(const run_folder *folder);
void run_folder_close(run_folder *folder);

#endif
