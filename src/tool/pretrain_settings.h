/* The settings of a run: the same names as flags and in config files. */
#ifndef MAE_TOOL_PRETRAIN_SETTINGS_H
#define MAE_TOOL_PRETRAIN_SETTINGS_H

#include <limits.h>

#include "libmae/mae.h"
#include "tool/text.h"

enum { SETTINGS_MOST_CHANNELS = 16 };

typedef struct channel_values {
  float values[SETTINGS_MOST_CHANNELS];
  int32_t count; /* 0: ImageNet's */
} channel_values;

/* Until settings_settle, what is not given is 0 in config (norm_pix_loss -1),
 * and batch sizes are those of the whole run. */
typedef struct pretrain_settings {
  char data[PATH_MAX], model[32];
  mae_config config;
  mae_trainer_options trainer;
  mae_loader_options loader;
  mae_fit_options fit;
  int32_t epochs, effective_batch; /* 0: not given */
  double warmup_epochs;
  channel_values mean, std;
  int32_t threads, samples;
  int source; /* of what is being set: the second file is 2, ... */
  int batch_source, accum_source, effective_source; /* 0: the default */
} pretrain_settings;

void settings_init(pretrain_settings *s);

/* Settings by number, in the order of the help. */
int settings_count(void);
const char *settings_name(int i);
/* The help of all, line by line. */
void settings_print_help(void);

/* Set one from its text; where ("--" or "FILE:LINE: ") begins the message.
 * Returns a tool status. */
int settings_set(pretrain_settings *s, int i, const char *where,
                 const char *value);
/* All lines of a file.  What is set after it is of another source, and wins. */
int settings_read(pretrain_settings *s, const char *path);

/* Fill in what follows from the rest, for a process of `ranks`. */
int settings_settle(pretrain_settings *s, int32_t rank, int32_t ranks);

/* All settings in effect, as a file that settings_read takes; or of one the
 * value alone. */
void settings_write(const pretrain_settings *s, text *out);
void settings_write_value(const pretrain_settings *s, int i, text *out);

#endif
