#include "io/pickle.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Far more than the largest ViT's optimiser has; values and items then take
 * some 100 MB at the most, whatever a pickle says. */
enum { MOST_VALUES = 1 << 20, MOST_ITEMS = 1 << 22, MOST_NAME = 200 };

/* An item of a container; the next one, or -1. */
typedef struct item {
  int32_t value, next;
} item;

struct mae_pickle {
  mae_pickle_value *values;
  item *items;
  int32_t n_values, n_items;
  int32_t root;
};

/* A stack of numbers that grows. */
typedef struct numbers {
  int32_t *at, count, room;
} numbers;

typedef struct machine {
  const unsigned char *bytes;
  size_t size, at;
  unsigned char opcode; /* the one at work, and where it stands */
  size_t opcode_at;
  mae_pickle *out;
  int32_t value_room, item_room;
  numbers stack; /* values, and MARK */
  numbers memo;  /* values, and UNSET */
  bool stopped;
} machine;

enum { MARK = -1, UNSET = -1 };

/* -------------------------------------------------------------- names --- */

static const char *const opcode_names[256] = {
    ['('] = "MARK",          ['.'] = "STOP",
    ['0'] = "POP",           ['1'] = "POP_MARK",
    ['2'] = "DUP",           ['F'] = "FLOAT",
    ['I'] = "INT",           ['J'] = "BININT",
    ['K'] = "BININT1",       ['L'] = "LONG",
    ['M'] = "BININT2",       ['N'] = "NONE",
    ['P'] = "PERSID",        ['Q'] = "BINPERSID",
    ['R'] = "REDUCE",        ['S'] = "STRING",
    ['T'] = "BINSTRING",     ['U'] = "SHORT_BINSTRING",
    ['V'] = "UNICODE",       ['X'] = "BINUNICODE",
    ['a'] = "APPEND",        ['b'] = "BUILD",
    ['c'] = "GLOBAL",        ['d'] = "DICT",
    ['}'] = "EMPTY_DICT",    ['e'] = "APPENDS",
    ['g'] = "GET",           ['h'] = "BINGET",
    ['i'] = "INST",          ['j'] = "LONG_BINGET",
    ['l'] = "LIST",          [']'] = "EMPTY_LIST",
    ['o'] = "OBJ",           ['p'] = "PUT",
    ['q'] = "BINPUT",        ['r'] = "LONG_BINPUT",
    ['s'] = "SETITEM",       ['t'] = "TUPLE",
    [')'] = "EMPTY_TUPLE",   ['u'] = "SETITEMS",
    ['G'] = "BINFLOAT",      ['B'] = "BINBYTES",
    ['C'] = "SHORT_BINBYTES", [0x80] = "PROTO",
    [0x81] = "NEWOBJ",       [0x82] = "EXT1",
    [0x83] = "EXT2",         [0x84] = "EXT4",
    [0x85] = "TUPLE1",       [0x86] = "TUPLE2",
    [0x87] = "TUPLE3",       [0x88] = "NEWTRUE",
    [0x89] = "NEWFALSE",     [0x8a] = "LONG1",
    [0x8b] = "LONG4",        [0x8c] = "SHORT_BINUNICODE",
    [0x8d] = "BINUNICODE8",  [0x8e] = "BINBYTES8",
    [0x8f] = "EMPTY_SET",    [0x90] = "ADDITEMS",
    [0x91] = "FROZENSET",    [0x92] = "NEWOBJ_EX",
    [0x93] = "STACK_GLOBAL", [0x94] = "MEMOIZE",
    [0x95] = "FRAME",        [0x96] = "BYTEARRAY8",
    [0x97] = "NEXT_BUFFER",  [0x98] = "READONLY_BUFFER",
};

typedef enum role { ORDERED_DICT, TENSOR, PARAMETER, STORAGE } role;

