/* The suites that tests/main.c runs. */
#ifndef TESTS_SUITES_H
#define TESTS_SUITES_H

#include <check.h>

Suite *base_suite(void);        /* rng, pool, tensor, options, errors */
Suite *ops_suite(void);         /* each operation: values and gradients */
Suite *attention_suite(void);   /* its kernels, at many sizes */
Suite *tape_suite(void);        /* recording, planning, running graphs */
Suite *profile_suite(void);     /* where time goes */
Suite *recompute_suite(void);   /* checkpointed segments of tapes */
Suite *precision_suite(void);   /* linear layers in bf16 */
Suite *safetensors_suite(void); /* the file format */
Suite *pickle_suite(void);      /* the restricted unpickler */
Suite *torch_file_suite(void);  /* archives of torch.save */
Suite *import_suite(void);      /* other people's weights; export */
Suite *idx_suite(void);
Suite *dataset_suite(void);     /* datasets, loaders */
Suite *labels_suite(void);      /* classes of a dataset's images */
Suite *image_suite(void);       /* JPEG, PNG, WebP */
Suite *preprocess_suite(void);  /* resize, crop, normalise */
Suite *augment_suite(void);     /* random crops and flips */
Suite *rand_augment_suite(void); /* RandAugment, random erasing */
Suite *product_suite(void);     /* matrix products, where they are ours */
Suite *model_suite(void);       /* config, init, save, load */
Suite *parity_suite(void);      /* against the PyTorch reference */
Suite *finetune_parity_suite(void); /* classifiers, against PyTorch */
Suite *session_suite(void);     /* features, forward, reconstruction */
Suite *features_suite(void);    /* kinds of features, image sizes, bytes in */
Suite *classifier_suite(void);  /* classifiers and their graph */
Suite *notes_suite(void);       /* class names, normalisation */
Suite *trainer_suite(void);     /* training, resume, allocation */
Suite *update_in_backward_suite(void); /* training that keeps no gradients */
Suite *fit_suite(void);         /* whole runs: callbacks, files, stopping */
Suite *mix_suite(void);         /* mixup and CutMix */
Suite *evaluation_suite(void);  /* top-1, top-5, confusions */
Suite *knn_suite(void);         /* k nearest neighbours */
Suite *probe_suite(void);       /* the linear probe, LARS, batch norm */
Suite *plan_suite(void);        /* what a trainer takes, beforehand */
Suite *finetune_suite(void);    /* classifiers in training; recipes */
Suite *communicator_suite(void); /* training by several ranks */
Suite *abi_suite(void);         /* structs of older and newer programs */
Suite *stress_suite(void);      /* among threads, beside BLAS, after forks */
Suite *faults_suite(void);      /* no memory, full disks, broken files */

#endif
