/* The restricted unpickler: what it reads, and all that it refuses. */
#include "golden.h"
#include "io/pickle.h"
#include "suites.h"
#include "torch_builder.h"

#define LITERAL(text) text, sizeof(text) - 1

static mae_status read_and_free(const void *bytes, size_t size) {
  /* In memory of its own size, so that a sanitizer sees a step beyond. */
  unsigned char *copy = malloc(size ? size : 1);
  memcpy(copy, bytes, size);
  mae_pickle *p = NULL;
  mae_status status = mae_pickle_read(copy, size, &p);
  ck_assert((status == MAE_OK) == (p != NULL));
  mae_pickle_free(p);
  free(copy);
  return status;
}

/* ------------------------------------------------------------- reading --- */

START_TEST(plain_values) {
  static const char bytes[] =
      "\x80\x04\x95\x10\0\0\0\0\0\0\0](NK\x07M\x01\x02J\xfe\xff\xff\xff"
      "\x8a\x02\0\x80\x8a\0G?\xf0\0\0\0\0\0\0\x88\x89X\x02\0\0\0hi\x8c\x01x"
      "\x8d\x01\0\0\0\0\0\0\0y\x94h\0\x8a\x09\1\1\1\1\1\1\1\1\1)e.";
  static const struct {
    mae_pickle_kind kind;
    int64_t number;
  } expected[] = {{MAE_PICKLE_NONE, 0},         {MAE_PICKLE_INT, 7},
                  {MAE_PICKLE_INT, 513},        {MAE_PICKLE_INT, -2},
                  {MAE_PICKLE_INT, -32768},     {MAE_PICKLE_INT, 0},
                  {MAE_PICKLE_OTHER_NUMBER, 0}, {MAE_PICKLE_BOOL, 1},
                  {MAE_PICKLE_BOOL, 0},         {MAE_PICKLE_TEXT, 2},
                  {MAE_PICKLE_TEXT, 1},         {MAE_PICKLE_TEXT, 1},
                  {MAE_PICKLE_TEXT, 1},         {MAE_PICKLE_OTHER_NUMBER, 0},
                  {MAE_PICKLE_TUPLE, 0}};
  mae_pickle *p;
  ASSERT_OK(mae_pickle_read(LITERAL(bytes), &p));
  const mae_pickle_value *list = mae_pickle_root(p), *v;
  ck_assert_int_eq(list->kind, MAE_PICKLE_LIST);
  ck_assert_int_eq(list->count, 15);
  int32_t at = list->first;
  for (int i = 0; i < 15; i++) {
    ck_assert_ptr_nonnull(v = mae_pickle_next(p, &at));
    ck_assert_int_eq(v->kind, expected[i].kind);
    ck_assert_int_eq(v->number, expected[i].number);
  }
  ck_assert_ptr_null(mae_pickle_next(p, &at));
  ck_assert(mae_pickle_is(mae_pickle_item(p, list, 9), "hi"));
  ck_assert(!mae_pickle_is(mae_pickle_item(p, list, 9), "h"));
  ck_assert(mae_pickle_is(mae_pickle_item(p, list, 12), "y"));
  ck_assert_ptr_null(mae_pickle_item(p, list, 15));
  mae_pickle_free(p);
}
END_TEST

START_TEST(containers) {
  static const char bytes[] =
      "\x80\x02}q\0(K\x01K\x02\x86)K\x03K\x04K\x05\x87K\x06\x85uK\x07]K\x0b"
      "as.";
  static const int32_t counts[] = {2, 0, 3, 1, 0, 1};
  mae_pickle *p;
  ASSERT_OK(mae_pickle_read(LITERAL(bytes), &p));
  const mae_pickle_value *dict = mae_pickle_root(p);
  ck_assert_int_eq(dict->kind, MAE_PICKLE_DICT);
  ck_assert_int_eq(dict->count, 6);
  for (int32_t i = 0; i < 6; i++)
    ck_assert_int_eq(mae_pickle_item(p, dict, i)->count, counts[i]);
  const mae_pickle_value *three = mae_pickle_item(p, dict, 2);
  for (int32_t i = 0; i < 3; i++)
    ck_assert_int_eq(mae_pickle_item(p, three, i)->number, 3 + i);
  ck_assert_int_eq(mae_pickle_item(p, mae_pickle_item(p, dict, 5), 0)->number,
                   11);
  mae_pickle_free(p);
}
END_TEST

