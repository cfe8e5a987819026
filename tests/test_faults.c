/* Each public call while memory or the file system fails under it, at every
 * place in turn: it fails cleanly, nothing leaks, nothing has changed, and the
 * same call then does what it would have done. */
#include "faults.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "count_alloc.h"
#include "fail_io.h"
#include "golden.h"
#include "suites.h"

static const fault_case *const tables[] = {fault_basics,   fault_tapes,
                                           fault_models,   fault_sessions,
                                           fault_trainers, fault_data};

/* NULL beyond the last. */
static const fault_case *case_at(int i) {
  for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
    for (const fault_case *c = tables[t]; c->call; c++)
      if (!i--) return c;
  return NULL;
}

static int count_cases(void) {
  int n = 0;
  while (case_at(n)) n++;
  return n;
}

static void make_folder(void) {
  snprintf(fault_folder, sizeof fault_folder, "/tmp/libmae-fault-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(fault_folder));
}

static int remove_one(const char *path, const struct stat *info, int type,
                      struct FTW *walk) {
  (void)info, (void)type, (void)walk;
  return remove(path);
}

static void remove_folder(void) {
  nftw(fault_folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* --------------------------------------------------------------- faults --- */

/* io 0: memory. */
typedef struct fault {
  const char *name;
  int io, error;
  bool after;
  mae_status expected;
} fault;

static void begin(const fault *f, long n) {
  if (f->io)
    fail_io(f->io, n, f->error, f->after);
  else
    fail_alloc(n, f->after);
}

static long end(const fault *f) {
  return f->io ? fail_io_end() : fail_alloc_end();
}

/* ------------------------------------------------------------- attempts --- */

enum { OUT = sizeof((fault_world *)0)->out / sizeof(float) };

typedef struct attempt {
  mae_status made, status, again;
  long hits; /* calls that failed */
  bool changed, skipped; /* by a failure; told that something was skipped */
  uint64_t outcome;
  char error[512];
  int files; /* of a run: half written ones, or such as cannot be read */
} attempt;

static int bad_files;

static int check_file(const char *path, const struct stat *info, int type,
                      struct FTW *walk) {
  mae_model *model = NULL;
  (void)info, (void)walk;
  if (type != FTW_F) return 0;
  if (strstr(path, ".tmp-") || mae_model_load(path, &model) != MAE_OK)
    bad_files++;
  mae_model_destroy(model);
  return 0;
}

static void judge_run(const fault_world *w, attempt *a) {
  bad_files = 0;
  nftw(fault_folder, check_file, 8, FTW_PHYS);
  a->files = bad_files;
  a->outcome = fault_hash_model(0, w->model);
}

static void judge(fault_world *w, const fault_case *c, attempt *a) {
  if (c->flags & FAULT_RUN) {
    judge_run(w, a);
    return;
  }
  a->outcome = fault_hash_world(w, c->kind);
  if (c->outcome) a->outcome += c->outcome(w);
  a->skipped = mae_loader_skipped(w->loader) > 0 ||
               (w->trainer && (c->flags & FAULT_SKIPS) && w->out[1] > 0.25);
}

static bool is_changed(fault_world *w, const fault_case *c, const fault *f,
                       uint64_t before) {
  if (c->flags & FAULT_RUN) return false;
  if (c->flags & FAULT_TWO_FILES && f->io & IO_RENAME) return false;
  if (c->flags & FAULT_FILLS_PARTLY)
    for (size_t i = 0; i < OUT; i++) w->out[i] = 0.25f;
  return fault_hash_world(w, MAKES_NOTHING) != before;
}

/* A world made, the call with the fault, after a failure without; no assertion
 * in here, for these take memory. */
static void run(const fault_case *c, const fault *f, long n, attempt *a) {
  static fault_world w;
  memset(&w, 0, sizeof w);
  memset(a, 0, sizeof *a);
  for (size_t i = 0; i < OUT; i++) w.out[i] = 0.25f;
  a->made = c->make(&w);
  w.made.any = &w; /* a failure leaves it so */
  if (a->made == MAE_OK) {
    const uint64_t before = fault_hash_world(&w, MAKES_NOTHING);
    begin(f, n);
    a->status = c->run(&w);
    a->hits = end(f);
    snprintf(a->error, sizeof a->error, "%s",
             a->status == MAE_OK ? "" : mae_last_error());
    if (a->status != MAE_OK) {
      a->changed = w.made.any != &w || w.report || is_changed(&w, c, f, before);
      a->again = c->run(&w);
    }
    if (a->again == MAE_OK && a->status != MAE_ERROR_UNSUPPORTED)
      judge(&w, c, a);
  }
  if (w.made.any == &w) w.made.any = NULL;
  fault_destroy_world(&w, c->kind);
}

static int open_files(void) {
  int n = 0;
  for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
  return n;
}

/* What is wrong with it; NULL: nothing. */
static const char *verdict(const fault_case *c, const fault *f,
                           const attempt *a, uint64_t wanted) {
  if (a->files) return "there are files that cannot be read";
  if (a->status == MAE_OK) {
    if (a->outcome == wanted) return NULL;
    if (f->io && (c->flags & FAULT_SKIPS) && a->skipped) return NULL;
    return "it passes over the fault, and does something else";
  }
  if (!a->hits) return "it fails of itself";
  if (f->io && (c->flags & FAULT_SKIPS) && strstr(a->error, "in a row"))
    return NULL; /* all that could be passed over */
  if (a->status != f->expected) return "another status";
  if (!*a->error) return "no message";
  if (f->io && !strstr(a->error, fault_folder) &&
      !strstr(a->error, "tests/data/"))
    return "a message that names no file";
  if (a->changed) return "the failure changed something";
  if (a->again != MAE_OK) return "it does not work again";
  if (a->outcome != wanted) return "the second time it does something else";
  return NULL;
}

/* Threads that the BLAS library starts take some memory for a moment.  Where
 * calls are not counted, whoever took malloc's place looks for leaks. */
static bool is_more(long live) {
  if (count_alloc_calls() < 0) return false;
  for (int i = 0; i < 50 && count_alloc_live() > live; i++) usleep(2000);
  return count_alloc_live() > live;
}

/* MAE_SHOW_FAULTS=1 prints all that is wrong, MAE_FAULT=mae_model_save goes
 * through that call's cases alone. */
static void go_through(const fault_case *c, const fault *f) {
  static const fault none = {.name = "none", .io = IO_OPEN, .error = EIO};
  const char *first = NULL;
  char text[768] = "";
  attempt a;
  const char *only = getenv("MAE_FAULT");
  if (only && strcmp(only, c->call)) return;
  fail_alloc_spare(c->spare);
  for (int i = 0; i < 2; i++) { /* once for what libraries keep for ever */
    run(c, &none, 1L << 40, &a);
    if (a.made == MAE_ERROR_UNSUPPORTED || a.status == MAE_ERROR_UNSUPPORTED)
      return;
    ck_assert_msg(a.made == MAE_OK && a.status == MAE_OK && !a.files,
                  "%s %s: %s", c->call, c->how, mae_last_error());
  }
  const uint64_t wanted = a.outcome;
  const long live = count_alloc_live();
  const int files = open_files();
  long n = 0;
  do {
    run(c, f, ++n, &a);
    const char *what = verdict(c, f, &a, wanted);
    const bool leaks = !(c->flags & FAULT_LEAKS) && is_more(live);
    if (!what && leaks) what = "memory leaks";
    if (!what && open_files() != files) what = "a file stays open";
    if (!what) continue;
    char line[768];
    snprintf(line, sizeof line, "%s (%s), %s, number %ld: %s; %s \"%.300s\"",
             c->call, c->how, f->name, n, what, mae_status_name(a.status),
             a.error);
    if (getenv("MAE_SHOW_FAULTS")) fprintf(stderr, "%s\n", line);
    if (!first) memcpy(text, line, sizeof text);
    first = what;
    if (leaks || open_files() != files) break;
  } while (a.hits);
  if (getenv("MAE_SHOW_FAULTS"))
    fprintf(stderr, "%s (%s), %s: %ld places\n", c->call, c->how, f->name,
            n - 1);
  ck_assert_msg(!first, "%s", text);
}

/* ---------------------------------------------------------------- tests --- */

static const fault memory[] = {
    {"one allocation fails", 0, 0, false, MAE_ERROR_OUT_OF_MEMORY},
    {"allocations fail from one on", 0, 0, true, MAE_ERROR_OUT_OF_MEMORY}};

START_TEST(without_memory) {
  const fault_case *c = case_at(_i);
  if (count_alloc_calls() < 0) return; /* another allocator */
  if (c->flags & FAULT_BY_BLAS && BLAS_TAKES_MEMORY) return;
  for (int i = 0; i < 2; i++) go_through(c, &memory[i]);
}
END_TEST

static const fault files[] = {
    {"one call fails (EIO)", IO_READING | IO_WRITING, EIO, false, MAE_ERROR_IO},
    {"calls fail from one on (EIO)", IO_READING | IO_WRITING, EIO, true,
     MAE_ERROR_IO},
    {"one write fails (ENOSPC)", IO_WRITING, ENOSPC, false, MAE_ERROR_NO_SPACE},
    {"the disk is full (ENOSPC)", IO_WRITING, ENOSPC, true,
     MAE_ERROR_NO_SPACE}};

START_TEST(with_broken_files) {
  if (!fail_io_works()) return;
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    go_through(case_at(_i), &files[i]);
}
END_TEST

/* Half of what was asked, or a signal: no failure at all. */
static const fault trifles[] = {
    {"short reads and writes", IO_READ | IO_WRITE, IO_SHORT, false, MAE_OK},
    {"short from one on", IO_READ | IO_WRITE, IO_SHORT, true, MAE_OK},
    {"interrupted", IO_READ | IO_WRITE | IO_SYNC, EINTR, false, MAE_OK}};

START_TEST(with_trifles) {
  if (!fail_io_works()) return;
  for (size_t i = 0; i < sizeof trifles / sizeof *trifles; i++)
    if (trifles[i].error != EINTR || !(case_at(_i)->flags & FAULT_BY_ZLIB))
      go_through(case_at(_i), &trifles[i]);
}
END_TEST

START_TEST(free_calls) {
  fault_world w = {0};
  if (count_alloc_calls() < 0) return;
  ASSERT_OK(fault_free_make(&w));
  for (int i = 0; fault_free_call(i, NULL); i++) {
    /* Other threads of the process may ask in between, but not each time. */
    bool asks = true;
    for (int round = 0; asks && round < 10; round++) {
      const long before = count_alloc_calls();
      fault_free_call(i, &w);
      asks = count_alloc_calls() != before;
    }
    ck_assert_msg(!asks, "%s asks for memory", fault_free_call(i, NULL));
  }
  fault_destroy_world(&w, MAKES_NOTHING);
}
END_TEST

static bool is_known(const char *name) {
  for (int i = 0; case_at(i); i++)
    if (!strcmp(case_at(i)->call, name)) return true;
  for (int i = 0; fault_free_call(i, NULL); i++)
    if (!strcmp(fault_free_call(i, NULL), name)) return true;
  return false;
}

/* The functions of the header: the word before the first bracket after
 * MAE_API. */
START_TEST(every_call_is_known) {
  static char text[1 << 18];
  int n = 0;
  FILE *file = fopen("include/libmae/mae.h", "r");
  ck_assert_ptr_nonnull(file);
  const size_t size = fread(text, 1, sizeof text - 1, file);
  ck_assert_uint_lt(size, sizeof text - 1);
  fclose(file);
  for (char *at = text; (at = strstr(at, "\nMAE_API "));) {
    char *end_of = strchr(++at, '('), *begin_of = end_of;
    ck_assert_ptr_nonnull(end_of);
    while (isalnum((unsigned char)begin_of[-1]) || begin_of[-1] == '_')
      begin_of--;
    *end_of = '\0';
    ck_assert_msg(is_known(begin_of),
                  "%s has no case in tests/fault_*.c", begin_of);
    *end_of = '(';
    n++;
  }
  ck_assert_int_ge(n, 140);
}
END_TEST

Suite *faults_suite(void) {
  Suite *suite = suite_create("faults");
  TCase *tc = tcase_create("faults");
  const int n = count_cases();
  tcase_set_timeout(tc, 300);
  tcase_add_checked_fixture(tc, make_folder, remove_folder);
  tcase_add_test(tc, every_call_is_known);
  tcase_add_test(tc, free_calls);
  tcase_add_loop_test(tc, without_memory, 0, n);
  tcase_add_loop_test(tc, with_broken_files, 0, n);
  tcase_add_loop_test(tc, with_trifles, 0, n);
  suite_add_tcase(suite, tc);
  return suite;
}
