/* Public calls that ask for no memory, so that none of them can lack it. */
#include "faults.h"

mae_status fault_free_make(fault_world *w) {
  const float logits[] = {1, 2, 3};
  const int32_t label = 1;
  const mae_loader_options lo = fault_loader_options();
  MAE_TRY(fault_make_classifier_trainer(w));
  MAE_TRY(fault_make_dataset(w));
  MAE_TRY(mae_loader_create(w->dataset, &lo, &w->loader));
  MAE_TRY(mae_session_create(w->context, w->model, NULL, &w->session));
  MAE_TRY(mae_evaluation_create(FAULT_CLASSES, &w->evaluation));
  MAE_TRY(mae_evaluation_add(w->evaluation, logits, &label, 1));
  MAE_TRY(mae_tape_create(w->context, &w->tape));
  const int64_t shape[] = {1};
  mae_var x, y;
  mae_index index;
  MAE_TRY(mae_tape_input(w->tape, 1, shape, 1, &x));
  MAE_TRY(mae_tape_index(w->tape, 1, 1, &index));
  MAE_TRY(mae_tape_add(w->tape, x, x, &y));
  MAE_TRY(mae_tape_plan(w->tape, y));
  return mae_tensor_create(1, shape, &w->rows);
}

#define CALL(name, ...)                        \
  static void call_##name(fault_world *w) {    \
    (void)w;                                   \
    __VA_ARGS__;                               \
  }
#define OPTIONS(name, type) \
  CALL(name, type o; name(&o, sizeof o))

CALL(mae_version, mae_version())
CALL(mae_status_name, mae_status_name(MAE_OK))
CALL(mae_last_error, mae_last_error())
OPTIONS(mae_context_options_init, mae_context_options)
CALL(mae_context_destroy, mae_context_destroy(NULL))
CALL(mae_context_threads, mae_context_threads(w->context))
CALL(mae_context_isa, mae_context_isa(w->context))
CALL(mae_context_precision_is_native,
     mae_context_precision_is_native(w->context, MAE_PRECISION_BF16))
CALL(mae_context_profile_size, mae_context_profile_size(w->context))
CALL(mae_context_profile,
     mae_profile_entry entry = {.struct_size = sizeof entry};
     mae_context_profile(w->context, 0, &entry))
CALL(mae_context_profile_reset, mae_context_profile_reset(w->context))
CALL(mae_random_uniform, mae_random_uniform(1, 2, 3, 64, w->out))
CALL(mae_random_normal, mae_random_normal(1, 2, 3, 64, w->out))
CALL(mae_random_permutation,
     uint32_t order[50]; mae_random_permutation(1, 2, 50, order))
CALL(mae_tensor_destroy, mae_tensor_destroy(NULL))
CALL(mae_tensor_data, mae_tensor_data(w->rows))
CALL(mae_tensor_ndim, mae_tensor_ndim(w->rows))
CALL(mae_tensor_dim, mae_tensor_dim(w->rows, 0))
CALL(mae_tensor_size, mae_tensor_size(w->rows))
CALL(mae_tape_destroy, mae_tape_destroy(NULL))
CALL(mae_tape_memory, mae_tape_memory(w->tape))
CALL(mae_tape_forward, mae_tape_forward(w->tape))
CALL(mae_tape_backward, mae_tape_backward(w->tape, 1, 0))
CALL(mae_tape_value, mae_tape_value(w->tape, (mae_var){0}))
CALL(mae_tape_grad, mae_tape_grad(w->tape, (mae_var){0}))
CALL(mae_tape_index_data, mae_tape_index_data(w->tape, (mae_index){0}))
CALL(mae_config_init, mae_config c; mae_config_init(&c, sizeof c, "vit_h14"))
CALL(mae_model_destroy, mae_model_destroy(NULL))
CALL(mae_model_config, mae_config c = fault_config();
     mae_model_config(w->model, &c))
