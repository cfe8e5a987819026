/* loss.png: the loss curve with numbers along its axes. */
#include "tool/chart.h"
#include "tool/raster.h"

enum { WIDTH = 960, HEIGHT = 540, LEFT = 110, RIGHT = 30, TOP = 40, BOTTOM = 70 };

static const colour ink = {64, 72, 84}, grid = {226, 230, 236},
                    band = {190, 214, 250}, curve = {37, 99, 235};

typedef struct frame {
  ticks across, up;
} frame;

static double x_of(const frame *f, double step) {
  const ticks *t = &f->across;
  return LEFT +
         (step - t->least) / (t->most - t->least) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const frame *f, double value) {
  const ticks *t = &f->up;
  return HEIGHT - BOTTOM -
         (value - t->least) / (t->most - t->least) * (HEIGHT - TOP - BOTTOM);
}

static void draw_axes(drawing *d, const frame *f) {
  char number[32];
  for (int i = 0; i < f->up.count; i++) {
    double y = y_of(f, f->up.values[i]);
    tick_text(f->up.values[i], number, sizeof number);
    raster_line(d, LEFT, y, WIDTH - RIGHT, y, 1, grid);
    raster_text(d, LEFT - 12 - raster_text_width(number),
                (int)y - RASTER_TEXT_HEIGHT / 2, number, ink);
  }
  for (int i = 0; i < f->across.count; i++) {
    double x = x_of(f, f->across.values[i]);
    tick_text(f->across.values[i], number, sizeof number);
    raster_line(d, x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 6, 1, ink);
    raster_text(d, (int)x - raster_text_width(number) / 2,
                HEIGHT - BOTTOM + 12, number, ink);
  }
  raster_line(d, LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, 1, ink);
  raster_text(d, LEFT - 48, 10, "loss", ink);
  raster_text(d, (LEFT + WIDTH - RIGHT - raster_text_width("update")) / 2,
              HEIGHT - 28, "update", ink);
}

static void draw_curve(drawing *d, const frame *f, const metric_curve *m) {
  for (int32_t i = 0; m->stride > 1 && i < m->count; i++) {
    double x = x_of(f, (double)m->points[i].mean.step);
    raster_line(d, x, y_of(f, m->points[i].least_loss), x,
                y_of(f, m->points[i].most_loss), 1, band);
  }
  for (int32_t i = 0; i < m->count; i++) {
    const metric *a = &m->points[i ? i - 1 : 0].mean, *b = &m->points[i].mean;
    raster_line(d, x_of(f, (double)a->step), y_of(f, a->loss),
                x_of(f, (double)b->step), y_of(f, b->loss), 2, curve);
  }
}

mae_status chart_png(const metrics *m, const char *path) {
  const frame f = {chart_across(m, 8), chart_up(m, CHART_LOSS, 7)};
  drawing d;
  mae_status status = drawing_create(HEIGHT, WIDTH, 3, &d);
  if (status != MAE_OK) return status;
  draw_axes(&d, &f);
  draw_curve(&d, &f, &m->updates);
  status = drawing_write(&d, path);
  drawing_destroy(&d);
  return status;
}
