#include "base/memory.h"
#include "kernels/attention_blocks.h"
#include "kernels/kernels.h"

/* Rows of whole vectors of any instruction set. */
enum { MOST_LANES = MAE_ALIGNMENT / sizeof(float) };

static bool round_up(int64_t n, int64_t *padded) {
  return !__builtin_add_overflow(n, MOST_LANES - 1, padded) &&
         mae_mul(*padded / MOST_LANES, MOST_LANES, padded);
}

/* Of all tokens k^T and v, or k, k^T, v^T, dk, dv; of a block of queries y, or
 * q, dy, dq; and the scores, or the probabilities and their gradients. */
bool mae_attention_scratch(int64_t tokens, int64_t head_dim, bool backward,
                           int64_t *floats) {
  const int64_t queries = mae_attention_queries(tokens);
  int64_t padded, rows, width;
  if (!round_up(tokens, &padded) || !round_up(head_dim, &width)) return false;
  const int64_t block =
      padded < MAE_ATTENTION_KEYS ? padded : MAE_ATTENTION_KEYS;
  const int64_t scores =
      queries * (backward ? 2 * block : mae_attention_pitch(padded));
  return mae_mul(padded, backward ? 5 : 2, &rows) &&
         !__builtin_add_overflow(rows, queries * (backward ? 3 : 1), &rows) &&
         mae_mul(rows, width, floats) &&
         !__builtin_add_overflow(*floats, scores, floats);
}
