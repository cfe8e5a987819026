/* The settings of the paper and of the official code. */
#include "base/error.h"
#include "base/options.h"

typedef struct sizes { /* one of each as of ViT-B, ViT-L and ViT-H */
  double base_lr[3], layer_decay[3], drop_path[3];
  int64_t epochs[3];
} sizes;

/* Official FINETUNE.md. */
static const sizes finetune = {.base_lr = {5e-4, 1e-3, 1e-3},
                               .layer_decay = {0.65, 0.75, 0.75},
                               .drop_path = {0.1, 0.2, 0.3},
                               .epochs = {100, 50, 50}};
/* Paper, table 11. */
static const sizes scratch = {.base_lr = {1e-4, 1e-4, 1e-4},
                              .layer_decay = {1, 1, 1},
                              .drop_path = {0.1, 0.2, 0.2},
                              .epochs = {300, 200, 200}};

/* What both have beside. */
static void regularise(mae_trainer_options *o, const sizes *s, int size) {
  o->base_lr = s->base_lr[size];
  o->layer_decay = s->layer_decay[size];
  o->drop_path = s->drop_path[size];
  o->label_smoothing = 0.1;
  o->mixup = 0.8;
  o->cutmix = 1;
}

mae_status mae_trainer_options_recipe(mae_trainer_options *options,
                                      size_t struct_size, mae_recipe recipe,
                                      const mae_config *config,
                                      int64_t *epochs,
                                      int64_t *warmup_epochs) {
  MAE_REQUIRE(options);
  MAE_REQUIRE(config);
  const int size = config->depth <= 12 ? 0 : config->depth <= 24 ? 1 : 2;
  mae_trainer_options o;
  int64_t whole = 800, warmup = 40;
  mae_trainer_options_init(&o, sizeof o);
  switch (recipe) {
    case MAE_RECIPE_PRETRAIN: break;
    case MAE_RECIPE_FINETUNE:
      regularise(&o, &finetune, size);
      o.beta2 = 0.999; /* torch's, which the official code leaves as it is */
      o.min_lr = 1e-6;
      whole = finetune.epochs[size], warmup = 5;
      break;
    case MAE_RECIPE_SCRATCH:
      regularise(&o, &scratch, size);
      o.weight_decay = 0.3;
      o.ema_decay = 0.9999;
      whole = scratch.epochs[size], warmup = 20;
      break;
    default:
      return mae_fail(MAE_ERROR_INVALID_ARGUMENT, "there is no recipe %d",
                      (int)recipe);
  }
  mae_options_write(options, struct_size, &o, sizeof o);
  if (epochs) *epochs = whole;
  if (warmup_epochs) *warmup_epochs = warmup;
  return MAE_OK;
}