static const tensor_text sample = {
    "w", "BFloat16Storage", "0", 77, 5, 2, 2, {3, 4}, {4, 1}};

static void check_tensor(const mae_pickle *p, const mae_pickle_value *v) {
  ck_assert_int_eq(v->kind, MAE_PICKLE_TENSOR);
  const mae_pickle_value *storage = mae_pickle_item(p, v, 0);
  ck_assert_int_eq(storage->kind, MAE_PICKLE_STORAGE);
  ck_assert_int_eq(mae_pickle_storage_element(p, storage), MAE_ELEMENT_BF16);
  ck_assert_int_eq(mae_pickle_item(p, storage, 4)->number, 77);
  ck_assert_int_eq(mae_pickle_item(p, v, 1)->number, 5);
  const mae_pickle_value *sizes = mae_pickle_item(p, v, 2);
  ck_assert_int_eq(sizes->count, 2);
  ck_assert_int_eq(mae_pickle_item(p, sizes, 1)->number, 4);
}

/* A tensor, a parameter and the _metadata of a state dict. */
static builder sample_pickle(void) {
  builder b = {0};
  PUT(&b, "\x80\x02");
  put_global(&b, "collections", "OrderedDict");
  PUT(&b, ")R(");
  put_tensor(&b, &sample);
  put_text(&b, "p");
  put_global(&b, "torch._utils", "_rebuild_parameter");
  PUT(&b, "(");
  put_tensor_value(&b, &sample);
  PUT(&b, "\x88)tRu}");
  put_text(&b, "_metadata");
  PUT(&b, "Nsb.");
  return b;
}

START_TEST(tensors) {
  builder b = sample_pickle();
  mae_pickle *p;
  ASSERT_OK(mae_pickle_read(b.bytes, b.size, &p));
  const mae_pickle_value *dict = mae_pickle_root(p);
  ck_assert_int_eq(dict->kind, MAE_PICKLE_DICT);
  ck_assert_int_eq(dict->count, 4);
  check_tensor(p, mae_pickle_item(p, dict, 1));
  check_tensor(p, mae_pickle_item(p, dict, 3));
  mae_pickle_free(p);
  free(b.bytes);
}
END_TEST

/* ------------------------------------------------------------ refusing --- */

#define P "\x80\x02"
#define PERSISTENT "(X\7\0\0\0storagectorch\nFloatStorage\n"

