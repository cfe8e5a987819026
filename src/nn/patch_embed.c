#include "nn/patch_embed.h"

mae_var mae_nn_patch_embed(mae_tape *tape, mae_var images, int32_t patch_size,
                           mae_var weight, mae_var bias, mae_index keep) {
  mae_var patches = {MAE_NO_VAR}, out = {MAE_NO_VAR};
  mae_tape_patchify(tape, images, patch_size, MAE_PATCH_CPQ, keep, &patches);
  mae_tape_linear(tape, patches, weight, bias, MAE_ACTIVATION_NONE, &out);
  return out;
}
