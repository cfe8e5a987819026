/* JSON from text and to text, sure to tell when there is no memory: jansson
 * itself (2.14) then leaves out pieces of what it reads and writes. */
#ifndef MAE_IO_JSON_TEXT_H
#define MAE_IO_JSON_TEXT_H

#ifdef MAE_HAVE_JSON

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* A key that comes twice is malformed.  NULL: malformed, as the error says, or
 * no memory, as *no_memory. */
json_t *mae_json_read(const char *text, size_t size, json_error_t *error,
                      bool *no_memory);

/* With jansson's flags, for free(); NULL: no memory. */
char *mae_json_write(const json_t *value, size_t flags);

#endif
#endif
