#include "io/safetensors.h"

#ifdef MAE_HAVE_JSON

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/half.h"
#include "io/atomic_file.h"
#include "io/json_text.h"
#include "io/regular_file.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "safetensors files are little-endian");

/* The format allows 100 MB, of which a parser would make gigabytes.  These are
 * far beyond any model's header and bound the memory to some 200 MB. */
enum {
  MOST_HEADER = 16 << 20,
  MOST_CONTAINERS = 1 << 18,
  MOST_ITEMS = 1 << 20,
  MOST_DEPTH = 8
};

/* Position and shape of a tensor, checked against the file. */
typedef struct entry {
  const char *name; /* lent by the header */
  mae_element element;
  int64_t begin, end; /* in the data */
  int64_t ndim, shape[MAE_MAX_DIMS];
} entry;

struct mae_safetensors {
  int fd;
  char *path;
  json_t *header;
  int64_t data_begin, data_bytes;
  entry *entries; /* by name */
  int32_t count;
};

static mae_status bad(const mae_safetensors *file, const char *what,
                      const char *name) {
  return mae_fail(MAE_ERROR_FORMAT, "%s: %s%s%.100s", file->path, what,
                  name ? ": " : "", name ? name : "");
}

/* ------------------------------------------------------------ reading --- */

static mae_status read_at(const mae_safetensors *file, int64_t offset,
                          void *into, int64_t size) {
  char *at = into;
  while (size) {
    ssize_t n = pread(file->fd, at, size < SSIZE_MAX ? (size_t)size : SSIZE_MAX,
                      (off_t)offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return mae_io_fail("read", file->path, errno);
    if (n == 0) return bad(file, "the file is truncated", NULL);
    at += n;
    offset += n;
    size -= n;
  }
  return MAE_OK;
}

/* Count what the parser would take memory for, before it does. */
static mae_status check_header(const mae_safetensors *file, const char *text,
                               size_t size) {
  int64_t containers = 0, items = 0, depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < size; i++) {
    const char c = text[i];
    if (c == '"') quoted = !quoted;
    if (quoted) {
      if (c == '\\') i++;
      continue;
    }
    if (c == '{' || c == '[') containers++, depth++;
    if (c == '}' || c == ']') depth--;
    if (c == ',') items++;
    if (depth > MOST_DEPTH)
      return bad(file, "malformed header: its depth of nesting", NULL);
    if (containers > MOST_CONTAINERS || items > MOST_ITEMS)
      return bad(file, "a header of more items than any model's", NULL);
  }
  return MAE_OK;
}

static mae_status parse_header(mae_safetensors *file, const char *text,
                               size_t size) {
  json_error_t error;
  bool no_memory;
  file->header = mae_json_read(text, size, &error, &no_memory);
  if (no_memory)
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for the header of %s",
                    file->path);
  if (!file->header) return bad(file, "malformed header", error.text);
  if (!json_is_object(file->header))
    return bad(file, "the header is no JSON object", NULL);
  return MAE_OK;
}

static mae_status read_header(mae_safetensors *file, int64_t file_bytes) {
  uint64_t size = 0;
  if (file_bytes < (int64_t)sizeof size)
    return bad(file, "too short for a safetensors file", NULL);
  MAE_TRY(read_at(file, 0, &size, sizeof size));
  if (size < 2 || size > (uint64_t)file_bytes - sizeof size)
    return bad(file, "the header's size does not fit the file", NULL);
  if (size > MOST_HEADER)
    return bad(file, "the header's size is beyond any model's", NULL);
  file->data_begin = (int64_t)(sizeof size + size);
  file->data_bytes = file_bytes - file->data_begin;
  char *text = mae_calloc(1, (size_t)size);
  if (!text) return MAE_ERROR_OUT_OF_MEMORY;
  mae_status status = read_at(file, sizeof size, text, (int64_t)size);
  if (status == MAE_OK) status = check_header(file, text, (size_t)size);
  if (status == MAE_OK) status = parse_header(file, text, (size_t)size);
  free(text);
  return status;
}

