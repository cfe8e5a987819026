/*
 * libmae: Masked Autoencoders (He et al. 2021) in C.
 *
 * Pretrain a Vision Transformer on unlabelled images, save it, and use its
 * encoder's features, without Python.  "The paper" below is "Masked
 * Autoencoders Are Scalable Vision Learners"; "official" is the behaviour of
 * the authors' released PyTorch code.
 *
 * Conventions
 *  - Every call that can fail returns mae_status.  mae_last_error() then holds
 *    a sentence about the failure, per thread.  On failure, out-parameters are
 *    left as they were unless a call says otherwise.
 *  - The library never prints, exits or aborts, and has no settings of its own
 *    outside the objects below.
 *  - Handles (mae_context, mae_model, ...) are opaque, made by *_create or
 *    *_load and released by *_destroy; destroying NULL does nothing.
 *  - Structs of options begin with struct_size, set by their *_init call, so
 *    they can grow without breaking programs compiled against an older header.
 *  - Arrays are row-major, f32, dense.  Images are [n, channels, height,
 *    width], already normalised the way the caller wants them.
 *  - BLAS: while a call computes, the BLAS library is set to one thread; then
 *    it is as the application has set it, be it meanwhile.
 *  - fork: at any time, also while other threads are in calls, and the parent
 *    goes on.  The child may make new contexts and all else; read models and
 *    datasets; and use contexts, sessions, trainers and tapes that no other
 *    thread was using, with the same results, but by the calling thread alone.
 *    Loaders stay behind: MAE_ERROR_STATE.  Any of these may be destroyed.
 *  - Threads of the library block all signals.
 *  - Letters in shapes: B batch, C channels, H, W image size, p patch size,
 *    L = (H/p)*(W/p) patches, K kept patches, T tokens, D width.
 */
#ifndef LIBMAE_MAE_H
#define LIBMAE_MAE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#error "libmae supports POSIX systems"
#elif defined(__GNUC__)
#define MAE_API __attribute__((visibility("default")))
#else
#define MAE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define MAE_VERSION_MAJOR 0 /* of this header */
#define MAE_VERSION_MINOR 1 /* of this header */
#define MAE_VERSION_PATCH 0 /* of this header */

/* Version of the library at run time, "major.minor.patch"; static storage. */
MAE_API const char *mae_version(void);

/* ------------------------------------------------------------- errors --- */

/* What became of a call. */
typedef enum mae_status {
  MAE_OK = 0,
  MAE_ERROR_INVALID_ARGUMENT = 1, /* NULL, out of range, inconsistent */
  MAE_ERROR_SHAPE = 2,            /* tensors whose shapes do not fit */
  MAE_ERROR_OUT_OF_MEMORY = 3,
  MAE_ERROR_IO = 4,          /* the system refused a read or write */
  MAE_ERROR_NO_SPACE = 5,    /* disk or quota full; the old file is intact */
  MAE_ERROR_NOT_FOUND = 6,   /* no such file, or no such name in a model */
  MAE_ERROR_FORMAT = 7,      /* a file that is truncated or malformed */
  MAE_ERROR_MISMATCH = 8,    /* a sound file that does not fit this object */
  MAE_ERROR_NON_FINITE = 9,  /* loss or gradient is inf or NaN */
  MAE_ERROR_STATE = 10,      /* calls in an order that makes no sense */
  MAE_ERROR_UNSUPPORTED = 11 /* left out of this build, or of a newer header */
} mae_status;

/* Name of a status, such as "MAE_ERROR_SHAPE"; static storage, never NULL. */
MAE_API const char *mae_status_name(mae_status status);

/* What the latest failed call of this thread says; "" when none has failed.
 * Owned by the library, valid until this thread's next libmae call. */
MAE_API const char *mae_last_error(void);

/* How a value is stored. */
typedef enum mae_dtype {
  MAE_DTYPE_F32 = 0,
  MAE_DTYPE_F16 = 1 /* IEEE half precision, as uint16_t */
} mae_dtype;

/* How the linear layers compute; the numbers that go in and come out are f32.
 *
 * With MAE_PRECISION_BF16 the two factors of each of their matrix products are
 * rounded to bf16 (8 bits of mantissa, to nearest, ties to even), forward the
 * layer's input and its weight, backward these and the gradient of its output;
 * the products are summed in f32, as torch.autocast has it.  Rounded are also
 * GELU's argument and, as they are kept for the backward pass, q, k and v.  All
 * else is f32: weights, gradients, AdamW's moments and checkpoints, and biases,
 * norms, GELU, attention between its two linear layers, and losses.  That is
 * made for processors with instructions for it, and on others emulated, slower
 * than f32: mae_context_precision_is_native. */
typedef enum mae_precision {
  MAE_PRECISION_F32 = 0,
  MAE_PRECISION_BF16 = 1 /* linear layers as said above */
} mae_precision;

/* Settings that have been published, see the two calls *_options_recipe. */
typedef enum mae_recipe {
  MAE_RECIPE_PRETRAIN = 0,
  MAE_RECIPE_FINETUNE = 1,
  MAE_RECIPE_SCRATCH = 2
} mae_recipe;

/* ------------------------------------------------------------ context --- */

/* A pool of threads and the kernels chosen for this processor.  May be shared:
 * calls that come together take turns at the pool.  With threads = 1 nothing
 * is shared and no lock is taken.  It must outlive what was made with it. */
typedef struct mae_context mae_context;

/* The instruction set that kernels are compiled for.
 *
 * With MAE_ISA_AMX tiles multiply for the linear layers.  In f32 each factor is
 * the sum of three numbers in bf16 (24 bits are three times 8), and six of the
 * nine products are summed in f32: errors are about as large as those of
 * multiply-adds, most often smaller.  But infinity may become NaN, and a part
 * below 2^-126, which a factor below 2^-102 may have, counts as 0.  Layers with
 * fewer than 32 rows or features multiply as with MAE_ISA_AVX512.
 *
 * The first context that is, or might by MAE_ISA_AUTO be, of that kind asks
 * Linux to let the process use AMX; from then on alternate signal stacks must
 * be as large as getauxval(AT_MINSIGSTKSZ) says, and where one is smaller
 * already, AMX is not used. */
typedef enum mae_isa {
  MAE_ISA_AUTO = 0,     /* the best this processor has */
  MAE_ISA_PORTABLE = 1, /* plain C, any processor */
  MAE_ISA_AVX2 = 2,     /* x86-64 with AVX2 and FMA */
  MAE_ISA_AVX512 = 3,   /* x86-64 with AVX-512 F, BW, DQ, VL */
  MAE_ISA_AMX = 4       /* the same, AVX512_BF16, AMX-TILE and AMX-BF16 */
} mae_isa;

typedef struct mae_context_options {
  size_t struct_size;
  int32_t threads; /* calling thread included; 0 (default): one per CPU */
  mae_isa isa;     /* default MAE_ISA_AUTO */
  int32_t profile; /* 1: count where time goes, see mae_context_profile; 0
                      (default): do not, which costs nothing */
} mae_context_options;

/* Fill with defaults; struct_size is sizeof(mae_context_options). */
MAE_API void mae_context_options_init(mae_context_options *options,
                                      size_t struct_size);

/* options may be NULL (defaults).  The same inputs, threads and isa give the
 * same results bit for bit on like processors.  MAE_ERROR_UNSUPPORTED: this
 * processor lacks isa. */
MAE_API mae_status mae_context_create(const mae_context_options *options,
                                      mae_context **context);
MAE_API void mae_context_destroy(mae_context *context);
/* What the two options came to: not 0, and not MAE_ISA_AUTO. */
MAE_API int32_t mae_context_threads(const mae_context *context);
MAE_API mae_isa mae_context_isa(const mae_context *context);
/* 1: products of this precision are made by instructions for them; 0: they are
 * emulated, with the same results up to the rounding of f32 sums (numbers below
 * 2^-126 may count as 0 in one of the two), but none of the speed; also for a
 * precision that is none.  MAE_PRECISION_F32 is native everywhere. */
MAE_API int32_t mae_context_precision_is_native(const mae_context *context,
                                                mae_precision precision);

/* The pass of an operation that a profile counts. */
typedef enum mae_profile_pass {
  MAE_PROFILE_FORWARD = 0,
  MAE_PROFILE_RECOMPUTE = 1, /* forward once more, see mae_tape_checkpoint */
  MAE_PROFILE_BACKWARD = 2,
  MAE_PROFILE_NO_PASS = 3 /* the optimiser, inputs and the like */
} mae_profile_pass;

/* What a profile has counted of one kind of work; the caller sets struct_size.
 * The texts are the library's, and stay as long as the context. */
typedef struct mae_profile_entry {
  size_t struct_size;
  const char *part; /* "encoder", "decoder", "loss"; "tape": of a tape of one's
                       own, or of none of these; "trainer", "session", "fit" */
  const char *op;   /* "linear", "attention", ... as the calls mae_tape_* are
                       named; of a trainer "noise", "inputs" (images copied,
                       masks made), "ranks" (sums over them), "grad_norm",
                       "adamw", "ema"; of a session "plan", "preprocess",
                       "inputs", "outputs"; of a whole run "loader" (waiting for
                       it), "files"; "other": all else within a call */
  mae_profile_pass pass; /* what it was done for */
  int64_t calls;         /* how often */
  double seconds;        /* of wall time in all, less what other entries have */
  double flops;          /* of matrix products, as in mae_training_plan */
} mae_profile_entry;

