#include "tool/run_report.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "tool/chart.h"
#include "tool/progress.h"
#include "tool/text_file.h"

/* Drawings in the page: each is a whole picture. */
enum { MOST_DRAWINGS = 6 };

static const char style[] =
    ":root{color-scheme:light dark;--paper:#f6f7f9;--card:#fff;--ink:#1c2430;"
    "--soft:#5c6673;--line:#e3e7ec;--curve:#2563eb;--band:#2563eb33;"
    "--good:#15803d;--bad:#b42318}\n"
    "@media(prefers-color-scheme:dark){:root{--paper:#12161c;--card:#1b2129;"
    "--ink:#e6eaf0;--soft:#98a3b1;--line:#2c343f;--curve:#6ea8fe;"
    "--band:#6ea8fe33;--good:#4ade80;--bad:#ff8a7a}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--paper);color:var(--ink);"
    "font:15px/1.5 system-ui,sans-serif}\n"
    "main{max-width:1180px;margin:0 auto;padding:28px 20px 48px}\n"
    "h1{font-size:26px;margin:0;overflow-wrap:anywhere}\n"
    "h2{font-size:15px;margin:0 0 10px}\n"
    "p{margin:4px 0}.soft{color:var(--soft)}\n"
    ".state{display:inline-block;padding:1px 10px;border-radius:99px;"
    "border:1px solid currentColor;font-size:13px;color:var(--soft);"
    "vertical-align:4px;margin-left:8px}\n"
    ".state.finished,.state.running{color:var(--good)}"
    ".state.failed,.trouble{color:var(--bad)}\n"
    ".grid{display:grid;gap:16px;margin-top:16px}\n"
    ".numbers{grid-template-columns:repeat(auto-fit,minmax(136px,1fr))}\n"
    ".charts{grid-template-columns:repeat(auto-fit,minmax(min(460px,100%),1fr))}"
    "\n"
    "main>.card{margin-top:16px}.card>p{margin-bottom:12px}\n"
    ".card{background:var(--card);border:1px solid var(--line);"
    "border-radius:10px;padding:14px 16px;min-width:0}\n"
    ".number b{display:block;font-size:22px;font-weight:600;"
    "font-variant-numeric:tabular-nums}\n"
    ".number span{color:var(--soft);font-size:13px}\n"
    "svg{display:block;width:100%;height:auto}\n"
    "svg .grid{stroke:var(--line)}svg .axis{stroke:var(--soft)}\n"
    "svg .tick{fill:var(--soft);font:12px system-ui,sans-serif}\n"
    "svg .curve{fill:none;stroke:var(--curve);stroke-width:1.8;"
    "stroke-linejoin:round}svg .band{fill:var(--band)}"
    "svg .dot{fill:var(--curve)}\n"
    ".drawings{display:grid;gap:16px 20px;"
    "grid-template-columns:repeat(2,minmax(0,1fr))}\n"
    "figure{margin:0}figure:first-child{grid-column:1/-1}figcaption{color:var(--soft);font-size:13px;"
    "margin-bottom:6px}\n"
    "img{display:block;width:100%;image-rendering:pixelated;"
    "border-radius:6px}\n"
    "table{border-collapse:collapse;width:100%;font-size:14px}\n"
    "th{text-align:left;font-weight:400;color:var(--soft);width:45%;"
    "padding:3px 12px 3px 0;vertical-align:top}\n"
    "td{padding:3px 0;overflow-wrap:anywhere;"
    "font-variant-numeric:tabular-nums}\n"
    ".columns{columns:2 380px;column-gap:32px}\n"
    "tr{break-inside:avoid}ul{margin:0;padding-left:20px;"
    "overflow-wrap:anywhere}footer{margin-top:24px;color:var(--soft);"
    "font-size:13px}\n";

/* The last part of the folder's path. */
static const char *name_of(const run_report *r, char *room, size_t size) {
  snprintf(room, size, "%s", r->folder->path);
  size_t n = strlen(room);
  while (n > 1 && room[n - 1] == '/') room[--n] = '\0';
  char *slash = strrchr(room, '/');
  return slash && slash[1] ? slash + 1 : room;
}