static mae_status check_metadata(const mae_safetensors *file) {
  json_t *metadata = json_object_get(file->header, "__metadata__"), *value;
  const char *key;
  if (!metadata) return MAE_OK;
  if (!json_is_object(metadata))
    return bad(file, "the metadata is no JSON object", NULL);
  json_object_foreach(metadata, key, value) {
    if (!json_is_string(value))
      return bad(file, "a metadata value is no string", key);
  }
  return MAE_OK;
}

/* A non-negative integer from an array. */
static bool number_at(const json_t *array, size_t i, int64_t *out) {
  const json_t *value = json_array_get(array, i);
  if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
  *out = json_integer_value(value);
  return true;
}

static mae_status read_entry(const mae_safetensors *file, const char *name,
                             const json_t *value, entry *e) {
  const char *dtype = json_string_value(json_object_get(value, "dtype"));
  const json_t *shape = json_object_get(value, "shape");
  const json_t *offsets = json_object_get(value, "data_offsets");
  const mae_element element = mae_element_find(dtype);
  if (json_object_size(value) != 3 || !dtype || !json_is_array(shape) ||
      json_array_size(offsets) != 2)
    return bad(file, "an entry is not dtype, shape and data_offsets", name);
  if (element == MAE_ELEMENTS)
    return bad(file, "a dtype the format does not have", name);
  int64_t bytes = mae_element_bytes(element);
  *e = (entry){.name = name,
               .element = element,
               .ndim = (int64_t)json_array_size(shape)};
  for (size_t i = 0; i < json_array_size(shape); i++) {
    int64_t dim;
    if (!number_at(shape, i, &dim) || !mae_mul(bytes, dim, &bytes))
      return bad(file, "a shape of wrong or overflowing numbers", name);
    if (i < MAE_MAX_DIMS) e->shape[i] = dim;
  }
  if (!number_at(offsets, 0, &e->begin) || !number_at(offsets, 1, &e->end) ||
      e->begin > e->end || e->end > file->data_bytes)
    return bad(file, "data outside the file", name);
  if (e->end - e->begin != bytes)
    return bad(file, "data of another size than its shape", name);
  return MAE_OK;
}

