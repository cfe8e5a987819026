/* What a model says of its classes and images, as metadata of its files:
 * "mae.class_names", a JSON list of texts, and "mae.mean" and "mae.std", JSON
 * lists of numbers that read back as the same bits. */
#ifndef MAE_IO_NOTES_H
#define MAE_IO_NOTES_H

#include "io/safetensors.h"
#include "model/model.h"

enum { MAE_NOTES = 3 };

typedef struct mae_notes {
  mae_safetensors_text list[MAE_NOTES];
  int32_t count;
  char *texts[MAE_NOTES]; /* behind the list */
} mae_notes;

/* Those of a model.  Freed by the caller on failure, too. */
mae_status mae_notes_write(const mae_model *model, mae_notes *notes);
void mae_notes_free(mae_notes *notes);

/* Give the model what the file says, if anything.  MAE_ERROR_FORMAT: malformed,
 * or not fit for the model. */
mae_status mae_notes_read(const mae_safetensors *file, mae_model *model);

/* MAE_ERROR_MISMATCH when both name the classes, and not alike. */
mae_status mae_notes_same_classes(const mae_safetensors *file,
                                  const mae_model *model);

#endif