static const struct {
  const char *bytes;
  size_t size;
  const char *word;
} refused[] = {
    {LITERAL(""), "no pickle"},
    {LITERAL("\x80"), "no pickle"},
    {LITERAL("(l."), "no pickle"},
    {LITERAL("\x80\x01N."), "protocol 1"},
    {LITERAL("\x80\x06N."), "protocol 6"},
    {LITERAL(P "N"), "without a STOP"},
    {LITERAL(P "."), "STOP at byte 2"},
    {LITERAL(P "NN."), "left on the stack"},
    {LITERAL(P "(."), "STOP"},
    {LITERAL(P "(N."), "left on the stack"},
    {LITERAL(P "N.N"), "after the end"},
    /* calls, classes and objects */
    {LITERAL(P "cos\nsystem\n"), "GLOBAL at byte 2: os.system"},
    {LITERAL(P "cposix\nsystem\n(X\x06\0\0\0reboottR."), "posix.system"},
    {LITERAL(P "c__builtin__\neval\n"), "__builtin__.eval"},
    {LITERAL(P "cbuiltins\ngetattr\n"), "builtins.getattr"},
    {LITERAL(P "cargparse\nNamespace\n"), "argparse.Namespace"},
    {LITERAL(P "ctorch\nload\n"), "torch.load"},
    {LITERAL(P "ctorch\nFloatStorage.from_file\n"), "FloatStorage.from_file"},
    {LITERAL(P "ctorch._utils\n_rebuild_tensor\n"), "_rebuild_tensor"},
    {LITERAL(P "c\n\n"), "GLOBAL"},
    {LITERAL(P "c\x1b[2J\nx\n"), "?[2J.x"},
    {LITERAL(P "ccollections"), "GLOBAL at byte 2: a name without an end"},
    {LITERAL("\x80\x04\x8c\2os\x8c\6system\x93."), "STACK_GLOBAL at byte 14"},
    {LITERAL("\x80\x04NN\x93."), "no text"},
    {LITERAL("\x80\x04N\x93."), "STACK_GLOBAL"},
    {LITERAL(P "(ios\nsystem\n."), "INST at byte 3"},
    {LITERAL(P "(cos\nsystem\no."), "os.system"},
    {LITERAL(P "(No."), "OBJ"},
    {LITERAL(P "N)\x81."), "NEWOBJ"},
    {LITERAL("\x80\x04N)}\x92."), "NEWOBJ_EX"},
    {LITERAL(P "\x82\1."), "EXT1"},
    {LITERAL(P "\x83\1\0."), "EXT2"},
    {LITERAL(P "\x84\1\0\0\0."), "EXT4"},
    {LITERAL(P "Pabc\n."), "PERSID"},
    {LITERAL(P "N)R."), "REDUCE at byte 4: a call of what is no function"},
    {LITERAL(P "ccollections\nOrderedDict\nNR."), "REDUCE"},
    {LITERAL(P "ccollections\nOrderedDict\n]R."), "REDUCE"},
    {LITERAL(P "ccollections\nOrderedDict\nN\x85R."), "with arguments"},
    {LITERAL(P "ctorch\nFloatStorage\n)R."), "not made by a call"},
    {LITERAL(P "ctorch._utils\n_rebuild_tensor_v2\n)R."), "of a tensor"},
    {LITERAL(P "ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR."), "of a tensor"},
    {LITERAL(P "ctorch._utils\n_rebuild_parameter\n)R."), "of a parameter"},
    {LITERAL(P "ctorch._utils\n_rebuild_parameter\n(NNNtR."), "of a parameter"},
    {LITERAL(P "}}b."), "BUILD at byte 4"},
    {LITERAL(P "N}b."), "BUILD"},
    {LITERAL(P "}b."), "BUILD"},
    /* storages */
    {LITERAL(P "NQ."), "BINPERSID at byte 3"},
    {LITERAL(P "Q."), "BINPERSID"},
    {LITERAL(P ")Q."), "no storage"},
    {LITERAL(P "X\1\0\0\0sQ."), "no storage"},
    {LITERAL(P PERSISTENT "X\1\0\0\0" "0X\1\0\0\0cNtQ."), "no storage"},
    {LITERAL(P PERSISTENT "X\1\0\0\0" "0X\1\0\0\0cK\1NtQ."), "no storage"},
    {LITERAL(P PERSISTENT "NX\1\0\0\0cK\1tQ."), "no storage"},
    {LITERAL(P "(X\7\0\0\0storagfctorch\nFloatStorage\nX\1\0\0\0" "0X\1\0\0\0cK"
             "\1tQ."), "no storage"},
    {LITERAL(P "(X\7\0\0\0storageccollections\nOrderedDict\nX\1\0\0\0" "0X\1\0"
             "\0\0cK\1tQ."), "no storage"},
    /* what a state dict has no use for */
    {LITERAL(P "I1\n."), "INT at"},
    {LITERAL(P "L1L\n."), "LONG at"},
    {LITERAL(P "F1\n."), "FLOAT"},
    {LITERAL(P "S'a'\n."), "STRING"},
    {LITERAL(P "Va\n."), "UNICODE"},
    {LITERAL(P "U\1a."), "SHORT_BINSTRING"},
    {LITERAL(P "T\1\0\0\0a."), "BINSTRING"},
    {LITERAL(P "C\1a."), "SHORT_BINBYTES"},
    {LITERAL(P "\x8e\1\0\0\0\0\0\0\0a."), "BINBYTES8"},
    {LITERAL(P "\x96\1\0\0\0\0\0\0\0a."), "BYTEARRAY8"},
    {LITERAL(P "\x8f."), "EMPTY_SET"},
    {LITERAL(P "(\x91."), "FROZENSET"},
    {LITERAL(P "\x97."), "NEXT_BUFFER"},
    {LITERAL(P "N0."), "POP"},
    {LITERAL(P "(1."), "POP_MARK"},
    {LITERAL(P "N2."), "DUP"},
    {LITERAL(P "(d."), "DICT"},
    {LITERAL(P "(l."), "LIST"},
    {LITERAL(P "\x8b\1\0\0\0\1."), "LONG4"},
    {LITERAL(P "\xff."), "opcode 0xff at byte 2"},
    {LITERAL(P "\0."), "opcode 0x00"},
    /* the stack */
    {LITERAL(P "t."), "no MARK"},
    {LITERAL(P "\x85."), "TUPLE1"},
    {LITERAL(P "N\x86."), "TUPLE2"},
    {LITERAL(P "N(N\x86."), "TUPLE2"},
    {LITERAL(P "NN\x87."), "TUPLE3"},
    {LITERAL(P "a."), "APPEND at"},
    {LITERAL(P "]a."), "APPEND at"},
    {LITERAL(P "](a."), "APPEND at"},
    {LITERAL(P "(Na."), "no list"},
    {LITERAL(P "}Na."), "no list"},
    {LITERAL(P "(e."), "no list"},
    {LITERAL(P "e."), "no MARK"},
    {LITERAL(P ")(Ne."), "no list"},
    {LITERAL(P "}(Ne."), "no list"},
    {LITERAL(P "s."), "SETITEM at"},
    {LITERAL(P "}Ns."), "SETITEM at"},
    {LITERAL(P "]NNs."), "no dict"},
    {LITERAL(P "NNs."), "SETITEM at"},
    {LITERAL(P "](NNu."), "no dict"},
    {LITERAL(P "}(Nu."), "without a value"},
    {LITERAL(P "u."), "no MARK"},
    {LITERAL(P "((NNu."), "no dict"},
    /* the memo */
    {LITERAL(P "h\0."), "BINGET at byte 2: memo 0 was never set"},
    {LITERAL(P "Nq\5h\4."), "memo 4"},
    {LITERAL(P "j\xff\xff\xff\xff."), "memo 4294967295"},
    {LITERAL(P "Nr\xff\xff\xff\xff."), "LONG_BINPUT at byte 3"},
    {LITERAL(P "Nr\0\0\x10\0."), "out of range"},
    {LITERAL(P "q\0."), "nothing on the stack to remember"},
    {LITERAL(P "(q\0."), "nothing on the stack to remember"},
    {LITERAL(P "\x94."), "MEMOIZE"},
    /* lengths that lie */
    {LITERAL(P "X\xff\xff\xff\xff" "a."), "BINUNICODE at byte 2"},
    {LITERAL(P "\x8d\xff\xff\xff\xff\xff\xff\xff\xff" "a."), "BINUNICODE8"},
    {LITERAL(P "\x8c\xff" "a."), "SHORT_BINUNICODE"},
    {LITERAL(P "\x8a\xff\1."), "LONG1"},
    {LITERAL(P "G\0\0."), "BINFLOAT"},
    {LITERAL("\x80\x04\x95\xff\0\0\0\0\0\0\0N."), "FRAME"},
    /* containers that hold themselves */
    {LITERAL(P "]q\0h\0a."), "holds itself"},
    {LITERAL(P "}q\0K\1h\0s."), "holds itself"},
    {LITERAL(P "}q\0(K\1]q\1h\0\x85" "au."), "holds itself"},
    {LITERAL(P "]q\0(]q\1h\0ah\1e."), "holds itself"},
};

