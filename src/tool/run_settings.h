/* The settings of a run, of pretraining or fine-tuning: the same names as flags
 * and in config files. */
#ifndef MAE_TOOL_RUN_SETTINGS_H
#define MAE_TOOL_RUN_SETTINGS_H

#include <limits.h>
#include <stdbool.h>

#include "libmae/mae.h"
#include "tool/text.h"

/* What runs; each has settings of its own, and others share them. */
typedef enum run_kind { RUN_PRETRAIN = 1, RUN_FINETUNE = 2 } run_kind;

enum { SETTINGS_MOST = 128, SETTINGS_MOST_CHANNELS = 16 };

typedef struct channel_values {
  float values[SETTINGS_MOST_CHANNELS];
  int32_t count; /* 0: ImageNet's */
} channel_values;

/* Until they are settled (settle.h), what is not given is 0 in config
 * (norm_pix_loss -1), and batch sizes are those of the whole run. */
typedef struct run_settings {
  run_kind kind;
  char data[PATH_MAX], val[PATH_MAX]; /* val "": none */
  char model[PATH_MAX];               /* a preset's name, or of weights */
  char recipe[32];
  int32_t grid[2], decoder_heads; /* of weights that do not say it; 0 */
  mae_config config;
  mae_trainer_options trainer;
  mae_loader_options loader;
  mae_fit_options fit;
  int32_t epochs, effective_batch; /* 0: not given */
  double warmup_epochs;
  channel_values mean, std;
  int32_t threads, samples;
  bool given[SETTINGS_MOST];
  int source; /* of what is being set: the second file is 2, ... */
  int batch_source, accum_source, effective_source; /* 0: the default */
} run_settings;

void settings_init(run_settings *s, run_kind kind);

/* Settings by number, in the order of the help; NULL: none of this kind. */
int settings_count(void);
const char *settings_name(run_kind kind, int i);
/* The help of all, line by line. */
void settings_print_help(run_kind kind);

/* Set one from its text; where ("--" or "FILE:LINE: ") begins the message.
 * Returns a tool status. */
int settings_set(run_settings *s, int i, const char *where, const char *value);
/* All lines of a file.  What is set after it is of another source, and wins. */
int settings_read(run_settings *s, const char *path);

/* Has one of this name been set? */
bool settings_given(const run_settings *s, const char *name);
/* Those that have not been set, as they are in `from`. */
void settings_default(run_settings *s, const run_settings *from);

/* All settings in effect, as a file that settings_read takes; or of one the
 * value alone. */
void settings_write(const run_settings *s, text *out);
void settings_write_value(const run_settings *s, int i, text *out);

#endif
