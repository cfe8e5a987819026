/* The checks and sizes that follow from a config. */
#ifndef MAE_MODEL_CONFIG_H
#define MAE_MODEL_CONFIG_H

#include <stdbool.h>

#include "base/error.h"

/* Copy the caller's config and check every field. */
mae_status mae_config_read(mae_config *ours, const mae_config *theirs);
mae_status mae_config_check(const mae_config *config);
bool mae_config_has_decoder(const mae_config *config);
bool mae_config_same(const mae_config *a, const mae_config *b);

int64_t mae_config_patches(const mae_config *config); /* L */
int64_t mae_config_patch_values(const mae_config *config); /* p * p * C */
int64_t mae_config_image_values(const mae_config *config); /* C * H * W */
int64_t mae_config_mlp_hidden(const mae_config *config, int64_t width);

/* Check a masking ratio: at least one patch is kept and, when `removes`, one
 * is removed.  *kept is how many stay. */
mae_status mae_config_kept(const mae_config *config, double ratio, bool removes,
                           int64_t *kept);

#endif