/* The time of mae_tape_forward, mae_tape_backward, a trainer's steps and a
 * session's calls on such a context, since it was made or last reset: the
 * entries add up to the whole of these calls.  Where several threads are in
 * such calls, or work on passes of their own (MAE_MODE_THROUGHPUT), that is the
 * sum over these threads; threads that help with one operation are not counted.
 * Thread safe.
 *
 * How many entries there are, in the order they came about; 0 without the
 * option profile. */
MAE_API int32_t mae_context_profile_size(const mae_context *context);
/* MAE_ERROR_NOT_FOUND: there is no entry i. */
MAE_API mae_status mae_context_profile(const mae_context *context, int32_t i,
                                       mae_profile_entry *entry);
/* Count from 0 again. */
MAE_API void mae_context_profile_reset(mae_context *context);

/* ------------------------------------------------------------- random --- */

/* Philox4x32-10, counter based: value i of (seed, stream) depends on nothing
 * else, so there is no state to save.  Thread safe. */

/* out[i] = value first+i of the stream, uniform in [0, 1), 24 bits. */
MAE_API mae_status mae_random_uniform(uint64_t seed, uint64_t stream,
                                      uint64_t first, size_t n, float *out);
/* The same, from the standard normal distribution. */
MAE_API mae_status mae_random_normal(uint64_t seed, uint64_t stream,
                                     uint64_t first, size_t n, float *out);
/* A permutation of 0 .. n-1, all equally likely: shuffles an epoch. */
MAE_API mae_status mae_random_permutation(uint64_t seed, uint64_t stream,
                                          size_t n, uint32_t *out);

/* ------------------------------------------------------------- tensor --- */

/* A dense f32 array of 1 to 4 dimensions whose data is 64-byte aligned (only
 * 4-byte in a model that was imported with `map`). */
typedef struct mae_tensor mae_tensor;

#define MAE_MAX_DIMS 4 /* of a tensor */

/* A tensor of zeros that owns its data. */
MAE_API mae_status mae_tensor_create(int32_t ndim, const int64_t *shape,
                                     mae_tensor **tensor);
/* A view of the caller's data (64-byte aligned), which must outlive it. */
MAE_API mae_status mae_tensor_borrow(float *data, int32_t ndim,
                                     const int64_t *shape, mae_tensor **tensor);
/* Destroys a tensor made by the two calls above, not one lent by a model or
 * a tape; the data of a borrowed tensor stays. */
MAE_API void mae_tensor_destroy(mae_tensor *tensor);
/* The first element; the dimensions, and the size of one of them. */
MAE_API float *mae_tensor_data(const mae_tensor *tensor);
MAE_API int32_t mae_tensor_ndim(const mae_tensor *tensor);
MAE_API int64_t mae_tensor_dim(const mae_tensor *tensor, int32_t axis);
MAE_API int64_t mae_tensor_size(const mae_tensor *tensor); /* elements */

/* --------------------------------------------------------------- tape --- */

/* A graph recorded once and run many times.  Record operations, plan, then
 * per step: fill the inputs, mae_tape_forward, mae_tape_backward.  All memory
 * is laid out by mae_tape_plan; running allocates nothing.
 *
 * A tape belongs to one thread at a time.  Recording calls check shapes; after
 * one fails, later ones and mae_tape_plan return the same status, so a program
 * may check the plan alone. */
typedef struct mae_tape mae_tape;

/* A value on a tape.  Only the tape that made it may use it. */
typedef struct mae_var {
  int32_t id; /* the tape's own number */
} mae_var;

/* An [B, n] table of token numbers on a tape (int32). */
typedef struct mae_index {
  int32_t id; /* the tape's own number */
} mae_index;

#define MAE_NO_VAR (-1) /* id of no variable */

/* What a linear layer does to its sums. */
typedef enum mae_activation {
  MAE_ACTIVATION_NONE = 0,
  MAE_ACTIVATION_GELU = 1 /* exact, x * Phi(x) by erf, as torch.nn.GELU() */
} mae_activation;

/* The order of a patch's pixels in its vector. */
typedef enum mae_patch_order {
  MAE_PATCH_CPQ = 0, /* channel, row, column: as a convolution weight */
  MAE_PATCH_PQC = 1  /* row, column, channel: as the official patchify */
} mae_patch_order;

/* An empty tape; the context must outlive it. */
MAE_API mae_status mae_tape_create(mae_context *context, mae_tape **tape);
MAE_API void mae_tape_destroy(mae_tape *tape);

/* A value filled by the caller before each forward, through mae_tape_value.
 * requires_grad != 0 keeps its gradient for mae_tape_grad. */
MAE_API mae_status mae_tape_input(mae_tape *tape, int32_t ndim,
                                  const int64_t *shape, int32_t requires_grad,
                                  mae_var *out);
/* Weights owned by the caller; both tensors must outlive the tape.  grad has
 * the shape of value and receives the gradient; NULL freezes the weights.
 * Recording the same pair again gives the same variable; a gradient that
 * belongs to another value is refused. */
MAE_API mae_status mae_tape_parameter(mae_tape *tape, const mae_tensor *value,
                                      mae_tensor *grad, mae_var *out);
/* A table of token numbers [batch, count], filled through mae_tape_index_data. */
MAE_API mae_status mae_tape_index(mae_tape *tape, int64_t batch, int64_t count,
                                  mae_index *out);

/* y = act(x w^T + b).  x [..., in], w [out, in, ...] (trailing dimensions are
 * flattened, so a patch convolution's weight fits), b [out]; y [..., out]. */
MAE_API mae_status mae_tape_linear(mae_tape *tape, mae_var x, mae_var weight,
                                   mae_var bias, mae_activation activation,
                                   mae_var *out);
/* y = residual + x w^T + b, residual [..., out]. */
MAE_API mae_status mae_tape_linear_add(mae_tape *tape, mae_var x,
                                       mae_var weight, mae_var bias,
                                       mae_var residual, mae_var *out);
/* Over the last dimension, with biased variance, as torch.nn.LayerNorm. */
MAE_API mae_status mae_tape_layer_norm(mae_tape *tape, mae_var x,
                                       mae_var weight, mae_var bias, float eps,
                                       mae_var *out);
/* softmax(q k^T / sqrt(D / num_heads)) v for each head.  qkv [B, T, 3 D] holds
 * q, k, v side by side, each split into heads, as the official attention. */
MAE_API mae_status mae_tape_attention(mae_tape *tape, mae_var qkv,
                                      int32_t num_heads, mae_var *out);
/* a + b, equal shapes. */
MAE_API mae_status mae_tape_add(mae_tape *tape, mae_var a, mae_var b,
                                mae_var *out);
/* images [B, C, H, W] -> patches [B, L, p*p*C]; with keep [B, K], only those
 * patches: [B, K, p*p*C].  keep.id = MAE_NO_VAR takes all. */
MAE_API mae_status mae_tape_patchify(mae_tape *tape, mae_var images,
                                     int32_t patch_size, mae_patch_order order,
                                     mae_index keep, mae_var *out);
/* out[b, i] = x[b, index[b, i]]: shuffles, or keeps some tokens. */
MAE_API mae_status mae_tape_gather_tokens(mae_tape *tape, mae_var x,
                                          mae_index index, mae_var *out);
/* Unshuffle (paper, section 3, "MAE decoder").  x [B, 1+K, D]: a class token,
 * then K visible tokens; token [D elements], or 1+L rows of them; restore
 * [B, L].  out [B, 1+L, D]: the class token, then at i visible token
 * restore[b, i], or where restore[b, i] >= K the token, of rows row 1+i. */
MAE_API mae_status mae_tape_unshuffle_tokens(mae_tape *tape, mae_var x,
                                             mae_var token, mae_index restore,
                                             mae_var *out);
/* token [D elements] put before x [B, T, D]: [B, 1+T, D]. */
MAE_API mae_status mae_tape_concat_token(mae_tape *tape, mae_var token,
                                         mae_var x, mae_var *out);
/* x [B, 1+n, D] + table [1+L rows of D]: row 0 to token 0, and to token 1+i
 * row 1+i, or row 1+index[b, i] when an index [B, n] is given. */
MAE_API mae_status mae_tape_add_position(mae_tape *tape, mae_var x,
                                         mae_var table, mae_index index,
                                         mae_var *out);
/* The MAE loss (paper, section 3, "Reconstruction target").  pred and target
 * [B, L, P], mask [B, L] with 1 for removed patches; target and mask take no
 * gradient.  norm_pix_loss != 0 first normalises each target patch by its mean
 * and unbiased variance, eps 1e-6.  out [1]: the mean over removed patches of
 * the mean square error. */
MAE_API mae_status mae_tape_masked_mse(mae_tape *tape, mae_var pred,
                                       mae_var target, mae_var mask,
                                       int32_t norm_pix_loss, mae_var *out);
/* The mean over tokens first ... first + count - 1 of x [B, T, D]: [B, D].
 * (0, 1) is the class token, (1, T - 1) global pooling.  A range that leaves x
 * is MAE_ERROR_INVALID_ARGUMENT. */
MAE_API mae_status mae_tape_mean_tokens(mae_tape *tape, mae_var x,
                                        int64_t first, int64_t count,
                                        mae_var *out);
/* The loss of a classifier.  logits and target [B, C]; the rows of target are
 * probabilities (not checked) and take no gradient.  out [1]: the mean over
 * rows of -sum(target * log_softmax(logits)), as torch's cross_entropy. */
