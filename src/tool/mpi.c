#include "tool/mpi.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tool/say.h"

/* How many processes the launcher says there are: 0, no launcher; -1, it does
 * not say. */
static int launched(void) {
  static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    const char *text = getenv(sizes[i]);
    if (text) return atoi(text);
  }
  return getenv("PMI_RANK") || getenv("PMIX_RANK") ? -1 : 0;
}

#ifdef MAE_HAVE_MPI

#include <mpi.h>

/* A count is an int, and a sum of this many is still one message of 1 GiB. */
enum { MOST_AT_ONCE = 1 << 28 };

static struct {
  bool on;
  int rank, ranks, ranks_here;
  MPI_Comm sums; /* apart from what mpi_any and mpi_barrier send */
  MPI_Request *requests;
  MPI_Status *statuses; /* one a request */
  int count, room;
  char text[MPI_MAX_ERROR_STRING];
  mae_communicator communicator;
} mpi = {.ranks = 1, .ranks_here = 1};

/* MPI's own words for a code that is no success. */
static mae_status pass_on(int code) {
  if (code == MPI_SUCCESS) return MAE_OK;
  int length;
  if (MPI_Error_string(code, mpi.text, &length) != MPI_SUCCESS)
    strcpy(mpi.text, "an MPI error without a text");
  return MAE_ERROR_IO;
}

/* Of the requests waited for together: the first that failed. */
static mae_status pass_on_first(int code) {
  if (code != MPI_ERR_IN_STATUS) return pass_on(code);
  for (int i = 0; i < mpi.count; i++) {
    const int one = mpi.statuses[i].MPI_ERROR;
    if (one != MPI_SUCCESS && one != MPI_ERR_PENDING) return pass_on(one);
  }
  return pass_on(code);
}

static const char *error_text(void *arg) {
  (void)arg;
  return mpi.text;
}

/* Room for one more request, kept for the steps to come. */
static mae_status reserve(void) {
  if (mpi.count < mpi.room) return MAE_OK;
  const size_t room = mpi.room ? 2 * (size_t)mpi.room : 64;
  MPI_Request *requests = realloc(mpi.requests, room * sizeof *requests);
  if (requests) mpi.requests = requests;
  MPI_Status *statuses = realloc(mpi.statuses, room * sizeof *statuses);
  if (statuses) mpi.statuses = statuses;
  if (!requests || !statuses) {
    strcpy(mpi.text, "no memory for a request");
    return MAE_ERROR_OUT_OF_MEMORY;
  }
  mpi.room = (int)room;
  return MAE_OK;
}

static mae_status start_sum(void *arg, float *data, int64_t n) {
  (void)arg;
  while (n > 0) {
    const int part = n < MOST_AT_ONCE ? (int)n : MOST_AT_ONCE;
    mae_status status = reserve();
    if (status != MAE_OK) return status;
    status = pass_on(MPI_Iallreduce(MPI_IN_PLACE, data, part, MPI_FLOAT,
                                    MPI_SUM, mpi.sums,
                                    &mpi.requests[mpi.count]));
    if (status != MAE_OK) return status;
    mpi.count++;
    data += part;
    n -= part;
  }
  return MAE_OK;
}

static mae_status progress(void *arg) {
  (void)arg;
  int done;
  if (!mpi.count) return MAE_OK;
  return pass_on_first(
      MPI_Testall(mpi.count, mpi.requests, &done, mpi.statuses));
}

static mae_status wait_all(void *arg) {
  (void)arg;
  if (!mpi.count) return MAE_OK;
  mae_status status =
      pass_on_first(MPI_Waitall(mpi.count, mpi.requests, mpi.statuses));
  mpi.count = 0;
  return status;
}

static int count_here(void) {
  MPI_Comm here;
  int n = 1;
  if (MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, mpi.rank,
                          MPI_INFO_NULL, &here) != MPI_SUCCESS)
    return 1;
  MPI_Comm_size(here, &n);
  MPI_Comm_free(&here);
  return n;
}

