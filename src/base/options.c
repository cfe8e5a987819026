#include "base/options.h"

#include <string.h>

/* More than any options struct will have: a size never set is seldom less. */
enum { MOST_BYTES = 4096 };

mae_status mae_options_read(const char *what, void *ours, size_t our_size,
                            const void *theirs) {
  size_t size;
  memcpy(&size, theirs, sizeof size);
  if (size < 2 * sizeof(size_t) || size > MOST_BYTES)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "%s: struct_size is %zu; call its _init first", what, size);
  for (size_t i = our_size; i < size; i++)
    if (((const unsigned char *)theirs)[i])
      return mae_fail(MAE_ERROR_UNSUPPORTED,
                      "%s: set beyond what this version of libmae knows", what);
  memcpy(ours, theirs, size < our_size ? size : our_size);
  memcpy(ours, &our_size, sizeof our_size);
  return MAE_OK;
}

void mae_options_write(void *theirs, size_t their_size, const void *ours,
                       size_t our_size) {
  if (!theirs || their_size < sizeof(size_t)) return;
  memset(theirs, 0, their_size);
  memcpy(theirs, ours, our_size < their_size ? our_size : their_size);
  memcpy(theirs, &their_size, sizeof their_size);
}
