/* Labels of a dataset: found beside its images, or given. */
#include "data/labels.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/dataset.h"

void mae_labels_free(mae_labels *labels) {
  for (int32_t i = 0; labels->names && i < labels->num_classes; i++)
    free(labels->names[i]);
  free(labels->names);
  free(labels->of);
  *labels = (mae_labels){0};
}

mae_status mae_labels_begin(mae_labels *labels, int64_t images, int32_t n) {
  labels->of = mae_calloc((size_t)images, sizeof *labels->of);
  labels->names = mae_calloc((size_t)n, sizeof *labels->names);
  labels->num_classes = n;
  return labels->of && labels->names ? MAE_OK : MAE_ERROR_OUT_OF_MEMORY;
}

static mae_status copy_names(mae_labels *labels, const char *const *names) {
  for (int32_t i = 0; i < labels->num_classes; i++) {
    labels->names[i] = strdup(names[i]);
    if (!labels->names[i])
      return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for a class name");
  }
  return MAE_OK;
}

static mae_status check_names(const char *const *names, int32_t n) {
  if (n < 1)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "num_classes is %d", n);
  for (int32_t i = 0; i < n; i++)
    if (!names[i])
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "class_names[%d] is NULL", i);
  return MAE_OK;
}

static void take_over(mae_dataset *d, const mae_labels *labels) {
  mae_labels_free(&d->labels);
  d->labels = *labels;
}

/* -------------------------------------------------- the numbering asked --- */

typedef struct entry {
  const char *name;
  int32_t number;
} entry;

static int by_name(const void *a, const void *b) {
  return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

static mae_status sort_names(const char *const *names, int32_t n,
                             entry *sorted) {
  for (int32_t i = 0; i < n; i++) sorted[i] = (entry){names[i], i};
  qsort(sorted, (size_t)n, sizeof *sorted, by_name);
  for (int32_t i = 1; i < n; i++)
    if (!by_name(&sorted[i - 1], &sorted[i]))
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "two class_names are '%s'",
                      sorted[i].name);
  return MAE_OK;
}

static mae_status number_images(const mae_dataset *d, const mae_labels *own,
                                const entry *sorted, mae_labels *asked) {
  int32_t last = -1, number = -1; /* images of a class come in a row, mostly */
  for (int64_t i = 0; i < d->count; i++) {
    if (own->of[i] != last) {
      const entry key = {own->names[last = own->of[i]], 0};
      const entry *found = bsearch(&key, sorted, (size_t)asked->num_classes,
                                   sizeof *sorted, by_name);
      if (!found)
        return mae_fail(MAE_ERROR_MISMATCH,
                        "%s: its class '%s' is none of the %d there are",
                        mae_dataset_name(d, i), key.name, asked->num_classes);
      number = found->number;
    }
    asked->of[i] = number;
  }
  return MAE_OK;
}

/* Labels by names of classes become those by the names asked for. */
static mae_status renumber(const mae_dataset *d, const mae_labels *own,
                           const char *const *names, int32_t n,
                           mae_labels *asked) {
  MAE_TRY(mae_labels_begin(asked, d->count, n));
  MAE_TRY(copy_names(asked, names));
  entry *sorted = mae_calloc((size_t)n, sizeof *sorted);
  if (!sorted) return MAE_ERROR_OUT_OF_MEMORY;
  mae_status status = sort_names(names, n, sorted);
  if (status == MAE_OK) status = number_images(d, own, sorted, asked);
  free(sorted);
  return status;
}

static mae_status apply_names(mae_dataset *d, const mae_labels *own,
                              const char *const *names, int32_t n) {
  mae_labels asked = {0};
  mae_status status = renumber(d, own, names, n, &asked);
  if (status == MAE_OK)
    take_over(d, &asked);
  else
    mae_labels_free(&asked);
  return status;
}

/* ---------------------------------------------------------------- calls --- */

static mae_status label(mae_dataset *d, const char *path,
                        const char *const *names, int32_t n) {
  mae_labels own = {0};
  if (!d->class->find_labels)
    return mae_fail(MAE_ERROR_UNSUPPORTED,
                    "%s: only folders and IDX files have classes", path);
  mae_status status = d->class->find_labels(d, path, names ? 0 : n, &own);
  if (status == MAE_OK && !names && n && own.num_classes != n)
    status = mae_fail(MAE_ERROR_MISMATCH, "%s: %d classes, not %d", path,
                      own.num_classes, n);
  if (status == MAE_OK && !names) {
    take_over(d, &own);
    return MAE_OK;
  }
  if (status == MAE_OK) status = apply_names(d, &own, names, n);
  mae_labels_free(&own);
  return status;
}

mae_status mae_dataset_open_labelled(const char *path,
                                     const char *const *class_names,
                                     int32_t num_classes, mae_dataset **out) {
  mae_dataset *d;
  MAE_REQUIRE(out);
  if (class_names) MAE_TRY(check_names(class_names, num_classes));
  if (num_classes < 0)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "num_classes is %d",
                    num_classes);
  MAE_TRY(mae_dataset_open(path, &d));
  mae_status status = label(d, path, class_names, num_classes);
  if (status != MAE_OK) {
    mae_dataset_destroy(d);
    return status;
  }
  *out = d;
  return MAE_OK;
}

static mae_status copy_labels(const int32_t *of, int64_t images, int32_t n,
                              const char *const *names, mae_labels *labels) {
  MAE_TRY(mae_labels_begin(labels, images, n));
  for (int64_t i = 0; i < images; i++) {
    if (of[i] < 0 || of[i] >= n)
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                      "labels[%lld] is %d, not 0 to %d", (long long)i, of[i],
                      n - 1);
    labels->of[i] = of[i];
  }
  if (names) return copy_names(labels, names);
  free(labels->names);
  labels->names = NULL;
  return MAE_OK;
}

mae_status mae_dataset_set_labels(mae_dataset *d, const int32_t *of,
                                  int32_t num_classes,
                                  const char *const *class_names) {
  mae_labels labels = {0};
  MAE_REQUIRE(d);
  MAE_REQUIRE(of);
  if (class_names) MAE_TRY(check_names(class_names, num_classes));
  if (num_classes < 1)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "num_classes is %d",
                    num_classes);
  mae_status status =
      copy_labels(of, d->count, num_classes, class_names, &labels);
  if (status == MAE_OK)
    take_over(d, &labels);
  else
    mae_labels_free(&labels);
  return status;
}

int32_t mae_dataset_num_classes(const mae_dataset *d) {
  return d ? d->labels.num_classes : 0;
}

const char *mae_dataset_class_name(const mae_dataset *d, int32_t c) {
  return d && d->labels.names && c >= 0 && c < d->labels.num_classes
             ? d->labels.names[c]
             : NULL;
}

int32_t mae_dataset_label(const mae_dataset *d, int64_t i) {
  return d && d->labels.of && i >= 0 && i < d->count ? d->labels.of[i] : -1;
}