/* Only one thread, the one that trains, calls MPI. */
static mae_status start(int *argc, char ***argv) {
  int provided;
  int code = MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
  if (code != MPI_SUCCESS) return pass_on(code);
  mpi.on = true;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &mpi.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &mpi.ranks);
  if (provided < MPI_THREAD_FUNNELED) {
    strcpy(mpi.text, "this MPI does not allow threads beside it");
    return MAE_ERROR_UNSUPPORTED;
  }
  mpi.ranks_here = count_here();
  /* The copy inherits the handler of errors. */
  return pass_on(MPI_Comm_dup(MPI_COMM_WORLD, &mpi.sums));
}

int mpi_begin(int *argc, char ***argv) {
  const int expected = launched();
  if (!expected) return TOOL_OK;
  if (start(argc, argv) != MAE_OK) {
    const int status = fail("MPI does not start: %s", mpi.text);
    mpi_abort(status);
    return status;
  }
  /* Another MPI's mpirun starts so many processes that know of no other. */
  if (expected > 0 && expected != mpi.ranks) {
    const int status = fail(
        "mpirun started %d processes but MPI sees %d: is this mpirun of the "
        "MPI that mae was built with?",
        expected, mpi.ranks);
    mpi_abort(status);
    return status;
  }
  mpi.communicator = (mae_communicator){.struct_size = sizeof mpi.communicator,
                                        .rank = mpi.rank,
                                        .ranks = mpi.ranks,
                                        .start_sum = start_sum,
                                        .progress = progress,
                                        .wait_all = wait_all,
                                        .error_text = error_text};
  return TOOL_OK;
}

int32_t mpi_rank(void) { return mpi.rank; }

int32_t mpi_ranks(void) { return mpi.ranks; }

int32_t mpi_ranks_here(void) { return mpi.ranks_here; }

const mae_communicator *mpi_communicator(void) {
  return mpi.ranks > 1 ? &mpi.communicator : NULL;
}

/* These have no way to fail but to end everything: ranks that do not meet here
 * would go different ways. */
static void need(int code, const char *what) {
  if (pass_on(code) == MAE_OK) return;
  mpi_abort(fail("rank %d: %s: %s", mpi.rank, what, mpi.text));
}

int mpi_any(int flag) {
  int any = flag != 0;
  if (mpi.ranks > 1)
    need(MPI_Allreduce(MPI_IN_PLACE, &any, 1, MPI_INT, MPI_MAX,
                       MPI_COMM_WORLD),
         "asking the other ranks");
  return any;
}

void mpi_barrier(void) {
  if (mpi.ranks > 1)
    need(MPI_Barrier(MPI_COMM_WORLD), "waiting for the other ranks");
}

/* MPICH's mpirun forgets what a process said just before this, so it gets the
 * time to pass it on. */
void mpi_abort(int status) {
  if (mpi.on) {
    fflush(NULL);
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    MPI_Abort(MPI_COMM_WORLD, status);
  }
  exit(status);
}

void mpi_end(void) {
  if (!mpi.on) return;
  free(mpi.requests);
  free(mpi.statuses);
  MPI_Comm_free(&mpi.sums);
  MPI_Finalize();
  mpi.on = false;
}

#else

/* Copies that know nothing of each other would all write the same files. */
int mpi_begin(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  const int n = launched();
  if (n > 1)
    return fail("mpirun started %d processes, but this mae was built without "
                "MPI (make MPI=auto, with Open MPI or MPICH installed)",
                n);
  return TOOL_OK;
}

int32_t mpi_rank(void) { return 0; }
int32_t mpi_ranks(void) { return 1; }
int32_t mpi_ranks_here(void) { return 1; }
const mae_communicator *mpi_communicator(void) { return NULL; }
int mpi_any(int flag) { return flag != 0; }
void mpi_barrier(void) {}
void mpi_abort(int status) { exit(status); }
void mpi_end(void) {}

#endif
