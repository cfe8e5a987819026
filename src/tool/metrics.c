#include "tool/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/atomic_file.h"
#include "tool/say.h"

void metrics_init(metrics *m) {
  memset(m, 0, sizeof *m);
  m->fd = -1;
  m->stride = 1;
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
static void halve(metrics *m) {
  for (int32_t i = 0; i < METRIC_POINTS / 2; i++) {
    m->points[i] = m->points[2 * i];
    merge(&m->points[i], &m->points[2 * i + 1]);
  }
  m->count = METRIC_POINTS / 2;
  m->stride *= 2;
}

static void add_point(metrics *m, const metric *x) {
  metric_point p = {*x, x->loss, x->loss, 1};
  metric_point *last = m->count ? &m->points[m->count - 1] : NULL;
  if (last && last->count < m->stride) {
    merge(last, &p);
    return;
  }
  if (m->count == METRIC_POINTS) halve(m); /* all were full, and are */
  m->points[m->count++] = p;
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
  add_point(m, x);
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

/* Returns the bytes of what is kept. */
static off_t read_lines(metrics *m, FILE *in, int64_t step) {
  char line[512];
  metric x;
  off_t kept = 0;
  while (fgets(line, sizeof line, in) && read_line(m, line, &x) &&
         x.step <= step) {
    take_in(m, &x);
    kept += (off_t)strlen(line);
  }
  return kept;
}

int metrics_open(metrics *m, const char *path, int64_t step) {
  m->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (m->fd < 0) return fail("cannot write %s: %s", path, strerror(errno));
  FILE *in = fopen(path, "r");
  if (!in) return fail("cannot open %s: %s", path, strerror(errno));
  off_t kept = read_lines(m, in, step);
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

bool metrics_add(metrics *m, const metric *x) {
  take_in(m, x);
  if (m->fd < 0) return true;
  text_add(&m->waiting, LINE("%lld", "%.9g") "\n", (long long)x->step,
           (long long)x->epoch, x->loss, x->lr, x->grad_norm,
           x->images_per_second, x->seconds);
  bool written = flush_lines(m), was_broken = m->broken;
  m->broken = !written;
  return written || was_broken; /* said once */
}

void metrics_close(metrics *m) {
  if (m->fd >= 0) close(m->fd);
  m->fd = -1;
  text_free(&m->waiting);
}
