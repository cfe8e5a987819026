/* The kernels: forward and backward of each operation, on raw arrays.
 *
 * Each instruction set has its own table, compiled from the same sources
 * (simd.h).  Gradients: a NULL pointer means not wanted; `add` flags say
 * whether to add to what is there or overwrite it.  Kernels split their work
 * over the pool themselves and neither allocate nor fail. */
#ifndef MAE_KERNELS_KERNELS_H
#define MAE_KERNELS_KERNELS_H

#include <stdbool.h>

#include "base/cpu.h"
#include "base/pool.h"

/* Resampling along one axis: output i is the sum over k < taps[i] of
 * weights[i * pitch + k] times input begin + first[i] + k, in fixed point. */
#define MAE_RESAMPLE_BITS 22 /* after the point, as in Pillow */

typedef struct mae_axis {
  int64_t count;      /* outputs */
  int64_t begin, end; /* the inputs that any output needs */
  int64_t pitch;
  const int32_t *first, *taps, *weights;
} mae_axis;

/* Rows of 8-bit pixels, and the planes to make of their channels: the first
 * `planes` channels, or when it is 1 the grey of 1, or 3 or more (as RGB). */
typedef struct mae_pixels {
  const uint8_t *data;
  int64_t rows, stride; /* bytes */
  int64_t channels, planes;
} mae_pixels;

/* How the products of linear layers are made; precision.h chooses. */
typedef enum mae_products {
  MAE_PRODUCTS_F32,
  MAE_PRODUCTS_F32_AMX,       /* each factor the sum of three in bf16 */
  MAE_PRODUCTS_BF16_EMULATED, /* of copies in f32, rounded */
  MAE_PRODUCTS_BF16_AVX512,
  MAE_PRODUCTS_BF16_AMX
} mae_products;

static inline bool mae_products_in_bf16(mae_products products) {
  return products >= MAE_PRODUCTS_BF16_EMULATED;
}