/* All that a pickle may name. */
static const struct name {
  const char *module, *name;
  role role;
  mae_element element; /* of a storage */
} names[] = {
    {"collections", "OrderedDict", ORDERED_DICT, MAE_ELEMENTS},
    {"torch._utils", "_rebuild_tensor_v2", TENSOR, MAE_ELEMENTS},
    {"torch._utils", "_rebuild_parameter", PARAMETER, MAE_ELEMENTS},
    {"torch", "FloatStorage", STORAGE, MAE_ELEMENT_F32},
    {"torch", "DoubleStorage", STORAGE, MAE_ELEMENT_F64},
    {"torch", "HalfStorage", STORAGE, MAE_ELEMENT_F16},
    {"torch", "BFloat16Storage", STORAGE, MAE_ELEMENT_BF16},
    {"torch", "LongStorage", STORAGE, MAE_ELEMENT_I64},
    {"torch", "IntStorage", STORAGE, MAE_ELEMENT_I32},
    {"torch", "ShortStorage", STORAGE, MAE_ELEMENT_I16},
    {"torch", "CharStorage", STORAGE, MAE_ELEMENT_I8},
    {"torch", "ByteStorage", STORAGE, MAE_ELEMENT_U8},
    {"torch", "BoolStorage", STORAGE, MAE_ELEMENT_BOOL},
};

enum { NAMES = sizeof names / sizeof *names };

/* ------------------------------------------------------------- errors --- */

