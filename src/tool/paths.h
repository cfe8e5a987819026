/* The image files a command works on. */
#ifndef MAE_TOOL_PATHS_H
#define MAE_TOOL_PATHS_H

#include <stdbool.h>
#include <stddef.h>

#include "tool/failures.h"

typedef struct path_list {
  char **items;
  size_t count, room;
} path_list;

/* A file is taken whatever its name is.  A folder gives the .jpg, .jpeg, .png
 * and .webp files in it and in the folders below, in the order of their
 * names; what cannot be listed goes to failures.  Returns a tool status. */
int paths_add(path_list *list, const char *path, failures *failed);

/* As paths_add for each line of a file ("-": stdin), or with null for each
 * text that ends with a zero byte.  Empty ones are passed over. */
int paths_add_from(path_list *list, const char *file, bool null,
                   failures *failed);
void paths_free(path_list *list);

#endif
