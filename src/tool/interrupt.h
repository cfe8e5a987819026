/* Ctrl-C and the like leave no temporary file behind. */
#ifndef MAE_TOOL_INTERRUPT_H
#define MAE_TOOL_INTERRUPT_H

#include "io/atomic_file.h"

/* Install the handlers. */
void interrupt_begin(void);

/* As mae_atomic_begin, commit and abort; meanwhile a signal that ends the
 * program removes the temporary file first. */
mae_status guarded_begin(const char *path, mae_atomic_file *file);
mae_status guarded_commit(mae_atomic_file *file);
void guarded_abort(mae_atomic_file *file);

/* Put such signals off while the library writes a file of its own. */
void interrupt_hold(void);
void interrupt_release(void);

/* From now on the first SIGINT, SIGTERM or SIGHUP does not end the program, but
 * is told by interrupt_asked, else 0; the next one ends it. */
void interrupt_ask(void);
int interrupt_asked(void);

#endif