static mae_status refuse(const machine *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static mae_status refuse(const machine *m, const char *format, ...) {
  char why[256], number[24];
  va_list args;
  va_start(args, format);
  vsnprintf(why, sizeof why, format, args);
  va_end(args);
  snprintf(number, sizeof number, "0x%02x", m->opcode);
  const char *name = opcode_names[m->opcode];
  return mae_fail(MAE_ERROR_FORMAT, "opcode %s at byte %zu: %s",
                  name ? name : number, m->opcode_at, why);
}

static mae_status not_needed(const machine *m) {
  return refuse(m, "not part of a tensor state dict");
}

/* ------------------------------------------------------------ growing --- */

static mae_status push_number(numbers *list, int32_t number) {
  if (list->count == list->room) {
    int32_t room = list->room ? 2 * list->room : 256;
    void *at = mae_realloc(list->at, (size_t)room, sizeof *list->at);
    if (!at) return MAE_ERROR_OUT_OF_MEMORY;
    list->at = at, list->room = room;
  }
  list->at[list->count++] = number;
  return MAE_OK;
}

static mae_status push(machine *m, int32_t value) {
  if (m->stack.count >= MOST_ITEMS) return refuse(m, "the stack is too deep");
  return push_number(&m->stack, value);
}

static mae_status new_value(machine *m, mae_pickle_kind kind, int32_t *value) {
  mae_pickle *p = m->out;
  if (p->n_values == MOST_VALUES)
    return refuse(m, "more values than any state dict has");
  if (p->n_values == m->value_room) {
    int32_t room = m->value_room ? 2 * m->value_room : 256;
    void *at = mae_realloc(p->values, (size_t)room, sizeof *p->values);
    if (!at) return MAE_ERROR_OUT_OF_MEMORY;
    p->values = at, m->value_room = room;
  }
  *value = p->n_values++;
  p->values[*value] = (mae_pickle_value){.kind = kind, .first = -1, .last = -1};
  return MAE_OK;
}

static mae_status push_new(machine *m, mae_pickle_kind kind, int64_t number) {
  int32_t value = 0;
  MAE_TRY(new_value(m, kind, &value));
  m->out->values[value].number = number;
  return push(m, value);
}

static mae_status add_item(machine *m, int32_t container, int32_t value) {
  mae_pickle *p = m->out;
  if (p->n_items == MOST_ITEMS)
    return refuse(m, "more items than any state dict has");
  if (p->n_items == m->item_room) {
    int32_t room = m->item_room ? 2 * m->item_room : 256;
    void *at = mae_realloc(p->items, (size_t)room, sizeof *p->items);
    if (!at) return MAE_ERROR_OUT_OF_MEMORY;
    p->items = at, m->item_room = room;
  }
  int32_t made = p->n_items++;
  p->items[made] = (item){value, -1};
  mae_pickle_value *c = &p->values[container];
  if (c->count++)
    p->items[c->last].next = made;
  else
    c->first = made;
  c->last = made;
  return MAE_OK;
}

/* -------------------------------------------------------------- bytes --- */

static mae_status take(machine *m, uint64_t n, const unsigned char **bytes) {
  if (n > m->size - m->at)
    return refuse(m, "the pickle ends before its argument does");
  *bytes = m->bytes + m->at;
  m->at += (size_t)n;
  return MAE_OK;
}

/* A little-endian number of n <= 8 bytes. */
static mae_status take_number(machine *m, int n, uint64_t *number) {
  const unsigned char *bytes = NULL;
  MAE_TRY(take(m, (uint64_t)n, &bytes));
  *number = 0;
  for (int i = n; i-- > 0;) *number = *number << 8 | bytes[i];
  return MAE_OK;
}

/* ------------------------------------------------------ stack and memo --- */

static mae_status pop(machine *m, int32_t *value) {
  if (!m->stack.count || m->stack.at[m->stack.count - 1] == MARK)
    return refuse(m, "nothing on the stack to work on");
  *value = m->stack.at[--m->stack.count];
  return MAE_OK;
}

/* The values after the last mark: *begin in the stack, up to its end. */
static mae_status find_mark(const machine *m, int32_t *begin) {
  int32_t i = m->stack.count;
  while (i > 0 && m->stack.at[i - 1] != MARK) i--;
  if (!i) return refuse(m, "no MARK on the stack");
  *begin = i;
  return MAE_OK;
}

static mae_status put(machine *m, uint64_t slot) {
  if (!m->stack.count || m->stack.at[m->stack.count - 1] == MARK)
    return refuse(m, "nothing on the stack to remember");
  if (slot >= MOST_VALUES)
    return refuse(m, "memo %llu is out of range", (unsigned long long)slot);
  while ((uint64_t)m->memo.count <= slot)
    MAE_TRY(push_number(&m->memo, UNSET));
  m->memo.at[slot] = m->stack.at[m->stack.count - 1];
  return MAE_OK;
}

static mae_status get(machine *m, uint64_t slot) {
  if (slot >= (uint64_t)m->memo.count || m->memo.at[slot] == UNSET)
    return refuse(m, "memo %llu was never set", (unsigned long long)slot);
  return push(m, m->memo.at[slot]);
}

/* ---------------------------------------------------------- containers --- */

/* The values from `begin` on become a tuple. */
static mae_status make_tuple(machine *m, int32_t begin) {
  int32_t tuple = 0;
  MAE_TRY(new_value(m, MAE_PICKLE_TUPLE, &tuple));
  for (int32_t i = begin; i < m->stack.count; i++)
    MAE_TRY(add_item(m, tuple, m->stack.at[i]));
  m->stack.count = begin;
  return push(m, tuple);
}

static mae_status small_tuple(machine *m, int32_t n) {
  for (int32_t i = 1; i <= n; i++)
    if (m->stack.count < i || m->stack.at[m->stack.count - i] == MARK)
      return refuse(m, "nothing on the stack to work on");
  return make_tuple(m, m->stack.count - n);
}

static mae_status marked_tuple(machine *m) {
  int32_t begin = 0;
  MAE_TRY(find_mark(m, &begin));
  MAE_TRY(make_tuple(m, begin)); /* the mark is now below the tuple */
  m->stack.count--;
  m->stack.at[m->stack.count - 1] = m->stack.at[m->stack.count];
  return MAE_OK;
}

/* Move the values from `begin` on into the list or dict below `end`, and leave
 * the stack with that on top. */
static mae_status fill(machine *m, mae_pickle_kind kind, int32_t begin,
                       int32_t end) {
  if (end < 1 || m->stack.at[end - 1] == MARK ||
      m->out->values[m->stack.at[end - 1]].kind != kind)
    return refuse(m, "what it would add to is no %s",
                  kind == MAE_PICKLE_LIST ? "list" : "dict");
  if (kind == MAE_PICKLE_DICT && (m->stack.count - begin) % 2)
    return refuse(m, "a key without a value");
  for (int32_t i = begin; i < m->stack.count; i++)
    MAE_TRY(add_item(m, m->stack.at[end - 1], m->stack.at[i]));
  m->stack.count = end;
  return MAE_OK;
}

static mae_status fill_marked(machine *m, mae_pickle_kind kind) {
  int32_t begin = 0;
  MAE_TRY(find_mark(m, &begin));
  return fill(m, kind, begin, begin - 1);
}

static mae_status fill_top(machine *m, mae_pickle_kind kind, int32_t n) {
  int32_t begin = m->stack.count - n;
  for (int32_t i = begin; i < m->stack.count; i++)
    if (i < 0 || m->stack.at[i] == MARK)
      return refuse(m, "nothing on the stack to work on");
  return fill(m, kind, begin, begin);
}

/* -------------------------------------------------------------- names --- */

typedef struct printable {
  char text[64];
} printable;

static printable show(const unsigned char *text, size_t length) {
  printable out;
  size_t n = 0;
  for (; n < length && n < sizeof out.text - 1; n++)
    out.text[n] = text[n] > ' ' && text[n] < 127 ? (char)text[n] : '?';
  out.text[n] = '\0';
  return out;
}

static bool same(const unsigned char *text, size_t length, const char *word) {
  return strlen(word) == length && !memcmp(text, word, length);
}

static mae_status push_name(machine *m, const unsigned char *module,
                            size_t module_length, const unsigned char *name,
                            size_t name_length) {
  for (int i = 0; i < NAMES; i++)
    if (same(module, module_length, names[i].module) &&
        same(name, name_length, names[i].name))
      return push_new(m, MAE_PICKLE_NAME, i);
  return refuse(m, "%s.%s is not part of a tensor state dict",
                show(module, module_length).text, show(name, name_length).text);
}

static mae_status take_line(machine *m, const unsigned char **line,
                            size_t *length) {
  size_t left = m->size - m->at;
  const unsigned char *begin = m->bytes + m->at;
  const unsigned char *end =
      memchr(begin, '\n', left < MOST_NAME ? left : MOST_NAME);
  if (!end) return refuse(m, "a name without an end");
  *line = begin;
  *length = (size_t)(end - begin);
  m->at += *length + 1;
  return MAE_OK;
}

static mae_status global(machine *m) {
  const unsigned char *module = NULL, *name = NULL;
  size_t module_length = 0, name_length = 0;
  MAE_TRY(take_line(m, &module, &module_length));
  MAE_TRY(take_line(m, &name, &name_length));
  return push_name(m, module, module_length, name, name_length);
}

static mae_status stack_global(machine *m) {
  int32_t module = 0, name = 0;
  MAE_TRY(pop(m, &name));
  MAE_TRY(pop(m, &module));
  const mae_pickle_value *a = &m->out->values[module];
  const mae_pickle_value *b = &m->out->values[name];
  if (a->kind != MAE_PICKLE_TEXT || b->kind != MAE_PICKLE_TEXT)
    return refuse(m, "a name that is no text");
  return push_name(m, (const unsigned char *)a->text, (size_t)a->number,
                   (const unsigned char *)b->text, (size_t)b->number);
}

/* ------------------------------------------------------------ tensors --- */

static bool kinds_are(const mae_pickle *p, const mae_pickle_value *tuple,
                      const mae_pickle_kind *kinds, int32_t n) {
  int32_t at = tuple->first;
  for (int32_t i = 0; i < n; i++) {
    const mae_pickle_value *v = mae_pickle_next(p, &at);
    if (!v || v->kind != kinds[i]) return false;
  }
  return true;
}

/* A value of another kind with the tuple's items. */
static mae_status push_with_items(machine *m, mae_pickle_kind kind,
                                  int32_t tuple) {
  int32_t made = 0;
  MAE_TRY(new_value(m, kind, &made));
  const mae_pickle_value *from = &m->out->values[tuple];
  mae_pickle_value *to = &m->out->values[made];
  to->first = from->first, to->last = from->last, to->count = from->count;
  return push(m, made);
}

static mae_status storage(machine *m) {
  static const mae_pickle_kind kinds[] = {MAE_PICKLE_TEXT, MAE_PICKLE_NAME,
                                          MAE_PICKLE_TEXT, MAE_PICKLE_TEXT,
                                          MAE_PICKLE_INT};
  int32_t tuple = 0;
  MAE_TRY(pop(m, &tuple));
  const mae_pickle_value *t = &m->out->values[tuple];
  if (t->kind != MAE_PICKLE_TUPLE || t->count != 5 ||
      !kinds_are(m->out, t, kinds, 5) ||
      !mae_pickle_is(mae_pickle_item(m->out, t, 0), "storage") ||
      names[mae_pickle_item(m->out, t, 1)->number].role != STORAGE)
    return refuse(m, "no storage of a tensor");
  return push_with_items(m, MAE_PICKLE_STORAGE, tuple);
}

static mae_status tensor(machine *m, int32_t tuple) {
  static const mae_pickle_kind kinds[] = {MAE_PICKLE_STORAGE, MAE_PICKLE_INT,
                                          MAE_PICKLE_TUPLE, MAE_PICKLE_TUPLE};
  const mae_pickle_value *t = &m->out->values[tuple];
  if (t->count < 6 || t->count > 7 || !kinds_are(m->out, t, kinds, 4))
    return refuse(m, "not the arguments of a tensor");
  return push_with_items(m, MAE_PICKLE_TENSOR, tuple);
}

/* A parameter is its tensor. */
static mae_status parameter(machine *m, int32_t tuple) {
  static const mae_pickle_kind kinds[] = {MAE_PICKLE_TENSOR};
  const mae_pickle_value *t = &m->out->values[tuple];
  if (t->count != 3 || !kinds_are(m->out, t, kinds, 1))
    return refuse(m, "not the arguments of a parameter");
  return push(m, m->out->items[t->first].value);
}

static mae_status reduce(machine *m) {
  int32_t tuple = 0, callable = 0;
  MAE_TRY(pop(m, &tuple));
  MAE_TRY(pop(m, &callable));
  if (m->out->values[callable].kind != MAE_PICKLE_NAME ||
      m->out->values[tuple].kind != MAE_PICKLE_TUPLE)
    return refuse(m, "a call of what is no function");
  switch (names[m->out->values[callable].number].role) {
    case ORDERED_DICT:
      if (m->out->values[tuple].count)
        return refuse(m, "an OrderedDict with arguments");
      return push_new(m, MAE_PICKLE_DICT, 1);
    case TENSOR: return tensor(m, tuple);
    case PARAMETER: return parameter(m, tuple);
    case STORAGE: break;
  }
  return refuse(m, "a storage is not made by a call");
}

/* torch sets the attribute _metadata of a state dict, which is of no use
 * here. */
static mae_status build(machine *m) {
  int32_t state = 0, object = 0;
  MAE_TRY(pop(m, &state));
  MAE_TRY(pop(m, &object));
  const mae_pickle_value *o = &m->out->values[object];
  if (o->kind != MAE_PICKLE_DICT || !o->number)
    return refuse(m, "attributes of what is no OrderedDict");
  return push(m, object);
}

/* ------------------------------------------------------------ opcodes --- */

static mae_status text(machine *m, int length_bytes) {
  uint64_t length = 0;
  const unsigned char *bytes = NULL;
  int32_t value = 0;
  MAE_TRY(take_number(m, length_bytes, &length));
  MAE_TRY(take(m, length, &bytes));
  MAE_TRY(new_value(m, MAE_PICKLE_TEXT, &value));
  m->out->values[value].text = (const char *)bytes;
  m->out->values[value].number = (int64_t)length;
  return push(m, value);
}

static mae_status integer(machine *m, int bytes) {
  uint64_t number = 0;
  MAE_TRY(take_number(m, bytes, &number));
  /* Four bytes are signed, fewer are not. */
  return push_new(m, MAE_PICKLE_INT,
                  bytes == 4 ? (int32_t)number : (int64_t)number);
}

/* Two's complement, as short as it can be. */
static mae_status long_integer(machine *m) {
  uint64_t length = 0, number = 0;
  const unsigned char *bytes = NULL;
  MAE_TRY(take_number(m, 1, &length));
  MAE_TRY(take(m, length, &bytes));
  if (length > 8) return push_new(m, MAE_PICKLE_OTHER_NUMBER, 0);
  /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): take has failed */
  if (length && bytes[length - 1] & 0x80) number = UINT64_MAX;
  for (uint64_t i = length; i-- > 0;) number = number << 8 | bytes[i];
  return push_new(m, MAE_PICKLE_INT, (int64_t)number);
}