MAE_API mae_status mae_tape_softmax_cross_entropy(mae_tape *tape,
                                                  mae_var logits,
                                                  mae_var target,
                                                  mae_var *out);
/* residual + scale[b] * x: a branch with stochastic depth, whose scale is 0 for
 * an image that drops it, else 1 / (1 - rate).  x and residual [B, ...], scale
 * [B], which takes no gradient. */
MAE_API mae_status mae_tape_drop_path_add(mae_tape *tape, mae_var x,
                                          mae_var scale, mae_var residual,
                                          mae_var *out);

/* Keep a value readable after forward, which else may share its memory. */
MAE_API mae_status mae_tape_keep(mae_tape *tape, mae_var var);

/* Less memory for more time.  With recompute = 1 the operations recorded from
 * here to the next such call form a segment: what it computes is not kept for
 * the backward pass but computed again right before the segment's own, but for
 * what later operations read then, and for values of mae_tape_keep.  With 0
 * what follows is kept as usual (the default).  The bits are the same.  Inputs,
 * indices and parameters must not change between a forward and its backward. */
MAE_API mae_status mae_tape_checkpoint(mae_tape *tape, int32_t recompute);

/* The precision of linear layers (mae_tape_linear, mae_tape_linear_add) that
 * are recorded from here on; MAE_PRECISION_F32 until it is set. */
MAE_API mae_status mae_tape_set_precision(mae_tape *tape,
                                          mae_precision precision);

/* Lay out all memory and freeze the tape.  loss.id = MAE_NO_VAR plans forward
 * alone, in less memory. */
MAE_API mae_status mae_tape_plan(mae_tape *tape, mae_var loss);
/* Bytes laid out by mae_tape_plan; 0 before. */
MAE_API size_t mae_tape_memory(const mae_tape *tape);

/* MAE_ERROR_INVALID_ARGUMENT: a token number is out of range. */
MAE_API mae_status mae_tape_forward(mae_tape *tape);
/* After a forward.  A loss of one element gets the gradient seed; for a larger
 * one the caller writes mae_tape_grad(tape, loss) first.  accumulate != 0 adds
 * to the gradients of parameters and inputs, else they are overwritten.  What
 * mae_tape_grad(tape, loss) holds afterwards is undefined. */
MAE_API mae_status mae_tape_backward(mae_tape *tape, float seed,
                                     int32_t accumulate);

/* Lent by the tape, after mae_tape_plan.  A value: inputs, parameters, the
 * loss and kept values.  A gradient: parameters, inputs that require it and
 * the loss.  NULL for anything else. */
MAE_API mae_tensor *mae_tape_value(mae_tape *tape, mae_var var);
MAE_API mae_tensor *mae_tape_grad(mae_tape *tape, mae_var var);
MAE_API int32_t *mae_tape_index_data(mae_tape *tape, mae_index index);

/* -------------------------------------------------------------- model --- */

/* The shape of a model, filled in by mae_config_init. */
typedef struct mae_config {
  size_t struct_size;
  int32_t image_height, image_width; /* multiples of patch_size */
  int32_t patch_size; /* side of a square patch, in pixels */
  int32_t in_chans;   /* channels of the images */
  int32_t embed_dim;  /* multiple of 4 and of num_heads */
  int32_t depth;      /* blocks of the encoder */
  int32_t num_heads;  /* of its attention */
  int32_t decoder_embed_dim; /* multiple of 4 and of decoder_num_heads */
  int32_t decoder_depth;     /* blocks of the decoder */
  int32_t decoder_num_heads; /* of its attention */
  int32_t norm_pix_loss; /* 1: per-patch normalised target */
  double mlp_ratio;      /* width of a block's hidden layer over its own */
  double layer_norm_eps; /* of every norm; 1e-6, the official value */
  int32_t global_pool;   /* 1: as official fine-tuning with global pooling has
                            it, tokens are not normalised; "fc_norm" does that
                            to the mean of the patch tokens.  Default 0 */
  int32_t num_classes;   /* rows of "head.weight"; 0 (default): no head.  A
                            model with one is a classifier */
  int32_t encoder_mask_tokens; /* 1: the paper's ablation (table 1c, "encoder
                            w/ [M]"): pretraining's encoder sees all L tokens,
                            with a learned "encoder_mask_token" for the removed
                            patches, and the decoder adds none of its own (its
                            mask_token stays as it is made).  That costs the
                            encoder what masking saves it.  Features are those
                            of the patches seen, as of any model.  Needs a
                            decoder.  Default 0 */
} mae_config;

/* preset: "vit_b16", "vit_l16" or "vit_h14", each at 224 x 224 RGB with the
 * 512-wide, 8-block decoder, mlp_ratio 4 and norm_pix_loss 1; NULL: "vit_b16".
 * Change any field afterwards.  A model without decoder, for features alone,
 * has all three decoder_* sizes 0; only such a one may have global_pool or a
 * head.  MAE_ERROR_NOT_FOUND: no such preset. */
MAE_API mae_status mae_config_init(mae_config *config, size_t struct_size,
                                   const char *preset);

/* Weights and config.  Any number of threads may read a model at once; a
 * trainer writes it, and nothing else may use it meanwhile. */
typedef struct mae_model mae_model;

/* New weights, initialised as the official code does, a function of seed. */
MAE_API mae_status mae_model_create(const mae_config *config, uint64_t seed,
                                    mae_model **model);
/* A classifier for num_classes (at least 1) classes, to be fine-tuned: the
 * encoder of a model, which may have a decoder or another head, copied, and a
 * new head, its weight normal with a deviation of 2e-5, a function of seed, its
 * bias 0 (official main_finetune).  What goes through the head is the class
 * token after the encoder's last norm, or with global_pool = 1 the mean of the
 * patch tokens after a norm of its own, "fc_norm", which starts as ones and
 * zeros unless the encoder has one (and likewise "norm", when only fc_norm is
 * there).  Position table and normalisation of images go with the encoder,
 * class names do not.  The encoder stays as it is and may be destroyed. */
MAE_API mae_status mae_model_classifier(const mae_model *encoder,
                                        int32_t num_classes,
                                        int32_t global_pool, uint64_t seed,
                                        mae_model **model);
MAE_API void mae_model_destroy(mae_model *model);
/* config->struct_size tells how much of it to fill (mae_config_init). */
MAE_API mae_status mae_model_config(const mae_model *model, mae_config *config);
/* L, the patches of an image. */
MAE_API int64_t mae_model_num_patches(const mae_model *model);
/* Elements of all tensors; trainable_only != 0 leaves out those that
 * pretraining leaves as they are, the position tables. */
MAE_API int64_t mae_model_parameter_count(const mae_model *model,
                                          int32_t trainable_only);
/* Tensors under their official names ("blocks.0.attn.qkv.weight"), in the
 * official order, lent by the model. */
MAE_API int32_t mae_model_num_tensors(const mae_model *model);
MAE_API const char *mae_model_tensor_name(const mae_model *model, int32_t i);
MAE_API mae_tensor *mae_model_tensor(const mae_model *model, int32_t i);
/* Make the model one for images of another size: its position tables are
 * interpolated (bicubic; official interpolate_pos_embed, for any rectangle).
 * On failure it is as it was.  Sessions and trainers made of it before, and
 * position tensors lent by it, must not be used afterwards. */
MAE_API mae_status mae_model_resize(mae_model *model, int32_t image_height,
                                    int32_t image_width);
/* NULL when there is no such name. */
MAE_API mae_tensor *mae_model_find(const mae_model *model, const char *name);

/* What a model says of its classes and of its images.  Kept in its files'
 * metadata by mae_model_save, mae_model_export and mae_trainer_save, and read
 * back to the same bits; other people's files say nothing.  Setting them
 * changes the model, so nothing else may use it meanwhile. */

/* Names of a classifier's classes: num_classes of them, each a line of UTF-8
 * without control characters, at most a megabyte in all; copied.  NULL: none.
 * MAE_ERROR_STATE: the model has no head; on failure the old names stay. */
MAE_API mae_status mae_model_set_class_names(mae_model *model,
                                             const char *const *names);
/* NULL when it has none, and out of range.  Lent by the model until its names
 * are set again. */
MAE_API const char *mae_model_class_name(const mae_model *model, int32_t i);
/* The mean and deviation that its images are normalised by: in_chans values
 * each, of pixels in 0 to 1, deviations above 0; copied.  Both NULL: unknown.
 * A session whose options give none takes the model's. */
MAE_API mae_status mae_model_set_normalization(mae_model *model,
                                               const float *mean,
                                               const float *std);
/* Fills in in_chans values each.  MAE_ERROR_NOT_FOUND: unknown. */
MAE_API mae_status mae_model_normalization(const mae_model *model, float *mean,
                                           float *std);

/* A safetensors file with the official parameter names and the config in its
 * metadata.  The old file is replaced only once the new one is safely on
 * disk; on any error the old one stays as it was. */
MAE_API mae_status mae_model_save(const mae_model *model, const char *path);
/* mae_model_import with neither options nor report. */
MAE_API mae_status mae_model_load(const char *path, mae_model **model);

/* ------------------------------------------- other people's weights --- */

