/* Runs every suite; CK_RUN_SUITE=name runs one. */
#include <stdlib.h>

#include "suites.h"

int main(void) {
  SRunner *runner = srunner_create(base_suite());
  srunner_add_suite(runner, product_suite());
  srunner_add_suite(runner, ops_suite());
  srunner_add_suite(runner, attention_suite());
  srunner_add_suite(runner, tape_suite());
  srunner_add_suite(runner, precision_suite());
  srunner_add_suite(runner, profile_suite());
  srunner_add_suite(runner, recompute_suite());
  srunner_add_suite(runner, safetensors_suite());
  srunner_add_suite(runner, pickle_suite());
  srunner_add_suite(runner, torch_file_suite());
  srunner_add_suite(runner, import_suite());
  srunner_add_suite(runner, idx_suite());
  srunner_add_suite(runner, dataset_suite());
  srunner_add_suite(runner, labels_suite());
  srunner_add_suite(runner, image_suite());
  srunner_add_suite(runner, preprocess_suite());
  srunner_add_suite(runner, augment_suite());
  srunner_add_suite(runner, rand_augment_suite());
  srunner_add_suite(runner, model_suite());
  srunner_add_suite(runner, parity_suite());
  srunner_add_suite(runner, finetune_parity_suite());
  srunner_add_suite(runner, session_suite());
  srunner_add_suite(runner, features_suite());
  srunner_add_suite(runner, classifier_suite());
  srunner_add_suite(runner, notes_suite());
  srunner_add_suite(runner, trainer_suite());
  srunner_add_suite(runner, update_in_backward_suite());
  srunner_add_suite(runner, fit_suite());
  srunner_add_suite(runner, mix_suite());
  srunner_add_suite(runner, evaluation_suite());
  srunner_add_suite(runner, knn_suite());
  srunner_add_suite(runner, probe_suite());
  srunner_add_suite(runner, plan_suite());
  srunner_add_suite(runner, finetune_suite());
  srunner_add_suite(runner, communicator_suite());
  srunner_add_suite(runner, abi_suite());
  srunner_add_suite(runner, stress_suite());
  srunner_add_suite(runner, faults_suite());
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