START_TEST(refusals) {
  ASSERT_FAILS(read_and_free(refused[_i].bytes, refused[_i].size),
               MAE_ERROR_FORMAT, refused[_i].word);
}
END_TEST

/* -------------------------------------------------------------- bounds --- */

/* A list in a list, and so on: a million of them, or more than are allowed. */
static mae_status nested(size_t depth) {
  builder b = {0};
  PUT(&b, P);
  for (size_t i = 0; i < depth; i++) PUT(&b, "]");
  for (size_t i = 1; i < depth; i++) PUT(&b, "a");
  PUT(&b, ".");
  mae_status status = read_and_free(b.bytes, b.size);
  free(b.bytes);
  return status;
}

START_TEST(deep_nesting) {
  ASSERT_OK(nested(1000000));
  ASSERT_FAILS(nested(1100000), MAE_ERROR_FORMAT, "more values");
}
END_TEST

/* The same value again and again, two bytes each time. */
static mae_status repeated(int count) {
  builder b = {0};
  PUT(&b, P "]Nq\0a(");
  for (int i = 0; i < count; i++) PUT(&b, "h\0");
  PUT(&b, "t\x86.");
  mae_status status = read_and_free(b.bytes, b.size);
  free(b.bytes);
  return status;
}

START_TEST(many_items) {
  ASSERT_OK(repeated(1000000));
  ASSERT_FAILS(repeated(4300000), MAE_ERROR_FORMAT, "too deep");
}
END_TEST