CALL(mae_model_num_patches, mae_model_num_patches(w->model))
CALL(mae_model_parameter_count, mae_model_parameter_count(w->model, 1))
CALL(mae_model_num_tensors, mae_model_num_tensors(w->model))
CALL(mae_model_tensor_name, mae_model_tensor_name(w->model, 1))
CALL(mae_model_tensor, mae_model_tensor(w->model, 1))
CALL(mae_model_find, mae_model_find(w->model, "head.weight"))
CALL(mae_model_class_name, mae_model_class_name(w->model, 1))
CALL(mae_model_normalization,
     mae_model_normalization(w->model, w->out, w->out + 4))
OPTIONS(mae_load_options_init, mae_load_options)
CALL(mae_load_report_destroy, mae_load_report_destroy(NULL))
CALL(mae_load_report_count, mae_load_report_count(w->report, MAE_LOAD_EXTRA))
CALL(mae_load_report_item, mae_load_report_item(w->report, MAE_LOAD_EXTRA, 0))
CALL(mae_load_report_layout, mae_load_report_layout(w->report))
CALL(mae_load_report_format, mae_load_report_format(w->report))
CALL(mae_load_report_mapped_bytes, mae_load_report_mapped_bytes(w->report))
CALL(mae_image_free, mae_image image = {0}; mae_image_free(&image))
OPTIONS(mae_session_options_init, mae_session_options)
CALL(mae_session_destroy, mae_session_destroy(NULL))
CALL(mae_session_feature_size, mae_session_feature_size(w->session))
OPTIONS(mae_trainer_options_init, mae_trainer_options)
CALL(mae_trainer_options_recipe, mae_trainer_options o;
     const mae_config c = fault_config();
     mae_trainer_options_recipe(&o, sizeof o, MAE_RECIPE_FINETUNE, &c, NULL,
                                NULL))
CALL(mae_trainer_destroy, mae_trainer_destroy(NULL))
CALL(mae_trainer_ema_model, mae_trainer_ema_model(w->trainer))
CALL(mae_trainer_gradient, mae_trainer_gradient(w->trainer, "head.weight"))
CALL(mae_trainer_steps, mae_trainer_steps(w->trainer))
CALL(mae_trainer_images_seen, mae_trainer_images_seen(w->trainer))
CALL(mae_idx_destroy, mae_idx_destroy(NULL))
CALL(mae_idx_ndim, mae_idx_ndim(NULL))
CALL(mae_idx_dim, mae_idx_dim(NULL, 0))
CALL(mae_idx_data, mae_idx_data(NULL))
CALL(mae_dataset_destroy, mae_dataset_destroy(NULL))
CALL(mae_dataset_size, mae_dataset_size(w->dataset))
CALL(mae_dataset_name, mae_dataset_name(w->dataset, 0))
CALL(mae_dataset_num_classes, mae_dataset_num_classes(w->dataset))
CALL(mae_dataset_class_name, mae_dataset_class_name(w->dataset, 0))
CALL(mae_dataset_label, mae_dataset_label(w->dataset, 0))
OPTIONS(mae_loader_options_init, mae_loader_options)
CALL(mae_loader_options_recipe, mae_loader_options o;
     mae_loader_options_recipe(&o, sizeof o, MAE_RECIPE_SCRATCH))
CALL(mae_loader_destroy, mae_loader_destroy(NULL))
CALL(mae_loader_epoch_batches, mae_loader_epoch_batches(w->loader))
CALL(mae_loader_seek, mae_loader_seek(w->loader, FAULT_BATCH))
CALL(mae_loader_position, mae_loader_position(w->loader))
CALL(mae_loader_labels, mae_loader_labels(w->loader))
CALL(mae_loader_skipped, mae_loader_skipped(w->loader))
CALL(mae_loader_skipped_item, mae_loader_skipped_item(w->loader, 0))
OPTIONS(mae_fit_options_init, mae_fit_options)
CALL(mae_evaluation_destroy, mae_evaluation_destroy(NULL))
CALL(mae_evaluation_add, const int32_t label = 0;
     mae_evaluation_add(w->evaluation, w->out, &label, 1))
CALL(mae_evaluation_count, mae_evaluation_count(w->evaluation))
CALL(mae_evaluation_top1, mae_evaluation_top1(w->evaluation))
CALL(mae_evaluation_top5, mae_evaluation_top5(w->evaluation))
CALL(mae_evaluation_loss, mae_evaluation_loss(w->evaluation))
CALL(mae_evaluation_confusion, mae_evaluation_confusion(w->evaluation, 0, 1))
OPTIONS(mae_probe_options_init, mae_probe_options)

