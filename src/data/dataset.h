/* Inside a dataset: its names, and what it takes to read an image of it. */
#ifndef MAE_DATA_DATASET_H
#define MAE_DATA_DATASET_H

#include <stdbool.h>

#include "data/image.h"
#include "data/labels.h"

/* An image as it is stored: encoded, or pixels lent by the dataset. */
typedef struct mae_item {
  mae_encoded encoded; /* data NULL: pixels */
  uint8_t *owned;      /* the encoded bytes, for free(); or NULL */
  mae_image pixels; /* rows side by side */
} mae_item;

typedef struct mae_dataset_class {
  mae_status (*fetch)(const mae_dataset *dataset, int64_t i, mae_item *item);
  void (*destroy)(mae_dataset *dataset); /* of `own`; may be NULL */
  mae_labels_find find_labels;           /* NULL: it has no classes */
} mae_dataset_class;

struct mae_dataset {
  const mae_dataset_class *class;
  int64_t count;
  char **names; /* [count], or NULL */
  int64_t room;
  mae_labels labels;
  void *own; /* the class's */
  mae_fetch callback;
  void *arg;
};

/* Each fills in a zeroed dataset, which on failure mae_dataset_destroy frees. */
mae_status mae_dataset_folder(mae_dataset *dataset, const char *path);
mae_status mae_dataset_list(mae_dataset *dataset, const char *path);
mae_status mae_dataset_idx(mae_dataset *dataset, const char *path);
mae_status mae_dataset_tars(mae_dataset *dataset, const char *const *paths,
                            int64_t n);

/* Append an image of this name, of which memory is taken over. */
mae_status mae_dataset_add(mae_dataset *dataset, char *name);
/* Datasets whose names are paths of files. */
extern const mae_dataset_class mae_dataset_files, mae_dataset_folders;

/* The order of names by their bytes, for qsort and bsearch. */
int mae_by_name(const void *a, const void *b);

/* Does the name end in one of these endings (NULL at the end of the list),
 * in upper or lower case? */
bool mae_name_ends(const char *name, const char *const *endings);
extern const char *const mae_image_endings[], *const mae_tar_endings[],
    *const mae_compressed_endings[];
/* MAE_ERROR_UNSUPPORTED: this tar file is compressed. */
mae_status mae_dataset_compressed(const char *path);

/* The permutation of epoch e is that of stream MAE_ORDER_STREAM + e. */
#define MAE_ORDER_STREAM UINT64_C(0x6f72646572000000) /* "order" */

void mae_item_free(mae_item *item);

#endif
