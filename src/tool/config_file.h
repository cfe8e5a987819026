/* Files of `key = value` lines; lines that begin with # are comments. */
#ifndef MAE_TOOL_CONFIG_FILE_H
#define MAE_TOOL_CONFIG_FILE_H

/* Calls take(arg, where, key, value) for each line, where being "FILE:LINE".
 * A take that returns another status than TOOL_OK ends the reading.  Returns a
 * tool status; what is wrong is said. */
typedef int (*config_take)(void *arg, const char *where, const char *key,
                           char *value);
int config_file_read(const char *path, config_take take, void *arg);

#endif