static mae_status floating(machine *m) {
  const unsigned char *bytes = NULL;
  MAE_TRY(take(m, 8, &bytes));
  return push_new(m, MAE_PICKLE_OTHER_NUMBER, 0);
}

static mae_status protocol(machine *m) {
  uint64_t version = 0;
  MAE_TRY(take_number(m, 1, &version));
  if (version < 2 || version > 5)
    return refuse(m, "protocol %d, not 2 to 5", (int)version);
  return MAE_OK;
}

static mae_status frame(machine *m) {
  uint64_t length = 0;
  MAE_TRY(take_number(m, 8, &length));
  if (length > m->size - m->at) return refuse(m, "a frame beyond the end");
  return MAE_OK;
}

static mae_status numbered(machine *m, int bytes,
                           mae_status (*act)(machine *, uint64_t)) {
  uint64_t slot = 0;
  MAE_TRY(take_number(m, bytes, &slot));
  return act(m, slot);
}

static mae_status stop(machine *m) {
  MAE_TRY(pop(m, &m->out->root));
  if (m->stack.count) return refuse(m, "values are left on the stack");
  if (m->at != m->size) return refuse(m, "bytes after the end");
  m->stopped = true;
  return MAE_OK;
}

static mae_status run_opcode(machine *m) {
  switch (m->opcode) {
    case 0x80: return protocol(m);
    case 0x95: return frame(m);
    case '(': return push(m, MARK);
    case '}': return push_new(m, MAE_PICKLE_DICT, 0);
    case ']': return push_new(m, MAE_PICKLE_LIST, 0);
    case ')': return push_new(m, MAE_PICKLE_TUPLE, 0);
    case 't': return marked_tuple(m);
    case 0x85: return small_tuple(m, 1);
    case 0x86: return small_tuple(m, 2);
    case 0x87: return small_tuple(m, 3);
    case 'a': return fill_top(m, MAE_PICKLE_LIST, 1);
    case 'e': return fill_marked(m, MAE_PICKLE_LIST);
    case 's': return fill_top(m, MAE_PICKLE_DICT, 2);
    case 'u': return fill_marked(m, MAE_PICKLE_DICT);
    case 'X': return text(m, 4);
    case 0x8c: return text(m, 1);
    case 0x8d: return text(m, 8);
    case 'J': return integer(m, 4);
    case 'K': return integer(m, 1);
    case 'M': return integer(m, 2);
    case 0x8a: return long_integer(m);
    case 'G': return floating(m);
    case 'N': return push_new(m, MAE_PICKLE_NONE, 0);
    case 0x88: return push_new(m, MAE_PICKLE_BOOL, 1);
    case 0x89: return push_new(m, MAE_PICKLE_BOOL, 0);
    case 'q': return numbered(m, 1, put);
    case 'r': return numbered(m, 4, put);
    case 0x94: return put(m, (uint64_t)m->memo.count);
    case 'h': return numbered(m, 1, get);
    case 'j': return numbered(m, 4, get);
    case 'c': return global(m);
    case 0x93: return stack_global(m);
    case 'Q': return storage(m);
    case 'R': return reduce(m);
    case 'b': return build(m);
    case '.': return stop(m);
  }
  return not_needed(m);
}

