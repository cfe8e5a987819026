/* The classes of a dataset's images. */
#ifndef MAE_DATA_LABELS_H
#define MAE_DATA_LABELS_H

#include "base/error.h"

typedef struct mae_labels {
  int32_t *of; /* the class of each image; NULL: there are no labels */
  int32_t num_classes;
  char **names; /* [num_classes], or NULL */
} mae_labels;

void mae_labels_free(mae_labels *labels);

/* Room for the labels of `images` and the names of n classes, in a zeroed
 * struct, which the caller frees, also when this fails. */
mae_status mae_labels_begin(mae_labels *labels, int64_t images, int32_t n);

/* How a kind of dataset tells the classes of its images: what path, by which it
 * was opened, gives.  of and names are in the kind's own numbering; classes may
 * be added up to `least` when it leaves open how many there are. */
typedef mae_status (*mae_labels_find)(const mae_dataset *dataset,
                                      const char *path, int32_t least,
                                      mae_labels *labels);
mae_status mae_labels_of_folders(const mae_dataset *dataset, const char *path,
                                 int32_t least, mae_labels *labels);
mae_status mae_labels_of_idx(const mae_dataset *dataset, const char *path,
                             int32_t least, mae_labels *labels);

#endif
