/* The pre-norm transformer block of ViT. */
#ifndef MAE_NN_TRANSFORMER_BLOCK_H
#define MAE_NN_TRANSFORMER_BLOCK_H

#include "libmae/mae.h"

/* A block's parameters, in the official order. */
enum {
  MAE_BLOCK_NORM1_WEIGHT,
  MAE_BLOCK_NORM1_BIAS,
  MAE_BLOCK_QKV_WEIGHT,
  MAE_BLOCK_QKV_BIAS,
  MAE_BLOCK_PROJ_WEIGHT,
  MAE_BLOCK_PROJ_BIAS,
  MAE_BLOCK_NORM2_WEIGHT,
  MAE_BLOCK_NORM2_BIAS,
  MAE_BLOCK_FC1_WEIGHT,
  MAE_BLOCK_FC1_BIAS,
  MAE_BLOCK_FC2_WEIGHT,
  MAE_BLOCK_FC2_BIAS,
  MAE_BLOCK_PARAMS
};

/* x + proj(attention(norm1(x))), then that + fc2(gelu(fc1(norm2(that)))); x
 * [B, T, D].  drop_path, two variables [B], scales what each of the two adds
 * (stochastic depth); NULL adds it as it is.  A failure marks the tape. */
mae_var mae_nn_transformer_block(mae_tape *tape, mae_var x,
                                 const mae_var params[MAE_BLOCK_PARAMS],
                                 int32_t num_heads, float layer_norm_eps,
                                 const mae_var *drop_path);
/* Of what that gives the first token alone, [B, D]: what comes after attention
 * is per token, two thirds of a block that need not be computed for others. */
mae_var mae_nn_class_token_block(mae_tape *tape, mae_var x,
                                 const mae_var params[MAE_BLOCK_PARAMS],
                                 int32_t num_heads, float layer_norm_eps);
/* Its two halves, where x's rows of qkv are made otherwise: norm1(x) through
 * the layer qkv, [B, T, 3 D]; and the block from those on, of what it gives the
 * tokens that the index [B, n] names, [B, n, D], or without an index all. */
mae_var mae_nn_qkv(mae_tape *tape, mae_var x,
                   const mae_var params[MAE_BLOCK_PARAMS],
                   float layer_norm_eps);
mae_var mae_nn_block_of_qkv(mae_tape *tape, mae_var x, mae_var qkv,
                            const mae_var params[MAE_BLOCK_PARAMS],
                            int32_t num_heads, float layer_norm_eps,
                            mae_index tokens);
/* The attention weights of that block, [B, num_heads, T, T]; forward only. */
mae_var mae_nn_attention_weights(mae_tape *tape, mae_var x,
                                 const mae_var params[MAE_BLOCK_PARAMS],
                                 int32_t num_heads, float layer_norm_eps);

#endif