/* ------------------------------------------------------------- cycles --- */

/* Peel off what nothing holds, again and again: what is left holds itself. */
static mae_status check_cycles(const mae_pickle *p) {
  size_t n = (size_t)p->n_values;
  int32_t *holders = mae_calloc(2 * n, sizeof *holders);
  if (!holders) return MAE_ERROR_OUT_OF_MEMORY;
  int32_t *queue = holders + n;
  int32_t done = 0, queued = 0;
  for (size_t i = 0; i < n; i++)
    for (int32_t at = p->values[i].first; at >= 0; at = p->items[at].next)
      holders[p->items[at].value]++;
  for (int32_t i = 0; i < p->n_values; i++)
    if (!holders[i]) queue[queued++] = i;
  while (done < queued)
    for (int32_t at = p->values[queue[done++]].first; at >= 0;
         at = p->items[at].next)
      if (!--holders[p->items[at].value]) queue[queued++] = p->items[at].value;
  free(holders);
  if (done < p->n_values)
    return mae_fail(MAE_ERROR_FORMAT,
                    "the pickle has a container that holds itself");
  return MAE_OK;
}

/* --------------------------------------------------------------- whole --- */

static mae_status run(machine *m) {
  if (m->size < 2 || m->bytes[0] != 0x80)
    return mae_fail(MAE_ERROR_FORMAT, "no pickle of protocol 2 to 5");
  while (!m->stopped) {
    if (m->at == m->size)
      return mae_fail(MAE_ERROR_FORMAT, "the pickle ends without a STOP");
    m->opcode_at = m->at;
    m->opcode = m->bytes[m->at++];
    MAE_TRY(run_opcode(m));
  }
  return check_cycles(m->out);
}

