/* What a trainer may be asked for. */
#include "base/options.h"
#include "kernels/precision.h"
#include "train/trainer.h"

static const mae_trainer_options defaults = {.struct_size = sizeof defaults,
                                             .batch_size = 64,
                                             .accum_steps = 1,
                                             .mask_ratio = 0.75,
                                             .base_lr = 1.5e-4,
                                             .min_lr = 0,
                                             .weight_decay = 0.05,
                                             .beta1 = 0.9,
                                             .beta2 = 0.95,
                                             .eps = 1e-8,
                                             .clip_grad = 0,
                                             .warmup_steps = 0,
                                             .total_steps = 0,
                                             .seed = 0,
                                             .layer_decay = 1,
                                             .mix_prob = 1,
                                             .mix_switch_prob = 0.5,
                                             .trainable_blocks = -1};

void mae_trainer_options_init(mae_trainer_options *options,
                              size_t struct_size) {
  mae_options_write(options, struct_size, &defaults, sizeof defaults);
}

static mae_status check_number(const char *what, double value, double least,
                               double below) {
  if (value >= least && value < below) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "%s is %g, not in [%g, %g)", what,
                  value, least, below);
}

static mae_status check_probability(const char *what, double value) {
  if (value >= 0 && value <= 1) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "%s is %g, not in [0, 1]", what,
                  value);
}

/* Of a Beta distribution, whose draws are 0 or 1 far below 1 anyway. */
static mae_status check_alpha(const char *what, double value) {
  return value == 0 ? MAE_OK : check_number(what, value, 1e-6, 1e6);
}

static mae_status check_classifier(const mae_trainer_options *o) {
  MAE_TRY(check_number("trainable_blocks", o->trainable_blocks, -1, 65537));
  MAE_TRY(check_number("drop_path", o->drop_path, 0, 1));
  MAE_TRY(check_number("label_smoothing", o->label_smoothing, 0, 1));
  MAE_TRY(check_alpha("mixup", o->mixup));
  MAE_TRY(check_alpha("cutmix", o->cutmix));
  MAE_TRY(check_probability("mix_prob", o->mix_prob));
  MAE_TRY(check_probability("mix_switch_prob", o->mix_switch_prob));
  if (o->layer_decay == 0)
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "layer_decay is 0");
  return check_probability("layer_decay", o->layer_decay);
}

/* All of the gradient would be wanted at once. */
static mae_status check_in_backward(const mae_trainer_options *o) {
  MAE_TRY(check_number("update_in_backward", o->update_in_backward, 0, 2));
  if (!o->update_in_backward || (o->accum_steps == 1 && o->clip_grad == 0))
    return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                  "update_in_backward goes with accum_steps 1 and clip_grad 0 "
                  "alone");
}

static mae_status check(const mae_trainer_options *o) {
  MAE_TRY(check_number("recompute", o->recompute, 0, 2));
  MAE_TRY(check_number("batch_size", o->batch_size, 1, 65537));
  MAE_TRY(check_number("accum_steps", o->accum_steps, 1, 1e6));
  MAE_TRY(check_number("base_lr", o->base_lr, 0, 1e6));
  MAE_TRY(check_number("min_lr", o->min_lr, 0, 1e6));
  MAE_TRY(check_number("weight_decay", o->weight_decay, 0, 1e6));
  MAE_TRY(check_number("beta1", o->beta1, 0, 1));
  MAE_TRY(check_number("beta2", o->beta2, 0, 1));
  MAE_TRY(check_number("eps", o->eps, 0, 1e6));
  MAE_TRY(check_number("clip_grad", o->clip_grad, 0, 1e30));
  MAE_TRY(check_number("warmup_steps", (double)o->warmup_steps, 0, 1e15));
  MAE_TRY(check_number("total_steps", (double)o->total_steps, 0, 1e15));
  MAE_TRY(check_number("ema_decay", o->ema_decay, 0, 1));
  MAE_TRY(mae_precision_check("mae_trainer_options", o->precision));
  MAE_TRY(check_in_backward(o));
  return check_classifier(o);
}

mae_status mae_trainer_options_read(const mae_trainer_options *theirs,
                                    mae_trainer_options *ours) {
  mae_trainer_options o = defaults;
  if (theirs)
    MAE_TRY(mae_options_read("mae_trainer_options", &o, sizeof o, theirs));
  MAE_TRY(check(&o));
  *ours = o;
  return MAE_OK;
}

/* Of no use to an autoencoder; refused, rather than passed over in silence. */
static mae_status check_autoencoder(const mae_trainer_options *o) {
  const char *set = NULL;
  if (o->trainable_blocks >= 0) set = "trainable_blocks";
  if (o->layer_decay < 1) set = "layer_decay";
  if (o->drop_path > 0) set = "drop_path";
  if (o->label_smoothing > 0) set = "label_smoothing";
  if (o->mixup > 0) set = "mixup";
  if (o->cutmix > 0) set = "cutmix";
  if (!set) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                  "%s is of classifiers; the model has no head", set);
}

mae_status mae_trainer_options_suit(const mae_trainer_options *o,
                                    const mae_config *config) {
  if (!mae_is_classifier(config)) return check_autoencoder(o);
  if (o->trainable_blocks <= config->depth) return MAE_OK;
  return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                  "trainable_blocks is %d; the model has %d",
                  o->trainable_blocks, config->depth);
}

mae_graph_options mae_trainer_graph_options(const mae_trainer_options *o,
                                            float *const *grads,
                                            const bool *trains) {
  return (mae_graph_options){.grads = grads,
                             .trains = trains,
                             .passing = o->update_in_backward,
                             .recompute = o->recompute,
                             .precision = o->precision,
                             .drop_path = o->drop_path > 0};
}
