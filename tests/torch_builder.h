/* Hand-made pickles and archives, as torch.save's and as nobody's. */
#ifndef TESTS_TORCH_BUILDER_H
#define TESTS_TORCH_BUILDER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct builder {
  unsigned char *bytes;
  size_t size, room;
} builder;

static inline void put(builder *b, const void *bytes, size_t size) {
  if (b->size + size > b->room) {
    b->room = 2 * (b->size + size);
    b->bytes = realloc(b->bytes, b->room);
    if (!b->bytes) abort();
  }
  if (size) memcpy(b->bytes + b->size, bytes, size);
  b->size += size;
}

/* A string literal, NULs and all. */
#define PUT(b, literal) put(b, literal, sizeof(literal) - 1)

static inline void put_text(builder *b, const char *text) {
  uint32_t length = (uint32_t)strlen(text);
  PUT(b, "X");
  put(b, &length, 4);
  put(b, text, length);
}

static inline void put_global(builder *b, const char *module,
                              const char *name) {
  PUT(b, "c");
  put(b, module, strlen(module));
  PUT(b, "\n");
  put(b, name, strlen(name));
  PUT(b, "\n");
}

static inline void put_int(builder *b, int64_t number) {
  PUT(b, "\x8a\x08");
  put(b, &number, 8);
}

static inline void put_ints(builder *b, int n, const int64_t *numbers) {
  PUT(b, "(");
  for (int i = 0; i < n; i++) put_int(b, numbers[i]);
  PUT(b, "t");
}

typedef struct tensor_text {
  const char *name, *storage, *key;
  int64_t elements, offset;
  int n_sizes, n_strides;
  int64_t sizes[65], strides[65];
} tensor_text;

/* As torch.save writes it. */
static inline void put_tensor_value(builder *b, const tensor_text *t) {
  put_global(b, "torch._utils", "_rebuild_tensor_v2");
  PUT(b, "((");
  put_text(b, "storage");
  put_global(b, "torch", t->storage ? t->storage : "FloatStorage");
  put_text(b, t->key ? t->key : "0");
  put_text(b, "cpu");
  put_int(b, t->elements);
  PUT(b, "tQ");
  put_int(b, t->offset);
  put_ints(b, t->n_sizes, t->sizes);
  put_ints(b, t->n_strides, t->strides);
  PUT(b, "\x89");
  put_global(b, "collections", "OrderedDict");
  PUT(b, ")RtR");
}

static inline void put_tensor(builder *b, const tensor_text *t) {
  put_text(b, t->name);
  put_tensor_value(b, t);
}

static inline void begin_dict(builder *b) { PUT(b, "\x80\x02}("); }
static inline void end_dict(builder *b) { PUT(b, "u."); }

#endif