mae_status mae_pickle_read(const void *bytes, size_t size, mae_pickle **out) {
  machine m = {.bytes = bytes, .size = size};
  m.out = mae_calloc(1, sizeof *m.out);
  if (!m.out) return MAE_ERROR_OUT_OF_MEMORY;
  mae_status status = run(&m);
  free(m.stack.at);
  free(m.memo.at);
  if (status == MAE_OK)
    *out = m.out;
  else
    mae_pickle_free(m.out);
  return status;
}

void mae_pickle_free(mae_pickle *pickle) {
  if (!pickle) return;
  free(pickle->values);
  free(pickle->items);
  free(pickle);
}

/* ------------------------------------------------------------- access --- */

const mae_pickle_value *mae_pickle_root(const mae_pickle *pickle) {
  return &pickle->values[pickle->root];
}

const mae_pickle_value *mae_pickle_next(const mae_pickle *pickle, int32_t *at) {
  if (*at < 0) return NULL;
  const item *i = &pickle->items[*at];
  *at = i->next;
  return &pickle->values[i->value];
}

const mae_pickle_value *mae_pickle_item(const mae_pickle *pickle,
                                        const mae_pickle_value *value,
                                        int32_t i) {
  int32_t at = value->first;
  const mae_pickle_value *found = mae_pickle_next(pickle, &at);
  while (found && i-- > 0) found = mae_pickle_next(pickle, &at);
  return found;
}

bool mae_pickle_is(const mae_pickle_value *value, const char *word) {
  return value->kind == MAE_PICKLE_TEXT &&
         same((const unsigned char *)value->text, (size_t)value->number, word);
}

mae_element mae_pickle_storage_element(const mae_pickle *pickle,
                                       const mae_pickle_value *storage) {
  return names[mae_pickle_item(pickle, storage, 1)->number].element;
}