static int by_offset(const void *a, const void *b) {
  const entry *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  return (x->end > y->end) - (x->end < y->end);
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

/* Neither overlaps nor holes, as the format demands. */
static mae_status check_cover(mae_safetensors *file) {
  int64_t at = 0;
  qsort(file->entries, (size_t)file->count, sizeof(entry), by_offset);
  for (int32_t i = 0; i < file->count; i++) {
    if (file->entries[i].begin != at)
      return bad(file, "data that overlaps or leaves a hole",
                 file->entries[i].name);
    at = file->entries[i].end;
  }
  if (at != file->data_bytes)
    return bad(file, "data that no tensor owns at the end", NULL);
  return MAE_OK;
}

static mae_status read_entries(mae_safetensors *file) {
  const char *name;
  json_t *value;
  file->entries =
      mae_calloc(json_object_size(file->header) + 1, sizeof *file->entries);
  if (!file->entries) return MAE_ERROR_OUT_OF_MEMORY;
  json_object_foreach(file->header, name, value) {
    if (!strcmp(name, "__metadata__")) continue;
    MAE_TRY(read_entry(file, name, value, &file->entries[file->count]));
    file->count++;
  }
  MAE_TRY(check_cover(file));
  qsort(file->entries, (size_t)file->count, sizeof(entry), by_name);
  return MAE_OK;
}

static mae_status open_file(mae_safetensors *file) {
  int64_t size = 0;
  MAE_TRY(mae_open_regular(file->path, &file->fd, &size));
  MAE_TRY(read_header(file, size));
  MAE_TRY(check_metadata(file));
  return read_entries(file);
}

mae_status mae_safetensors_open(const char *path, mae_safetensors **out) {
  mae_safetensors *file = mae_calloc(1, sizeof *file);
  if (!file) return MAE_ERROR_OUT_OF_MEMORY;
  file->fd = -1;
  file->path = strdup(path);
  mae_status status =
      file->path ? open_file(file)
                 : mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for a name");
  if (status != MAE_OK) {
    mae_safetensors_close(file);
    return status;
  }
  *out = file;
  return MAE_OK;
}

void mae_safetensors_close(mae_safetensors *file) {
  if (!file) return;
  if (file->fd >= 0) close(file->fd);
  json_decref(file->header);
  free(file->entries);
  free(file->path);
  free(file);
}

const char *mae_safetensors_metadata(const mae_safetensors *file,
                                     const char *key) {
  return json_string_value(
      json_object_get(json_object_get(file->header, "__metadata__"), key));
}

int32_t mae_safetensors_count(const mae_safetensors *file) {
  return file->count;
}

const char *mae_safetensors_name(const mae_safetensors *file, int32_t i) {
  return file->entries[i].name;
}

mae_safetensors_info mae_safetensors_info_at(const mae_safetensors *file,
                                             int32_t i) {
  const entry *e = &file->entries[i];
  mae_safetensors_info info = {.element = e->element,
                               .ndim = e->ndim,
                               .offset = file->data_begin + e->begin,
                               .bytes = e->end - e->begin};
  memcpy(info.shape, e->shape, sizeof info.shape);
  return info;
}

mae_status mae_safetensors_bytes(const mae_safetensors *file, int64_t offset,
                                 void *into, int64_t size) {
  return read_at(file, offset, into, size);
}

mae_status mae_safetensors_map(const mae_safetensors *file, void **mapping,
                               size_t *bytes) {
  const size_t size = (size_t)(file->data_begin + file->data_bytes);
  void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_NORESERVE, file->fd, 0);
  if (at == MAP_FAILED) return mae_io_fail("map", file->path, errno);
  *mapping = at;
  *bytes = size;
  return MAE_OK;
}

static const entry *find(const mae_safetensors *file, const char *name) {
  entry key = {.name = name};
  return bsearch(&key, file->entries, (size_t)file->count, sizeof key, by_name);
}

mae_status mae_safetensors_shape(const mae_safetensors *file, const char *name,
                                 mae_tensor *shape) {
  const entry *e = find(file, name);
  if (!e)
    return mae_fail(MAE_ERROR_MISMATCH, "%s has no tensor \"%.100s\"",
                    file->path, name);
  if (e->element != MAE_ELEMENT_F32 || e->ndim > MAE_MAX_DIMS)
    return mae_fail(MAE_ERROR_MISMATCH,
                    "%s: \"%.100s\" is not F32 of at most %d dimensions",
                    file->path, name, MAE_MAX_DIMS);
  if (e->begin == e->end)
    return mae_fail(MAE_ERROR_MISMATCH, "%s: \"%.100s\" is empty", file->path,
                    name);
  const int64_t scalar[] = {1};
  return mae_tensor_init(shape, e->ndim ? (int32_t)e->ndim : 1,
                         e->ndim ? e->shape : scalar);
}

mae_status mae_safetensors_check(const mae_safetensors *file, const char *name,
                                 const mae_tensor *expected) {
  mae_tensor shape;
  MAE_TRY(mae_safetensors_shape(file, name, &shape));
  if (!mae_tensor_same_shape(&shape, expected))
    return mae_fail(MAE_ERROR_MISMATCH,
                    "%s: \"%.100s\" has shape %s, expected %s", file->path,
                    name, mae_tensor_shape_text(&shape).text,
                    mae_tensor_shape_text(expected).text);
  return MAE_OK;
}

mae_status mae_safetensors_read(const mae_safetensors *file, const char *name,
                                mae_tensor *into) {
  MAE_TRY(mae_safetensors_check(file, name, into));
  const entry *e = find(file, name);
  return read_at(file, file->data_begin + e->begin, into->data,
                 e->end - e->begin);
}

