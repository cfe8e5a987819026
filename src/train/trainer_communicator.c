/* Several trainers, one a rank, that train one model. */
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "train/trainer.h"

enum { MOST_RANKS = 1 << 20 };

static mae_status check(const mae_communicator *c) {
  if (c->ranks < 1 || c->ranks > MOST_RANKS || c->rank < 0 ||
      c->rank >= c->ranks)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "there is no rank %d of %d",
                    c->rank, c->ranks);
  if (c->ranks > 1 && (!c->start_sum || !c->wait_all))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "the communicator lacks start_sum or wait_all");
  if (c->bucket_bytes < 0)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "bucket_bytes is %lld",
                    (long long)c->bucket_bytes);
  return MAE_OK;
}

mae_status mae_trainer_set_communicator(mae_trainer *trainer,
                                        const mae_communicator *communicator) {
  MAE_REQUIRE(trainer);
  mae_communicator c = mae_gradient_sum_alone.comm;
  if (communicator)
    MAE_TRY(
        mae_options_read("mae_communicator", &c, sizeof c, communicator));
  MAE_TRY(check(&c));
  if (trainer->gathered)
    return mae_fail(MAE_ERROR_STATE,
                    "no other communicator in the middle of an update's steps");
  if (trainer->options.update_in_backward)
    return c.ranks == 1 ? MAE_OK
                        : mae_fail(MAE_ERROR_STATE,
                                   "a trainer with update_in_backward is of "
                                   "one rank");
  MAE_TRY(mae_gradient_sum_set(&trainer->sum, &c, &trainer->graph,
                               &trainer->optimizer));
  trainer->agreed = false;
  return MAE_OK;
}

/* ----------------------------------------------------------- agreement --- */

/* What must be alike, each as 64 bits in pieces that floats add exactly. */
enum { OPTIONS, WEIGHTS, STATE, ISA, THINGS, PIECES = 4 };

static const char *const things[THINGS] = {
    "trainer options", "a model or weights", "a step or number of images",
    "an instruction set (context option isa)"};

static uint64_t mix(uint64_t digest, uint64_t word) {
  digest = (digest ^ word) * 0x9e3779b97f4a7c15u;
  return digest ^ digest >> 29;
}

static uint64_t mix_double(uint64_t digest, double value) {
  uint64_t word;
  memcpy(&word, &value, sizeof word);
  return mix(digest, word);
}

/* Not recompute, which changes no bit, nor update_in_backward, which ranks do
 * not have. */
static uint64_t digest_options(const mae_trainer_options *o) {
  const double numbers[] = {o->batch_size,
                            o->accum_steps,
                            o->mask_ratio,
                            o->base_lr,
                            o->min_lr,
                            o->weight_decay,
                            o->beta1,
                            o->beta2,
                            o->eps,
                            o->clip_grad,
                            (double)o->warmup_steps,
                            (double)o->total_steps,
                            o->ema_decay,
                            o->layer_decay,
                            o->drop_path,
                            o->label_smoothing,
                            o->mixup,
                            o->cutmix,
                            o->mix_prob,
                            o->mix_switch_prob,
                            o->trainable_blocks,
                            o->precision};
  uint64_t digest = o->seed;
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    digest = mix_double(digest, numbers[i]);
  return digest;
}

static uint64_t digest_weights(const mae_model *model) {
  const mae_config *c = &model->config;
  uint64_t digest = mix_double((uint64_t)c->norm_pix_loss, c->layer_norm_eps);
  digest = mix(digest, (uint64_t)c->num_heads);
  digest = mix(digest, (uint64_t)c->decoder_num_heads);
  for (int32_t i = 0; i < model->n_params; i++) {
    const mae_tensor *t = &model->params[i].value;
    const int64_t n = mae_tensor_size(t);
    digest = mix(digest, (uint64_t)n);
    for (int64_t k = 0; k < n; k++) {
      uint32_t bits;
      memcpy(&bits, &t->data[k], sizeof bits);
      digest = mix(digest, bits);
    }
  }
  return digest;
}

static void describe(const mae_trainer *t, float *row) {
  uint64_t digests[THINGS];
  digests[OPTIONS] = digest_options(&t->options);
  digests[WEIGHTS] = digest_weights(t->model);
  digests[STATE] = mix(t->images_seen, (uint64_t)t->optimizer.step);
  digests[ISA] = (uint64_t)t->optimizer.context->isa;
  for (int i = 0; i < THINGS * PIECES; i++)
    row[i] = (float)(digests[i / PIECES] >> 16 * (i % PIECES) & 0xffff);
}

static mae_status compare(const float *rows, int32_t ranks) {
  for (int32_t rank = 1; rank < ranks; rank++)
    for (int i = 0; i < THINGS * PIECES; i++)
      if (rows[rank * THINGS * PIECES + i] != rows[i])
        return mae_fail(MAE_ERROR_MISMATCH,
                        "rank %d has %s other than rank 0's", rank,
                        things[i / PIECES]);
  return MAE_OK;
}

/* Each rank fills in its row of a table of zeros, and the sum is the whole. */
mae_status mae_trainer_agree(mae_trainer *t) {
  const mae_communicator *c = &t->sum.comm;
  if (t->agreed || c->ranks == 1) return MAE_OK;
  const int64_t n = (int64_t)c->ranks * THINGS * PIECES;
  float *rows = mae_calloc((size_t)n, sizeof *rows);
  if (!rows) return MAE_ERROR_OUT_OF_MEMORY;
  describe(t, rows + (int64_t)c->rank * THINGS * PIECES);
  mae_status status = mae_gradient_sum_now(&t->sum, rows, n);
  if (status == MAE_OK) status = compare(rows, c->ranks);
  free(rows);
  t->agreed = status == MAE_OK;
  return status;
}
