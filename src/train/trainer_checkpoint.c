/* Saving a trainer, and resuming bit for bit: the model's own file with the
 * optimiser's tensors and a few numbers added. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint.h"
#include "io/notes.h"
#include "train/trainer.h"

/* Arrays beside the parameters, one per parameter that is trained. */
typedef struct group {
  const char *prefix;
  float **data;
} group;

enum { GROUPS = 4 };

/* The gathered gradients count only between an update's steps. */
static int groups_of(const mae_trainer *t, bool gathered,
                     group groups[GROUPS]) {
  const mae_optimizer *o = &t->optimizer;
  groups[0] = (group){"optim.exp_avg.", o->exp_avg};
  groups[1] = (group){"optim.exp_avg_sq.", o->exp_avg_sq};
  int count = 2;
  if (t->ema.model) groups[count++] = (group){"optim.ema.", t->ema.data};
  if (gathered) groups[count++] = (group){"optim.grad.", o->grad};
  return count;
}

typedef struct group_name {
  char text[96];
} group_name;

static group_name name_in(const group *g, const mae_param *param) {
  group_name name;
  snprintf(name.text, sizeof name.text, "%s%s", g->prefix, param->name);
  return name;
}

/* -------------------------------------------------------------- saving --- */

typedef struct entries {
  group_name *names;
  mae_tensor *tensors;
  mae_safetensors_entry *list;
  int32_t count;
} entries;

static mae_status list_entries(const mae_trainer *t, entries *e) {
  const mae_model *model = t->model;
  group groups[GROUPS];
  int n_groups = groups_of(t, t->gathered > 0, groups);
  size_t most = (size_t)n_groups * (size_t)model->n_params;
  e->names = mae_calloc(most, sizeof *e->names);
  e->tensors = mae_calloc(most, sizeof *e->tensors);
  e->list = mae_calloc(most, sizeof *e->list);
  if (!e->names || !e->tensors || !e->list) return MAE_ERROR_OUT_OF_MEMORY;
  for (int g = 0; g < n_groups; g++)
    for (int32_t i = 0; i < model->n_params; i++) {
      const mae_param *p = &model->params[i];
      if (!t->optimizer.rules.trains[i]) continue;
      int32_t k = e->count++;
      e->names[k] = name_in(&groups[g], p);
      e->tensors[k] = p->value;
      e->tensors[k].data = groups[g].data[i];
      e->list[k] =
          (mae_safetensors_entry){e->names[k].text, &e->tensors[k]};
    }
  return MAE_OK;
}

static const char step_key[] = "mae.trainer.step";
static const char images_key[] = "mae.trainer.images_seen";
static const char gathered_key[] = "mae.trainer.gathered";
static const char seed_key[] = "mae.trainer.seed";

mae_status mae_trainer_save(const mae_trainer *trainer, const char *path) {
  MAE_REQUIRE(trainer);
  MAE_REQUIRE(path);
  if (trainer->gathered && trainer->sum.comm.ranks > 1)
    return mae_fail(MAE_ERROR_STATE,
                    "step %d of the %d of an update: its gradients are spread "
                    "over %d ranks; save after the update",
                    trainer->gathered, trainer->options.accum_steps,
                    trainer->sum.comm.ranks);
  char step[24], images[24], gathered[24], seed[24];
  snprintf(step, sizeof step, "%" PRId64, trainer->optimizer.step);
  snprintf(images, sizeof images, "%" PRIu64, trainer->images_seen);
  snprintf(gathered, sizeof gathered, "%d", trainer->gathered);
  snprintf(seed, sizeof seed, "%" PRIu64, trainer->options.seed);
  mae_safetensors_text texts[4 + MAE_FIT_TEXTS] = {{step_key, step},
                                                   {images_key, images},
                                                   {gathered_key, gathered},
                                                   {seed_key, seed}};
  mae_fit_texts fit = {.count = 0};
  mae_fit_state_write(&trainer->fit, &fit);
  memcpy(texts + 4, fit.list, sizeof fit.list);
  entries e = {0};
  mae_status status = list_entries(trainer, &e);
  if (status == MAE_OK)
    status = mae_checkpoint_write(path, trainer->model, e.list, e.count, texts,
                                  4 + fit.count);
  free(e.names);
  free(e.tensors);
  free(e.list);
  return status;
}

/* ------------------------------------------------------------ resuming --- */

typedef struct numbers {
  uint64_t step, images_seen, gathered, seed;
} numbers;

