#include "tool/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "tool/say.h"

/* Seconds between two drawings of the bar; between two lines without one. */
static const double bar_every = 0.1, line_every = 10;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

progress progress_begin(size_t total, bool quiet) {
  double began = now();
  return (progress){.quiet = quiet,
                    .terminal = isatty(STDERR_FILENO),
                    .total = total,
                    .began = began,
                    .shown = began};
}

static int terminal_width(void) {
  struct winsize size;
  bool known = !ioctl(STDERR_FILENO, TIOCGWINSZ, &size) && size.ws_col;
  return known ? size.ws_col : 80;
}

/* "5:06", or with hours "1:05:06". */
static void write_time(char *out, size_t size, double seconds) {
  long s = seconds < 360000 ? (long)(seconds + 0.5) : 360000;
  if (s < 3600)
    snprintf(out, size, "%ld:%02ld", s / 60, s % 60);
  else
    snprintf(out, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
}

/* "120/5000  12.3 images/s  ETA 5:06  2 unreadable" */
static void write_numbers(const progress *p, char *out, size_t size,
                          size_t done, size_t failed) {
  char eta[32] = "?", bad[48] = "";
  double seconds = now() - p->began;
  double rate = seconds > 0 ? (double)done / seconds : 0;
  if (rate > 0) write_time(eta, sizeof eta, (double)(p->total - done) / rate);
  if (failed) snprintf(bad, sizeof bad, "  %zu unreadable", failed);
  snprintf(out, size, "%zu/%zu  %.1f images/s  ETA %s%s", done, p->total, rate,
           eta, bad);
}

static void draw_bar(progress *p, const char *numbers, size_t done) {
  enum { MOST = 60 };
  char bar[MOST + 1];
  /* Room for the brackets, the space, and the last column left free. */
  int width = terminal_width() - (int)strlen(numbers) - 5;
  if (width > MOST) width = MOST;
  if (width < 4) {
    fprintf(stderr, "\r\033[K%s", numbers);
  } else {
    size_t full = p->total ? done * (size_t)width / p->total : 0;
    memset(bar, '.', (size_t)width);
    memset(bar, '#', full);
    bar[width] = '\0';
    fprintf(stderr, "\r\033[K[%s] %s", bar, numbers);
  }
  fflush(stderr);
  p->drawn = true;
}

void progress_show(progress *p, size_t done, size_t failed) {
  double time = now();
  if (p->quiet || time - p->shown < (p->terminal ? bar_every : line_every))
    return;
  char numbers[160];
  write_numbers(p, numbers, sizeof numbers, done, failed);
  if (p->terminal)
    draw_bar(p, numbers, done);
  else
    say("%s", numbers);
  p->shown = time;
}

void progress_clear(progress *p) {
  if (p->drawn) fputs("\r\033[K", stderr);
  p->drawn = false;
}

void progress_end(progress *p, size_t written) {
  progress_clear(p);
  if (p->quiet) return;
  char took[32];
  double seconds = now() - p->began;
  write_time(took, sizeof took, seconds);
  say("%zu image%s in %s, %.1f images/s", written, written == 1 ? "" : "s",
      took, seconds > 0 ? (double)written / seconds : 0);
}
