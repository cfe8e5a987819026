#include "tool/chart.h"

enum { WIDTH = 560, HEIGHT = 250, LEFT = 58, RIGHT = 14, TOP = 12, BOTTOM = 38 };

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

static void draw_axes(const frame *f, text *out) {
  char number[32];
  for (int i = 0; i < f->up.count; i++) {
    double y = y_of(f, f->up.values[i]);
    tick_text(f->up.values[i], number, sizeof number);
    text_add(out,
             "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" "
             "y2=\"%.1f\"/><text class=\"tick\" x=\"%d\" y=\"%.1f\" "
             "text-anchor=\"end\">%s</text>\n",
             LEFT, WIDTH - RIGHT, y, y, LEFT - 8, y + 4, number);
  }
  for (int i = 0; i < f->across.count; i++) {
    double x = x_of(f, f->across.values[i]);
    tick_text(f->across.values[i], number, sizeof number);
    text_add(out,
             "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" "
             "y2=\"%d\"/><text class=\"tick\" x=\"%.1f\" y=\"%d\" "
             "text-anchor=\"middle\">%s</text>\n",
             x, x, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 5, x,
             HEIGHT - BOTTOM + 18, number);
  }
  text_add(out,
           "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>"
           "<text class=\"tick\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">"
           "update</text>\n",
           LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, HEIGHT - BOTTOM,
           (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4);
}

static void add_point(text *out, const frame *f, const metric_point *p,
                      double value, bool first) {
  text_add(out, "%s%.1f %.1f", first ? "M" : "L",
           x_of(f, (double)p->mean.step), y_of(f, value));
}

/* Between the least and the largest loss of each stretch. */
static void draw_band(const metric_curve *m, const frame *f, text *out) {
  if (m->stride < 2) return;
  text_add(out, "<path class=\"band\" d=\"");
  for (int32_t i = 0; i < m->count; i++)
    add_point(out, f, &m->points[i], m->points[i].most_loss, !i);
  for (int32_t i = m->count - 1; i >= 0; i--)
    add_point(out, f, &m->points[i], m->points[i].least_loss, false);
  text_add(out, "Z\"/>\n");
}

void chart_svg(const metrics *m, chart_of what, text *out) {
  const frame f = {chart_across(m, 8), chart_up(m, what, 5)};
  const metric_curve *c = chart_curve(m, what);
  text_add(out,
           "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n",
           WIDTH, HEIGHT, chart_title(what));
  draw_axes(&f, out);
  if (what == CHART_LOSS) draw_band(c, &f, out);
  text_add(out, "<path class=\"curve\" d=\"");
  for (int32_t i = 0; i < c->count; i++)
    add_point(out, &f, &c->points[i], chart_value(what, &c->points[i]), !i);
  text_add(out, "\"/>\n");
  if (c->count) { /* the latest, also when it is the only one */
    const metric_point *p = &c->points[c->count - 1];
    text_add(out, "<circle class=\"dot\" r=\"3\" cx=\"%.1f\" cy=\"%.1f\"/>\n",
             x_of(&f, (double)p->mean.step), y_of(&f, chart_value(what, p)));
  }
  text_add(out, "</svg>\n");
}
