/* A run of training in a folder: what pretraining and fine-tuning share. */
#ifndef MAE_TOOL_RUN_H
#define MAE_TOOL_RUN_H

#include <stdbool.h>

#include "base/error.h"
#include "tool/metrics.h"
#include "tool/progress.h"
#include "tool/run_folder.h"
#include "tool/run_settings.h"

typedef struct run run;

/* What each kind of run does in its own way.  Statuses are the tool's. */
typedef struct run_task {
  run_kind kind;
  const char *command, *help; /* of the command, up to its settings */
  /* On every rank: settle the settings, open the data, make the model. */
  int (*prepare)(run *r);
  /* On rank 0, when the folder is this run's and the trainer stands where it
   * begins: say what will be done, and make what the epochs need. */
  int (*begin)(run *r);
  /* On rank 0 after an epoch, and after the whole run. */
  void (*end_epoch)(run *r, int64_t epoch);
  int (*finish)(run *r);
  void (*destroy)(run *r); /* of `own` */
} run_task;

struct run {
  const run_task *task;
  run_settings settings; /* settled by prepare */
  run_folder folder;
  bool resume; /* the run that is in the folder */
  bool force;  /* delete the run that is in the folder */
  bool quiet;
  mae_context *context;
  mae_model *model;
  mae_trainer *trainer;
  mae_dataset *dataset;
  mae_loader *loader;
  metrics metrics;
  progress progress;
  int64_t batches;     /* passes of an epoch */
  int64_t updates;     /* of the whole run */
  int64_t epochs_done;
  double loss_sum;     /* of the passes since the latest update */
  int64_t passes;
  double seconds;      /* of training before this process */
  double seconds_left;
  int64_t named;       /* skipped images told of so far */
  char trouble[1200];  /* the latest warning; "": none */
  void *own;           /* the task's */
};

/* The command line of such a command, and the run it asks for.  Returns the
 * exit status: 128 and the signal when one ended the run. */
int run_command(const run_task *task, int argc, char **argv);
/* The run, whose folder is open and whose settings have been read. */
int run_train(run *r);

/* What nobody needs who asked for quiet. */
#define run_tell(r, ...)               \
  do {                                 \
    if (!(r)->quiet) say(__VA_ARGS__); \
  } while (0)
void run_warn(run *r, const char *what);
/* Of a file that the run can do without; a build without libpng draws none. */
void run_warn_if_failed(run *r, mae_status status);

/* "50 images; an epoch is ... updates", for begin to say. */
typedef struct run_size {
  char text[256];
} run_size;
run_size run_size_of(const run *r);

#endif
