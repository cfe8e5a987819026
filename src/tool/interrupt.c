#include "tool/interrupt.h"

#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

/* Names to remove, "" for none; set only while signals are held. */
enum { MOST_FILES = 4 };
static char temporary[MOST_FILES][PATH_MAX];

static atomic_bool held;
static atomic_int waiting; /* the signal that came while held, else 0 */
static atomic_bool asking; /* is the first signal to be noted? */
static atomic_int asked;   /* that signal, else 0 */

static void remove_all_and_end(int signal_number) {
  for (int i = 0; i < MOST_FILES; i++)
    if (*temporary[i]) unlink(temporary[i]);
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

/* Runs in whichever thread the system picks. */
static void on_signal(int signal_number) {
  if (signal_number != SIGPIPE && atomic_exchange(&asking, false))
    atomic_store(&asked, signal_number);
  else if (atomic_load(&held))
    atomic_store(&waiting, signal_number);
  else
    remove_all_and_end(signal_number);
}

void interrupt_begin(void) {
  static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigfillset(&action.sa_mask);
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
    struct sigaction old;
    /* One that is ignored, as by nohup, stays so. */
    if (!sigaction(signals[i], NULL, &old) && old.sa_handler != SIG_IGN)
      sigaction(signals[i], &action, NULL);
  }
}

void interrupt_ask(void) { atomic_store(&asking, true); }

int interrupt_asked(void) { return atomic_load(&asked); }

void interrupt_hold(void) { atomic_store(&held, true); }

void interrupt_release(void) {
  atomic_store(&held, false);
  int signal_number = atomic_exchange(&waiting, 0);
  if (signal_number) remove_all_and_end(signal_number);
}

/* The place that holds a name; with "" a free one. */
static char *place_of(const char *name) {
  for (int i = 0; i < MOST_FILES; i++)
    if (!strcmp(temporary[i], name)) return temporary[i];
  return NULL;
}

static mae_status begin_held(const char *path, mae_atomic_file *file) {
  char *place = place_of("");
  mae_atomic_file f;
  MAE_TRY(mae_atomic_begin(path, &f));
  if (!place || strlen(f.temporary) >= PATH_MAX) {
    mae_atomic_abort(&f);
    return mae_fail(MAE_ERROR_IO, "the name %s is too long", path);
  }
  strcpy(place, f.temporary);
  *file = f;
  return MAE_OK;
}

mae_status guarded_begin(const char *path, mae_atomic_file *file) {
  interrupt_hold();
  mae_status status = begin_held(path, file);
  interrupt_release();
  return status;
}

mae_status guarded_commit(mae_atomic_file *file) {
  char *place = place_of(file->temporary);
  mae_status status = mae_atomic_commit(file);
  if (place) *place = '\0';
  return status;
}

void guarded_abort(mae_atomic_file *file) {
  char *place = place_of(file->temporary);
  mae_atomic_abort(file);
  if (place) *place = '\0';
}
