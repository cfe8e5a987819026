#include "tool/settings_table.h"

#include <stddef.h>

#define PLACE(field) \
  offsetof(run_settings, field), sizeof(((run_settings *)0)->field)
#define HEAD(kinds, name) {kinds, name, SETTING_HEADING, 0, 0, 0, 0, NULL}
#define INT(kinds, name, field, least, most, help) \
  {kinds, name, SETTING_INT, PLACE(field), least, most, help}
#define REAL(kinds, name, field, least, most, help) \
  {kinds, name, SETTING_REAL, PLACE(field), least, most, help}
#define OTHER(kinds, name, type, field, help) \
  {kinds, name, SETTING_##type, PLACE(field), 0, 0, help}

enum { PRE = RUN_PRETRAIN, FINE = RUN_FINETUNE, BOTH = PRE | FINE };

const setting settings_table[] = {
    HEAD(BOTH, "Images"),
    OTHER(PRE, "data", PATH, data,
          "a folder of images, a .tar shard or a folder of\n"
          "them, an IDX file, or a .txt of paths"),
    OTHER(FINE, "data", PATH, data,
          "a folder with a folder of images for each class,\n"
          "or an IDX file with its labels beside it"),
    OTHER(FINE, "val", PATH, val,
          "such images to test on after each epoch (none)"),
    {BOTH, "image-size", SETTING_SIZE,
     offsetof(run_settings, config.image_height), 2 * sizeof(int32_t), 0, 0,
     "multiples of the patch size (224)"},
    INT(BOTH, "in-chans", config.in_chans, 1, SETTINGS_MOST_CHANNELS,
        "channels: 3 colour (the default), 1 grey"),
    INT(BOTH, "augment", loader.augment, 0, 1,
        "1: random resized crop, flip (the default); 0: none"),
    REAL(PRE, "scale-min", loader.scale_min, 0, 1,
         "least part of the image that a crop has (0.2)"),
    REAL(FINE, "scale-min", loader.scale_min, 0, 1,
         "least part of the image that a crop has (0.08)"),
    REAL(BOTH, "scale-max", loader.scale_max, 0, 1, "and the largest (1)"),
    REAL(BOTH, "ratio-min", loader.ratio_min, 1e-3, 1e3,
         "width to height of the crop, the least (0.75)"),
    REAL(BOTH, "ratio-max", loader.ratio_max, 1e-3, 1e3,
         "and the most (1.3333)"),
    REAL(BOTH, "flip", loader.flip, 0, 1, "share of images mirrored (0.5)"),
    OTHER(PRE, "mean", VALUES, mean, "R,G,B of pixels in 0..1 (ImageNet's)"),
    OTHER(FINE, "mean", VALUES, mean,
          "R,G,B of pixels in 0..1 (the model's, if it is\n"
          "known, else ImageNet's)"),
    OTHER(BOTH, "std", VALUES, std, "likewise"),
    INT(BOTH, "decoders", loader.threads, 0, 4096,
        "threads that decode; 0: one per CPU (the default)"),
    INT(BOTH, "full-decode", loader.full_decode, 0, 1,
        "1: decode JPEGs at their full size always (0)"),
    INT(BOTH, "prefetch", loader.prefetch, 1, 1024,
        "batches made ready ahead (2)"),
    INT(FINE, "rand-augment-ops", loader.rand_augment_ops, 0, 16,
        "RandAugment's operations on an image (2); 0: none"),
    REAL(FINE, "rand-augment-magnitude", loader.rand_augment_magnitude, 0, 10,
         "their mean strength (9)"),
    REAL(FINE, "rand-augment-std", loader.rand_augment_std, 0, 100,
         "and its deviation (0.5)"),
    INT(FINE, "rand-augment-increasing", loader.rand_augment_increasing, 0, 1,
        "1: strength is strength for all of them (1)"),
    REAL(FINE, "erase", loader.erase, 0, 1,
         "share of images with a box of noise (0.25; scratch 0)"),
    HEAD(PRE, "Model"),
    HEAD(FINE, "Model (its sizes: with --recipe scratch, else of the weights)"),
    OTHER(FINE, "model", PATH, model,
          "weights to fine-tune, of mae pretrain or others';\n"
          "with --recipe scratch a preset: vit_b16 (the\n"
          "default), vit_l16, vit_h14"),
    INT(FINE, "global-pool", config.global_pool, 0, 1,
        "1: the head sees the mean of the patches' tokens\n"
        "(the default); 0: the class token"),
    OTHER(PRE, "model", NAME, model,
          "vit_b16 (the default), vit_l16 or vit_h14; each\nsize of it may "
          "be changed:"),
    INT(BOTH, "patch-size", config.patch_size, 1, 4096, "pixels"),
    INT(BOTH, "embed-dim", config.embed_dim, 1, 65536, "width"),
    INT(BOTH, "depth", config.depth, 1, 1024, "blocks"),
    INT(BOTH, "num-heads", config.num_heads, 1, 65536, "attention heads"),
    OTHER(FINE, "grid", SIZE, grid,
          "patches down and across, where the weights do not\n"
          "say it (a square)"),
    INT(FINE, "decoder-num-heads", decoder_heads, 0, 65536,
        "of a decoder in the weights, which is not used (0:\n"
        "as they say, else 16)"),
    INT(PRE, "decoder-embed-dim", config.decoder_embed_dim, 1, 65536, "width"),
    INT(PRE, "decoder-depth", config.decoder_depth, 1, 1024, "blocks"),
    INT(PRE, "decoder-num-heads", config.decoder_num_heads, 1, 65536,
        "attention heads"),
    REAL(BOTH, "mlp-ratio", config.mlp_ratio, 1e-3, 64,
         "width of the MLPs (4)"),
    INT(PRE, "norm-pix-loss", config.norm_pix_loss, 0, 1,
        "1: predict normalised patches (the default)"),
    INT(PRE, "encoder-mask-tokens", config.encoder_mask_tokens, 0, 1,
        "1: the encoder sees mask tokens too, an ablation (0)"),
    REAL(BOTH, "layer-norm-eps", config.layer_norm_eps, 1e-30, 0.99, "(1e-6)"),
    HEAD(PRE, "Training (defaults: the paper's)"),
    INT(PRE, "epochs", epochs, 1, 1e9, "(800)"),
    REAL(PRE, "warmup-epochs", warmup_epochs, 0, 1e9,
         "of linear warm-up, before the cosine (40)"),
    HEAD(FINE, "Training (defaults: the recipe's)"),
    OTHER(FINE, "recipe", NAME, recipe,
          "finetune (the default); scratch: the paper's ViT\n"
          "without pretraining, strongly regularised"),
    INT(FINE, "trainable-blocks", trainer.trainable_blocks, -1, 1024,
        "the last so many, with norm and head; 0: the head;\n"
        "-1: everything (the default)"),
    INT(FINE, "epochs", epochs, 1, 1e9,
        "(100, above 12 blocks 50; scratch 300, 200)"),
    REAL(FINE, "warmup-epochs", warmup_epochs, 0, 1e9,
         "of linear warm-up, before the cosine (5; scratch 20)"),
    INT(BOTH, "batch", trainer.batch_size, 1, 65536,
        "images a pass, of all processes; bounds memory (64)"),
    INT(BOTH, "accum", trainer.accum_steps, 1, 999999,
        "passes an update (effective-batch / batch)"),
    INT(PRE, "effective-batch", effective_batch, 1, 2147483647,
        "images an update (4096, or about)"),
    INT(FINE, "effective-batch", effective_batch, 1, 2147483647,
        "images an update (1024, or about; scratch 4096)"),
    REAL(FINE, "blr", trainer.base_lr, 0, 1e6,
         "learning rate per 256 images of an update (5e-4,\n"
         "above 12 blocks 1e-3; scratch 1e-4)"),
    REAL(FINE, "layer-decay", trainer.layer_decay, 1e-6, 1,
         "of the rate, from block to block towards the image\n"
         "(0.65, above 12 blocks 0.75; scratch 1)"),
    REAL(FINE, "min-lr", trainer.min_lr, 0, 1e6,
         "where the cosine ends (1e-6; scratch 0)"),
    REAL(FINE, "weight-decay", trainer.weight_decay, 0, 1e6,
         "(0.05; scratch 0.3)"),
    REAL(FINE, "beta2", trainer.beta2, 0, 1, "of AdamW (0.999; scratch 0.95)"),
    REAL(FINE, "drop-path", trainer.drop_path, 0, 0.999999,
         "stochastic depth's rate in the last block (0.1,\n"
         "above 12 blocks 0.2, above 24 0.3; scratch 0.1, 0.2)"),
    REAL(FINE, "label-smoothing", trainer.label_smoothing, 0, 0.999999,
         "(0.1)"),
    REAL(FINE, "mixup", trainer.mixup, 0, 1e6, "its alpha (0.8); 0: none"),
    REAL(FINE, "cutmix", trainer.cutmix, 0, 1e6, "its alpha (1); 0: none"),
    REAL(FINE, "mix-prob", trainer.mix_prob, 0, 1,
         "share of batches mixed at all (1)"),
    REAL(FINE, "mix-switch-prob", trainer.mix_switch_prob, 0, 1,
         "of them by CutMix (0.5)"),
    REAL(FINE, "ema-decay", trainer.ema_decay, 0, 0.9999999,
         "keep an average of the weights (0: none; scratch\n0.9999)"),
    REAL(PRE, "mask-ratio", trainer.mask_ratio, 0, 1,
         "share of the patches removed (0.75)"),
    REAL(PRE, "blr", trainer.base_lr, 0, 1e6,
         "learning rate per 256 images of an update (1.5e-4)"),
    REAL(PRE, "min-lr", trainer.min_lr, 0, 1e6, "where the cosine ends (0)"),
    REAL(PRE, "weight-decay", trainer.weight_decay, 0, 1e6, "(0.05)"),
    REAL(BOTH, "beta1", trainer.beta1, 0, 1, "of AdamW (0.9)"),
    REAL(PRE, "beta2", trainer.beta2, 0, 1, "(0.95)"),
    REAL(BOTH, "eps", trainer.eps, 0, 1e6, "(1e-8)"),
    REAL(BOTH, "clip-grad", trainer.clip_grad, 0, 1e30,
         "largest norm of the gradient; 0: any (the default)"),
    INT(BOTH, "recompute", trainer.recompute, 0, 1,
        "1: keep only what goes into each block, compute the\n"
        "rest again: less memory, more time, same bits (0)"),
    INT(BOTH, "update-in-backward", trainer.update_in_backward, 0, 1,
        "1: update each parameter as soon as its gradient is\n"
        "there, which then need not be kept: less memory,\n"
        "same bits; without accumulation and clipping (0)"),
    OTHER(BOTH, "precision", PRECISION, trainer.precision,
          "of linear layers: f32 (the default); bf16, for\n"
          "processors made for it"),
    OTHER(PRE, "seed", SEED, trainer.seed,
          "of weights, masks, order and crops (0)"),
    OTHER(FINE, "seed", SEED, trainer.seed,
          "of the head, order, crops and mixing (0)"),
    INT(BOTH, "threads", threads, 0, 4096,
        "that compute; 0: one per CPU (the default)"),
    HEAD(BOTH, "Files"),
    REAL(BOTH, "checkpoint-minutes", fit.checkpoint_minutes, 0, 1e6,
         "between two checkpoints; 0: only the last (10)"),
    INT(BOTH, "keep-checkpoints", fit.keep_checkpoints, 1, 1000000,
        "the newest that stay (3)"),
    INT(PRE, "samples", samples, 0, 100, "images drawn after each epoch (8)"),
    {0}};