/* Files that mae_model_import opens and mae_model_export writes:
 *  - safetensors of this library (also a trainer's checkpoint), of Hugging
 *    Face transformers (ViTMAE, ViT) and of timm (Vision Transformers with a
 *    class token, such as vit_base_patch16_224.mae);
 *  - PyTorch's .pth, .pt and .bin since torch 1.6, with the names of the
 *    official code, of timm or of transformers: the state dict itself, or
 *    under "model", "state_dict", "model_state_dict" or "model_state".
 *
 * The pickle in a PyTorch file is read by a restricted reader that builds no
 * objects: whatever is not part of a tensor state dict is refused with its
 * opcode named (MAE_ERROR_FORMAT).  Full training checkpoints of the official
 * code hold an argparse.Namespace and are refused hence; strip one in Python:
 *     torch.save({"model": torch.load(old, weights_only=False)["model"]}, new)
 *
 * Tensors may be f32, f16, bf16 or f64; in memory all are f32.  The config is
 * told by the shapes.  A file without decoder gives a model without, whose
 * head, if any, is kept ("fc_norm" in the file: global_pool). */
typedef enum mae_layout {
  MAE_LAYOUT_OFFICIAL = 0,    /* names of facebookresearch/mae, and timm's */
  MAE_LAYOUT_HUGGING_FACE = 1 /* names of transformers' ViTMAE and ViT */
} mae_layout;

/* "What the file says" below: the metadata of this library's files, or the
 * config.json beside a file with Hugging Face's names. */
typedef struct mae_load_options {
  size_t struct_size;
  int32_t map; /* 1: map a safetensors file and use its f32 tensors where they
                  lie, each page read when first used and copied only if
                  written; their data is then 4-byte aligned, no more.  The
                  file must not be changed in place while the model lives
                  (replacing it, as saving does, is no harm).  Tensors of
                  another type, split ones (Hugging Face's query, key and
                  value) and PyTorch's files are read.  default 0: read all */
  int32_t image_height, image_width; /* 0 (default): the file's; else positions
                                        are interpolated, mae_model_resize */
  int32_t grid_height, grid_width; /* patches down and across in the file's
                                      position table; 0 (default): what the
                                      file says, else a square */
  int32_t num_heads; /* 0 (default): what the file says, else as many as the
                        official model of that width, else one per 64 */
  int32_t decoder_num_heads; /* 0 (default): what the file says, else 16 */
  int32_t norm_pix_loss; /* -1 (default): what the file says, else 1 */
  double layer_norm_eps; /* 0 (default): what the file says, else 1e-6
                            (official, timm) or 1e-12 (Hugging Face) */
} mae_load_options;

MAE_API void mae_load_options_init(mae_load_options *options,
                                   size_t struct_size);

/* What became of the tensors of a file.  Belongs to the caller. */
typedef struct mae_load_report mae_load_report;

/* Kinds of findings in a report. */
typedef enum mae_load_finding {
  MAE_LOAD_MISSING = 0,  /* "NAME": the model needs it, the file lacks it */
  MAE_LOAD_EXTRA = 1,    /* "NAME": in the file, and not used */
  MAE_LOAD_MISSHAPEN = 2 /* "NAME: [2, 3], expected [3, 3]", or a type that is
                            no real number */
} mae_load_finding;

/* path: such a file, or a folder with model.safetensors or pytorch_model.bin
 * (and, for Hugging Face's names, config.json) in it.  options and report may
 * be NULL.  A report is made on success and on MAE_ERROR_MISMATCH through
 * missing, misshapen or extra tensors; on other failures it is left as it was.
 * Names in it are spelt as the file's.  Extra tensors are no failure unless
 * they belong to a computation this library does not do, as one more tensor
 * in a block would.
 * MAE_ERROR_NOT_FOUND, MAE_ERROR_IO; MAE_ERROR_FORMAT: a malformed file or
 * config.json; MAE_ERROR_MISMATCH: a sound file, but no such model, or sizes
 * that need num_heads or the grid from the options; MAE_ERROR_UNSUPPORTED:
 * built without the JSON or zip library that it needs, or a config.json of
 * another kind of model. */
MAE_API mae_status mae_model_import(const char *path,
                                    const mae_load_options *options,
                                    mae_model **model,
                                    mae_load_report **report);

MAE_API void mae_load_report_destroy(mae_load_report *report);
/* Findings of a kind. */
MAE_API int32_t mae_load_report_count(const mae_load_report *report,
                                      mae_load_finding finding);
/* Line i of a kind, lent by the report; NULL out of range. */
MAE_API const char *mae_load_report_item(const mae_load_report *report,
                                         mae_load_finding finding, int32_t i);
/* Whose names the file has. */
MAE_API mae_layout mae_load_report_layout(const mae_load_report *report);
/* "safetensors" or "pytorch"; static storage. */
MAE_API const char *mae_load_report_format(const mae_load_report *report);
/* Bytes of weights used in place, in the mapped file. */
MAE_API int64_t mae_load_report_mapped_bytes(const mae_load_report *report);

/* Write a model for others, crash-safe as mae_model_save.  Official naming: a
 * safetensors file as mae_model_save's.  Hugging Face naming: path is a folder
 * (made if missing, its parent not) that gets model.safetensors and
 * config.json, for from_pretrained of ViTMAEForPreTraining, or of ViTMAEModel
 * without a decoder; or, when it ends in ".safetensors", that one file.
 * (transformers makes a ViTMAEForPreTraining for square images alone; of
 * others its ViTMAEModel reads the encoder.)  In f16 values are rounded to
 * nearest.  mae_model_import reads all of them; after f32 it has the same bits.
 * MAE_ERROR_UNSUPPORTED: global_pool, a head or encoder_mask_tokens under
 * Hugging Face's naming;
 * MAE_ERROR_INVALID_ARGUMENT: f16 and a value beyond its range. */
MAE_API mae_status mae_model_export(const mae_model *model, mae_layout layout,
                                    mae_dtype dtype, const char *path);

/* ------------------------------------------------------------- images --- */

/* Pixels in memory: height rows of width * channels bytes, stride apart. */
typedef struct mae_image {
  const uint8_t *data;   /* the first row */
  int32_t width, height; /* 1 to 65536 */
  int32_t channels; /* 1 grey, 3 RGB, 4 RGBA (alpha is ignored) */
  ptrdiff_t stride; /* bytes from row to row; 0: width * channels; may be < 0 */
} mae_image;

/* Decode a JPEG, PNG or still WebP file, told by its first bytes, into 8-bit
 * grey, RGB or RGBA (PNG and WebP with transparency) of the library's own
 * memory (mae_image_free).  CMYK becomes RGB, of 16 bits the upper 8 are kept;
 * colour profiles and EXIF orientation are not applied (as in Pillow and
 * torchvision).  Thread safe.  MAE_ERROR_FORMAT: corrupt, truncated, of none
 * of these kinds, above 1 GiB, or of more than 178956970 pixels (Pillow's
 * limit) or 65536 a side; MAE_ERROR_UNSUPPORTED: its decoder was left out of
 * this build, an animation, or a JPEG of unusual colours. */
MAE_API mae_status mae_image_load(const char *path, mae_image *image);
/* The same of a file's size bytes in memory. */
MAE_API mae_status mae_image_decode(const void *data, size_t size,
                                    mae_image *image);
/* Frees what the two calls above filled in, and zeroes it. */
MAE_API void mae_image_free(mae_image *image);

/* ------------------------------------------------------------ session --- */

/* Inference on a model: features, predictions, reconstructions.  Holds the
 * working memory, so one session serves one thread at a time; any number of
 * sessions share a model and a context.  The first call of each kind plans
 * memory; later ones with the same n allocate nothing.  After a failure the
 * arrays a call fills in may be filled in part. */
typedef struct mae_session mae_session;

/* What mae_session_features writes. */
typedef enum mae_features {
  MAE_FEATURES_CLASS_TOKEN = 0, /* [n, D] */
  MAE_FEATURES_MEAN = 1,        /* [n, D], mean of the patch tokens */
  MAE_FEATURES_TOKENS = 2,      /* [n, 1+K, D], class token first; masked:
                                   visible patches in shuffled order */
  MAE_FEATURES_ATTENTION = 3,   /* [n, num_heads, 1+K, 1+K]: in each row what a
                                   token attends to, adding up to 1 */
  MAE_FEATURES_LOGITS = 4       /* [n, num_classes]: a classifier's head on the
                                   class token, or with global_pool on the mean
                                   of the patch tokens; the largest is the class
                                   told.  Of the last block alone, through the
                                   norm, not l2_normalized.  MAE_ERROR_STATE: a
                                   model without a head */
} mae_features;

/* How a session uses the context's threads for features. */
typedef enum mae_mode {
  MAE_MODE_LATENCY = 0,   /* all threads of the context work on each pass */
  MAE_MODE_THROUGHPUT = 1 /* each thread works on passes of its own: better
                             for many images at once, and more memory */
} mae_mode;

