#include "tool/text_file.h"

#include "tool/interrupt.h"

mae_status text_write(const char *path, const text *t) {
  mae_atomic_file file;
  if (t->failed)
    return mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for %s", path);
  MAE_TRY(guarded_begin(path, &file));
  mae_status status = mae_atomic_write(&file, t->bytes, t->size);
  if (status == MAE_OK) return guarded_commit(&file);
  guarded_abort(&file);
  return status;
}
