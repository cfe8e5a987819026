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

void progress_time(char *out, size_t size, double seconds) {
  long s = seconds < 1e9 ? (long)(seconds + 0.5) : 1000000000;
  char days[32] = "";
  if (s >= 86400)
    snprintf(days, sizeof days, "%ld day%s ", s / 86400,
             s < 2 * 86400 ? "" : "s");
  if (s < 3600)
    snprintf(out, size, "%ld:%02ld", s / 60, s % 60);
  else
    snprintf(out, size, "%s%ld:%02ld:%02ld", days, s / 3600 % 24, s / 60 % 60,
             s % 60);
}

/* "120/5000  12.3 images/s  ETA 5:06  2 unreadable" */
static void write_numbers(const progress *p, char *out, size_t size,
                          size_t done, size_t failed) {
  char eta[32] = "?", bad[48] = "";
  double seconds = now() - p->began;
  double rate = seconds > 0 ? (double)done / seconds : 0;
  if (rate > 0) progress_time(eta, sizeof eta, (double)(p->total - done) / rate);
  if (failed) snprintf(bad, sizeof bad, "  %zu unreadable", failed);
  snprintf(out, size, "%zu/%zu  %.1f images/s  ETA %s%s", done, p->total, rate,
           eta, bad);
}

static void draw_bar(progress *p, const char *numbers, double part) {
  enum { MOST = 60 };
  char bar[MOST + 1];
  /* Room for the brackets, the space, and the last column left free. */
  int width = terminal_width() - (int)strlen(numbers) - 5;
  if (width > MOST) width = MOST;
  if (width < 4) {
    fprintf(stderr, "\r\033[K%s", numbers);
  } else {
    size_t full = (size_t)(part * width);
    memset(bar, '.', (size_t)width);
    memset(bar, '#', full);
    bar[width] = '\0';
    fprintf(stderr, "\r\033[K[%s] %s", bar, numbers);
  }
  fflush(stderr);
  p->drawn = true;
}

bool progress_due(const progress *p) {
  return !p->quiet && now() - p->shown >= (p->terminal ? bar_every : line_every);
}

void progress_show_text(progress *p, double part, const char *numbers) {
  if (p->terminal)
    draw_bar(p, numbers, part);
  else
    say("%s", numbers);
  p->shown = now();
}

void progress_show(progress *p, size_t done, size_t failed) {
  if (!progress_due(p)) return;
  char numbers[160];
  write_numbers(p, numbers, sizeof numbers, done, failed);
  progress_show_text(p, p->total ? (double)done / (double)p->total : 0,
                     numbers);
}

void progress_clear(progress *p) {
  if (p->drawn) fputs("\r\033[K", stderr);
  p->drawn = false;
}

void progress_line(progress *p, const char *text) {
  progress_clear(p);
  if (p->quiet) return;
  say("%s", text);
  p->shown = now();
}

void progress_end(progress *p, size_t written) {
  progress_clear(p);
  if (p->quiet) return;
  char took[32];
  double seconds = now() - p->began;
  progress_time(took, sizeof took, seconds);
  say("%zu image%s in %s, %.1f images/s", written, written == 1 ? "" : "s",
      took, seconds > 0 ? (double)written / seconds : 0);
}
