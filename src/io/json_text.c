#include "io/json_text.h"

#ifdef MAE_HAVE_JSON

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* ------------------------------------------------------------- reading --- */

/* The parser collects each token in a buffer, does not look whether that could
 * grow, and then reads past its end.  So it gets an array of a string of
 * spaces, longer than all tokens of the text, and of the text: then the buffer
 * grows within that string alone, where bytes follow.  A failing malloc leaves
 * its mark in errno, and the next byte is not given. */
typedef struct input {
  const char *text;
  size_t size, spaces, at;
  bool no_memory;
} input;

static size_t longest_token(const char *text, size_t size) {
  size_t longest = 0, length = 0;
  bool quoted = false;
  for (size_t i = 0; i < size; i++) {
    const char c = text[i];
    const bool ends = quoted ? c == '"' : strchr(" \t\r\n,:[]{}", c) != NULL;
    length++;
    if (quoted && c == '\\') length++, i++;
    if (length > longest) longest = length;
    if (!quoted && c == '"') length = 1;
    if (c == '"') quoted = !quoted;
    if (ends) length = 0;
  }
  return longest;
}

/* The buffer's sizes are powers of two, and the string's end must not be the
 * byte at which it grows. */
static size_t choose_spaces(size_t longest) {
  const size_t token = longest + 2;
  return token & (token - 1) ? longest : longest + 1;
}

static char byte_at(const input *in, size_t i) {
  if (i < 2) return "[\""[i];
  i -= 2;
  if (i < in->spaces) return ' ';
  i -= in->spaces;
  if (i < 2) return "\","[i];
  i -= 2;
  return i < in->size ? in->text[i] : ']';
}

static size_t next_byte(void *buffer, size_t size, void *arg) {
  input *in = arg;
  (void)size;
  if (errno == ENOMEM) in->no_memory = true;
  if (in->no_memory || in->at == in->spaces + in->size + 5) return 0;
  *(char *)buffer = byte_at(in, in->at++);
  return 1;
}

json_t *mae_json_read(const char *text, size_t size, json_error_t *error,
                      bool *no_memory) {
  input in = {.text = text, .size = size};
  in.spaces = choose_spaces(longest_token(text, size));
  errno = 0;
  json_t *list =
      json_load_callback(next_byte, &in, JSON_REJECT_DUPLICATES, error);
  *no_memory = in.no_memory || errno == ENOMEM;
  json_t *value = *no_memory ? NULL : json_incref(json_array_get(list, 1));
  if (list && json_array_size(list) != 2) {
    strcpy(error->text, "not one value");
    json_decref(value);
    value = NULL;
  }
  json_decref(list);
  return value;
}

/* ------------------------------------------------------------- writing --- */

typedef struct output {
  char *text;
  size_t size, room;
  bool failed;
} output;

static int append(const char *piece, size_t size, void *arg) {
  output *out = arg;
  if (out->failed) return -1;
  if (size >= out->room - out->size) {
    const size_t room = 2 * out->room + size + 64;
    char *text = mae_realloc(out->text, room, 1);
    if (!text) {
      out->failed = true;
      return -1;
    }
    out->text = text;
    out->room = room;
  }
  memcpy(out->text + out->size, piece, size);
  out->size += size;
  return 0;
}

char *mae_json_write(const json_t *value, size_t flags) {
  output out = {NULL, 0, 0, false};
  const int failed = json_dump_callback(value, append, &out, flags) ||
                     append("", 1, &out);
  if (!failed && !out.failed) return out.text;
  free(out.text);
  return NULL;
}

#endif
