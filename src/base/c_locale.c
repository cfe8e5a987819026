#include "base/c_locale.h"

#include <stdlib.h>

mae_c_locale mae_c_locale_enter(void) {
  mae_c_locale l = {newlocale(LC_ALL_MASK, "C", (locale_t)0), (locale_t)0};
  if (l.c) l.before = uselocale(l.c);
  return l;
}

void mae_c_locale_leave(mae_c_locale l) {
  if (!l.c) return;
  uselocale(l.before);
  freelocale(l.c);
}

bool mae_c_locale_read(const char *text, double *value) {
  char *end = NULL;
  const mae_c_locale l = mae_c_locale_enter();
  *value = strtod(text, &end);
  mae_c_locale_leave(l);
  return end != text && !*end;
}
