#include "tool/rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct rows_file {
  rows_layout layout;
  mae_atomic_file data, text;
  bool npy;           /* then text is open */
  size_t header_size; /* kept free at the beginning of data */
  size_t count, most;
  const char **names; /* of the rows so far; not for npy */
};

int64_t row_bytes(const rows_layout *layout) {
  int64_t bytes = layout->dtype == MAE_DTYPE_F16 ? 2 : 4;
  for (int32_t i = 0; i < layout->ndim; i++) bytes *= layout->shape[i];
  return bytes;
}

static bool ends_in(const char *path, const char *suffix) {
  size_t n = strlen(path), m = strlen(suffix);
  return n > m && !strcmp(path + n - m, suffix);
}

bool rows_suffix_known(const char *path) {
  return ends_in(path, ".npy") || ends_in(path, ".safetensors");
}

char *rows_names_path(const char *path) {
  char *text = ends_in(path, ".npy") ? strdup(path) : NULL;
  if (text) strcpy(text + strlen(text) - strlen("npy"), "txt");
  return text;
}

/* Zeros where the header will be. */
static mae_status skip_header(rows_file *f) {
  char *zeros = mae_calloc(1, f->header_size);
  if (!zeros) return MAE_ERROR_OUT_OF_MEMORY;
  mae_status status = mae_atomic_write(&f->data, zeros, f->header_size);
  free(zeros);
  return status;
}

static mae_status begin_text(rows_file *f, const char *path) {
  char *text = rows_names_path(path);
  if (!text)
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for a file name");
  mae_status status = guarded_begin(text, &f->text);
  free(text);
  return status;
}

static mae_status measure_header(rows_file *f, const char *const *names,
                                 size_t n) {
  if (!f->npy) return tensor_header_room(&f->layout, names, n, &f->header_size);
  char *header = npy_header(&f->layout, 0, &f->header_size);
  if (!header)
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for a header");
  free(header);
  return MAE_OK;
}

static mae_status open_files(rows_file *f, const char *path,
                             const char *const *names) {
  MAE_TRY(measure_header(f, names, f->most));
  if (f->npy)
    MAE_TRY(begin_text(f, path));
  else if (!(f->names = mae_calloc(f->most, sizeof *f->names)))
    return MAE_ERROR_OUT_OF_MEMORY;
  MAE_TRY(guarded_begin(path, &f->data));
  return skip_header(f);
}

mae_status rows_begin(const char *path, const rows_layout *layout,
                      const char *const *names, size_t n_names,
                      rows_file **file) {
  rows_file *f = mae_calloc(1, sizeof *f);
  if (!f) return MAE_ERROR_OUT_OF_MEMORY;
  f->layout = *layout;
  f->npy = ends_in(path, ".npy");
  f->most = n_names;
  f->data.fd = f->text.fd = -1;
  mae_status status = open_files(f, path, names);
  if (status == MAE_OK)
    *file = f;
  else
    rows_abort(f);
  return status;
}

mae_status rows_add(rows_file *file, const void *data, const char *const *names,
                    size_t n) {
  if (n > file->most - file->count)
    return mae_fail(MAE_ERROR_STATE, "more rows than names");
  MAE_TRY(mae_atomic_write(&file->data, data,
                           n * (size_t)row_bytes(&file->layout)));
  for (size_t i = 0; i < n; i++) {
    if (!file->npy) {
      file->names[file->count + i] = names[i];
      continue;
    }
    MAE_TRY(mae_atomic_write(&file->text, names[i], strlen(names[i])));
    MAE_TRY(mae_atomic_write(&file->text, "\n", 1));
  }
  file->count += n;
  return MAE_OK;
}

static mae_status write_header(rows_file *f) {
  char *header = NULL;
  size_t size = f->header_size;
  if (!f->npy)
    MAE_TRY(tensor_header(&f->layout, f->names, f->count, size, &header));
  else if (!(header = npy_header(&f->layout, (int64_t)f->count, &size)))
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for a header");
  mae_status status = mae_atomic_write_at(&f->data, 0, header, size);
  free(header);
  return status;
}

static void destroy(rows_file *f) {
  free(f->names);
  free(f);
}

mae_status rows_commit(rows_file *file) {
  mae_status status = write_header(file);
  /* Names first: new rows never stand beside old names. */
  if (status == MAE_OK && file->npy) {
    status = guarded_commit(&file->text);
    file->text.fd = -1;
  }
  if (status == MAE_OK) {
    status = guarded_commit(&file->data);
    destroy(file);
  } else {
    rows_abort(file);
  }
  return status;
}

void rows_abort(rows_file *file) {
  if (!file) return;
  if (file->text.fd >= 0) guarded_abort(&file->text);
  if (file->data.fd >= 0) guarded_abort(&file->data);
  destroy(file);
}
