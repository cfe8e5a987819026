#include "nn/transformer_block.h"

#include "autograd/attention_weights.h"

mae_var mae_nn_qkv(mae_tape *tape, mae_var x,
                   const mae_var p[MAE_BLOCK_PARAMS], float eps) {
  mae_var a = {MAE_NO_VAR};
  mae_tape_layer_norm(tape, x, p[MAE_BLOCK_NORM1_WEIGHT],
                      p[MAE_BLOCK_NORM1_BIAS], eps, &a);
  mae_tape_linear(tape, a, p[MAE_BLOCK_QKV_WEIGHT], p[MAE_BLOCK_QKV_BIAS],
                  MAE_ACTIVATION_NONE, &a);
  return a;
}

mae_var mae_nn_attention_weights(mae_tape *tape, mae_var x,
                                 const mae_var params[MAE_BLOCK_PARAMS],
                                 int32_t num_heads, float eps) {
  mae_var out = {MAE_NO_VAR};
  mae_tape_attention_weights(tape, mae_nn_qkv(tape, x, params, eps), num_heads,
                             &out);
  return out;
}

/* residual + scale (x w^T + b); scale NULL: 1. */
static mae_var add_branch(mae_tape *tape, mae_var x, const mae_var *weight_bias,
                          const mae_var *scale, mae_var residual) {
  const mae_var w = weight_bias[0], b = weight_bias[1];
  mae_var out = {MAE_NO_VAR};
  if (!scale) {
    mae_tape_linear_add(tape, x, w, b, residual, &out);
    return out;
  }
  mae_tape_linear(tape, x, w, b, MAE_ACTIVATION_NONE, &out);
  mae_tape_drop_path_add(tape, out, *scale, residual, &out);
  return out;
}

static mae_var attention(mae_tape *tape, mae_var qkv, int32_t num_heads) {
  mae_var out = {MAE_NO_VAR};
  mae_tape_attention(tape, qkv, num_heads, &out);
  return out;
}

/* From what attention gave, per token. */
static mae_var after_attention(mae_tape *tape, mae_var a, mae_var x,
                               const mae_var *p, float eps,
                               const mae_var *drop_path) {
  mae_var h = add_branch(tape, a, p + MAE_BLOCK_PROJ_WEIGHT, drop_path, x);
  mae_tape_layer_norm(tape, h, p[MAE_BLOCK_NORM2_WEIGHT],
                      p[MAE_BLOCK_NORM2_BIAS], eps, &a);
  mae_tape_linear(tape, a, p[MAE_BLOCK_FC1_WEIGHT], p[MAE_BLOCK_FC1_BIAS],
                  MAE_ACTIVATION_GELU, &a);
  return add_branch(tape, a, p + MAE_BLOCK_FC2_WEIGHT,
                    drop_path ? drop_path + 1 : NULL, h);
}

mae_var mae_nn_transformer_block(mae_tape *tape, mae_var x,
                                 const mae_var params[MAE_BLOCK_PARAMS],
                                 int32_t num_heads, float eps,
                                 const mae_var *drop_path) {
  const mae_var qkv = mae_nn_qkv(tape, x, params, eps);
  return after_attention(tape, attention(tape, qkv, num_heads), x, params, eps,
                         drop_path);
}

static mae_var first_token(mae_tape *tape, mae_var x) {
  mae_var out = {MAE_NO_VAR};
  mae_tape_mean_tokens(tape, x, 0, 1, &out);
  return out;
}

mae_var mae_nn_class_token_block(mae_tape *tape, mae_var x,
                                 const mae_var params[MAE_BLOCK_PARAMS],
                                 int32_t num_heads, float eps) {
  const mae_var qkv = mae_nn_qkv(tape, x, params, eps);
  const mae_var a = attention(tape, qkv, num_heads);
  return after_attention(tape, first_token(tape, a), first_token(tape, x),
                         params, eps, NULL);
}

mae_var mae_nn_block_of_qkv(mae_tape *tape, mae_var x, mae_var qkv,
                            const mae_var params[MAE_BLOCK_PARAMS],
                            int32_t num_heads, float eps, mae_index tokens) {
  mae_var a = attention(tape, qkv, num_heads);
  if (tokens.id != MAE_NO_VAR) {
    mae_tape_gather_tokens(tape, a, tokens, &a);
    mae_tape_gather_tokens(tape, x, tokens, &x);
  }
  return after_attention(tape, a, x, params, eps, NULL);
}
