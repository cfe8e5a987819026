/* What a trainer would take: memory and floating-point operations. */
#include "base/options.h"
#include "train/trainer.h"

/* model: names and shapes, no data. */
static mae_status plan_model(mae_context *context, const mae_model *model,
                             const mae_trainer_options *o,
                             mae_training_plan *p) {
  const mae_config *c = &model->config;
  int64_t kept;
  MAE_TRY(mae_config_kept(c, o->mask_ratio, true, &kept));
  mae_graph_cost cost;
  MAE_TRY(mae_graph_measure(context, model, o->batch_size, kept, o->recompute,
                            &cost));
  const size_t noise = mae_trainer_noise_values(c, o) * sizeof(float);
  p->parameters = mae_model_parameter_count(model, 0);
  p->weight_bytes = (int64_t)mae_model_shadow_bytes(model, NULL);
  p->gradient_bytes =
      (int64_t)mae_model_shadow_bytes(model, mae_param_trainable);
  p->optimizer_bytes = 2 * p->gradient_bytes;
  p->activation_bytes = (int64_t)(cost.bytes + mae_align(noise));
  p->total_bytes = p->weight_bytes + p->gradient_bytes + p->optimizer_bytes +
                   p->activation_bytes;
  p->encoder_flops = cost.encoder_flops / o->batch_size;
  p->decoder_flops = cost.decoder_flops / o->batch_size;
  p->step_flops = cost.step_flops;
  return MAE_OK;
}

mae_status mae_trainer_plan(mae_context *context, const mae_config *config,
                            const mae_trainer_options *options,
                            mae_training_plan *plan) {
  MAE_REQUIRE(context);
  MAE_REQUIRE(config);
  MAE_REQUIRE(plan);
  if (plan->struct_size < 2 * sizeof(size_t))
    return mae_fail(MAE_ERROR_INVALID_ARGUMENT,
                    "mae_training_plan: struct_size is %zu",
                    plan->struct_size);
  mae_config c;
  MAE_TRY(mae_config_read(&c, config));
  mae_trainer_options o;
  MAE_TRY(mae_trainer_options_read(options, &o));
  mae_model *model;
  MAE_TRY(mae_model_describe(&c, &model));
  mae_training_plan p = {.struct_size = sizeof p};
  mae_status status = plan_model(context, model, &o, &p);
  mae_model_destroy(model);
  if (status != MAE_OK) return status;
  mae_options_write(plan, plan->struct_size, &p, sizeof p);
  return MAE_OK;
}
