#include "study_cells.h"

#include <stddef.h>
#include <string.h>

const study_variant study_variants[STUDY_VARIANTS] = {
    {"base", "base", 0.75, 1, 2, 0},
    {"mask25", "25 % masked", 0.25, 1, 2, 0},
    {"mask50", "50 % masked", 0.50, 1, 2, 0},
    {"mask90", "90 % masked", 0.90, 1, 2, 0},
    {"raw", "raw pixels", 0.75, 0, 2, 0},
    {"decoder1", "decoder of 1 block", 0.75, 1, 1, 0},
    {"decoder4", "decoder of 4 blocks", 0.75, 1, 4, 0},
    {"masktokens", "mask tokens in the encoder", 0.75, 1, 2, 1},
};

const study_protocol study_protocols[STUDY_PROTOCOLS] = {
    {.name = "pretrain", .label = "pretraining", .kind = STUDY_PRETRAIN},
    {.name = "linear", .label = "linear probe", .kind = STUDY_LINEAR},
    {.name = "knn", .label = "k-NN", .kind = STUDY_KNN},
    {.name = "finetune", .label = "fine-tuning", .kind = STUDY_FINETUNE,
     .blocks = -1},
    {"last0", "the head alone", STUDY_FINETUNE, true, 0, false, false},
    {"last1", "the last block", STUDY_FINETUNE, true, 1, false, false},
    {"last2", "the last 2 blocks", STUDY_FINETUNE, true, 2, false, false},
    {"last3", "the last 3 blocks", STUDY_FINETUNE, true, 3, false, false},
    {"last4", "all 4 blocks", STUDY_FINETUNE, true, 4, false, false},
    {"scratch", "from scratch, plain", STUDY_SCRATCH, true, -1, false, true},
    {"scratchrecipe", "from scratch, regularised", STUDY_SCRATCH, true, -1,
     true, true},
    {"untrained", "linear probe, untrained encoder", STUDY_LINEAR, true, 0,
     false, true},
};

const study_variant *study_variant_find(const char *name) {
  for (int i = 0; i < STUDY_VARIANTS; i++)
    if (!strcmp(study_variants[i].name, name)) return &study_variants[i];
  return NULL;
}

const study_protocol *study_protocol_find(const char *name) {
  for (int i = 0; i < STUDY_PROTOCOLS; i++)
    if (!strcmp(study_protocols[i].name, name)) return &study_protocols[i];
  return NULL;
}

static bool wanted(int variant, int protocol) {
  return variant == 0 || !study_protocols[protocol].base_only;
}

bool study_cell_at(int32_t seeds, int32_t i, study_cell *cell) {
  for (int32_t seed = 1; seed <= seeds; seed++)
    for (int v = 0; v < STUDY_VARIANTS; v++)
      for (int p = 0; p < STUDY_PROTOCOLS; p++) {
        if (!wanted(v, p) || i-- > 0) continue;
        *cell = (study_cell){&study_variants[v], &study_protocols[p], seed};
        return true;
      }
  return false;
}
