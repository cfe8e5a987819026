#include <math.h>

#include "study_view.h"

static const char *const ratios[] = {"mask25", "mask50", "base", "mask90"};
static const char *const ratio_names[] = {"25 %", "50 %", "75 %", "90 %"};
enum { RATIOS = 4, AT_75 = 2 };

/* What the paper found of a difference. */
typedef enum expected { BELOW = -1, NONE = 0, ABOVE = 1, UNKNOWN = 2 } expected;

static const char *verdict(study_spread d, expected e) {
  const int sign = d.clear ? (d.mean > 0 ? 1 : -1) : 0;
  if (d.n < 3) return "too few seeds to tell";
  if (e == UNKNOWN) return sign ? "clear" : "no clear difference";
  if (sign == (int)e)
    return sign ? "clear, of the same sign as in the paper"
                : "no clear difference, as in the paper";
  if (!sign) return "no clear difference, unlike in the paper";
  return e == NONE ? "clear, unlike in the paper" : "the reverse of the paper";
}

/* "fine-tuning +0.42 ± 0.31 points (as in the paper)". */
static void compare(const study_view *v, const char *words, study_of a,
                    study_of b, expected e, text *out) {
  const study_spread d = study_gain(v, a, b);
  text_add(out, "%s ", words);
  study_add_gain(out, d);
  text_add(out, " (%s)", verdict(d, e));
}

/* Of two variants, by the three ways to evaluate each. */
static void compare_variants(const study_view *v, const char *a, const char *b,
                             expected finetune, expected linear, text *out) {
  compare(v, "fine-tuning", (study_of){a, "finetune"},
          (study_of){b, "finetune"}, finetune, out);
  compare(v, ", linear probe", (study_of){a, "linear"},
          (study_of){b, "linear"}, linear, out);
  compare(v, ", k-NN", (study_of){a, "knn"}, (study_of){b, "knn"}, UNKNOWN,
          out);
}

/* ------------------------------------------------------- masking ratio --- */

typedef struct range {
  int best;
  double width; /* best less worst, points */
} range;

static range range_of(const study_view *v, const char *protocol) {
  range r = {AT_75, 0};
  double best = -INFINITY, worst = INFINITY;
  for (int i = 0; i < RATIOS; i++) {
    const study_spread s = study_accuracy(v, ratios[i], protocol);
    if (!s.n) continue;
    if (s.mean > best) r.best = i;
    best = fmax(best, s.mean);
    worst = fmin(worst, s.mean);
  }
  if (best >= worst) r.width = best - worst;
  return r;
}

/* The best ratio, and how 75 % stands to it. */
static void best_ratio(const study_view *v, const char *words,
                       const char *protocol, range r, text *out) {
  text_add(out, "%s is best at %s (", words, ratio_names[r.best]);
  study_add_spread(out, study_accuracy(v, ratios[r.best], protocol), 2);
  text_add(out, " %%)");
  if (r.best == AT_75) return;
  const study_spread d = study_gain(v, (study_of){"base", protocol},
                                    (study_of){ratios[r.best], protocol});
  text_add(out, ", 75 %% lies ");
  study_add_gain(out, d);
  text_add(out, " from that (%s)", d.n < 3    ? "too few seeds to tell"
                                   : d.clear ? "clear"
                                             : "no clear difference");
}

/* Is 75 % the best, or not clearly below it? */
static bool good_at_75(const study_view *v, const char *protocol, range r) {
  if (r.best == AT_75) return true;
  return !study_gain(v, (study_of){"base", protocol},
                     (study_of){ratios[r.best], protocol})
              .clear;
}

/* Has every ratio been evaluated by both? */
static bool ratios_done(const study_view *v) {
  for (int i = 0; i < RATIOS; i++)
    if (!study_accuracy(v, ratios[i], "finetune").n ||
        !study_accuracy(v, ratios[i], "linear").n)
      return false;
  return true;
}

