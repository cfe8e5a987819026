/* How other people's files spell the names of the model's tensors. */
#ifndef MAE_IO_LAYOUT_H
#define MAE_IO_LAYOUT_H

#include "io/weights.h"

typedef struct mae_naming {
  mae_layout layout;
  /* Of Hugging Face's names: */
  bool vit;             /* the encoder's begin with "vit." */
  bool projections;     /* "q_proj", as transformers 5 has them in memory */
  bool decoder_encoder; /* "decoder.decoder_encoder.layer." (transformers 5) */
} mae_naming;

/* The file's naming; false when it has no patch embedding of either. */
bool mae_naming_detect(const mae_weights *weights, mae_naming *naming);

typedef struct mae_file_name {
  char text[128];
} mae_file_name;

/* How many tensors of the file, one below the other, make up this one of the
 * model: three for Hugging Face's query, key and value, else one. */
int32_t mae_naming_parts(const mae_naming *naming, const char *official);
mae_file_name mae_naming_part(const mae_naming *naming, const char *official,
                              int32_t part);
/* Before the number of a block. */
mae_file_name mae_naming_blocks(const mae_naming *naming, bool decoder);

#endif
