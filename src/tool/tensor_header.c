/* The header of a .safetensors file of one tensor, "features", with the names
 * of its rows as a JSON list under "files" in the metadata. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tool/rows.h"

#ifdef MAE_HAVE_JSON

#include <jansson.h>

/* Readers refuse a header larger than this. */
enum { MOST_HEADER = 100000000 };

/* JSON holds UTF-8 alone, and a file's name may be any bytes: those that do
 * not fit become "?". */
static json_t *name_json(const char *name) {
  json_t *json = json_string(name);
  if (json) return json;
  char *copy = strdup(name);
  for (char *c = copy; c && *c; c++)
    if (*c & 0x80) *c = '?';
  json = copy ? json_string(copy) : NULL;
  free(copy);
  return json;
}

/* The list as text, for metadata values are strings. */
static char *list_text(const char *const *names, size_t n) {
  json_t *list = json_array();
  bool ok = list;
  for (size_t i = 0; ok && i < n; i++)
    ok = !json_array_append_new(list, name_json(names[i]));
  char *text = ok ? json_dumps(list, JSON_COMPACT) : NULL;
  json_decref(list);
  return text;
}

static json_t *shape_json(const rows_layout *layout, int64_t count) {
  json_t *shape = json_array();
  bool ok = shape && !json_array_append_new(shape, json_integer(count));
  for (int32_t i = 0; ok && i < layout->ndim; i++)
    ok = !json_array_append_new(shape, json_integer(layout->shape[i]));
  if (ok) return shape;
  json_decref(shape);
  return NULL;
}

static char *header_text(const rows_layout *layout, const char *const *names,
                         size_t n) {
  char *list = list_text(names, n);
  json_t *shape = shape_json(layout, (int64_t)n);
  json_t *header =
      list && shape
          ? json_pack("{s:{s:s, s:s}, s:{s:s, s:O, s:[I, I]}}", "__metadata__",
                      "format", "pt", "files", list, "features", "dtype",
                      layout->dtype == MAE_DTYPE_F16 ? "F16" : "F32", "shape",
                      shape, "data_offsets", (json_int_t)0,
                      (json_int_t)n * row_bytes(layout))
          : NULL;
  char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
  json_decref(header);
  json_decref(shape);
  free(list);
  return text;
}

mae_status tensor_header_room(const rows_layout *layout,
                              const char *const *names, size_t n,
                              size_t *size) {
  char *text = header_text(layout, names, n);
  if (!text)
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for the header");
  size_t room = mae_align(8 + strlen(text));
  free(text);
  if (room > MOST_HEADER)
    return mae_fail(MAE_ERROR_UNSUPPORTED,
                    "the names of %zu files do not fit a safetensors header; "
                    "write a .npy",
                    n);
  *size = room;
  return MAE_OK;
}

mae_status tensor_header(const rows_layout *layout, const char *const *names,
                         size_t n, size_t size, char **header) {
  char *text = header_text(layout, names, n);
  char *out = text ? mae_calloc(1, size) : NULL;
  size_t length = text ? strlen(text) : 0;
  mae_status status = MAE_OK;
  if (!out) {
    status = mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for the header");
  } else if (8 + length > size) {
    status = mae_fail(MAE_ERROR_STATE, "the header outgrew its room");
    free(out);
  } else {
    uint64_t rest = size - 8;
    memcpy(out, &rest, sizeof rest); /* little-endian, see io/safetensors.c */
    memset(out + 8, ' ', rest);
    memcpy(out + 8, text, length);
    *header = out;
  }
  free(text);
  return status;
}

#else /* built with JSON=none */

static mae_status unsupported(void) {
  return mae_fail(MAE_ERROR_UNSUPPORTED,
                  "this build lacks a JSON library, which .safetensors files "
                  "need; write a .npy");
}

mae_status tensor_header_room(const rows_layout *layout,
                              const char *const *names, size_t n,
                              size_t *size) {
  (void)layout, (void)names, (void)n, (void)size;
  return unsupported();
}

mae_status tensor_header(const rows_layout *layout, const char *const *names,
                         size_t n, size_t size, char **header) {
  (void)layout, (void)names, (void)n, (void)size, (void)header;
  return unsupported();
}

#endif
