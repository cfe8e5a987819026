/* Inside the tape: what an operation needs to record and run itself.
 *
 * A tape is a list of operations in the order recorded.  Operation i of n runs
 * forward at time i and backward at time 2n-1-i; the plan (plan.c) gives each
 * buffer a place that is free over the times it is needed. */
#ifndef MAE_AUTOGRAD_TAPE_H
#define MAE_AUTOGRAD_TAPE_H

#include <stdbool.h>

#include "kernels/context.h"
#include "tensor/tensor.h"

enum { MAE_OP_INPUTS = 4, MAE_OP_SAVED = 2 };

typedef struct mae_op mae_op;

typedef struct mae_op_class {
  const char *name;
  mae_status (*forward)(mae_tape *tape, mae_op *op);
  void (*backward)(mae_tape *tape, mae_op *op);
  unsigned backward_reads; /* bit i: the value of input i */
  bool backward_reads_output;
  int32_t identity; /* input whose gradient is the output's, or -1 */
} mae_op_class;

/* A stretch of the planned memory. */
typedef struct mae_buffer {
  size_t bytes;
  int32_t first, last; /* times of first and last use */
  size_t offset;
} mae_buffer;

#define MAE_NO_BUFFER (-1)

typedef enum mae_node_kind {
  MAE_NODE_INPUT,
  MAE_NODE_PARAMETER,
  MAE_NODE_COMPUTED
} mae_node_kind;

typedef struct mae_node {
  mae_node_kind kind;
  mae_tensor value, grad;
  bool requires_grad, keep;
  bool reaches_loss;
  int32_t producer;                  /* operation, or -1 */
  int32_t value_buffer, grad_buffer; /* MAE_NO_BUFFER: none, or the caller's */
  int32_t writer_op, writer_slot;    /* first to write grad in backward */
} mae_node;

typedef struct mae_index_table {
  int64_t batch, count;
  int32_t buffer;
  int32_t *data;
} mae_index_table;

struct mae_op {
  const mae_op_class *class;
  int32_t in[MAE_OP_INPUTS], n_in, out;
  int32_t index;                   /* table of token numbers, or -1 */
  int64_t index_limit;             /* numbers must be below this */
  size_t saved_bytes[MAE_OP_SAVED]; /* from forward to backward */
  size_t forward_scratch, backward_scratch;
  int32_t saved[MAE_OP_SAVED], scratch[2]; /* buffers; scratch: fwd, bwd */
  /* Set by each operation for itself. */
  int64_t size[5];
  float eps;
  bool flag;
};

struct mae_tape {
  mae_context *context;
  mae_node *nodes;
  mae_op *ops;
  mae_index_table *tables;
  mae_buffer *buffers;
  int32_t n_nodes, n_ops, n_tables, n_buffers;
  int32_t max_nodes, max_ops, max_tables;
  int32_t loss; /* node, or -1 */
  bool planned, forward_done, accumulate;
  size_t arena_bytes;
  char *arena;
  mae_status status; /* the first recording failure */
  char message[256];
};

/* ---- recording ---- */

/* Begin an operation of these inputs; on success *op is the new entry, to be
 * finished by mae_tape_output.  Fails on a failed or planned tape and on
 * unknown variables. */
mae_status mae_tape_record(mae_tape *tape, const mae_op_class *class,
                           const mae_var *in, int32_t n_in, mae_var *out,
                           mae_op **op);
/* Attach a table whose numbers must be below limit.  id MAE_NO_VAR: none. */
mae_status mae_tape_use_index(mae_tape *tape, mae_op *op, mae_index index,
                              int64_t batch, int64_t count, int64_t limit);
/* Finish the operation with an output of this shape. */
mae_status mae_tape_output(mae_tape *tape, mae_op *op, int32_t ndim,
                           const int64_t *shape, mae_var *out);
/* mae_fail that also marks the tape failed. */
mae_status mae_tape_fail(mae_tape *tape, mae_status status, const char *format,
                         ...) __attribute__((format(printf, 3, 4)));
/* Shape of an input of the operation being recorded. */
const mae_tensor *mae_op_shape(const mae_tape *tape, const mae_op *op,
                               int32_t slot);

/* ---- running ---- */

const float *mae_op_in(const mae_tape *tape, const mae_op *op, int32_t slot);
float *mae_op_out(const mae_tape *tape, const mae_op *op);
/* Gradient of the output. */
float *mae_op_dy(const mae_tape *tape, const mae_op *op);
/* Where to put the gradient of an input and whether to add; NULL when nobody
 * wants it, or when it is the output's own (identity). */
float *mae_op_dx(const mae_tape *tape, const mae_op *op, int32_t slot,
                 bool *add);
float *mae_op_saved(const mae_tape *tape, const mae_op *op, int32_t i);
float *mae_op_scratch(const mae_tape *tape, const mae_op *op, bool backward);
const int32_t *mae_op_index(const mae_tape *tape, const mae_op *op);

/* ---- planning (plan.c) ---- */

mae_status mae_tape_lay_out(mae_tape *tape);

#endif
