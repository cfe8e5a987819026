/* Options structs that grow: the caller's may be older or newer than ours. */
#ifndef MAE_BASE_OPTIONS_H
#define MAE_BASE_OPTIONS_H

#include <stddef.h>

#include "base/error.h"

/* Copy the caller's struct over ours, which holds defaults.  Both begin with
 * struct_size.  A newer, longer struct is accepted while what we do not know
 * is zero. */
mae_status mae_options_read(const char *what, void *ours, size_t our_size,
                            const void *theirs);

/* Copy ours into the caller's struct of their_size bytes, zeroing what we do
 * not know and setting struct_size to their_size. */
void mae_options_write(void *theirs, size_t their_size, const void *ours,
                       size_t our_size);

#endif
