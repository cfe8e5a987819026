/* A restricted reader of Python pickles, for the state dicts of torch.save.
 *
 * It runs the opcodes that a tensor state dict needs and refuses every other;
 * of the names a pickle may call, it knows OrderedDict, torch's storages and
 * the two functions that put a tensor together.  Nothing is ever built or
 * called: the outcome is a table of plain values.  Memory is bounded by the
 * pickle's size and by fixed limits, and no recursion follows its nesting. */
#ifndef MAE_IO_PICKLE_H
#define MAE_IO_PICKLE_H

#include "base/error.h"
#include "io/element.h"

typedef enum mae_pickle_kind {
  MAE_PICKLE_NONE,
  MAE_PICKLE_BOOL,
  MAE_PICKLE_INT,
  MAE_PICKLE_OTHER_NUMBER, /* a float, or an integer beyond 64 bits */
  MAE_PICKLE_TEXT,
  MAE_PICKLE_TUPLE,
  MAE_PICKLE_LIST,
  MAE_PICKLE_DICT, /* items: key, value, key, value ... */
  MAE_PICKLE_NAME, /* one of the known names */
  MAE_PICKLE_STORAGE, /* items: "storage", its class, key, device, elements */
  MAE_PICKLE_TENSOR   /* items: storage, offset, size, stride, ... */
} mae_pickle_kind;

typedef struct mae_pickle mae_pickle;

typedef struct mae_pickle_value {
  mae_pickle_kind kind;
  int32_t first, last; /* items of tuples and what follows them above */
  int32_t count;       /* of items */
  int64_t number;      /* INT, BOOL; of TEXT its length */
  const char *text;    /* TEXT: lent by the bytes, not terminated */
} mae_pickle_value;

/* The bytes must outlive the pickle.  MAE_ERROR_FORMAT names the opcode and
 * the byte it stands at. */
mae_status mae_pickle_read(const void *bytes, size_t size, mae_pickle **pickle);
void mae_pickle_free(mae_pickle *pickle);

const mae_pickle_value *mae_pickle_root(const mae_pickle *pickle);

/* Go through the items of a value: from its `first` on, *at moves to the next
 * one.  NULL at the end. */
const mae_pickle_value *mae_pickle_next(const mae_pickle *pickle, int32_t *at);
/* Item i; NULL when there is none. */
const mae_pickle_value *mae_pickle_item(const mae_pickle *pickle,
                                        const mae_pickle_value *value,
                                        int32_t i);
/* Is this the text `word`? */
bool mae_pickle_is(const mae_pickle_value *value, const char *word);
/* Of a storage: what it is made of. */
mae_element mae_pickle_storage_element(const mae_pickle *pickle,
                                       const mae_pickle_value *storage);

#endif
