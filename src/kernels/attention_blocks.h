/* How attention is blocked, and with that its scratch. */
#ifndef MAE_KERNELS_ATTENTION_BLOCKS_H
#define MAE_KERNELS_ATTENTION_BLOCKS_H

#include <stdint.h>

enum {
  MAE_ATTENTION_QUERIES = 64, /* at most, whose scores are kept at a time */
  MAE_ATTENTION_KEYS = 64,    /* packed together, as one product's columns */
  MAE_ATTENTION_SPAN = 4      /* blocks of keys under one softmax */
};

static inline int64_t mae_attention_queries(int64_t tokens) {
  return tokens < MAE_ATTENTION_QUERIES ? tokens : MAE_ATTENTION_QUERIES;
}

/* Floats from a query's scores to the next one's, of `padded` tokens: a vector
 * more than there are, as rows a power of two apart share few places of the
 * cache. */
static inline int64_t mae_attention_pitch(int64_t padded) {
  const int64_t most = MAE_ATTENTION_KEYS * MAE_ATTENTION_SPAN;
  return (padded < most ? padded : most) + 16;
}

#endif
