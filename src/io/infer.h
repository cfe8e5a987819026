/* The config of a model in somebody else's file, told by its tensors' shapes,
 * by what lies beside them and by the caller. */
#ifndef MAE_IO_INFER_H
#define MAE_IO_INFER_H

#include "io/hf_config.h"
#include "io/layout.h"

/* What shapes do not tell comes from the options, else from hf (where it is
 * present), else from the official models.  The config is checked.
 * MAE_ERROR_MISMATCH: no model of this library. */
mae_status mae_infer_config(const mae_weights *weights,
                            const mae_naming *naming, const mae_hf_config *hf,
                            const mae_load_options *options,
                            mae_config *config);

#endif