static mae_status read_numbers(const mae_trainer *t,
                               const mae_safetensors *file, numbers *n) {
  mae_config config;
  MAE_TRY(mae_checkpoint_config(file, &config));
  if (!mae_config_same(&config, &t->model->config))
    return mae_fail(MAE_ERROR_MISMATCH,
                    "the checkpoint is of a model with another config");
  MAE_TRY(mae_notes_same_classes(file, t->model));
  if (!mae_safetensors_metadata(file, step_key))
    return mae_fail(MAE_ERROR_MISMATCH,
                    "the file holds a model without a trainer's state");
  MAE_TRY(mae_checkpoint_integer(file, step_key, INT64_MAX, &n->step));
  MAE_TRY(
      mae_checkpoint_integer(file, images_key, UINT64_MAX, &n->images_seen));
  MAE_TRY(mae_checkpoint_integer(file, seed_key, UINT64_MAX, &n->seed));
  MAE_TRY(mae_checkpoint_integer(file, gathered_key, INT32_MAX, &n->gathered));
  if (n->gathered >= (uint64_t)t->options.accum_steps)
    return mae_fail(MAE_ERROR_MISMATCH,
                    "the checkpoint has gathered %" PRIu64
                    " steps of an update; accum_steps is %d",
                    n->gathered, t->options.accum_steps);
  if (n->gathered && t->sum.comm.ranks > 1)
    return mae_fail(MAE_ERROR_MISMATCH,
                    "the checkpoint is of one process, in the middle of an "
                    "update's steps; %d ranks cannot share its gradients",
                    t->sum.comm.ranks);
  return MAE_OK;
}

/* Read a group's arrays, or with a NULL group the parameters themselves, into
 * fresh memory, so that a failure half-way changes nothing. */
typedef struct staged {
  float **data, *block;
} staged;

static mae_status stage(const mae_trainer *t, const mae_safetensors *file,
                        const group *g, staged *s) {
  const mae_model *model = t->model;
  s->data = mae_calloc((size_t)model->n_params, sizeof *s->data);
  if (!s->data) return MAE_ERROR_OUT_OF_MEMORY;
  MAE_TRY(mae_model_shadow(model, g ? t->optimizer.rules.trains : NULL,
                           s->data, &s->block));
  for (int32_t i = 0; i < model->n_params; i++) {
    const mae_param *p = &model->params[i];
    if (!s->data[i]) continue;
    mae_tensor into = p->value;
    into.data = s->data[i];
    MAE_TRY(mae_safetensors_read(file, g ? name_in(g, p).text : p->name,
                                 &into));
  }
  return MAE_OK;
}

static void commit(const mae_model *model, const staged *s, const group *g) {
  for (int32_t i = 0; i < model->n_params; i++) {
    const mae_tensor *value = &model->params[i].value;
    if (s->data[i])
      memcpy(g ? g->data[i] : value->data, s->data[i],
             (size_t)mae_tensor_size(value) * sizeof(float));
  }
}

static mae_status resume(mae_trainer *t, const mae_safetensors *file) {
  numbers n;
  mae_fit_state fit;
  MAE_TRY(read_numbers(t, file, &n));
  MAE_TRY(mae_fit_state_read(file, &fit));
  group groups[GROUPS];
  int n_groups = groups_of(t, n.gathered > 0, groups);
  staged params = {0}, stages[GROUPS] = {{0}};
  mae_status status = stage(t, file, NULL, &params);
  for (int g = 0; g < n_groups && status == MAE_OK; g++)
    status = stage(t, file, &groups[g], &stages[g]);
  if (status == MAE_OK) {
    commit(t->model, &params, NULL);
    for (int g = 0; g < n_groups; g++)
      commit(t->model, &stages[g], &groups[g]);
    t->optimizer.step = (int64_t)n.step;
    t->images_seen = n.images_seen;
    t->gathered = (int32_t)n.gathered;
    t->options.seed = n.seed;
    t->fit = fit;
    t->agreed = false;
  }
  free(params.data);
  free(params.block);
  for (int g = 0; g < GROUPS; g++) {
    free(stages[g].data);
    free(stages[g].block);
  }
  return status;
}

mae_status mae_trainer_resume(mae_trainer *trainer, const char *path) {
  MAE_REQUIRE(trainer);
  MAE_REQUIRE(path);
  mae_safetensors *file;
  MAE_TRY(mae_safetensors_open(path, &file));
  mae_status status = resume(trainer, file);
  mae_safetensors_close(file);
  return status;
}
