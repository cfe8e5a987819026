#include "tool/ticks.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The least of 1, 2, 5 times a power of ten that is not below x. */
static double round_up(double x) {
  double power = pow(10, floor(log10(x)));
  static const double digits[] = {1, 2, 5, 10};
  for (int i = 0; i < 4; i++)
    if (digits[i] * power >= x * (1 - 1e-9)) return digits[i] * power;
  return 10 * power;
}

ticks ticks_make(double least, double most_value, int most, int whole) {
  ticks t = {least, most_value, {0}, 0};
  if (!(t.most > t.least)) { /* one value, or none */
    double around = fabs(least) > 0 ? 0.1 * fabs(least) : 1;
    t.least = least - around;
    t.most = least + around;
  }
  if (most > MOST_TICKS) most = MOST_TICKS;
  double step = round_up((t.most - t.least) / most);
  if (whole && step < 1) step = 1;
  for (double k = ceil(t.least / step - 1e-9);
       k * step <= t.most + 1e-9 * step && t.count < MOST_TICKS; k++)
    t.values[t.count++] = k * step;
  return t;
}

/* "1.5e-04" as "1.5e-4". */
static void shorten(char *text) {
  char *e = strchr(text, 'e');
  if (!e) return;
  char *to = e + 1;
  const char *from = to;
  if (*from == '-') *to++ = '-';
  if (*from == '-' || *from == '+') from++;
  while (*from == '0' && from[1]) from++;
  memmove(to, from, strlen(from) + 1);
}

void tick_text(double value, char *out, size_t size) {
  double a = fabs(value);
  if (a < 1e-300)
    snprintf(out, size, "0");
  else if (a >= 1e6 || a < 1e-3)
    snprintf(out, size, "%.3e", value);
  else
    snprintf(out, size, "%.6g", value);
  char *e = strchr(out, 'e'); /* no zeros before the e */
  if (e && strchr(out, '.')) {
    char *end = e;
    while (end[-1] == '0') end--;
    if (end[-1] == '.') end--;
    memmove(end, e, strlen(e) + 1);
  }
  shorten(out);
}
