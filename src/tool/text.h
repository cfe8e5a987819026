/* Text that grows.  Without memory it stays as it is, and `failed` tells. */
#ifndef MAE_TOOL_TEXT_H
#define MAE_TOOL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct text {
  char *bytes; /* a zero byte follows; NULL while empty */
  size_t size, room;
  bool failed;
} text;

void text_add(text *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void text_add_bytes(text *t, const void *bytes, size_t size);
/* With & < > " spelt as HTML wants them, and other bytes than UTF-8 as ?. */
void text_add_html(text *t, const char *plain);
/* A JSON string with its quotes; likewise. */
void text_add_json(text *t, const char *plain);
void text_add_base64(text *t, const void *bytes, size_t size);
/* Take bytes off the front. */
void text_drop(text *t, size_t size);
void text_free(text *t);

#endif
