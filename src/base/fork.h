/* Whether this process is a child of the one that made something. */
#ifndef MAE_BASE_FORK_H
#define MAE_BASE_FORK_H

/* Forks between the first call in any ancestor and this process.  What starts
 * threads remembers it: another number later says that they stayed behind. */
unsigned mae_fork_count(void);

#endif
