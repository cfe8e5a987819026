#include "study_settings.h"

#include <stdio.h>

const study_settings study_full = {
    .seeds = 3,
    .images = 60000, .labels = 2000, .tests = 10000,
    .patch = 6, .width = 64, .depth = 4, .heads = 4,
    .decoder_width = 32, .decoder_heads = 2,
    .pretrain_batch = 64, .batch = 64,
    .pretrain_epochs = 4, .finetune_epochs = 25, .scratch_epochs = 50,
    .probe_epochs = 90,
    .pretrain_rate = 8e-3, .finetune_rate = 16e-3, .scratch_rate = 4e-3,
    .probe_rate = 10,
};

const study_settings study_smoke = {
    .seeds = 3,
    .images = 256, .labels = 80, .tests = 100,
    .patch = 6, .width = 16, .depth = 4, .heads = 2,
    .decoder_width = 8, .decoder_heads = 2,
    .pretrain_batch = 64, .batch = 40,
    .pretrain_epochs = 1, .finetune_epochs = 2, .scratch_epochs = 2,
    .probe_epochs = 3,
    .pretrain_rate = 8e-3, .finetune_rate = 8e-3, .scratch_rate = 4e-3,
    .probe_rate = 6.4,
};

void study_settings_text(const study_settings *s, char *out, size_t size) {
  snprintf(out, size,
           "images %lld/%lld/%lld, patch %d, encoder %dx%d/%d, "
           "decoder %d/%d, batch %d/%d, epochs %d/%d/%d/%d, rates %g/%g/%g/%g",
           (long long)s->images, (long long)s->labels,
           (long long)s->tests, s->patch, s->width, s->depth, s->heads,
           s->decoder_width, s->decoder_heads, s->pretrain_batch, s->batch,
           s->pretrain_epochs, s->finetune_epochs, s->scratch_epochs,
           s->probe_epochs, s->pretrain_rate, s->finetune_rate,
           s->scratch_rate, s->probe_rate);
}