typedef struct mae_session_options {
  size_t struct_size;
  int32_t batch_size;    /* images per pass; default 16 */
  mae_features features; /* default MAE_FEATURES_CLASS_TOKEN */
  int32_t block;         /* features after this block; -1 (default): last */
  int32_t final_norm;    /* 1 (default): through the encoder's last norm, be
                            the block the last or not; with global_pool: the
                            mean through fc_norm, tokens as they are */
  double feature_mask_ratio; /* for features; 0 (default): every patch seen */
  double mask_ratio;         /* for forward, reconstruct; default 0.75 */
  uint64_t seed;             /* masks where the caller gives no noise */
  const int32_t *blocks; /* features after each of these (-1: last), in this
                            order, from one pass: [n, num_blocks, ...]; NULL
                            (default): of `block`.  Read at creation only */
  int32_t num_blocks;   /* length of `blocks` */
  mae_dtype dtype;      /* of the features; default MAE_DTYPE_F32 */
  int32_t l2_normalize; /* 1: scale each vector [D] to length 1; default 0 */
  mae_mode mode;        /* of the features; default MAE_MODE_LATENCY */
  int32_t image_height, image_width; /* multiples of patch_size; 0 (default):
                            the model's.  Another size interpolates positions
                            as mae_model_resize, for this session alone */
  double crop_ratio;    /* mae_features_u8: side of the centre crop over that of
                           the resized image, in (0, 1]; 0 (default): 224/256
                           for images up to 224, 1 beyond (official) */
  const float *mean, *std; /* mae_features_u8: in_chans values each, of pixels
                            in 0 to 1; NULL (default): what the model says
                            (mae_model_normalization), else ImageNet's.  Read
                            at creation only */
  mae_precision precision; /* of all linear layers, patch embedding, decoder and
                            head included; default MAE_PRECISION_F32 */
  int32_t pack_weights; /* 1: features may read a copy of the encoder's weights
                           in the form that products want, made at creation:
                           with MAE_PRECISION_BF16 half as much memory as these
                           again, with MAE_PRECISION_F32 on MAE_ISA_AMX one and
                           a half times as much, else none.  Faster for few
                           images at once, the same bits; the model's weights
                           must not change while the session lives.  0
                           (default): weights are read where they are */
} mae_session_options;

MAE_API void mae_session_options_init(mae_session_options *options,
                                      size_t struct_size);
/* options may be NULL.  context and model must outlive the session. */
MAE_API mae_status mae_session_create(mae_context *context,
                                      const mae_model *model,
                                      const mae_session_options *options,
                                      mae_session **session);
MAE_API void mae_session_destroy(mae_session *session);

/* Values per image that mae_session_features writes, of all blocks. */
MAE_API int64_t mae_session_feature_size(const mae_session *session);
/* images [n, C, H, W]; noise [n, L] or NULL; out [n, feature_size] of the
 * session's dtype.  Patches with the least noise are kept, int(L * (1 - ratio))
 * of them (official random_masking).  Without noise, image i of a call gets
 * row i of the session seed's noise. */
MAE_API mae_status mae_session_features(mae_session *session,
                                        const float *images, int64_t n,
                                        const float *noise, void *out);
/* The same from pixels as decoders give them, of any size: antialiased bicubic
 * resize as Pillow's, within one level, centre crop, mean and std (official
 * evaluation transform).  Across first, then down, as Pillow 11; newer ones go
 * down first in some tall images and differ there.  Channels are made to fit a
 * model of 1 or 3. */
MAE_API mae_status mae_features_u8(mae_session *session,
                                   const mae_image *images, int64_t n,
                                   void *out);
/* The first half of that alone: one image -> out [C, H, W], for any call that
 * takes f32 images. */
MAE_API mae_status mae_session_preprocess(mae_session *session,
                                          const mae_image *image, float *out);
/* The official forward: mean loss, pred [n, L, p*p*C] as the decoder gives it,
 * mask [n, L] with 1 for removed.  Any of the three may be NULL. */
MAE_API mae_status mae_session_forward(mae_session *session,
                                       const float *images, int64_t n,
                                       const float *noise, double *loss,
                                       float *pred, float *mask);
/* out [n, C, H, W]: the visible patches as given, the removed ones as
 * predicted, brought back to the scale of the images when the model was
 * trained on normalised patches (by each true patch's own mean and variance).
 * mask [n, L] may be NULL. */
MAE_API mae_status mae_session_reconstruct(mae_session *session,
                                           const float *images, int64_t n,
                                           const float *noise, float *out,
                                           float *mask);

/* ------------------------------------------------------------ trainer --- */

/* AdamW, linear warm-up then half-cycle cosine (paper, tables 8, 9 and 11).
 * What is trained, and by which call, is told by the model:
 *  - one with a decoder is pretrained by mae_trainer_step;
 *  - one with a head is a classifier, trained by mae_trainer_step_labels.
 * All other calls are for both.  Belongs to one thread at a time; a step
 * allocates nothing. */
typedef struct mae_trainer mae_trainer;

typedef struct mae_trainer_options {
  size_t struct_size;
  int32_t batch_size;  /* images per mae_trainer_step; default 64 */
  int32_t accum_steps; /* steps whose gradients make one update; default 1 */
  double mask_ratio;   /* default 0.75 */
  double base_lr;      /* per 256 images; default 1.5e-4.  The peak rate is
                          base_lr * batch_size * accum_steps / 256 */
  double min_lr;       /* end of the cosine; default 0 */
  double weight_decay; /* not on biases and norms, nor on the class token and
                          positions of classifiers; default 0.05 */
  double beta1, beta2; /* default 0.9, 0.95 */
  double eps;          /* default 1e-8 */
  double clip_grad;    /* largest norm of all gradients; 0 (default): off */
  int64_t warmup_steps; /* updates; default 0 */
  int64_t total_steps;  /* updates; 0 (default): constant after warm-up */
  uint64_t seed;        /* of the masks; of drop_path and mixing; default 0 */
  int32_t recompute; /* 1: of each block keep only what goes into it, and
                        compute the rest again in the backward pass: much less
                        memory, about a fifth more time, the same bits.
                        Default 0 */
  /* Average of the weights: after each update it becomes ema_decay times
   * itself plus 1 - ema_decay times the weights (timm's ModelEmaV2), from the
   * weights at creation on; see mae_trainer_ema_model.  0 (default): off. */
  double ema_decay;
  /* The rest is for classifiers alone; set for another model it is refused. */
  double layer_decay; /* block i of d, counted from 1, learns at the rate times
                         layer_decay^(d+1-i), what comes before the blocks at
                         layer_decay^(d+1) (official param_groups_lrd), norm
                         and head at the full rate.  1 (default): all do */
  double drop_path; /* stochastic depth: the probability, per image, to leave
                       out a branch of the last block; from 0 in the first it
                       grows evenly (timm).  Default 0 */
  double label_smoothing; /* s: targets are multiplied by 1 - s and s / classes
                             added.  Default 0 */
  double mixup, cutmix; /* alphas of the Beta distributions, 1e-6 or more, of
                           the share of an image that is mixed with another of
                           its batch; 0 (default): off */
  double mix_prob;        /* that a batch is mixed at all; default 1 */
  double mix_switch_prob; /* CutMix, where both may be; default 0.5 */
  int32_t trainable_blocks; /* -1 (default): everything is trained; k: the last
                               k blocks, norm and head; 0: the head alone.  The
                               rest stays as it is, to the bit, and takes
                               neither gradients nor optimizer memory */
  /* For all models again. */
  mae_precision precision; /* of all linear layers, patch embedding, decoder and
                              head included; default MAE_PRECISION_F32.  Not
                              part of a checkpoint, which is f32 either way and
                              may be resumed in the other one */
  int32_t update_in_backward; /* 1: each parameter is updated in the backward
                                 pass, as soon as its gradient is there, whose
                                 memory is then used again: a quarter less for
                                 what grows with the model; and in f32 outputs
                                 of attention, and queries, keys and values of
                                 tokens up to 512 wide, are not kept but made
                                 anew.  The same bits, for some 3 % more
                                 arithmetic, 8 % where the encoder is as narrow.
                                 Not with accum_steps above 1, clip_grad or
                                 several ranks.  Not part of a checkpoint.
                                 Default 0 */
} mae_trainer_options;

/* What mae_trainer_step tells; the caller sets struct_size. */
typedef struct mae_step_result {
  size_t struct_size;
  double loss;          /* of this step's images, those of all ranks */
  double learning_rate; /* of the update this step belongs to */
  double grad_norm;     /* before clipping; 0 when no update was made */
  int64_t step;         /* updates made so far */
  int32_t updated;      /* 1: this step changed the weights */
} mae_step_result;

MAE_API void mae_trainer_options_init(mae_trainer_options *options,
                                      size_t struct_size);
/* Options of a recipe for a model of this depth (up to 12 as ViT-B, up to 24
 * as ViT-L, else as ViT-H), and its epochs and epochs of warm-up (NULL where
 * not wanted).  What the recipe does not say is as after _init: so batch_size
 * and accum_steps, the recipes having 4096 images an update, but 1024 for
 * fine-tuning; and warmup_steps and total_steps, which are the caller's to
 * count.
 *  - MAE_RECIPE_PRETRAIN: paper, table 8: that of _init; 800 and 40 epochs;
 *  - MAE_RECIPE_FINETUNE: official FINETUNE.md, main_finetune.py;
 *  - MAE_RECIPE_SCRATCH: a ViT trained without pretraining; paper, table 11. */
MAE_API mae_status mae_trainer_options_recipe(
    mae_trainer_options *options, size_t struct_size, mae_recipe recipe,
    const mae_config *config, int64_t *epochs, int64_t *warmup_epochs);
/* options may be NULL.  context and model must outlive the trainer.
 * MAE_ERROR_STATE: the model has neither decoder nor head. */
MAE_API mae_status mae_trainer_create(mae_context *context, mae_model *model,
                                      const mae_trainer_options *options,
                                      mae_trainer **trainer);
