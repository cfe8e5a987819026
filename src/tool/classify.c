#include "tool/classify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "tool/say.h"

int classify_run(passes *p, mae_session_options *options) {
  options->features = MAE_FEATURES_LOGITS;
  p->options = options;
  if (mae_session_create(p->context, p->model, options, &p->session) != MAE_OK)
    return fail_library();
  int status = passes_run(p);
  mae_session_destroy(p->session);
  p->session = NULL;
  return status;
}

typedef struct test {
  const mae_dataset *dataset;
  mae_evaluation *evaluation;
  int32_t *labels; /* room for those of a call */
} test;

static int take(void *arg, const void *outputs, const size_t *images,
                size_t n) {
  test *t = arg;
  for (size_t i = 0; i < n; i++)
    t->labels[i] = mae_dataset_label(t->dataset, (int64_t)images[i]);
  if (mae_evaluation_add(t->evaluation, outputs, t->labels, (int64_t)n) !=
      MAE_OK)
    return fail_library();
  return TOOL_OK;
}

int classify_evaluate(passes *p, mae_session_options *options,
                      mae_evaluation **evaluation) {
  test t = {.dataset = p->dataset};
  p->count = (size_t)mae_dataset_size(p->dataset);
  p->take = take;
  p->arg = &t;
  t.labels = mae_calloc(p->count, sizeof *t.labels);
  int status = TOOL_OK;
  if (!t.labels ||
      mae_evaluation_create(mae_dataset_num_classes(p->dataset),
                            &t.evaluation) != MAE_OK)
    status = fail_library();
  if (status == TOOL_OK) status = classify_run(p, options);
  if (status == TOOL_OK)
    *evaluation = t.evaluation;
  else
    mae_evaluation_destroy(t.evaluation);
  free(t.labels);
  return status;
}

void classify_print(const mae_evaluation *e, int32_t num_classes, bool loss) {
  printf("images      %" PRId64 "\n", mae_evaluation_count(e));
  printf("top-1       %.2f %%\n", 100 * mae_evaluation_top1(e));
  if (num_classes > 5)
    printf("top-5       %.2f %%\n", 100 * mae_evaluation_top5(e));
  if (loss) printf("loss        %.4f\n", mae_evaluation_loss(e));
}
