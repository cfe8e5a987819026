#include "tool/samples.h"

#include <string.h>

#include "base/error.h"

static mae_status fill(samples *s, mae_loader *loader, int32_t count) {
  const float *images;
  MAE_TRY(mae_loader_next(loader, &images));
  const mae_config *c = &s->scene.config;
  size_t values = (size_t)c->in_chans * (size_t)c->image_height *
                  (size_t)c->image_width;
  memcpy(s->scene.images, images, (size_t)count * values * sizeof *images);
  s->scene.n = count;
  return MAE_OK;
}

mae_status samples_make(samples *s, const run_settings *settings,
                        mae_context *context, const mae_model *model,
                        mae_dataset *dataset) {
  const int32_t channels = settings->config.in_chans;
  mae_loader_options l = settings->loader;
  mae_session_options o;
  mae_loader *loader;
  l.augment = 0;
  l.batch_size = settings->samples;
  if (l.batch_size > mae_dataset_size(dataset))
    l.batch_size = (int32_t)mae_dataset_size(dataset);
  l.rank = 0;
  l.ranks = 1;
  l.threads = l.prefetch = 1;
  if (!l.batch_size || (channels != 1 && channels != 3)) return MAE_OK;
  s->scene = (scene){.config = settings->config,
                     .mean = settings->mean.values,
                     .std = settings->std.values,
                     .columns = true};
  MAE_TRY(scene_make(&s->scene, (size_t)l.batch_size));
  MAE_TRY(mae_loader_create(dataset, &l, &loader));
  mae_status status = fill(s, loader, l.batch_size);
  mae_loader_destroy(loader);
  MAE_TRY(status);
  mae_session_options_init(&o, sizeof o);
  o.batch_size = 1; /* little memory beside the trainer's */
  o.mask_ratio = settings->trainer.mask_ratio;
  o.seed = settings->trainer.seed;
  o.precision = settings->trainer.precision;
  return mae_session_create(context, model, &o, &s->session);
}

mae_status samples_draw(samples *s, const char *path) {
  scene *e = &s->scene;
  if (!s->session) return MAE_OK;
  MAE_TRY(mae_session_reconstruct(s->session, e->images, e->n, NULL, e->made,
                                  e->masks));
  return scene_draw(e, path);
}

void samples_free(samples *s) {
  mae_session_destroy(s->session);
  scene_free(&s->scene);
}
