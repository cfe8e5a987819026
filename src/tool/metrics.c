#include "tool/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/atomic_file.h"
#include "tool/say.h"

void metrics_init(metrics *m) {
  memset(m, 0, sizeof *m);
  m->fd = -1;
  m->updates.stride = m->tests.stride = 1;
  m->best_top1 = -1;
}

/* ------------------------------------------------------------- points --- */

static void merge(metric_point *to, const metric_point *from) {
  const double all = (double)(to->count + from->count);
  const double part = (double)from->count / all;
#define MEAN(field) to->mean.field += (from->mean.field - to->mean.field) * part
  MEAN(loss);
  MEAN(lr);
  MEAN(grad_norm);
  MEAN(images_per_second);
#undef MEAN
  to->mean.step = from->mean.step;
  to->mean.epoch = from->mean.epoch;
  to->mean.seconds = from->mean.seconds;
  to->least_loss = fmin(to->least_loss, from->least_loss);
  to->most_loss = fmax(to->most_loss, from->most_loss);
  to->count += from->count;
}

/* Two points become one, so that memory does not grow with the run. */
static void halve(metric_curve *c) {
  for (int32_t i = 0; i < METRIC_POINTS / 2; i++) {
    c->points[i] = c->points[2 * i];
    merge(&c->points[i], &c->points[2 * i + 1]);
  }
  c->count = METRIC_POINTS / 2;
  c->stride *= 2;
}

static void add_point(metric_curve *c, const metric *x) {
  metric_point p = {*x, x->loss, x->loss, 1};
  metric_point *last = c->count ? &c->points[c->count - 1] : NULL;
  if (last && last->count < c->stride) {
    merge(last, &p);
    return;
  }
  if (c->count == METRIC_POINTS) halve(c); /* all were full, and are */
  c->points[c->count++] = p;
}

void metrics_end_epoch(metrics *m) {
  if (!m->epoch_updates) return;
  m->latest_epoch_loss = m->epoch_sum / (double)m->epoch_updates;
  m->epochs = m->latest.epoch;
  if (!m->best_epoch || m->latest_epoch_loss < m->best_epoch_loss) {
    m->best_epoch_loss = m->latest_epoch_loss;
    m->best_epoch = m->latest.epoch;
  }
  m->epoch_sum = 0;
  m->epoch_updates = 0;
}

static void take_in(metrics *m, const metric *x) {
  if (x->epoch != m->latest.epoch) metrics_end_epoch(m);
  m->latest = *x;
  m->epoch_sum += x->loss;
  m->epoch_updates++;
  add_point(&m->updates, x);
}

static bool take_in_test(metrics *m, const metric_test *x) {
  const double top1 = x->has_ema ? fmax(x->top1, x->ema_top1) : x->top1;
  const bool best = top1 > m->best_top1;
  const metric point = {.step = x->step,
                        .epoch = x->epoch,
                        .loss = x->top1,
                        .grad_norm = x->has_ema ? x->ema_top1 : 0};
  m->latest_test = *x;
  if (best) m->best_top1 = top1;
  add_point(&m->tests, &point);
  return best;
}

/* ------------------------------------------------------------- reading --- */

#define LINE(integer, real)                                              \
  "{\"step\": " integer ", \"epoch\": " integer ", \"loss\": " real      \
  ", \"lr\": " real ", \"grad_norm\": " real ", \"images_per_second\": " \
  real ", \"seconds\": " real "}"

/* A whole line of ours, of the update after *m's latest or a later one. */
static bool read_line(const metrics *m, const char *line, metric *x) {
  long long step, epoch;
  int n = 0;
  int got = sscanf(line, LINE("%lld", "%lf") "%n", &step, &epoch, &x->loss,
                   &x->lr, &x->grad_norm, &x->images_per_second, &x->seconds,
                   &n);
  x->step = step;
  x->epoch = epoch;
  return got == 7 && n && !strcmp(line + n, "\n") && step > m->latest.step &&
         epoch >= m->latest.epoch && isfinite(x->loss) && isfinite(x->lr) &&
         isfinite(x->grad_norm) && isfinite(x->images_per_second) &&
         isfinite(x->seconds);
}

#define TEST(integer, real)                                             \
  "{\"epoch\": " integer ", \"step\": " integer ", \"val_top1\": " real \
  ", \"val_top5\": " real ", \"val_loss\": " real
#define TEST_EMA(real)                                        \
  ", \"ema_top1\": " real ", \"ema_top5\": " real ", \"ema_loss\": " real

