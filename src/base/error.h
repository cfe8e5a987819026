/* Status codes and the thread's last error text. */
#ifndef MAE_BASE_ERROR_H
#define MAE_BASE_ERROR_H

#include "libmae/mae.h"

/* Remember a message for mae_last_error and return status, so that failing
 * reads `return mae_fail(MAE_ERROR_SHAPE, "...", ...)`.  mae_last_error() may be
 * among the arguments. */
mae_status mae_fail(mae_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#if defined(__clang_analyzer__)
/* It does not look into other files, and would follow failures as successes. */
#define mae_fail(status, ...) (mae_fail((status), __VA_ARGS__), (status))
#endif

/* Fail with "NAME is NULL" from the calling function. */
#define MAE_REQUIRE(pointer)                                        \
  do {                                                              \
    if (!(pointer))                                                 \
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", \
                      __func__, #pointer);                          \
  } while (0)

/* Pass a failure on. */
#define MAE_TRY(call)                          \
  do {                                         \
    mae_status try_status = (call);            \
    if (try_status != MAE_OK) return try_status; \
  } while (0)

#endif