/* ------------------------------------------------------------- numbers --- */

static void number(text *t, const char *id, const char *what,
                   const char *value) {
  text_add(t, "<div class=\"card number\"><b id=\"%s\">%s</b><span>%s</span>"
              "</div>\n", id, value, what);
}

static void add_numbers(const run_report *r, text *t) {
  const metrics *m = r->metrics;
  char value[64];
  text_add(t, "<div class=\"grid numbers\">\n");
  snprintf(value, sizeof value, "%lld / %d", (long long)r->epochs_done,
           (int)r->settings->epochs);
  number(t, "epochs", "epochs done", value);
  snprintf(value, sizeof value, "%lld / %lld", (long long)m->latest.step,
           (long long)r->updates);
  number(t, "updates", "updates", value);
  snprintf(value, sizeof value, "%.4f", m->latest_epoch_loss);
  number(t, "loss", "mean loss of the latest epoch", m->epochs ? value : "–");
  snprintf(value, sizeof value, "%.4f", m->best_epoch_loss);
  number(t, "best", "least mean loss of an epoch",
         m->best_epoch ? value : "–");
  if (m->tests.count) {
    snprintf(value, sizeof value, "%.2f %%", 100 * m->latest_test.top1);
    number(t, "top1", "top-1 in the latest test", value);
    snprintf(value, sizeof value, "%.2f %%", 100 * m->best_top1);
    number(t, "best-top1", "best top-1", value);
  }
  tick_text(round(m->latest.images_per_second), value, sizeof value);
  number(t, "speed", "images/s", value);
  progress_time(value, sizeof value, m->latest.seconds);
  number(t, "seconds", "of training", value);
  progress_time(value, sizeof value, r->seconds_left);
  number(t, "left", "to go", value);
  text_add(t, "</div>\n");
}

static void add_charts(const run_report *r, text *t) {
  text_add(t, "<div class=\"grid charts\">\n");
  for (int i = 0; i < CHARTS; i++) {
    if (i == CHART_TOP1 && !r->metrics->tests.count) continue;
    text_add(t, "<section class=\"card\"><h2>%s</h2>\n",
             chart_title((chart_of)i));
    chart_svg(r->metrics, (chart_of)i, t);
    text_add(t, "</section>\n");
  }
  text_add(t, "</div>\n");
}

/* ------------------------------------------------------------ drawings --- */

static void add_file_base64(const char *path, text *t) {
  text bytes = {NULL, 0, 0, false};
  char block[16384];
  FILE *in = fopen(path, "rb");
  for (size_t n; in && (n = fread(block, 1, sizeof block, in));)
    text_add_bytes(&bytes, block, n);
  if (in) fclose(in);
  text_add_base64(t, bytes.bytes, bytes.size);
  text_free(&bytes);
}

static bool exists(const char *path) {
  FILE *in = fopen(path, "rb");
  if (!in) return false;
  fclose(in);
  return true;
}

/* The newest, and others evenly from the first on; ascending, returns how
 * many. */
static int pick_epochs(const run_report *r, int64_t epochs[MOST_DRAWINGS]) {
  int n = 0;
  const int64_t last = r->epochs_done;
  for (int i = 0; i < MOST_DRAWINGS && last > 0; i++) {
    int64_t e = 1 + (last - 1) * i / (MOST_DRAWINGS - 1);
    run_path path = run_file(r->folder, "reconstruction-%04lld.png",
                             (long long)e);
    if ((!n || epochs[n - 1] < e) && exists(path.text)) epochs[n++] = e;
  }
  return n;
}