static bool is_share(double x) { return x >= 0 && x <= 1; }

/* Such a line of a test, after the latest of both. */
static bool read_test(const metrics *m, const char *line, metric_test *x) {
  long long step, epoch;
  int n = 0, more = 0;
  *x = (metric_test){.epoch = 0};
  if (sscanf(line, TEST("%lld", "%lf") "%n", &epoch, &step, &x->top1, &x->top5,
             &x->loss, &n) != 5)
    return false;
  x->step = step;
  x->epoch = epoch;
  x->has_ema = sscanf(line + n, TEST_EMA("%lf") "%n", &x->ema_top1,
                      &x->ema_top5, &x->ema_loss, &more) == 3;
  return !strcmp(line + n + more, "}\n") && x->epoch > m->latest_test.epoch &&
         step == m->latest.step && is_share(x->top1) && is_share(x->top5) &&
         is_share(x->ema_top1) && is_share(x->ema_top5) &&
         isfinite(x->loss) && isfinite(x->ema_loss);
}

/* Returns the bytes of what is kept. */
static off_t read_lines(metrics *m, FILE *in, int64_t step, int64_t epoch) {
  char line[512];
  metric x;
  metric_test test;
  off_t kept = 0;
  while (fgets(line, sizeof line, in)) {
    if (read_line(m, line, &x) && x.step <= step)
      take_in(m, &x);
    else if (read_test(m, line, &test) && test.epoch <= epoch)
      take_in_test(m, &test);
    else
      break;
    kept += (off_t)strlen(line);
  }
  return kept;
}

int metrics_open(metrics *m, const char *path, int64_t step, int64_t epoch) {
  m->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (m->fd < 0) return fail("cannot write %s: %s", path, strerror(errno));
  FILE *in = fopen(path, "r");
  if (!in) return fail("cannot open %s: %s", path, strerror(errno));
  off_t kept = read_lines(m, in, step, epoch);
  fclose(in);
  if (ftruncate(m->fd, kept))
    return fail("cannot cut %s: %s", path, strerror(errno));
  return TOOL_OK;
}

/* ------------------------------------------------------------- writing --- */

/* Write what waits; of a line that did not fit, no part stays. */
static bool flush_lines(metrics *m) {
  off_t end = lseek(m->fd, 0, SEEK_END);
  ssize_t n;
  do {
    n = write(m->fd, m->waiting.bytes, m->waiting.size);
  } while (n < 0 && errno == EINTR);
  int error = n < 0 ? errno : ENOSPC;
  if (n == (ssize_t)m->waiting.size) {
    m->waiting.size = 0;
    return true;
  }
  if (n > 0 && ftruncate(m->fd, end))
    text_drop(&m->waiting, (size_t)n); /* cannot: the rest continues it */
  mae_io_fail("write", "metrics.jsonl", error);
  return false;
}

/* Failures are said once. */
static bool flush(metrics *m) {
  bool written = flush_lines(m), was_broken = m->broken;
  m->broken = !written;
  return written || was_broken;
}

bool metrics_add(metrics *m, const metric *x) {
  take_in(m, x);
  if (m->fd < 0) return true;
  text_add(&m->waiting, LINE("%lld", "%.9g") "\n", (long long)x->step,
           (long long)x->epoch, x->loss, x->lr, x->grad_norm,
           x->images_per_second, x->seconds);
  return flush(m);
}

/* As it will be when it is read again. */
static double as_written(double value) {
  char digits[40];
  snprintf(digits, sizeof digits, "%.9g", value);
  return strtod(digits, NULL);
}

bool metrics_add_test(metrics *m, const metric_test *test, bool *best) {
  metric_test x = *test;
  x.top1 = as_written(x.top1);
  x.ema_top1 = as_written(x.ema_top1);
  *best = take_in_test(m, &x);
  if (m->fd < 0) return true;
  text_add(&m->waiting, TEST("%lld", "%.9g"), (long long)x.epoch,
           (long long)x.step, x.top1, x.top5, x.loss);
  if (x.has_ema)
    text_add(&m->waiting, TEST_EMA("%.9g"), x.ema_top1, x.ema_top5, x.ema_loss);
  text_add(&m->waiting, "}\n");
  return flush(m);
}

void metrics_close(metrics *m) {
  if (m->fd >= 0) close(m->fd);
  m->fd = -1;
  text_free(&m->waiting);
}