MAE_API void mae_trainer_destroy(mae_trainer *trainer);

/* What a trainer takes, in bytes and in floating-point operations.  The bytes
 * are those of its arrays and its model's, all of which are taken when the two
 * are created; tables of the library (less than a megabyte) and the buffers of
 * threads and of the BLAS library are not counted, nor what mae_trainer_resume
 * takes while it reads: weights and optimiser once more.  The operations are those
 * of matrix products (the linear layers, and in attention q k^T and its
 * weights times v), two for each multiply-add; the encoder's are of its kept
 * patches alone. */
typedef struct mae_training_plan {
  size_t struct_size;
  int64_t parameters;       /* elements, the fixed position tables included */
  int64_t weight_bytes;     /* of the model */
  int64_t gradient_bytes;   /* of what is trained; 0 with update_in_backward,
                               where they are among the activations */
  int64_t optimizer_bytes;  /* the two moments of AdamW; with ema_decay also
                               the average of the weights */
  int64_t activation_bytes; /* values and gradients of a step, its inputs */
  int64_t total_bytes;      /* the sum of these */
  double encoder_flops, decoder_flops; /* forward, of one image; a classifier
                                          is all encoder */
  double step_flops; /* of a step of batch_size images: forward, backward and
                        what is computed again */
} mae_training_plan;

/* The plan of a trainer with this config and options (NULL: defaults), without
 * making it: takes milliseconds and next to no memory.  Attention's scratch
 * grows with the threads of the context.  Set plan->struct_size.  Thread safe.
 * Errors as of mae_model_create and mae_trainer_create. */
MAE_API mae_status mae_trainer_plan(mae_context *context,
                                    const mae_config *config,
                                    const mae_trainer_options *options,
                                    mae_training_plan *plan);

/* One pass over images [batch_size, C, H, W]; noise [batch_size, L] or NULL
 * (then a function of seed and of the images seen so far).  Every accum_steps
 * steps the weights are updated.  result may be NULL; else set its
 * struct_size.  MAE_ERROR_NON_FINITE: this step's loss, or the gradient of
 * the update, is not finite; weights, optimiser and step count are as before,
 * and the gradients gathered for the update are dropped.  But with
 * update_in_backward, when the loss is finite and a gradient is not, some
 * weights may have been updated: go back to a checkpoint.  MAE_ERROR_STATE: the
 * model is a classifier. */
MAE_API mae_status mae_trainer_step(mae_trainer *trainer, const float *images,
                                    const float *noise,
                                    mae_step_result *result);
/* The same for a classifier: labels [batch_size] of 0 to num_classes - 1, or
 * targets [batch_size, num_classes], rows of probabilities; the other is NULL.
 * The loss is the mean cross-entropy to the targets, smoothed and mixed.
 * drop_path goes by seed and the number of the image (mae_trainer_images_seen),
 * mixing, of a copy of the images, by seed and the number of the batch's first:
 * image i of the batch is mixed with image batch_size - 1 - i.
 * MAE_ERROR_INVALID_ARGUMENT: also a label out of range, or a target that is
 * no number from 0 to 1; nothing has changed then.  MAE_ERROR_STATE: the model
 * is no classifier. */
MAE_API mae_status mae_trainer_step_labels(mae_trainer *trainer,
                                           const float *images,
                                           const int32_t *labels,
                                           const float *targets,
                                           mae_step_result *result);
/* The average of the weights (ema_decay), a model lent by the trainer, which
 * each update changes: for sessions, mae_model_save and the like.  What is not
 * trained it shares with the trainer's model.  NULL without ema_decay. */
MAE_API const mae_model *mae_trainer_ema_model(const mae_trainer *trainer);
/* The gradient gathered so far for a parameter, lent by the trainer; NULL for
 * an unknown or fixed one, and for all with update_in_backward.  With several
 * ranks it is this rank's share of the mean until the update, and then the mean
 * itself. */
MAE_API mae_tensor *mae_trainer_gradient(const mae_trainer *trainer,
                                         const char *name);
/* Updates made so far, and images seen. */
MAE_API int64_t mae_trainer_steps(const mae_trainer *trainer);
MAE_API uint64_t mae_trainer_images_seen(const mae_trainer *trainer);

/* A checkpoint: the model as mae_model_save writes it, with the optimiser's
 * state and the average of the weights, so that training continues bit for bit.
 * MAE_ERROR_STATE: with several ranks, of which each holds its part, in the
 * middle of an update's steps. */
MAE_API mae_status mae_trainer_save(const mae_trainer *trainer,
                                    const char *path);
/* Puts the weights into the trainer's model and restores the optimiser, the
 * seed and the step.  Other options stay as they are.  On any error model and
 * trainer are as before; MAE_ERROR_MISMATCH also where the checkpoint lacks the
 * state of something that is now trained, or an average that is now kept, or
 * where the classes' names are others or in another order.  With several ranks
 * each resumes, from the same file, saved at an update (MAE_ERROR_MISMATCH
 * otherwise). */
MAE_API mae_status mae_trainer_resume(mae_trainer *trainer, const char *path);

/* Sums over the processes (ranks) that train one model together, each on its
 * own images.  The library knows no MPI: the tool `mae` brings a communicator
 * over MPI, and others are the application's.  The calls come from the thread
 * that runs mae_trainer_step, in the same order on every rank.  A failure is
 * passed on by that step; whatever wait_all returns, no sum may be under way
 * when it has. */
typedef struct mae_communicator {
  size_t struct_size; /* sizeof(mae_communicator) */
  int32_t rank;       /* this process, 0 to ranks - 1 */
  int32_t ranks;      /* processes; with 1 nothing below is called */
  void *arg;          /* given to the calls below */
  /* Begin to replace data[n] by its sum over all ranks, of the same bits on
   * each.  Several sums may be under way; data stays where it is. */
  mae_status (*start_sum)(void *arg, float *data, int64_t n);
  /* Called often while sums are under way, to move them on; may be NULL. */
  mae_status (*progress)(void *arg);
  /* Wait until all sums begun are there. */
  mae_status (*wait_all)(void *arg);
  /* What the latest failure was, for mae_last_error(); may be NULL. */
  const char *(*error_text)(void *arg);
  /* Gradients are summed in pieces of about this many bytes, each as soon as
   * the backward pass has finished it; 0: 25 MB. */
  int64_t bucket_bytes;
} mae_communicator;

/* Train together with other ranks; the communicator is copied, its arg must
 * outlive the trainer; NULL: alone again.  Every rank makes the same calls of
 * its trainer, made with the same options, weights and instruction set (the
 * first step checks that: MAE_ERROR_MISMATCH on all ranks).  Then
 *  - batch_size is per rank; the learning rate is for batch_size * accum_steps
 *    * ranks images;
 *  - images are numbered over all ranks: rank r's of a step are images_seen +
 *    r * batch_size and on, and noise NULL, drop_path and mixing go by these
 *    numbers.  Mixing is within a rank's own batch: with it, several ranks do
 *    what one process does with their batch_size and ranks * accum_steps;
 *  - loss, gradient norm, clipping and the check for finite numbers are over
 *    all ranks, and the weights stay the same on all of them bit for bit;
 *  - after MAE_ERROR_NON_FINITE, which all ranks get alike, training may go
 *    on.  Another failure may be that of one rank alone, while the others
 *    wait: end them all.
 * A checkpoint is the same with any number of ranks, and any number may resume
 * it; one rank need write it.  Allowed between updates: MAE_ERROR_STATE when
 * an update's steps have begun, or of several ranks with update_in_backward. */
MAE_API mae_status mae_trainer_set_communicator(
    mae_trainer *trainer, const mae_communicator *communicator);

/* --------------------------------------------------------------- data --- */

/* An IDX file (the MNIST family's format) of unsigned bytes, plain or
 * gzipped, read whole.  MAE_ERROR_UNSUPPORTED: built without zlib. */
typedef struct mae_idx mae_idx;

/* Any type of element but unsigned bytes is refused: MAE_ERROR_FORMAT. */
MAE_API mae_status mae_idx_load(const char *path, mae_idx **idx);
MAE_API void mae_idx_destroy(mae_idx *idx);
MAE_API int32_t mae_idx_ndim(const mae_idx *idx); /* 1 to 4 */
/* Size of a dimension; 0 when there is none such. */
MAE_API int64_t mae_idx_dim(const mae_idx *idx, int32_t axis);
/* All elements, row-major, lent by idx. */
MAE_API const uint8_t *mae_idx_data(const mae_idx *idx);

/* ----------------------------------------------------------- datasets --- */

/* Images that can be asked for by number, with labels or without.  But for
 * mae_dataset_set_labels it never changes: any number of loaders and threads
 * may use one. */
typedef struct mae_dataset mae_dataset;

/* path is one of
 *  - a folder: the .jpg, .jpeg, .png and .webp files in it and in the folders
 *    below, sorted by path; links to files are followed, to folders not.  A
 *    folder of .tar files and no images: all of these shards;
 *  - a .tar file (a WebDataset shard, not compressed): its images.  Tar files
 *    are indexed once, then read at any place;
 *  - a .txt, .list or .lst file: paths of images, one a line, relative to the
 *    list's folder;
 *  - an IDX file [n, height, width] of grey, or [n, height, width, 3] of RGB,
 *    of at most 2^24 images.
 * Nothing is decoded yet.  MAE_ERROR_NOT_FOUND: no such path, or no image in
 * it; MAE_ERROR_IO: unreadable, the folder named; MAE_ERROR_FORMAT;
 * MAE_ERROR_UNSUPPORTED: a compressed tar file, too many images, or built
 * without libarchive or zlib. */