/* ------------------------------------------------------------ writing --- */

/* What is written: tensors and texts, all tensors as one type. */
typedef struct content {
  mae_dtype dtype;
  const mae_safetensors_entry *entries;
  int32_t n_entries;
  const mae_safetensors_text *metadata;
  int32_t n_metadata;
} content;

static int64_t tensor_bytes(const mae_tensor *tensor, mae_dtype dtype) {
  return mae_tensor_size(tensor) *
         (int64_t)(dtype == MAE_DTYPE_F16 ? sizeof(uint16_t) : sizeof(float));
}

/* jansson's setters take the new reference and fail on NULL, so one test of
 * the outcome covers a whole expression. */
static bool add_entry(json_t *header, const mae_safetensors_entry *e,
                      mae_dtype dtype, int64_t begin) {
  if (json_object_get(header, e->name)) return false;
  json_t *shape = json_array();
  bool ok = shape != NULL;
  for (int32_t i = 0; i < e->tensor->ndim; i++)
    ok &= !json_array_append_new(shape, json_integer(e->tensor->shape[i]));
  const json_int_t first = begin, end = first + tensor_bytes(e->tensor, dtype);
  json_t *value = json_pack(
      "{s:s, s:o, s:[I, I]}", "dtype", dtype == MAE_DTYPE_F16 ? "F16" : "F32",
      "shape", shape, "data_offsets", first, end);
  return !json_object_set_new(header, e->name, value) && ok;
}

static bool add_metadata(json_t *header, const content *c) {
  if (!c->n_metadata) return true;
  json_t *metadata = json_object();
  bool ok = metadata != NULL;
  for (int32_t i = 0; i < c->n_metadata; i++)
    ok &= !json_object_set_new(metadata, c->metadata[i].key,
                               json_string(c->metadata[i].value));
  return !json_object_set_new(header, "__metadata__", metadata) && ok;
}

/* The header as text; NULL without memory, or when text is not UTF-8 or a name
 * comes twice. */
static char *header_text(const content *c) {
  json_t *header = json_object();
  bool ok = header && add_metadata(header, c);
  int64_t at = 0;
  for (int32_t i = 0; i < c->n_entries; i++) {
    ok = ok && add_entry(header, &c->entries[i], c->dtype, at);
    at += tensor_bytes(c->entries[i].tensor, c->dtype);
  }
  char *text = ok ? mae_json_write(header, JSON_COMPACT) : NULL;
  json_decref(header);
  return text;
}

static mae_status write_f16(mae_atomic_file *out, const mae_tensor *tensor) {
  uint16_t buffer[4096];
  const int64_t most = sizeof buffer / sizeof *buffer;
  const int64_t n = mae_tensor_size(tensor);
  for (int64_t done = 0; done < n;) {
    const int64_t part = n - done < most ? n - done : most;
    for (int64_t i = 0; i < part; i++)
      buffer[i] = mae_to_f16(tensor->data[done + i]);
    MAE_TRY(mae_atomic_write(out, buffer, (size_t)part * sizeof *buffer));
    done += part;
  }
  return MAE_OK;
}

static mae_status write_tensor(mae_atomic_file *out, const mae_tensor *tensor,
                               mae_dtype dtype) {
  if (dtype == MAE_DTYPE_F16) return write_f16(out, tensor);
  return mae_atomic_write(out, tensor->data,
                          (size_t)tensor_bytes(tensor, dtype));
}

