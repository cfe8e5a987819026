#include "study_plot.h"

#include <math.h>

#include "tool/ticks.h"

enum { WIDTH = 720, HEIGHT = 380 };
enum { LEFT = 64, RIGHT = 190, TOP = 44, BOTTOM = 56 }; /* margins */

/* Told apart also by the colour-blind (Okabe and Ito), and by their marks. */
static const char *const colours[PLOT_MOST_SERIES] = {
    "#0072b2", "#d55e00", "#009e73", "#cc79a7",
    "#8a6d00", "#56a0c8", "#555555", "#e69f00"};

typedef struct frame {
  double least, most; /* places across */
  ticks up;
} frame;

static double x_of(const frame *f, double at) {
  const double margin = 30, room = WIDTH - LEFT - RIGHT - 2 * margin;
  const double span = f->most - f->least;
  return LEFT + margin + (span > 0 ? (at - f->least) / span : 0.5) * room;
}

static double y_of(const frame *f, double value) {
  return HEIGHT - BOTTOM -
         (value - f->up.least) / (f->up.most - f->up.least) *
             (HEIGHT - TOP - BOTTOM);
}

static frame frame_of(const plot *p) {
  double least = INFINITY, most = -INFINITY;
  for (int s = 0; s < p->series_count; s++)
    for (int i = 0; i < p->count; i++) {
      const study_spread *v = &p->series[s].points[i];
      if (!v->n || (p->series[s].level && i)) continue;
      least = fmin(least, v->mean - v->sd);
      most = fmax(most, v->mean + v->sd);
    }
  if (!(least <= most)) least = most = 0; /* nothing to show */
  const double space = 0.06 * (most - least);
  frame f = {p->at[0], p->at[p->count - 1], {.count = 0}};
  f.up = ticks_make(p->bars ? 0 : least - space, most + space, 7, 0);
  return f;
}

static void draw_words(text *out, double x, double y, const char *anchor,
                       int size, const char *words) {
  text_add(out,
           "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" font-size=\"%d\" "
           "fill=\"#222222\">",
           x, y, anchor, size);
  text_add_html(out, words);
  text_add(out, "</text>\n");
}

static void draw_line(text *out, double x1, double y1, double x2, double y2,
                      const char *colour, double width, const char *dashes) {
  text_add(out,
           "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
           "stroke=\"%s\" stroke-width=\"%g\"%s/>\n",
           x1, y1, x2, y2, colour, width, dashes);
}

static void draw_axes(const plot *p, const frame *f, text *out) {
  char number[32];
  const double right = WIDTH - RIGHT, low = HEIGHT - BOTTOM;
  for (int i = 0; i < f->up.count; i++) {
    const double y = y_of(f, f->up.values[i]);
    tick_text(f->up.values[i], number, sizeof number);
    draw_line(out, LEFT, y, right, y, "#dddddd", 1, "");
    draw_words(out, LEFT - 8, y + 4, "end", 12, number);
  }
  draw_line(out, LEFT, low, right, low, "#222222", 1, "");
  draw_line(out, LEFT, TOP, LEFT, low, "#222222", 1, "");
  for (int i = 0; i < p->count; i++) {
    const double x = x_of(f, p->at[i]);
    draw_line(out, x, low, x, low + 5, "#222222", 1, "");
    draw_words(out, x, low + 19, "middle", 12, p->names[i]);
  }
  draw_words(out, (LEFT + right) / 2, HEIGHT - 12, "middle", 13, p->across);
  draw_words(out, LEFT, 20, "start", 15, p->title);
  draw_words(out, LEFT, 38, "start", 12, p->up);
}

static void draw_error(text *out, double x, double high, double low,
                       const char *colour) {
  draw_line(out, x, high, x, low, colour, 1.5, "");
  draw_line(out, x - 6, high, x + 6, high, colour, 1.5, "");
  draw_line(out, x - 6, low, x + 6, low, colour, 1.5, "");
}

static void draw_mark(text *out, int s, double x, double y) {
  if (s % 3 == 0)
    text_add(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n", x,
             y, colours[s]);
  else if (s % 3 == 1)
    text_add(out,
             "<rect x=\"%.1f\" y=\"%.1f\" width=\"7\" height=\"7\" "
             "fill=\"%s\"/>\n",
             x - 3.5, y - 3.5, colours[s]);
  else
    text_add(out, "<path d=\"M%.1f %.1fl5 8h-10z\" fill=\"%s\"/>\n", x, y - 5,
             colours[s]);
}