MAE_API mae_status mae_dataset_open(const char *path, mae_dataset **dataset);

/* Fills in image i, f32 [C, H, W], ready for the model; called from a loader's
 * threads, several at once.  A failure skips the image; MAE_ERROR_OUT_OF_MEMORY
 * fails the batch. */
typedef mae_status (*mae_fetch)(void *arg, int64_t i, float *out);
/* `count` images of the application's own.  Loaders do not augment them. */
MAE_API mae_status mae_dataset_from_callback(int64_t count, mae_fetch fetch,
                                             void *arg, mae_dataset **dataset);
MAE_API void mae_dataset_destroy(mae_dataset *dataset);
/* Images in it. */
MAE_API int64_t mae_dataset_size(const mae_dataset *dataset);
/* The path of image i, "SHARD!MEMBER" or "FILE#I"; lent by the dataset; "" of
 * callbacks and out of range. */
MAE_API const char *mae_dataset_name(const mae_dataset *dataset, int64_t i);

/* As mae_dataset_open, with a class for each image:
 *  - in a folder, the folder right below it that the image lies in, however
 *    deep; sorted by name (as torchvision's ImageFolder; one without images is
 *    no class).  MAE_ERROR_FORMAT: an image in none, which is named;
 *  - of an IDX file "...images-idx3-ubyte[.gz]", by the file of labels
 *    "...labels-idx1-ubyte[.gz]" beside it; classes "0", "1", ... to the highest
 *    label.  MAE_ERROR_NOT_FOUND: there is none; MAE_ERROR_MISMATCH: not a label
 *    for each image.
 * Other paths: MAE_ERROR_UNSUPPORTED.
 *
 * class_names, num_classes of them, all different, fix the numbering, as those
 * of a classifier that is to be tested; images of some classes may be missing.
 * NULL: the dataset's own; of which there must be num_classes when that is not
 * 0 (in an IDX file, at most so many).  MAE_ERROR_MISMATCH: a class that is not
 * among class_names, or another number of classes. */
MAE_API mae_status mae_dataset_open_labelled(const char *path,
                                             const char *const *class_names,
                                             int32_t num_classes,
                                             mae_dataset **dataset);
/* Labels of one's own for any dataset, [its size] of 0 to num_classes - 1, in
 * place of those it may have, before loaders are made of it and while nobody
 * else uses it.  class_names (num_classes of them, or NULL: without names) and
 * labels are copied. */
MAE_API mae_status mae_dataset_set_labels(mae_dataset *dataset,
                                          const int32_t *labels,
                                          int32_t num_classes,
                                          const char *const *class_names);
/* 0: images have no labels. */
MAE_API int32_t mae_dataset_num_classes(const mae_dataset *dataset);
/* Lent by the dataset; NULL without names and out of range. */
MAE_API const char *mae_dataset_class_name(const mae_dataset *dataset,
                                           int32_t c);
/* The class of image i; -1 without labels and out of range. */
MAE_API int32_t mae_dataset_label(const mae_dataset *dataset, int64_t i);

/* Decode image i in full, without any augmentation, into memory of the
 * library's own (mae_image_free).  Thread safe.  Errors as of mae_image_load;
 * MAE_ERROR_UNSUPPORTED: also a dataset of a callback. */
MAE_API mae_status mae_dataset_load_image(const mae_dataset *dataset, int64_t i,
                                          mae_image *image);

/* Batches for training, made by threads ahead of time.
 *
 * Images are numbered over all epochs: an epoch is epoch_batches global
 * batches, each of batch_size images for every rank.  What comes for a number
 * is a function of the dataset, the options and that number alone: the order
 * of an epoch is a permutation by (seed, epoch), crop, flip and what else is
 * drawn follow from (seed, number).  So training can go on from any number, bit
 * for bit.
 *
 * An image that cannot be read is skipped, counted and named; the next one in
 * the epoch's order takes its place.
 *
 * Belongs to one thread at a time.  Memory is that of prefetch + 1 batches and
 * of one decoded image per thread. */
typedef struct mae_loader mae_loader;

typedef struct mae_loader_options {
  size_t struct_size;
  int32_t batch_size; /* images per batch of this rank; default 64 */
  int32_t image_height, image_width, in_chans; /* default 224, 224, 3 */
  int32_t augment; /* 1 (default): random resized crop and horizontal flip, as
                      torchvision's; 0: resize and centre crop, as
                      mae_features_u8 */
  double scale_min, scale_max; /* area of the crop; default 0.2, 1 (official) */
  double ratio_min, ratio_max; /* its width / height; default 3/4, 4/3 */
  double flip;                 /* probability; default 0.5 */
  const float *mean, *std; /* in_chans values, of pixels in 0 to 1; NULL
                              (default): ImageNet's.  Read at creation only */
  uint64_t seed;       /* of order, crops and flips; default 0 */
  int32_t threads;     /* that decode; 0 (default): one per CPU */
  int32_t prefetch;    /* batches made ahead; default 2 */
  int32_t rank, ranks; /* of a data-parallel run; default 0 of 1 */
  int32_t full_decode; /* 1: JPEGs are decoded in full, and only then cropped
                          and resized.  0 (default): at 1/2, 1/4 or 1/8 where
                          the crop is still as large as the image wanted, which
                          is faster and differs slightly */
  /* The rest belongs to augment = 1, and has no effect without. */
  int32_t rand_augment_ops; /* RandAugment's operations on an image, 0 to 16;
                               0 (default): none.  See below */
  double rand_augment_magnitude; /* mean, 0 to 10; default 9 */
  double rand_augment_std; /* its standard deviation, 0 to 100; default 0.5 */
  int32_t rand_augment_increasing; /* 1 (default): all operations do more with
                                      the magnitude, as timm's "inc1" */
  double erase; /* probability of random erasing; default 0, see below */
} mae_loader_options;

MAE_API void mae_loader_options_init(mae_loader_options *options,
                                     size_t struct_size);

/* The same with the augmentation of a recipe.  MAE_RECIPE_PRETRAIN: as init.
 * MAE_RECIPE_FINETUNE (official): crops of 0.08 to 1 of the area, flips,
 * RandAugment of 2 operations at 9 +- 0.5, erasing with probability 0.25.
 * MAE_RECIPE_SCRATCH (the paper's supervised ViT): the same without erasing.
 * Batch, sizes and the rest are the defaults, for you to change.
 *
 * RandAugment is timm's "rand-m9-mstd0.5-inc1" on the 8-bit image, grey or RGB
 * (in_chans 1 or 3), after crop and flip and before it is normalised: each of
 * rand_augment_ops times one of autocontrast, equalize, invert, rotate,
 * posterize, solarize, solarize_add, colour, contrast, brightness, sharpness,
 * shear x and y, and translate x and y, applied with probability 1/2, with the
 * pixels that Pillow makes; bicubic, and what comes from outside the image has
 * the mean colour.  (Posterized to no bits, at magnitude 10, it is black; new
 * Pillows refuse that.)  Random erasing is timm's of mode "pixel": of the
 * normalised image a box of 2 to 33 percent of the area, its aspect 3/10 to
 * 10/3, becomes standard normal noise.  All is drawn from the seed and the
 * image's number.  A callback's images are left alone.
 *
 * MAE_ERROR_INVALID_ARGUMENT: an unknown recipe; options stay as they were. */
MAE_API mae_status mae_loader_options_recipe(mae_loader_options *options,
                                             size_t struct_size,
                                             mae_recipe recipe);
/* dataset must outlive the loader.  MAE_ERROR_INVALID_ARGUMENT: also a dataset
 * of less than one global batch. */
MAE_API mae_status mae_loader_create(const mae_dataset *dataset,
                                     const mae_loader_options *options,
                                     mae_loader **loader);
/* At any time; waits for the images being decoded. */
MAE_API void mae_loader_destroy(mae_loader *loader);
/* Whole global batches in an epoch; what is left over stays out of it. */
MAE_API int64_t mae_loader_epoch_batches(const mae_loader *loader);
/* Go to an image number, a multiple of batch_size * ranks.  This and
 * mae_loader_next: MAE_ERROR_STATE in a child that fork made after the first
 * batch, for the threads stayed with the parent. */
MAE_API mae_status mae_loader_seek(mae_loader *loader, uint64_t image);
/* The first image number of the batch that comes next. */
MAE_API uint64_t mae_loader_position(const mae_loader *loader);
/* The next batch [batch_size, C, H, W], lent until the next call.  Fails when
 * many images in a row cannot be read, and again until a seek. */
MAE_API mae_status mae_loader_next(mae_loader *loader, const float **images);
/* The labels [batch_size] of the batch that is lent, until the next call; of an
 * image skipped, that of the one in its place.  NULL when no batch is lent, and
 * for a dataset without labels. */
MAE_API const int32_t *mae_loader_labels(const mae_loader *loader);
/* Different images skipped so far, and "NAME: REASON" of each of the first
 * 1000, in the order met; lent by the loader; NULL out of range. */
MAE_API int64_t mae_loader_skipped(const mae_loader *loader);
MAE_API const char *mae_loader_skipped_item(const mae_loader *loader,
                                            int64_t i);

