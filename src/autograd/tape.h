/* Inside the tape: what an operation needs to record and run itself.
 *
 * A tape is a list of operations in the order recorded.  Operation i runs
 * forward at time i.  Backward the operations take turns from the last to the
 * first, where a checkpointed segment first runs forward again as far as its
 * backward needs (segments.c); the plan (plan.c) gives each buffer a place that
 * is free over the times it is needed. */
#ifndef MAE_AUTOGRAD_TAPE_H
#define MAE_AUTOGRAD_TAPE_H

#include <stdbool.h>

#include "kernels/context.h"
#include "tensor/tensor.h"

enum { MAE_OP_INPUTS = 4, MAE_OP_SAVED = 2 };

typedef enum mae_tape_pass {
  MAE_PASS_FORWARD,
  MAE_PASS_AGAIN, /* forward once more, in a checkpointed segment */
  MAE_PASS_BACKWARD,
  MAE_OP_PASSES
} mae_tape_pass;

typedef struct mae_op mae_op;

/* May an output not be kept but made anew in the backward pass? */
typedef enum mae_refresh {
  MAE_REFRESH_NEVER,
  MAE_REFRESH_CHEAP, /* for next to nothing */
  MAE_REFRESH_DEAR   /* where the tape spares memory */
} mae_refresh;

typedef struct mae_op_class {
  const char *name;
  mae_status (*forward)(mae_tape *tape, mae_op *op);
  void (*backward)(mae_tape *tape, mae_op *op);
  unsigned backward_reads; /* bit i: the value of input i */
  bool backward_reads_output;
  int32_t identity; /* input whose gradient is the output's, or -1 */
  unsigned overwrites; /* bit i: input i's gradient may be written over it */
  mae_refresh refresh;
  /* Refresh from what is saved; NULL: forward does, from all inputs, and saves
   * nothing again. */
  void (*from_saved)(mae_tape *tape, mae_op *op);
  /* Multiply-adds in products, one way; NULL: none. */
  double (*products)(const mae_tape *tape, const mae_op *op, bool backward);
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
  bool passing; /* a parameter's gradient, an input's value: see passing.h */
  bool reaches_loss;
  bool crosses; /* out of its segment: kept from forward to backward */
  bool wanted_again;                 /* inside its segment, in backward */
  int32_t producer;                  /* operation, or -1 */
  int32_t value_buffer, grad_buffer; /* MAE_NO_BUFFER: none, or the caller's */
  int32_t again_buffer; /* of a value computed again or refreshed, if apart */
  int32_t writer_op, writer_slot;    /* first to write grad in backward */
  int32_t last_writer_op;            /* the last to do so; -1: none does */
  const float *packed; /* of a weight, see packed.h; or NULL */
} mae_node;

/* Told during each backward pass, on the thread that runs it. */
typedef struct mae_tape_watcher {
  /* The parameter's gradient is final: nothing adds to it any more. */
  void (*final)(void *arg, mae_var parameter);
  /* An operation is done; may be NULL. */
  void (*between)(void *arg);
  void *arg;
} mae_tape_watcher;

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
  int32_t saved[MAE_OP_SAVED];    /* buffers */
  int32_t scratch[MAE_OP_PASSES]; /* buffers, of each pass */
  int32_t segment;                /* 0: none */
  const char *part;               /* of the model, for the profile */
  bool runs_again;
  int32_t refreshed_for; /* operation whose backward needs the output, or -1 */
  int32_t again_time, backward_time;
  /* Set by each operation for itself. */
  int64_t size[5];
  float eps;
  bool flag;
  mae_products products;
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
  int32_t segment, n_segments; /* segment: of what is being recorded, or 0 */
  mae_precision precision;     /* of what is being recorded */
  const char *part;            /* likewise */
  int32_t end_time;            /* one past the last moment of a step */
  bool spares_memory;
  bool planned, forward_done, accumulate;
  mae_tape_pass pass; /* the one running */
  size_t arena_bytes;
  char *arena;
  mae_tape_watcher watcher; /* all NULL: nobody */
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
#if defined(__clang_analyzer__) /* as in base/error.h */
#define mae_tape_fail(tape, status, ...) \
  (mae_tape_fail((tape), (status), __VA_ARGS__), (status))
#endif
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
/* NULL when this pass need not fill it in. */
void *mae_op_saved(const mae_tape *tape, const mae_op *op, int32_t i);
/* Of the pass that runs. */
float *mae_op_scratch(const mae_tape *tape, const mae_op *op);
const int32_t *mae_op_index(const mae_tape *tape, const mae_op *op);

/* Watch the backward passes of a planned tape from now on; NULL: no more. */
void mae_tape_watch(mae_tape *tape, const mae_tape_watcher *watcher);

/* Of its matrix products in one pass, as measure.h counts them. */
double mae_op_flops(const mae_tape *tape, const mae_op *op, bool backward);

/* ---- planning ---- */

/* Does it take part in the backward pass? */
static inline bool mae_op_runs_backward(const mae_tape *tape,
                                        const mae_op *op) {
  const mae_node *out = &tape->nodes[op->out];
  return out->requires_grad && out->reaches_loss;
}

/* Is it refreshed by forward, from its inputs? */
static inline bool mae_op_refresh_reads(const mae_op *op) {
  return op->refreshed_for >= 0 && !op->class->from_saved;
}

/* Does it run forward twice? */
static inline bool mae_op_forward_again(const mae_op *op) {
  return op->runs_again || mae_op_refresh_reads(op);
}

/* Does its value stay readable through a whole step? */
static inline bool mae_node_stays(const mae_tape *tape, const mae_node *node) {
  return (node->kind == MAE_NODE_INPUT && !node->passing) || node->keep ||
         node - tape->nodes == tape->loss;
}

/* Where the backward pass finds a value. */
static inline int32_t mae_node_later_buffer(const mae_node *node) {
  return node->again_buffer != MAE_NO_BUFFER ? node->again_buffer
                                             : node->value_buffer;
}

/* May the tape be planned for this loss?  Sets tape->loss. */
mae_status mae_tape_set_loss(mae_tape *tape, mae_var loss);
/* plan.c: all buffers and their places, and tape->arena_bytes. */
mae_status mae_tape_lay_out(mae_tape *tape);

/* segments.c */

/* Is operation i the last of a segment?  *first is where that begins. */
bool mae_tape_segment_ends(const mae_tape *tape, int32_t i, int32_t *first);
/* Once it is known what reaches the loss: decide which operations run again or
 * are refreshed, and give every operation its times. */
void mae_tape_schedule(mae_tape *tape);

#endif
