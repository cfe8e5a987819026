/* Round numbers along an axis. */
#ifndef MAE_TOOL_TICKS_H
#define MAE_TOOL_TICKS_H

#include <stddef.h>

enum { MOST_TICKS = 12 };

typedef struct ticks {
  double least, most; /* the axis */
  double values[MOST_TICKS];
  int count;
} ticks;

/* At most `most` ticks on an axis from least to most; whole: integers only. */
ticks ticks_make(double least, double most_value, int most, int whole);

/* As people write it: 0.25, 1500, 1.5e-4. */
void tick_text(double value, char *out, size_t size);

#endif
