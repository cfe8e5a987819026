#include "tool/profile.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const passes[] = {"forward", "recompute", "backward", "-"};

static int longest_first(const void *a, const void *b) {
  const double x = ((const mae_profile_entry *)a)->seconds;
  const double y = ((const mae_profile_entry *)b)->seconds;
  return (x < y) - (x > y);
}

static void print_entry(const mae_profile_entry *e, double all, FILE *out) {
  char rate[32] = "-";
  if (e->flops > 0 && e->seconds > 0)
    snprintf(rate, sizeof rate, "%.1f", 1e-9 * e->flops / e->seconds);
  const size_t pass = (size_t)e->pass;
  fprintf(out, "%-8s %-22s %-9s %8" PRId64 " %11.6f %7.3f %9s\n", e->part,
          e->op, pass < sizeof passes / sizeof *passes ? passes[pass] : "?",
          e->calls, e->seconds, e->seconds / all, rate);
}

void profile_print(const mae_context *context, FILE *out) {
  const int32_t n = mae_context_profile_size(context);
  mae_profile_entry *entries = calloc((size_t)n + 1, sizeof *entries);
  double all = 0, flops = 0;
  int32_t read = 0;
  if (!n || !entries) {
    free(entries);
    return;
  }
  for (int32_t i = 0; i < n; i++) {
    mae_profile_entry *e = &entries[read];
    e->struct_size = sizeof *e;
    if (mae_context_profile(context, i, e) != MAE_OK) continue;
    all += e->seconds;
    flops += e->flops;
    read++;
  }
  qsort(entries, (size_t)read, sizeof *entries, longest_first);
  fprintf(out, "%-8s %-22s %-9s %8s %11s %7s %9s\n", "part", "op", "pass",
          "calls", "seconds", "share", "GFLOP/s");
  for (int32_t i = 0; i < read; i++) print_entry(&entries[i], all, out);
  fprintf(out, "%-8s %-22s %-9s %8s %11.6f %7.3f %9.1f\n", "all", "-", "-", "-",
          all, 1.0, all > 0 ? 1e-9 * flops / all : 0);
  free(entries);
}
