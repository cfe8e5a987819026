#include "study_plot.h"
#include "study_view.h"

static const char *const ways[] = {"finetune", "linear", "knn"};
static const char *const way_names[] = {"fine-tuning", "linear probe", "k-NN"};

/* The three ways to evaluate each of some variants. */
static void add_ways(const study_view *v, plot *p,
                     const char *const *variants) {
  for (int w = 0; w < 3; w++) {
    plot_series *s = &p->series[p->series_count++];
    s->label = way_names[w];
    for (int i = 0; i < p->count; i++)
      s->points[i] = study_accuracy(v, variants[i], ways[w]);
  }
}

static void draw_ratio(const study_view *v, text *out) {
  static const char *const variants[] = {"mask25", "mask50", "base", "mask90"};
  plot p = {.title = "Accuracy by masking ratio",
            .across = "masking ratio",
            .up = "test accuracy, %",
            .count = 4,
            .at = {25, 50, 75, 90},
            .names = {"25 %", "50 %", "75 %", "90 %"},
            .joined = true};
  add_ways(v, &p, variants);
  plot_svg(&p, out);
}

static void draw_decoder(const study_view *v, text *out) {
  static const char *const variants[] = {"decoder1", "base", "decoder4"};
  plot p = {.title = "Accuracy by decoder depth",
            .across = "blocks of the decoder",
            .up = "test accuracy, %",
            .count = 3,
            .at = {1, 2, 4},
            .names = {"1", "2", "4"},
            .joined = true};
  add_ways(v, &p, variants);
  plot_svg(&p, out);
}

static void draw_design(const study_view *v, text *out) {
  static const char *const variants[] = {"base", "raw", "masktokens"};
  plot p = {.title = "Accuracy by target and by what the encoder sees",
            .across = "variant",
            .up = "test accuracy, %",
            .count = 3,
            .at = {0, 1, 2},
            .names = {"base", "raw pixels", "mask tokens in encoder"}};
  add_ways(v, &p, variants);
  plot_svg(&p, out);
}

static void draw_cost(const study_view *v, text *out) {
  static const char *const variants[] = {"mask25", "mask50",   "base",
                                         "mask90", "decoder1", "decoder4",
                                         "raw",    "masktokens"};
  plot p = {.title = "Time of a pretraining step",
            .across = "variant (base: 75 % masked, decoder of 2 blocks)",
            .up = "ms",
            .count = 8,
            .at = {0, 1, 2, 3, 4, 5, 6, 7},
            .names = {"25 %", "50 %", "base", "90 %", "dec. 1", "dec. 4",
                      "raw", "tokens"},
            .bars = true,
            .series_count = 1};
  for (int i = 0; i < p.count; i++)
    p.series[0].points[i] = study_cost(v, variants[i], STUDY_STEP_MS);
  plot_svg(&p, out);
}

static void add_level(const study_view *v, plot *p, const char *protocol,
                      const char *label) {
  plot_series *s = &p->series[p->series_count++];
  s->label = label;
  s->level = true;
  s->points[0] = study_accuracy(v, "base", protocol);
}

static void draw_protocols(const study_view *v, text *out) {
  static const char *const few[] = {"last0", "last1",  "last2",
                                    "last3", "last4", "finetune"};
  plot p = {.title = "What is trained on the labels",
            .across = "trained blocks",
            .up = "test accuracy, %",
            .count = 6,
            .at = {0, 1, 2, 3, 4, 5},
            .names = {"head", "1", "2", "3", "4", "everything"},
            .joined = true,
            .series_count = 1};
  p.series[0].label = "fine-tuning";
  for (int i = 0; i < p.count; i++)
    p.series[0].points[i] = study_accuracy(v, "base", few[i]);
  add_level(v, &p, "linear", "linear probe");
  add_level(v, &p, "knn", "k-NN");
  add_level(v, &p, "scratch", "scratch, plain");
  add_level(v, &p, "scratchrecipe", "scratch, regularised");
  add_level(v, &p, "untrained", "untrained, probe");
  plot_svg(&p, out);
}

bool study_figure(const study_view *v, int i, const char **name, text *out) {
  static const struct {
    const char *name;
    void (*draw)(const study_view *, text *);
  } figures[] = {{"masking-ratio.svg", draw_ratio},
                 {"step-time.svg", draw_cost},
                 {"design.svg", draw_design},
                 {"decoder-depth.svg", draw_decoder},
                 {"protocols.svg", draw_protocols}};
  if (i < 0 || i >= (int)(sizeof figures / sizeof *figures)) return false;
  *name = figures[i].name;
  figures[i].draw(v, out);
  return true;
}