#define ENTRY(name) {#name, call_##name}
static const struct {
  const char *name;
  void (*call)(fault_world *w);
} calls[] = {
    ENTRY(mae_version),
    ENTRY(mae_status_name),
    ENTRY(mae_last_error),
    ENTRY(mae_context_options_init),
    ENTRY(mae_context_destroy),
    ENTRY(mae_context_threads),
    ENTRY(mae_context_isa),
    ENTRY(mae_context_precision_is_native),
    ENTRY(mae_context_profile_size),
    ENTRY(mae_context_profile),
    ENTRY(mae_context_profile_reset),
    ENTRY(mae_random_uniform),
    ENTRY(mae_random_normal),
    ENTRY(mae_random_permutation),
    ENTRY(mae_tensor_destroy),
    ENTRY(mae_tensor_data),
    ENTRY(mae_tensor_ndim),
    ENTRY(mae_tensor_dim),
    ENTRY(mae_tensor_size),
    ENTRY(mae_tape_destroy),
    ENTRY(mae_tape_memory),
    ENTRY(mae_tape_forward),
    ENTRY(mae_tape_backward),
    ENTRY(mae_tape_value),
    ENTRY(mae_tape_grad),
    ENTRY(mae_tape_index_data),
    ENTRY(mae_config_init),
    ENTRY(mae_model_destroy),
    ENTRY(mae_model_config),
    ENTRY(mae_model_num_patches),
    ENTRY(mae_model_parameter_count),
    ENTRY(mae_model_num_tensors),
    ENTRY(mae_model_tensor_name),
    ENTRY(mae_model_tensor),
    ENTRY(mae_model_find),
    ENTRY(mae_model_class_name),
    ENTRY(mae_model_normalization),
    ENTRY(mae_load_options_init),
    ENTRY(mae_load_report_destroy),
    ENTRY(mae_load_report_count),
    ENTRY(mae_load_report_item),
    ENTRY(mae_load_report_layout),
    ENTRY(mae_load_report_format),
    ENTRY(mae_load_report_mapped_bytes),
    ENTRY(mae_image_free),
    ENTRY(mae_session_options_init),
    ENTRY(mae_session_destroy),
    ENTRY(mae_session_feature_size),
    ENTRY(mae_trainer_options_init),
    ENTRY(mae_trainer_options_recipe),
    ENTRY(mae_trainer_destroy),
    ENTRY(mae_trainer_ema_model),
    ENTRY(mae_trainer_gradient),
    ENTRY(mae_trainer_steps),
    ENTRY(mae_trainer_images_seen),
    ENTRY(mae_idx_destroy),
    ENTRY(mae_idx_ndim),
    ENTRY(mae_idx_dim),
    ENTRY(mae_idx_data),
    ENTRY(mae_dataset_destroy),
    ENTRY(mae_dataset_size),
    ENTRY(mae_dataset_name),
    ENTRY(mae_dataset_num_classes),
    ENTRY(mae_dataset_class_name),
    ENTRY(mae_dataset_label),
    ENTRY(mae_loader_options_init),
    ENTRY(mae_loader_options_recipe),
    ENTRY(mae_loader_destroy),
    ENTRY(mae_loader_epoch_batches),
    ENTRY(mae_loader_seek),
    ENTRY(mae_loader_position),
    ENTRY(mae_loader_labels),
    ENTRY(mae_loader_skipped),
    ENTRY(mae_loader_skipped_item),
    ENTRY(mae_fit_options_init),
    ENTRY(mae_evaluation_destroy),
    ENTRY(mae_evaluation_add),
    ENTRY(mae_evaluation_count),
    ENTRY(mae_evaluation_top1),
    ENTRY(mae_evaluation_top5),
    ENTRY(mae_evaluation_loss),
    ENTRY(mae_evaluation_confusion),
    ENTRY(mae_probe_options_init),
};

const char *fault_free_call(int i, fault_world *w) {
  if (i >= (int)(sizeof calls / sizeof *calls)) return NULL;
  if (w) calls[i].call(w);
  return calls[i].name;
}
