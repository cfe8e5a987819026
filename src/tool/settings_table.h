/* The table of settings: names, places, bounds, help. */
#ifndef MAE_TOOL_SETTINGS_TABLE_H
#define MAE_TOOL_SETTINGS_TABLE_H

#include "tool/run_settings.h"

typedef enum setting_type {
  SETTING_HEADING, /* no setting: a line of the help */
  SETTING_PATH,
  SETTING_NAME, /* a word */
  SETTING_INT,    /* int32_t */
  SETTING_REAL,   /* double */
  SETTING_SEED,   /* uint64_t */
  SETTING_SIZE,   /* two int32_t, height and width */
  SETTING_VALUES, /* channel_values */
  SETTING_PRECISION /* mae_precision */
} setting_type;

typedef struct setting {
  int kinds; /* of runs that have it */
  const char *name;
  setting_type type;
  size_t offset, size; /* in run_settings */
  double least, most;
  const char *help;
} setting;

extern const setting settings_table[];

#endif
