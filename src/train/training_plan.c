/* What a trainer would take: memory and floating-point operations. */
#include "base/options.h"
#include "train/trainer.h"

static mae_status measure(mae_context *context, const mae_model *model,
                          const mae_trainer_options *o, const bool *trains,
                          mae_graph_cost *cost) {
  const mae_graph_options graph = mae_trainer_graph_options(o, NULL, trains);
  if (mae_is_classifier(&model->config))
    return mae_graph_measure_classifier(context, model, o->batch_size, &graph,
                                        cost);
  int64_t kept;
  MAE_TRY(mae_config_kept(&model->config, o->mask_ratio, true, &kept));
  return mae_graph_measure(context, model, o->batch_size, kept, &graph, cost);
}

/* model: names and shapes, no data. */
static mae_status plan_model(mae_context *context, const mae_model *model,
                             const mae_trainer_options *o, const bool *trains,
                             mae_training_plan *p) {
  const mae_config *c = &model->config;
  mae_graph_cost cost;
  MAE_TRY(measure(context, model, o, trains, &cost));
  const size_t noise = mae_trainer_noise_values(c, o) * sizeof(float);
  const int64_t trained = (int64_t)mae_model_shadow_bytes(model, trains);
  p->parameters = mae_model_parameter_count(model, 0);
  p->weight_bytes = (int64_t)mae_model_shadow_bytes(model, NULL);
  p->gradient_bytes = o->update_in_backward ? 0 : trained;
  p->optimizer_bytes = (o->ema_decay > 0 ? 3 : 2) * trained;
  p->activation_bytes = (int64_t)(cost.bytes + mae_align(noise));
  p->total_bytes = p->weight_bytes + p->gradient_bytes + p->optimizer_bytes +
                   p->activation_bytes;
  p->encoder_flops = cost.encoder_flops / o->batch_size;
  p->decoder_flops = cost.decoder_flops / o->batch_size;
  p->step_flops = cost.step_flops;
  return MAE_OK;
}

static mae_status plan_config(mae_context *context, const mae_config *c,
                              const mae_trainer_options *o,
                              mae_training_plan *p) {
  mae_model *model;
  mae_param_rules rules = {0};
  MAE_TRY(mae_trainer_options_suit(o, c));
  MAE_TRY(mae_model_describe(c, &model));
  mae_status status = mae_param_rules_make(model, o, &rules);
  if (status == MAE_OK)
    status = plan_model(context, model, o, rules.trains, p);
  mae_param_rules_free(&rules);
  mae_model_destroy(model);
  return status;
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
  mae_training_plan p = {.struct_size = sizeof p};
  MAE_TRY(plan_config(context, &c, &o, &p));
  mae_options_write(plan, plan->struct_size, &p, sizeof p);
  return MAE_OK;
}