/* Four lists of so many items each. */
static mae_status four_lists(int count) {
  builder b = {0};
  PUT(&b, P "Nq\0");
  for (int k = 0; k < 4; k++) {
    PUT(&b, "](");
    for (int i = 0; i < count; i++) PUT(&b, "h\0");
    PUT(&b, "e\x86");
  }
  PUT(&b, ".");
  mae_status status = read_and_free(b.bytes, b.size);
  free(b.bytes);
  return status;
}

START_TEST(many_items_in_all) {
  ASSERT_OK(four_lists((1 << 20) - 2)); /* and eight in the pairs */
  ASSERT_FAILS(four_lists(1 << 20), MAE_ERROR_FORMAT, "more items");
}
END_TEST

/* Sums of shared lists: 2^40 items when unfolded, forty values here. */
START_TEST(billion_laughs) {
  builder b = {0};
  PUT(&b, P "(]q\0");
  for (unsigned char i = 0; i < 40; i++) {
    const unsigned char more[] = {']', 'q', i + 1, '(', 'h', i, 'h', i, 'e'};
    put(&b, more, sizeof more);
  }
  PUT(&b, "t.");
  ASSERT_OK(read_and_free(b.bytes, b.size));
  free(b.bytes);
}
END_TEST

START_TEST(truncated_anywhere) {
  builder b = sample_pickle();
  ASSERT_OK(read_and_free(b.bytes, b.size));
  for (size_t n = 0; n < b.size; n++)
    ck_assert_int_eq(read_and_free(b.bytes, n), MAE_ERROR_FORMAT);
  free(b.bytes);
}
END_TEST

START_TEST(any_byte_changed) {
  builder b = sample_pickle();
  int read = 0;
  for (size_t at = 0; at < b.size; at++) {
    const unsigned char was = b.bytes[at];
    for (int flip = 1; flip < 256; flip++) {
      b.bytes[at] = was ^ (unsigned char)flip;
      mae_status status = read_and_free(b.bytes, b.size);
      ck_assert(status == MAE_OK || status == MAE_ERROR_FORMAT);
      read += status == MAE_OK;
    }
    b.bytes[at] = was;
  }
  ck_assert_int_gt(read, 0); /* names and numbers may be anything */
  free(b.bytes);
}
END_TEST

/* Bytes at random, of opcodes that are known and others. */
START_TEST(noise) {
  static const char likely[] =
      "(.}])tueasXKMNq\0h\0Rb\x85\x86\x87\x88\x89\x94JG\x8c\x8a\x95";
  enum { LENGTH = 60, ROUNDS = 20000 };
  float *values = malloc(LENGTH * sizeof *values);
  unsigned char bytes[LENGTH] = {0x80, 2};
  for (uint64_t round = 0; round < ROUNDS; round++) {
    ASSERT_OK(mae_random_uniform(5, round, 0, LENGTH, values));
    for (int i = 2; i < LENGTH; i++)
      bytes[i] = (unsigned char)likely[(size_t)(values[i] * sizeof likely)];
    mae_status status = read_and_free(bytes, LENGTH);
    ck_assert(status == MAE_OK || status == MAE_ERROR_FORMAT);
  }
  free(values);
}
END_TEST

Suite *pickle_suite(void) {
  Suite *suite = suite_create("pickle");
  TCase *tests = tcase_create("pickle");
  tcase_set_timeout(tests, 120);
  tcase_add_test(tests, plain_values);
  tcase_add_test(tests, containers);
  tcase_add_test(tests, tensors);
  tcase_add_loop_test(tests, refusals, 0, sizeof refused / sizeof *refused);
  tcase_add_test(tests, deep_nesting);
  tcase_add_test(tests, many_items);
  tcase_add_test(tests, many_items_in_all);
  tcase_add_test(tests, billion_laughs);
  tcase_add_test(tests, truncated_anywhere);
  tcase_add_test(tests, any_byte_changed);
  tcase_add_test(tests, noise);
  suite_add_tcase(suite, tests);
  return suite;
}