typedef struct mae_kernels {
  /* y [rows, out] = act(x [rows, in] w^T + b) + residual.  gelu keeps the
   * pre-activation in `pre` [rows, out], unless that is NULL.  residual may be
   * NULL; gelu and residual exclude each other.  In bf16 both factors of each
   * product, here and in backward, are rounded to that first, and so is the
   * pre-activation, of uint16_t then, else of float.  packed: what pack_weight
   * made of w, or NULL.  scratch: linear_scratch floats. */
  void (*linear_forward)(mae_pool *pool, mae_products products, int64_t rows,
                         int64_t in, int64_t out, bool gelu, const float *x,
                         const float *w, const float *packed, const float *b,
                         const float *residual, void *pre, float *y,
                         float *scratch);
  /* A weight as such products want it, and the floats that takes, 0 where they
   * want it as it is. */
  void (*pack_weight)(mae_pool *pool, mae_products products, int64_t in,
                      int64_t out, const float *w, float *packed);
  int64_t (*packed_weight)(mae_products products, int64_t in, int64_t out);
  /* With gelu, dy is overwritten by the gradient of the pre-activation.  dx may
   * be x, where it is not added to. */
  void (*linear_backward)(mae_pool *pool, mae_products products, int64_t rows,
                          int64_t in, int64_t out, bool gelu, const float *x,
                          const float *w, const void *pre, float *dy,
                          float *dx, bool add_dx, float *dw, bool add_dw,
                          float *db, bool add_db, float *scratch);
  int64_t (*linear_scratch)(const mae_pool *pool, mae_products products,
                            bool backward, int64_t rows, int64_t in,
                            int64_t out);
  /* y = x Phi(x), the activation alone, of what linear_forward kept. */
  void (*gelu_forward)(mae_pool *pool, mae_products products, int64_t n,
                       const void *pre, float *y);

  /* mean and rstd [rows] are for the backward pass; both or neither NULL. */
  void (*layer_norm_forward)(mae_pool *pool, int64_t rows, int64_t width,
                             float eps, const float *x, const float *w,
                             const float *b, float *y, float *mean,
                             float *rstd);
  void (*layer_norm_backward)(mae_pool *pool, int64_t rows, int64_t width,
                              const float *x, const float *w, const float *mean,
                              const float *rstd, const float *dy, float *dx,
                              bool add_dx, float *dw, bool add_dw, float *db,
                              bool add_db);

  /* qkv [batch, tokens, 3, heads, head_dim], y [batch, tokens, heads,
   * head_dim].  log_sum [batch, heads, tokens], the log of each softmax
   * denominator, lets backward rebuild the probabilities; may be NULL.
   * kept: qkv in bf16, of which backward then makes do, its own qkv being
   * NULL; or NULL.  scratch: per worker what mae_attention_scratch says. */
  void (*attention_forward)(mae_pool *pool, int64_t batch, int64_t tokens,
                            int64_t heads, int64_t head_dim, const float *qkv,
                            float *y, float *log_sum, uint16_t *kept,
                            float *scratch);
  /* The probabilities alone: weights [batch, heads, tokens, tokens]. */
  void (*attention_weights)(mae_pool *pool, int64_t batch, int64_t tokens,
                            int64_t heads, int64_t head_dim, const float *qkv,
                            float *weights);
  void (*attention_backward)(mae_pool *pool, int64_t batch, int64_t tokens,
                             int64_t heads, int64_t head_dim, const float *qkv,
                             const uint16_t *kept, const float *y,
                             const float *log_sum,
                             const float *dy, float *dqkv, bool add_dqkv,
                             float *scratch);

  /* y = a + b; y may be a or b.  The sum's backward: dx (+)= dy. */
  void (*add_forward)(mae_pool *pool, int64_t n, const float *a, const float *b,
                      float *y);
  void (*add_backward)(mae_pool *pool, int64_t n, const float *dy, float *dx,
                       bool add_dx);

  /* y [batch, count, width] = x[b, index[b, i]]; an index may repeat. */
  void (*gather_forward)(mae_pool *pool, int64_t batch, int64_t tokens,
                         int64_t count, int64_t width, const float *x,
                         const int32_t *index, float *y);
  void (*gather_backward)(mae_pool *pool, int64_t batch, int64_t tokens,
                          int64_t count, int64_t width, const int32_t *index,
                          const float *dy, float *dx, bool add_dx);

  /* x [batch, 1 + kept, width] -> y [batch, 1 + patches, width]; token has one
   * row, or each: one for each row of an image of y. */
  void (*unshuffle_forward)(mae_pool *pool, int64_t batch, int64_t kept,
                            int64_t patches, int64_t width, const float *x,
                            const float *token, bool each,
                            const int32_t *restore, float *y);
  void (*unshuffle_backward)(mae_pool *pool, int64_t batch, int64_t kept,
                             int64_t patches, int64_t width,
                             const int32_t *restore, const float *dy, float *dx,
                             bool add_dx, float *dtoken, bool each,
                             bool add_dtoken);

  /* token [width] before x [batch, tokens, width]. */
  void (*concat_forward)(mae_pool *pool, int64_t batch, int64_t tokens,
                         int64_t width, const float *token, const float *x,
                         float *y);
  void (*concat_backward)(mae_pool *pool, int64_t batch, int64_t tokens,
                          int64_t width, const float *dy, float *dtoken,
                          bool add_dtoken, float *dx, bool add_dx);

  /* y = x + table row 0 for token 0, row 1 + (index ? index[b, i] : i) for
   * token 1 + i; x [batch, 1 + count, width], table [table_rows, width].
   * x's gradient is dy itself (add_backward). */
  void (*position_forward)(mae_pool *pool, int64_t batch, int64_t count,
                           int64_t width, const float *x, const float *table,
                           const int32_t *index, float *y);
  void (*position_backward)(mae_pool *pool, int64_t batch, int64_t count,
                            int64_t table_rows, int64_t width,
                            const int32_t *index, const float *dy,
                            float *dtable, bool add_dtable);

  /* images [batch, chans, height, width] -> y [batch, count, chans * p * p];
   * index [batch, count] or NULL for every patch. */
  void (*patchify_forward)(mae_pool *pool, int64_t batch, int64_t chans,
                           int64_t height, int64_t width, int64_t p,
                           bool chans_last, int64_t count, const int32_t *index,
                           const float *images, float *y);
  void (*patchify_backward)(mae_pool *pool, int64_t batch, int64_t chans,
                            int64_t height, int64_t width, int64_t p,
                            bool chans_last, int64_t count,
                            const int32_t *index, const float *dy, float *dx,
                            bool add_dx);

  /* pred, target [patches, width], mask [patches].  stats [patches, 3] keeps
   * each removed patch's mean, 1 / std and error for the backward pass. */
  void (*masked_mse_forward)(mae_pool *pool, int64_t patches, int64_t width,
                             bool normalise, const float *pred,
                             const float *target, const float *mask,
                             float *stats, float *loss);
  void (*masked_mse_backward)(mae_pool *pool, int64_t patches, int64_t width,
                              const float *pred, const float *target,
                              const float *mask, const float *stats,
                              const float *dloss, float *dpred, bool add_dpred);

  /* y [batch, width]: the mean of tokens first ... first + count - 1 of
   * x [batch, tokens, width]. */
  void (*mean_tokens_forward)(mae_pool *pool, int64_t batch, int64_t tokens,
                              int64_t width, int64_t first, int64_t count,
                              const float *x, float *y);
  void (*mean_tokens_backward)(mae_pool *pool, int64_t batch, int64_t tokens,
                               int64_t width, int64_t first, int64_t count,
                               const float *dy, float *dx, bool add_dx);

  /* logits, target [rows, classes].  stats [rows, 3] keeps each row's largest
   * logit, the log of its softmax denominator less that, and its loss. */
  void (*cross_entropy_forward)(mae_pool *pool, int64_t rows, int64_t classes,
                                const float *logits, const float *target,
                                float *stats, float *loss);
  void (*cross_entropy_backward)(mae_pool *pool, int64_t rows, int64_t classes,
                                 const float *logits, const float *target,
                                 const float *stats, const float *dloss,
                                 float *dlogits, bool add_dlogits);

  /* y = residual + scale[b] x; x, residual [batch, size], scale [batch].
   * residual's gradient is dy itself (add_backward). */
  void (*drop_path_forward)(mae_pool *pool, int64_t batch, int64_t size,
                            const float *x, const float *scale,
                            const float *residual, float *y);
  void (*drop_path_backward)(mae_pool *pool, int64_t batch, int64_t size,
                             const float *scale, const float *dy, float *dx,
                             bool add_dx);

  /* y [rows, planes, pitch], pitch >= axis->count.  Each weight of the axis
   * stands as often as a pixel has bytes in a row made ready: 4, or 1 when
   * planes is 1; unused weights up to a multiple of 16 are 0.  scratch: per
   * worker scratch_size >= 16 + those bytes of one row. */
  void (*resize_across)(mae_pool *pool, const mae_pixels *source,
                        const mae_axis *axis, int64_t pitch, uint8_t *scratch,
                        int64_t scratch_size, uint8_t *y);
  /* x [rows, planes, pitch], row 0 being axis->begin; pitch >= width + 15.
   * y [chans, axis->count, width] = (value / 255 - mean) / std; planes is
   * chans, or 1 for the same in every channel. */
  void (*resize_down)(mae_pool *pool, int64_t planes, int64_t chans,
                      int64_t width, int64_t pitch, const mae_axis *axis,
                      const uint8_t *x, const float *mean, const float *std,
                      float *y);

  /* One tensor, on the calling thread.  bias1 and bias2 are 1 - beta^step. */
  void (*adamw)(int64_t n, float scale, float lr, float decay, float beta1,
                float beta2, float eps, float bias1, float bias2,
                const float *grad, float *m, float *v, float *x);
  double (*sum_of_squares)(int64_t n, const float *x);
} mae_kernels;

