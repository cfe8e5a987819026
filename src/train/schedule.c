#include "train/schedule.h"

#include <math.h>

double mae_schedule(int64_t step, int64_t warmup, int64_t total, double peak,
                    double least) {
  if (step < warmup) return peak * (double)step / (double)warmup;
  if (total <= warmup) return total ? least : peak;
  if (step >= total) return least;
  double part = (double)(step - warmup) / (double)(total - warmup);
  return least + (peak - least) * 0.5 * (1 + cos(3.14159265358979323846 * part));
}
