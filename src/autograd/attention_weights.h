/* What tokens attend to, for looking at: not part of a trained graph. */
#ifndef MAE_AUTOGRAD_ATTENTION_WEIGHTS_H
#define MAE_AUTOGRAD_ATTENTION_WEIGHTS_H

#include "libmae/mae.h"

/* softmax(q k^T / sqrt(D / num_heads)) for each head: qkv [B, T, 3 D] as
 * mae_tape_attention takes it, out [B, num_heads, T, T].  Forward only: qkv may
 * not require a gradient. */
mae_status mae_tape_attention_weights(mae_tape *tape, mae_var qkv,
                                      int32_t num_heads, mae_var *out);

#endif