static void add_drawings(const run_report *r, text *t) {
  int64_t epochs[MOST_DRAWINGS];
  int n = pick_epochs(r, epochs);
  if (!n) return;
  text_add(t, "<section class=\"card\"><h2>Reconstructions</h2>\n"
              "<p class=\"soft\">From top to bottom: the image, what the "
              "encoder sees of it, and what the decoder makes of that.</p>\n"
              "<div class=\"drawings\">\n");
  for (int i = n - 1; i >= 0; i--) {
    run_path path = run_file(r->folder, "reconstruction-%04lld.png",
                             (long long)epochs[i]);
    text_add(t, "<figure><figcaption>After epoch %lld</figcaption><img "
                "alt=\"Reconstructions after epoch %lld\" "
                "src=\"data:image/png;base64,",
             (long long)epochs[i], (long long)epochs[i]);
    add_file_base64(path.text, t);
    text_add(t, "\"></figure>\n");
  }
  text_add(t, "</div></section>\n");
}

/* -------------------------------------------------------------- tables --- */

static void add_settings(const run_report *r, text *t) {
  text value = {NULL, 0, 0, false};
  const run_kind kind = r->settings->kind;
  text_add(t, "<section class=\"card\"><h2>Settings</h2>"
              "<div class=\"columns\"><table>\n");
  for (int i = 0; i < settings_count(); i++) {
    if (!settings_name(kind, i)) continue;
    value.size = 0;
    settings_write_value(r->settings, i, &value);
    text_add(t, "<tr><th>%s</th><td id=\"setting-%s\">", settings_name(kind, i),
             settings_name(kind, i));
    text_add_html(t, value.bytes ? value.bytes : "");
    text_add(t, "</td></tr>\n");
  }
  text_add(t, "</table></div></section>\n");
  text_free(&value);
}

static void add_skipped(const run_report *r, text *t) {
  int64_t n = mae_loader_skipped(r->loader);
  if (!n) return;
  text_add(t, "<section class=\"card\"><h2>Images passed over: "
              "<span id=\"skipped\">%lld</span></h2><ul>\n", (long long)n);
  const char *item;
  for (int64_t i = 0; (item = mae_loader_skipped_item(r->loader, i)); i++) {
    text_add(t, "<li>");
    text_add_html(t, item);
    text_add(t, "</li>\n");
  }
  text_add(t, "</ul></section>\n");
}

static void add_head(const run_report *r, text *t) {
  char room[PATH_MAX];
  const char *name = name_of(r, room, sizeof room);
  text_add(t, "<!DOCTYPE html>\n<html lang=\"en\"><head>"
              "<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
              "content=\"width=device-width,initial-scale=1\">\n<title>");
  text_add_html(t, name);
  text_add(t, " – mae %s</title>\n<style>\n%s</style></head>\n"
              "<body><main>\n<header><h1>",
           r->settings->kind == RUN_PRETRAIN ? "pretrain" : "finetune", style);
  text_add_html(t, name);
  const char *kind = !strncmp(r->status, "failed", 6) ? "failed" : r->status;
  text_add(t, "<span id=\"status\" class=\"state ");
  text_add_html(t, kind);
  text_add(t, "\">");
  text_add_html(t, r->status);
  text_add(t, "</span></h1>\n<p class=\"soft\">%s, ", r->settings->model);
  text_add(t, "<span id=\"parameters\">%.1f</span> million parameters; "
              "<span id=\"images\">%lld</span> images of ",
           (double)r->parameters / 1e6, (long long)r->images);
  text_add_html(t, r->settings->data);
  if (r->processes > 1) text_add(t, "; %d processes", (int)r->processes);
  text_add(t, "</p>\n");
  if (r->trouble) {
    text_add(t, "<p class=\"trouble\" id=\"trouble\">");
    text_add_html(t, r->trouble);
    text_add(t, "</p>\n");
  }
  text_add(t, "</header>\n");
}

mae_status run_report_write(const run_report *r) {
  text t = {NULL, 0, 0, false};
  run_path path = run_file(r->folder, "report.html");
  add_head(r, &t);
  add_numbers(r, &t);
  add_charts(r, &t);
  add_drawings(r, &t);
  add_skipped(r, &t);
  add_settings(r, &t);
  text_add(&t, "<footer>libmae %s</footer>\n</main></body></html>\n",
           mae_version());
  mae_status status = text_write(path.text, &t);
  text_free(&t);
  return status;
}