/* Spaces after the header bring the data to an aligned offset. */
static mae_status write_all(mae_atomic_file *out, const char *header,
                            const content *c) {
  static const char spaces[MAE_ALIGNMENT] =
      "                                                               ";
  size_t length = strlen(header);
  uint64_t size = mae_align(sizeof size + length) - sizeof size;
  size_t padding = (size_t)size - length;
  MAE_TRY(mae_atomic_write(out, &size, sizeof size));
  MAE_TRY(mae_atomic_write(out, header, length));
  MAE_TRY(mae_atomic_write(out, spaces, padding));
  for (int32_t i = 0; i < c->n_entries; i++)
    MAE_TRY(write_tensor(out, c->entries[i].tensor, c->dtype));
  return MAE_OK;
}

mae_status mae_safetensors_write_as(const char *path, mae_dtype dtype,
                                    const mae_safetensors_entry *entries,
                                    int32_t n_entries,
                                    const mae_safetensors_text *metadata,
                                    int32_t n_metadata) {
  const content c = {dtype, entries, n_entries, metadata, n_metadata};
  char *header = header_text(&c);
  if (!header)
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY,
                    "%s: no memory for its header, or a bad or double name",
                    path);
  mae_atomic_file out;
  mae_status status = mae_atomic_begin(path, &out);
  if (status == MAE_OK) {
    status = write_all(&out, header, &c);
    if (status == MAE_OK)
      status = mae_atomic_commit(&out);
    else
      mae_atomic_abort(&out);
  }
  free(header);
  return status;
}

#else /* built with JSON=none */

static mae_status unsupported(void) {
  return mae_fail(MAE_ERROR_UNSUPPORTED,
                  "this libmae was built without a JSON library, which "
                  "checkpoints need");
}

mae_status mae_safetensors_open(const char *path, mae_safetensors **file) {
  (void)path, (void)file;
  return unsupported();
}

mae_status mae_safetensors_write_as(const char *path, mae_dtype dtype,
                                    const mae_safetensors_entry *entries,
                                    int32_t n_entries,
                                    const mae_safetensors_text *metadata,
                                    int32_t n_metadata) {
  (void)dtype, (void)path, (void)entries, (void)n_entries, (void)metadata,
      (void)n_metadata;
  return unsupported();
}

/* No file can be open, so the rest is never reached. */
void mae_safetensors_close(mae_safetensors *file) { (void)file; }

const char *mae_safetensors_metadata(const mae_safetensors *file,
                                     const char *key) {
  (void)file, (void)key;
  return NULL;
}

int32_t mae_safetensors_count(const mae_safetensors *file) {
  (void)file;
  return 0;
}

const char *mae_safetensors_name(const mae_safetensors *file, int32_t i) {
  (void)file, (void)i;
  return NULL;
}

mae_safetensors_info mae_safetensors_info_at(const mae_safetensors *file,
                                             int32_t i) {
  (void)file, (void)i;
  return (mae_safetensors_info){0};
}

mae_status mae_safetensors_bytes(const mae_safetensors *file, int64_t offset,
                                 void *into, int64_t size) {
  (void)file, (void)offset, (void)into, (void)size;
  return unsupported();
}

mae_status mae_safetensors_map(const mae_safetensors *file, void **mapping,
                               size_t *bytes) {
  (void)file, (void)mapping, (void)bytes;
  return unsupported();
}

mae_status mae_safetensors_shape(const mae_safetensors *file, const char *name,
                                 mae_tensor *shape) {
  (void)file, (void)name, (void)shape;
  return unsupported();
}

mae_status mae_safetensors_check(const mae_safetensors *file, const char *name,
                                 const mae_tensor *expected) {
  (void)file, (void)name, (void)expected;
  return unsupported();
}

mae_status mae_safetensors_read(const mae_safetensors *file, const char *name,
                                mae_tensor *into) {
  (void)file, (void)name, (void)into;
  return unsupported();
}

#endif

mae_status mae_safetensors_write(const char *path,
                                 const mae_safetensors_entry *entries,
                                 int32_t n_entries,
                                 const mae_safetensors_text *metadata,
                                 int32_t n_metadata) {
  return mae_safetensors_write_as(path, MAE_DTYPE_F32, entries, n_entries,
                                  metadata, n_metadata);
}
