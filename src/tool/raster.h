/* Lines and digits on a drawing of three channels. */
#ifndef MAE_TOOL_RASTER_H
#define MAE_TOOL_RASTER_H

#include "tool/drawing.h"

typedef struct colour {
  uint8_t red, green, blue;
} colour;

/* With smooth edges; width in pixels. */
void raster_line(drawing *d, double x0, double y0, double x1, double y1,
                 double width, colour c);

/* Pixels that text takes: digits, "-", ".", and the letters of "loss" and
 * "update". */
enum { RASTER_TEXT_HEIGHT = 14 };
int raster_text_width(const char *text);
/* left, top: of the first letter. */
void raster_text(drawing *d, int left, int top, const char *text, colour c);

#endif
