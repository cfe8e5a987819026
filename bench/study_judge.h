/* Accuracy on the test images: of a classifier, and of frozen features. */
#ifndef BENCH_STUDY_JUDGE_H
#define BENCH_STUDY_JUDGE_H

#include "study_run.h"

/* Each fills in top1, top5 and, but for k-NN, test_loss. */
void study_judge_model(const study_bench *bench, const mae_model *classifier,
                       double *values);
void study_judge_linear(const study_bench *bench, const mae_model *encoder,
                        const fashion *labelled, uint64_t seed, double *values);
void study_judge_knn(const study_bench *bench, const mae_model *encoder,
                     const fashion *labelled, double *values);

#endif
