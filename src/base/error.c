#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last_error[512];

mae_status(mae_fail)(mae_status status, const char *format, ...) {
  char text[sizeof last_error]; /* the arguments may hold last_error */
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  strcpy(last_error, text);
  return status;
}

const char *mae_last_error(void) { return last_error; }

const char *mae_status_name(mae_status status) {
  switch (status) {
    case MAE_OK: return "MAE_OK";
    case MAE_ERROR_INVALID_ARGUMENT: return "MAE_ERROR_INVALID_ARGUMENT";
    case MAE_ERROR_SHAPE: return "MAE_ERROR_SHAPE";
    case MAE_ERROR_OUT_OF_MEMORY: return "MAE_ERROR_OUT_OF_MEMORY";
    case MAE_ERROR_IO: return "MAE_ERROR_IO";
    case MAE_ERROR_NO_SPACE: return "MAE_ERROR_NO_SPACE";
    case MAE_ERROR_NOT_FOUND: return "MAE_ERROR_NOT_FOUND";
    case MAE_ERROR_FORMAT: return "MAE_ERROR_FORMAT";
    case MAE_ERROR_MISMATCH: return "MAE_ERROR_MISMATCH";
    case MAE_ERROR_NON_FINITE: return "MAE_ERROR_NON_FINITE";
    case MAE_ERROR_STATE: return "MAE_ERROR_STATE";
    case MAE_ERROR_UNSUPPORTED: return "MAE_ERROR_UNSUPPORTED";
  }
  return "unknown status";
}

#define TEXT(x) #x
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

const char *mae_version(void) {
  return VERSION(MAE_VERSION_MAJOR, MAE_VERSION_MINOR, MAE_VERSION_PATCH);
}