void study_find_ratio(const study_view *v, text *out) {
  if (!ratios_done(v)) {
    text_add(out, "not measured yet.");
    return;
  }
  const range f = range_of(v, "finetune"), l = range_of(v, "linear");
  const bool good = good_at_75(v, "finetune", f) && good_at_75(v, "linear", l);
  best_ratio(v, "Fine-tuning", "finetune", f, out);
  best_ratio(v, "; the linear probe", "linear", l, out);
  best_ratio(v, "; k-NN", "knn", range_of(v, "knn"), out);
  text_add(out,
           ". %s Between the best and the worst ratio lie %.2f points "
           "fine-tuned and %.2f by linear probe: the probe is %s sensitive, %s "
           "the paper. ",
           good ? "That 75 % is good for both is as in the paper."
                : "The paper found 75 % good for both; here it is not.",
           f.width, l.width, l.width > f.width ? "more" : "not more",
           l.width > f.width ? "as in" : "unlike in");
  const double slow = study_cost(v, "mask25", STUDY_STEP_MS).mean;
  const double fast = study_cost(v, "base", STUDY_STEP_MS).mean;
  if (slow > 0 && fast > 0)
    text_add(out, "A step takes %.2f times as long at 25 %% as at 75 %%.",
             slow / fast);
}

/* -------------------------------------------------- the other variants --- */

void study_find_target(const study_view *v, text *out) {
  text_add(out, "Normalised patches as the target, against raw pixels: ");
  compare_variants(v, "base", "raw", ABOVE, ABOVE, out);
  text_add(out, ".");
}

void study_find_decoder(const study_view *v, text *out) {
  text_add(out, "A decoder of 4 blocks against one of 1: ");
  compare_variants(v, "decoder4", "decoder1", NONE, ABOVE, out);
  const double slow = study_cost(v, "decoder4", STUDY_STEP_MS).mean;
  const double fast = study_cost(v, "decoder1", STUDY_STEP_MS).mean;
  text_add(out, ".");
  if (slow > 0 && fast > 0)
    text_add(out, " A step takes %.2f times as long.", slow / fast);
}

void study_find_mask_tokens(const study_view *v, text *out) {
  text_add(out, "An encoder without mask tokens, against one that sees them: ");
  compare_variants(v, "base", "masktokens", ABOVE, ABOVE, out);
  text_add(out, ".");
  const double slow = study_cost(v, "masktokens", STUDY_STEP_MS).mean;
  const double fast = study_cost(v, "base", STUDY_STEP_MS).mean;
  const double more = study_cost(v, "masktokens", STUDY_STEP_FLOPS).mean;
  const double less = study_cost(v, "base", STUDY_STEP_FLOPS).mean;
  if (slow > 0 && fast > 0 && less > 0)
    text_add(out,
             " With them a step takes %.2f times as long, with %.2f times the "
             "arithmetic; that they make it %s is %s the paper.",
             slow / fast, more / less, slow > fast ? "slower" : "no slower",
             slow > fast ? "as in" : "unlike in");
}

/* ----------------------------------------------------------- protocols --- */

static study_of of_base(const char *protocol) {
  return (study_of){"base", protocol};
}

void study_find_protocols(const study_view *v, text *out) {
  const study_of finetune = of_base("finetune"), linear = of_base("linear");
  compare(v, "Pretrained and fine-tuned, against from scratch: plain", finetune,
          of_base("scratch"), ABOVE, out);
  compare(v, ", regularised", finetune, of_base("scratchrecipe"), ABOVE, out);
  compare(v, ". Regularised against plain, both from scratch:",
          of_base("scratchrecipe"), of_base("scratch"), ABOVE, out);
  compare(v, ". Fine-tuning against the linear probe:", finetune, linear, ABOVE,
          out);
  compare(v, ", and the probe against one of an untrained encoder:", linear,
          of_base("untrained"), UNKNOWN, out);
  text_add(out, ".");
}

void study_find_partial(const study_view *v, text *out) {
  static const char *const few[] = {"last0", "last1", "last2", "last3",
                                    "last4"};
  compare(v, "One block trained with the head, against the head alone:",
          of_base("last1"), of_base("last0"), ABOVE, out);
  const study_spread all = study_accuracy(v, "base", "finetune");
  for (int k = 0; k < 5 && all.n; k++) {
    const study_spread s = study_accuracy(v, "base", few[k]);
    if (!s.n || s.mean < all.mean - 0.5) continue;
    text_add(out, ". Within half a point of training everything comes %s%s",
             study_protocol_find(few[k])->label,
             k < 4 ? " (the paper: a few blocks of 24 come close)" : "");
    break;
  }
  text_add(out, ".");
}