#define MAE_KERNEL_LIST(X)                                      \
  X(linear_forward) X(linear_backward) X(linear_scratch)        \
  X(pack_weight) X(packed_weight)                               \
  X(gelu_forward) X(layer_norm_forward)                         \
  X(layer_norm_backward) X(attention_forward)                   \
  X(attention_weights) X(attention_backward)                    \
  X(add_forward) X(add_backward)                                \
  X(gather_forward) X(gather_backward) X(unshuffle_forward)     \
  X(unshuffle_backward) X(concat_forward) X(concat_backward)    \
  X(position_forward) X(position_backward) X(patchify_forward)  \
  X(patchify_backward) X(masked_mse_forward)                    \
  X(masked_mse_backward) X(mean_tokens_forward)                 \
  X(mean_tokens_backward) X(cross_entropy_forward)              \
  X(cross_entropy_backward) X(drop_path_forward)                \
  X(drop_path_backward) X(resize_across) X(resize_down)         \
  X(adamw) X(sum_of_squares)

/* Floats of scratch for each worker of attention, forward or backward, a
 * multiple of MAE_ALIGNMENT bytes; false when they are more than int64_t. */
bool mae_attention_scratch(int64_t tokens, int64_t head_dim, bool backward,
                           int64_t *floats);

/* The table for an instruction set; NULL when this build or this processor
 * lacks it. */
const mae_kernels *mae_kernels_for(mae_isa isa);
/* The best this processor has. */
mae_isa mae_kernels_best(void);

#endif
