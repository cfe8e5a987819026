/* Inside a session: its options, and the working memory of its passes. */
#ifndef MAE_MODEL_SESSION_H
#define MAE_MODEL_SESSION_H

#include "kernels/context.h"
#include "image/preprocess.h"
#include "model/graph.h"
#include "model/packed_weights.h"

/* Graphs for a full batch and for what is left after the full ones; the
 * latter is rebuilt when the rest has another size. */
enum { MAE_MOST_BLOCKS = 4096 };

enum { MAE_GRAPH_FULL, MAE_GRAPH_REST, MAE_GRAPH_SIZES };

/* What it takes to run one pass.  Two lanes share nothing that is written. */
typedef struct mae_lane {
  mae_context *context; /* the session's, or own */
  mae_context own;      /* a pool of one thread */
  mae_graph features[MAE_GRAPH_SIZES], autoencoder[MAE_GRAPH_SIZES];
  mae_preprocess *preprocess;
  float *noise;  /* [batch_size, L] */
  float *vector; /* [2, D] */
  mae_status status; /* of the latest call, with its text: errors belong to */
  char message[512]; /* threads, and a lane may run on any */
} mae_lane;

struct mae_session {
  mae_context *context;
  const mae_model *model;
  mae_model *view; /* the model at another image size; or NULL */
  mae_session_options options;
  int32_t *blocks; /* [options.num_blocks], from 0 */
  int64_t feature_kept, kept; /* patches seen by features; by forward */
  mae_packed_weights packed;  /* for features */
  mae_lane *lanes; /* all for features; the first for the rest */
  int32_t n_lanes;
};

/* Images of a call that one pass takes. */
typedef struct mae_pass {
  int64_t begin, count;
} mae_pass;

/* The pass that begins here, of images up to end. */
mae_pass mae_session_pass(const mae_session *session, int64_t begin,
                          int64_t end);

/* Noise [count, L] for a pass: the caller's, or the session's own. */
const float *mae_session_noise(const mae_session *session, mae_lane *lane,
                               mae_pass pass, int64_t kept, const float *noise);

/* The slot for a graph of so many images. */
int mae_session_slot(const mae_session *session, int64_t count);

/* The end of a span of its context's profile. */
static inline void mae_session_span_end(const mae_session *s, mae_span span,
                                        const char *what) {
  mae_span_end(s->context->profile, span, "session", what, MAE_PROFILE_NO_PASS,
               0);
}

mae_status mae_session_check_call(const mae_session *session,
                                  const void *images, int64_t n);

#endif
