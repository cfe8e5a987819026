/* Checkpoints, as mae_trainer_resume reads them. */
#include "libmae/mae.h"

#include "common/header.h"
#include "common/input.h"
#include "common/weights.h"

static mae_trainer *make_trainer(void) {
  mae_trainer_options o;
  mae_trainer *trainer;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = 1;
  o.accum_steps = 2;
  o.ema_decay = 0.5;
  REQUIRE(mae_trainer_create(weights_context(), weights_model(2), &o,
                             &trainer) == MAE_OK);
  return trainer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static mae_trainer *trainer;
  if (!trainer) trainer = make_trainer();
  const int64_t steps = mae_trainer_steps(trainer);
  const char *path = input_file("checkpoint.safetensors", data, size);
  if (mae_trainer_resume(trainer, path) != MAE_OK)
    REQUIRE(mae_trainer_steps(trainer) == steps);
  REQUIRE(mae_trainer_steps(trainer) >= 0);
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most,
                               unsigned seed) {
  size = LLVMFuzzerMutate(data, size, most);
  if (seed % 8) header_mend(data, size);
  return size;
}
