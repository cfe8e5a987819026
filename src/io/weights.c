#include "io/weights.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/atomic_file.h"
#include "io/torch_file.h"

struct mae_weights {
  mae_safetensors *safetensors; /* one of the two */
  mae_torch_file *torch;
  mae_weight *list; /* by name */
  int32_t count;
  char *mapping;
  size_t mapping_bytes;
};

/* ------------------------------------------------------------- opening --- */

typedef enum kind { SAFETENSORS, TORCH_ZIP, TORCH_OLD, PICKLE } kind;

/* The first bytes, zeros where there are none. */
static mae_status read_head(const char *path, unsigned char head[4]) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return mae_io_fail("open", path, errno);
  ssize_t n = 0;
  for (off_t at = 0; at < 4;) {
    n = pread(fd, head + at, 4 - (size_t)at, at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    at += n;
  }
  const int error = n < 0 && errno != EISDIR && errno != ESPIPE ? errno : 0;
  close(fd);
  return error ? mae_io_fail("read", path, error) : MAE_OK;
}

/* A safetensors file begins with the size of its header, at most 100 MB: the
 * first two below cannot be one.  What is no regular file is left to the
 * reader, which says so. */
static mae_status find_kind(const char *path, kind *found) {
  unsigned char head[4] = {0};
  MAE_TRY(read_head(path, head));
  *found = SAFETENSORS;
  if (!memcmp(head, "PK\3\4", 4))
    *found = TORCH_ZIP;
  else if (!memcmp(head, "\x80\2\x8a\n", 4))
    *found = TORCH_OLD;
  else if (head[0] == 0x80 && head[1] >= 2 && head[1] <= 5)
    *found = PICKLE;
  return MAE_OK;
}

static mae_status list_safetensors(mae_weights *w) {
  w->count = mae_safetensors_count(w->safetensors);
  w->list = mae_calloc((size_t)w->count, sizeof *w->list);
  if (!w->list) return MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t i = 0; i < w->count; i++) {
    mae_safetensors_info info = mae_safetensors_info_at(w->safetensors, i);
    w->list[i] = (mae_weight){.name = mae_safetensors_name(w->safetensors, i),
                              .element = info.element,
                              .ndim = info.ndim};
    memcpy(w->list[i].shape, info.shape, sizeof info.shape);
  }
  return MAE_OK;
}

static mae_status list_torch(mae_weights *w) {
  w->count = mae_torch_count(w->torch);
  w->list = mae_calloc((size_t)w->count, sizeof *w->list);
  if (!w->list) return MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t i = 0; i < w->count; i++) {
    const mae_torch_tensor *t = mae_torch_tensor_at(w->torch, i);
    w->list[i] =
        (mae_weight){.name = t->name, .element = t->element, .ndim = t->ndim};
    memcpy(w->list[i].shape, t->shape, sizeof t->shape);
  }
  return MAE_OK;
}

static mae_status open_safetensors(mae_weights *w, const char *path, bool map) {
  MAE_TRY(mae_safetensors_open(path, &w->safetensors));
  MAE_TRY(list_safetensors(w));
  if (!map) return MAE_OK;
  void *mapping = NULL;
  MAE_TRY(mae_safetensors_map(w->safetensors, &mapping, &w->mapping_bytes));
  w->mapping = mapping;
  return MAE_OK;
}

static mae_status open_file(mae_weights *w, const char *path, bool map) {
  kind found;
  MAE_TRY(find_kind(path, &found));
  switch (found) {
    case TORCH_ZIP:
      MAE_TRY(mae_torch_open(path, &w->torch));
      return list_torch(w);
    case TORCH_OLD:
      return mae_fail(MAE_ERROR_FORMAT,
                      "%s: torch.save's format from before torch 1.6; load it "
                      "in Python and torch.save it again",
                      path);
    case PICKLE: { /* or a header whose size looks like one */
      mae_status status = open_safetensors(w, path, map);
      if (status != MAE_ERROR_FORMAT) return status;
      return mae_fail(MAE_ERROR_FORMAT,
                      "%s: neither safetensors nor a zip archive of "
                      "torch.save, but a bare pickle",
                      path);
    }
    case SAFETENSORS: break;
  }
  return open_safetensors(w, path, map);
}

mae_status mae_weights_open(const char *path, bool map, mae_weights **out) {
  mae_weights *w = mae_calloc(1, sizeof *w);
  if (!w) return MAE_ERROR_OUT_OF_MEMORY;
  mae_status status = open_file(w, path, map);
  if (status != MAE_OK) {
    mae_weights_close(w);
    return status;
  }
  *out = w;
  return MAE_OK;
}

void mae_weights_close(mae_weights *weights) {
  if (!weights) return;
  if (weights->mapping) munmap(weights->mapping, weights->mapping_bytes);
  mae_safetensors_close(weights->safetensors);
  mae_torch_close(weights->torch);
  free(weights->list);
  free(weights);
}

/* -------------------------------------------------------------- access --- */

const char *mae_weights_format(const mae_weights *weights) {
  return weights->torch ? "pytorch" : "safetensors";
}

const mae_safetensors *mae_weights_safetensors(const mae_weights *weights) {
  return weights->safetensors;
}

int32_t mae_weights_count(const mae_weights *weights) { return weights->count; }

const mae_weight *mae_weights_at(const mae_weights *weights, int32_t i) {
  return &weights->list[i];
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const mae_weight *)a)->name, ((const mae_weight *)b)->name);
}

const mae_weight *mae_weights_find(const mae_weights *weights,
                                   const char *name) {
  mae_weight key = {.name = name};
  return bsearch(&key, weights->list, (size_t)weights->count, sizeof key,
                 by_name);
}

/* ------------------------------------------------------------- reading --- */

/* A safetensors file's bytes, a piece at a time. */
static mae_status convert(const mae_safetensors *file,
                          const mae_safetensors_info *info, float *into) {
  char buffer[16384];
  const int64_t each = mae_element_bytes(info->element);
  if (info->element == MAE_ELEMENT_F32)
    return mae_safetensors_bytes(file, info->offset, into, info->bytes);
  for (int64_t done = 0; done < info->bytes;) {
    const int64_t most = sizeof buffer, left = info->bytes - done;
    const int64_t part = left < most ? left : most;
    MAE_TRY(mae_safetensors_bytes(file, info->offset + done, buffer, part));
    mae_element_to_f32(info->element, buffer, part / each, into);
    into += part / each;
    done += part;
  }
  return MAE_OK;
}

mae_status mae_weights_read(mae_weights *weights, const mae_weight *weight,
                            float *into) {
  const int32_t i = (int32_t)(weight - weights->list);
  if (weights->torch)
    return mae_torch_read(weights->torch,
                          mae_torch_tensor_at(weights->torch, i), into);
  mae_safetensors_info info = mae_safetensors_info_at(weights->safetensors, i);
  return convert(weights->safetensors, &info, into);
}

float *mae_weights_in_place(const mae_weights *weights,
                            const mae_weight *weight) {
  if (!weights->mapping || weight->element != MAE_ELEMENT_F32) return NULL;
  mae_safetensors_info info = mae_safetensors_info_at(
      weights->safetensors, (int32_t)(weight - weights->list));
  if (info.offset % (int64_t)sizeof(float)) return NULL;
  return (float *)(void *)(weights->mapping + info.offset);
}

void *mae_weights_take_mapping(mae_weights *weights, size_t *bytes) {
  void *mapping = weights->mapping;
  *bytes = weights->mapping_bytes;
  weights->mapping = NULL;
  return mapping;
}