/* ---------------------------------------------------------------- fit --- */

/* A whole run of pretraining, or of a classifier's training: epochs,
 * checkpoints, progress. */

/* Where a run stands.  Lent to a callback while it runs. */
typedef struct mae_progress {
  size_t struct_size;
  int64_t epoch, epochs;  /* the epoch that is, 1 for the first, and their
                             number */
  int64_t batch, batches; /* batches done in this epoch, and batches in it */
  const mae_step_result *step; /* of the latest mae_trainer_step */
  double images_per_second;    /* of late, over all ranks */
  double seconds, seconds_left; /* since the call began; to the end, as far as
                                   can be told */
  double epoch_loss;    /* mean loss of this epoch's batches so far */
  int64_t skipped;      /* mae_loader_skipped */
  const char *event;    /* NULL; or a warning, such as a checkpoint that could
                           not be written.  An event comes in a call of its own
                           beside those of the steps */
} mae_progress;

typedef struct mae_fit_options {
  size_t struct_size;
  int64_t epochs; /* default 800 (paper, section 4; the official recipe) */
  const char *checkpoint_folder; /* made if missing, its parent not; NULL
                                    (default): no checkpoints */
  double checkpoint_minutes; /* between two; default 10.  0: only the last */
  int32_t keep_checkpoints;  /* the newest that are kept; default 3 */
  /* After each step, and for an event; not 0 ends the run soon, see below.
   * NULL (default): not called. */
  int32_t (*on_step)(void *arg, const mae_progress *progress);
  /* After each epoch, after its last on_step; likewise. */
  int32_t (*on_epoch)(void *arg, const mae_progress *progress);
  void *arg; /* given to both */
  int32_t save_best; /* 1 (default): best.safetensors, see below; 0: leave that
                        to the caller, who may know a better measure */
} mae_fit_options;

MAE_API void mae_fit_options_init(mae_fit_options *options, size_t struct_size);

/* Train on the loader's images from where the trainer stands
 * (mae_trainer_images_seen) to the end of the last epoch, or as near to it as
 * whole updates come.  The loader is made with the trainer's batch size, rank
 * and ranks, and the sizes of its model; for a classifier its dataset has
 * labels of as many classes (MAE_ERROR_MISMATCH otherwise).  options may be
 * NULL.
 *
 * Callbacks run in the calling thread.  They may read the model, save and use
 * sessions, but not step the trainer or the loader.  When one ends the run, the
 * update under way is finished and a checkpoint written, and MAE_OK returned;
 * mae_trainer_images_seen tells how far it came.
 *
 * The folder gets checkpoint-NNNNNNNN.safetensors, N being the updates made,
 * by mae_trainer_save: every checkpoint_minutes, and at the end of the call.
 * Older ones are deleted when a newer one is safely on disk.  After each epoch
 * whose mean loss is the least so far best.safetensors is written, a model
 * (mae_model_save), unless save_best is 0.  The mean loss so far and the least are part of a
 * checkpoint, so that a resumed run does what an unbroken one would have done,
 * bit for bit.  With several ranks, rank 0 writes.  One run at a time may use a
 * folder: files that a killed run left half written are deleted.
 *
 * A file that cannot be written is an event, and training goes on; the next
 * attempt comes after the next interval.  Only for the last checkpoint its
 * failure is that of the call, too.  MAE_ERROR_NON_FINITE, an event too: the
 * checkpoints stay as they are.  Other failures are those of mae_loader_next
 * and mae_trainer_step. */
MAE_API mae_status mae_trainer_fit(mae_trainer *trainer, mae_loader *loader,
                                   const mae_fit_options *options);

/* mae_trainer_resume from the newest checkpoint in such a folder that can be
 * read.  note, of note_size bytes (may be NULL), gets "", or else a sentence
 * that names the newer ones passed over as damaged.  MAE_ERROR_NOT_FOUND: there
 * is no checkpoint; MAE_ERROR_MISMATCH: the newest is of another model or run;
 * when all are damaged, the status of the newest. */
MAE_API mae_status mae_trainer_resume_latest(mae_trainer *trainer,
                                             const char *folder, char *note,
                                             size_t note_size);

/* --------------------------------------------------------- evaluation --- */

/* How well a classifier does: hits, loss and confusions of the images added so
 * far.  Belongs to one thread at a time; takes 8 * num_classes^2 bytes. */
typedef struct mae_evaluation mae_evaluation;

/* num_classes is 1 to 32768. */
MAE_API mae_status mae_evaluation_create(int32_t num_classes,
                                         mae_evaluation **evaluation);
MAE_API void mae_evaluation_destroy(mae_evaluation *evaluation);

/* logits [n, num_classes], labels [n] in 0 .. num_classes - 1; n may be 0.  Of
 * equal logits the lower class comes first.  On failure nothing is counted.
 * MAE_ERROR_NON_FINITE: a row with a NaN, or whose largest logit is infinite. */
MAE_API mae_status mae_evaluation_add(mae_evaluation *evaluation,
                                      const float *logits,
                                      const int32_t *labels, int64_t n);

/* Images added. */
MAE_API int64_t mae_evaluation_count(const mae_evaluation *evaluation);
/* Shares, 0 to 1, of images whose label comes first, or among the first five
 * (with fewer classes: always); 0 before any is added. */
MAE_API double mae_evaluation_top1(const mae_evaluation *evaluation);
MAE_API double mae_evaluation_top5(const mae_evaluation *evaluation);
/* Mean of -log softmax(logits)[label]; 0 before any is added. */
MAE_API double mae_evaluation_loss(const mae_evaluation *evaluation);
/* Images of class `truth` whose largest logit was that of `predicted`; 0 for
 * classes out of range. */
MAE_API int64_t mae_evaluation_confusion(const mae_evaluation *evaluation,
                                         int32_t truth, int32_t predicted);

/* Weighted k nearest neighbours by cosine similarity (Wu et al. 2018,
 * "Unsupervised Feature Learning via Non-Parametric Instance Discrimination"):
 * each of the k training rows nearest to a query votes for its class with the
 * weight exp(similarity / temperature).
 *
 * train [n, width] with labels [n] in 0 .. num_classes - 1, queries [m, width];
 * out [m, num_classes]: each class's share of the votes, which
 * mae_evaluation_add takes for logits (of its figures the loss then means
 * little).  Customary: k 20, temperature 0.07; a k above n counts as n.  Of
 * equally near rows the first wins; a row of zeros is at similarity 0 to all.
 * The bits do not depend on the number of threads.  Thread safe.
 * MAE_ERROR_NON_FINITE: a row that is not finite. */
MAE_API mae_status mae_knn_classify(mae_context *context, const float *train,
                                    const int32_t *labels, int64_t n,
                                    int64_t width, int32_t num_classes,
                                    const float *queries, int64_t m, int32_t k,
                                    double temperature, float *out);

/* The linear probe: batch norm without affine and a linear head, trained by
 * LARS (You et al. 2017) on features of a frozen encoder, with the official
 * rates: linear warm-up, then half a cosine to 0 (paper, table 9).  The
 * features are given once, so there is no augmentation.
 *
 * The defaults are meant for the million images of ImageNet.  With some
 * thousand rows they make too few and too small steps: 5,000 of Fashion-MNIST
 * want something like batch_size 128 and base_lr 4. */
typedef struct mae_probe_options {
  size_t struct_size;
  int64_t batch_size; /* default 16384; more than there are rows counts as
                         that many.  What is left over stays out of an epoch */
  int64_t epochs;         /* default 90 */
  int64_t warmup_epochs;  /* at most epochs; default 10 */
  double base_lr;         /* per 256 rows of a batch; default 0.1 */
  double weight_decay;    /* of the weight; default 0 */
  double momentum;        /* default 0.9 */
  double trust_coefficient; /* LARS: the step of the weight before momentum is
                               this, times the rate, of its length; default
                               0.001.  The bias takes plain steps */
  double batch_norm_eps;      /* default 1e-6 */
  double batch_norm_momentum; /* default 0.1, torch's */
  uint64_t seed;              /* of the weights and the order; default 0 */
  /* After each epoch, counted from 1, with the mean loss of its batches; in
   * the calling thread.  Not 0 ends the training.  NULL (default): not
   * called. */
  int32_t (*on_epoch)(void *arg, int64_t epoch, int64_t epochs, double loss);
  void *arg; /* given to on_epoch */
} mae_probe_options;

MAE_API void mae_probe_options_init(mae_probe_options *options,
                                    size_t struct_size);

/* features [n, width], n >= 2, labels [n] in 0 .. num_classes - 1; options may
 * be NULL.  weight [num_classes, width] and bias [num_classes] get the head
 * with the batch norm's running mean and variance folded in, so that
 *     logits = features weight^T + bias,
 * as "head.weight" and "head.bias" of a classifier.  When on_epoch ends the
 * training they get the head so far, and MAE_OK is returned.
 *
 * Takes num_classes * width floats for each thread of the context and twice
 * more, but no copy of the features.  The same inputs, threads and isa give the
 * same bits.  Thread safe.  MAE_ERROR_NON_FINITE: a row, or
 * the loss, is not finite. */
MAE_API mae_status mae_linear_probe(mae_context *context,
                                    const float *features,
                                    const int32_t *labels, int64_t n,
                                    int64_t width, int32_t num_classes,
                                    const mae_probe_options *options,
                                    float *weight, float *bias);

#ifdef __cplusplus
}
#endif

#endif
