#include "study_view.h"

static study_spread in_per_cent(study_spread s) {
  s.mean *= 100;
  s.sd *= 100;
  return s;
}

study_spread study_accuracy(const study_view *v, const char *variant,
                            const char *protocol) {
  const study_of of = {variant, protocol};
  return in_per_cent(
      study_mean(v->results, v->settings->seeds, of, STUDY_TOP1));
}

study_spread study_gain(const study_view *v, study_of a, study_of b) {
  return in_per_cent(
      study_difference(v->results, v->settings->seeds, a, b, STUDY_TOP1));
}

study_spread study_cost(const study_view *v, const char *variant,
                        study_field field) {
  const study_of of = {variant, "pretrain"};
  return study_mean(v->results, v->settings->seeds, of, field);
}

void study_add_spread(text *out, study_spread s, int digits) {
  if (!s.n)
    text_add(out, "-");
  else
    text_add(out, "%.*f ± %.*f", digits, s.mean, digits, s.sd);
}

void study_add_gain(text *out, study_spread s) {
  if (!s.n)
    text_add(out, "not measured");
  else
    text_add(out, "%+.2f ± %.2f points", s.mean, s.sd);
}