/* Series stand side by side, that error bars can be told apart. */
static double beside(const plot *p, int s) {
  int count = 0;
  for (int i = 0; i < p->series_count; i++) count += !p->series[i].level;
  return (s - (count - 1) / 2.0) * 5;
}

static void draw_points(const plot *p, const frame *f, int s, text *out) {
  double before_x = 0, before_y = 0;
  bool before = false;
  for (int i = 0; i < p->count; i++) {
    const study_spread *v = &p->series[s].points[i];
    const double x = x_of(f, p->at[i]) + beside(p, s), y = y_of(f, v->mean);
    if (v->n && before && p->joined)
      draw_line(out, before_x, before_y, x, y, colours[s], 2, "");
    before = v->n > 0;
    before_x = x;
    before_y = y;
  }
  for (int i = 0; i < p->count; i++) {
    const study_spread *v = &p->series[s].points[i];
    const double x = x_of(f, p->at[i]) + beside(p, s);
    if (!v->n) continue;
    draw_error(out, x, y_of(f, v->mean + v->sd), y_of(f, v->mean - v->sd),
               colours[s]);
    draw_mark(out, s, x, y_of(f, v->mean));
  }
}

static void draw_columns(const plot *p, const frame *f, int s, text *out) {
  for (int i = 0; i < p->count; i++) {
    const study_spread *v = &p->series[s].points[i];
    const double x = x_of(f, p->at[i]), y = y_of(f, v->mean);
    if (!v->n) continue;
    text_add(out,
             "<rect x=\"%.1f\" y=\"%.1f\" width=\"36\" height=\"%.1f\" "
             "fill=\"%s\"/>\n",
             x - 18, y, HEIGHT - BOTTOM - y, colours[s]);
    draw_error(out, x, y_of(f, v->mean + v->sd), y_of(f, v->mean - v->sd),
               "#222222");
  }
}

static void draw_level(const plot *p, const frame *f, int s, text *out) {
  const study_spread *v = &p->series[s].points[0];
  if (!v->n) return;
  const double high = y_of(f, v->mean + v->sd), low = y_of(f, v->mean - v->sd);
  text_add(out,
           "<rect x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%.1f\" "
           "fill=\"%s\" fill-opacity=\"0.12\"/>\n",
           LEFT, high, WIDTH - LEFT - RIGHT, low - high, colours[s]);
  draw_line(out, LEFT, y_of(f, v->mean), WIDTH - RIGHT, y_of(f, v->mean),
            colours[s], 2, " stroke-dasharray=\"7 4\"");
}

static void draw_legend(const plot *p, text *out) {
  const double x = WIDTH - RIGHT + 16;
  for (int s = 0; s < p->series_count; s++) {
    const double y = TOP + 10 + 22 * s;
    if (p->series[s].level)
      draw_line(out, x - 4, y, x + 16, y, colours[s], 2,
                " stroke-dasharray=\"7 4\"");
    else
      draw_mark(out, s, x + 6, y);
    draw_words(out, x + 22, y + 4, "start", 12, p->series[s].label);
  }
}

void plot_svg(const plot *p, text *out) {
  const frame f = frame_of(p);
  text_add(out,
           "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
           "height=\"%d\" viewBox=\"0 0 %d %d\" "
           "font-family=\"Helvetica, Arial, sans-serif\">\n<title>",
           WIDTH, HEIGHT, WIDTH, HEIGHT);
  text_add_html(out, p->title);
  text_add(out,
           "</title>\n<rect width=\"%d\" height=\"%d\" "
           "fill=\"#ffffff\"/>\n",
           WIDTH, HEIGHT);
  draw_axes(p, &f, out);
  for (int s = 0; s < p->series_count; s++)
    if (p->series[s].level) draw_level(p, &f, s, out);
  for (int s = 0; s < p->series_count; s++) {
    if (p->series[s].level) continue;
    if (p->bars)
      draw_columns(p, &f, s, out);
    else
      draw_points(p, &f, s, out);
  }
  if (!p->bars) draw_legend(p, out);
  text_add(out, "</svg>\n");
}
