#include "tool/weights.h"

#include <stdio.h>
#include <string.h>

#include "tool/parse.h"
#include "tool/say.h"

/* More heads than this are a mistake. */
enum { MOST_HEADS = 4096 };

void weights_options_init(weights_options *w) {
  mae_load_options_init(&w->load, sizeof w->load);
}

int weights_option(weights_options *w, int code, const char *value) {
  mae_load_options *o = &w->load;
  bool ok;
  switch (code) {
    case WEIGHTS_GRID:
      ok = parse_size(value, &o->grid_height, &o->grid_width);
      return ok ? TOOL_OK : fail_usage("--grid: '%s' is not N or HxW", value);
    case WEIGHTS_HEADS:
      ok = parse_int(value, 1, MOST_HEADS, &o->num_heads);
      return ok ? TOOL_OK : fail_usage("--num-heads: '%s' is no count", value);
    case WEIGHTS_DECODER_HEADS:
      ok = parse_int(value, 1, MOST_HEADS, &o->decoder_num_heads);
      return ok ? TOOL_OK
                : fail_usage("--decoder-num-heads: '%s' is no count", value);
    case WEIGHTS_EPS:
      ok = parse_real(value, 1e-20, 1, &o->layer_norm_eps);
      return ok ? TOOL_OK
                : fail_usage("--layer-norm-eps: '%s' is not between 0 and 1", value);
    case WEIGHTS_MAP: o->map = 1; return TOOL_OK;
    default: return -1;
  }
}

static void say_findings(const mae_load_report *report, const char *what,
                         mae_load_finding finding) {
  const char *item;
  for (int32_t i = 0; (item = mae_load_report_item(report, finding, i)); i++)
    say("  %s: %s", what, item);
}

int fail_weights(void) {
  static const char *const hints[][2] = {
      {"num_heads", "--num-heads N and --decoder-num-heads N set it"},
      {"grid_height", "--grid HxW sets them"}};
  char message[512];
  snprintf(message, sizeof message, "%s", mae_last_error());
  say("%s", message);
  for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
    if (strstr(message, hints[i][0])) say("%s", hints[i][1]);
  return TOOL_FAILED;
}

int weights_load(const weights_options *w, const char *path, mae_model **model,
                 mae_load_report **report) {
  mae_load_report *mine = NULL;
  mae_status status = mae_model_import(path, &w->load, model, &mine);
  if (status != MAE_OK) {
    fail_weights();
    say_findings(mine, "missing", MAE_LOAD_MISSING);
    say_findings(mine, "misshapen", MAE_LOAD_MISSHAPEN);
    mae_load_report_destroy(mine);
    return TOOL_FAILED;
  }
  if (report)
    *report = mine;
  else
    mae_load_report_destroy(mine);
  return TOOL_OK;
}

int weights_load_to_use(const weights_options *w, const char *path,
                        mae_model **model) {
  mae_load_report *report;
  int status = weights_load(w, path, model, &report);
  if (status != TOOL_OK) return status;
  int32_t extra = mae_load_report_count(report, MAE_LOAD_EXTRA);
  if (extra)
    say("%d tensor%s of %s not used: see mae info", (int)extra,
        extra == 1 ? "" : "s", path);
  mae_load_report_destroy(report);
  return TOOL_OK;
}
