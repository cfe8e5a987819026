/* The processes (ranks) that mpirun started, over MPI when the tool is built
 * with it (make MPI=auto).  Without MPI, or started alone, this is rank 0 of
 * 1 and the calls below do nothing.  For the thread that calls mpi_begin. */
#ifndef MAE_TOOL_MPI_H
#define MAE_TOOL_MPI_H

#include "libmae/mae.h"

/* Starts MPI only when this process was started by mpirun or the like, as its
 * environment tells.  Returns 0, or an exit status after a message. */
int mpi_begin(int *argc, char ***argv);
int32_t mpi_rank(void);
int32_t mpi_ranks(void);
int32_t mpi_ranks_here(void); /* on this machine, which share its processors */

/* For mae_trainer_set_communicator; NULL with one rank.  Valid to mpi_end. */
const mae_communicator *mpi_communicator(void);

/* Is it nonzero on any rank?  Every rank asks. */
int mpi_any(int flag);
void mpi_barrier(void);

/* Ends this process and all others. */
void mpi_abort(int status);
/* Every rank ends; the trainers have gone before. */
void mpi_end(void);

#endif
