/* printf and strtod follow the program's locale; a file must not. */
#ifndef MAE_BASE_C_LOCALE_H
#define MAE_BASE_C_LOCALE_H

#include <locale.h>
#include <stdbool.h>

/* Between the two calls this thread is in the "C" locale, if there is memory
 * for one. */
typedef struct mae_c_locale {
  locale_t c, before;
} mae_c_locale;

mae_c_locale mae_c_locale_enter(void);
void mae_c_locale_leave(mae_c_locale locale);

/* Is all of text a number, as strtod reads it there? */
bool mae_c_locale_read(const char *text, double *value);

#endif
