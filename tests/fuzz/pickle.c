/* The restricted reader of pickles alone. */
#include "io/pickle.h"

#include "common/input.h"

/* Each value the root leads to, at most so many steps. */
static void walk(const mae_pickle *p, const mae_pickle_value *v, int depth,
                 int *steps) {
  if (v->kind == MAE_PICKLE_TEXT && v->number)
    (void)*(volatile const char *)(v->text + v->number - 1);
  if (v->kind == MAE_PICKLE_STORAGE)
    REQUIRE(mae_pickle_storage_element(p, v) != MAE_ELEMENTS);
  int32_t at = v->first, n = 0;
  for (const mae_pickle_value *item; (item = mae_pickle_next(p, &at)); n++)
    if (depth < 64 && --*steps > 0) walk(p, item, depth + 1, steps);
  REQUIRE(n == v->count);
  REQUIRE(!mae_pickle_item(p, v, v->count));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mae_pickle *pickle = NULL;
  int steps = 10000;
  if (mae_pickle_read(data, size, &pickle) != MAE_OK) return 0;
  walk(pickle, mae_pickle_root(pickle), 0, &steps);
  mae_pickle_free(pickle);
  return 0;
}
