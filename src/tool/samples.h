/* A few images of a run, drawn again and again as the model learns. */
#ifndef MAE_TOOL_SAMPLES_H
#define MAE_TOOL_SAMPLES_H

#include "tool/run_settings.h"
#include "tool/scene.h"

typedef struct samples {
  scene scene;
  mae_session *session; /* NULL: there is nothing to draw */
} samples;

/* The first images of the run's order, not augmented.  Of models that cannot be
 * drawn, for not 1 or 3 channels, none.  Free it, also when this fails. */
mae_status samples_make(samples *s, const run_settings *settings,
                        mae_context *context, const mae_model *model,
                        mae_dataset *dataset);
/* A PNG of a column an image: original, masked, reconstruction. */
mae_status samples_draw(samples *s, const char *path);
void samples_free(samples *s);

#endif
