#include "tool/raster.h"

#include <math.h>
#include <string.h>

/* c over what is there, opaque as `cover` in 0 to 1 says. */
static void blend(drawing *d, int64_t x, int64_t y, double cover, colour c) {
  if (x < 0 || y < 0 || x >= d->width || y >= d->height || cover <= 0) return;
  const uint8_t over[3] = {c.red, c.green, c.blue};
  uint8_t *to = d->samples + (y * d->width + x) * d->channels;
  if (cover > 1) cover = 1;
  for (int k = 0; k < 3; k++)
    to[k] = (uint8_t)(to[k] + (over[k] - to[k]) * cover + 0.5);
}

static double distance(double x, double y, double x0, double y0, double x1,
                       double y1) {
  double dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy;
  double t = length > 0 ? ((x - x0) * dx + (y - y0) * dy) / length : 0;
  t = fmin(fmax(t, 0), 1);
  return hypot(x - x0 - t * dx, y - y0 - t * dy);
}

void raster_line(drawing *d, double x0, double y0, double x1, double y1,
                 double width, colour c) {
  const double around = width / 2 + 1;
  int64_t top = (int64_t)floor(fmin(y0, y1) - around);
  int64_t bottom = (int64_t)ceil(fmax(y0, y1) + around);
  int64_t left = (int64_t)floor(fmin(x0, x1) - around);
  int64_t right = (int64_t)ceil(fmax(x0, x1) + around);
  for (int64_t y = top; y <= bottom; y++)
    for (int64_t x = left; x <= right; x++) {
      double away = distance((double)x, (double)y, x0, y0, x1, y1);
      blend(d, x, y, width / 2 + 0.5 - away, c);
    }
}

/* Five columns a letter, a bit a row, the top row the lowest bit. */
typedef struct letter {
  char name;
  uint8_t columns[5];
} letter;

static const letter letters[] = {
    {'0', {0x3e, 0x51, 0x49, 0x45, 0x3e}}, {'1', {0x00, 0x42, 0x7f, 0x40, 0x00}},
    {'2', {0x42, 0x61, 0x51, 0x49, 0x46}}, {'3', {0x21, 0x41, 0x45, 0x4b, 0x31}},
    {'4', {0x18, 0x14, 0x12, 0x7f, 0x10}}, {'5', {0x27, 0x45, 0x45, 0x45, 0x39}},
    {'6', {0x3c, 0x4a, 0x49, 0x49, 0x30}}, {'7', {0x01, 0x71, 0x09, 0x05, 0x03}},
    {'8', {0x36, 0x49, 0x49, 0x49, 0x36}}, {'9', {0x06, 0x49, 0x49, 0x29, 0x1e}},
    {'.', {0x00, 0x60, 0x60, 0x00, 0x00}}, {'-', {0x08, 0x08, 0x08, 0x08, 0x08}},
    {'a', {0x20, 0x54, 0x54, 0x54, 0x78}}, {'d', {0x38, 0x44, 0x44, 0x48, 0x7f}},
    {'e', {0x38, 0x54, 0x54, 0x54, 0x18}}, {'l', {0x00, 0x41, 0x7f, 0x40, 0x00}},
    {'o', {0x38, 0x44, 0x44, 0x44, 0x38}}, {'p', {0x7c, 0x14, 0x14, 0x14, 0x08}},
    {'s', {0x48, 0x54, 0x54, 0x54, 0x20}}, {'t', {0x04, 0x3f, 0x44, 0x40, 0x20}},
    {'u', {0x3c, 0x40, 0x40, 0x20, 0x7c}}};

enum { SCALE = 2, STEP = 6 * SCALE };

int raster_text_width(const char *text) { return (int)strlen(text) * STEP; }

static void draw_letter(drawing *d, int left, int top, const letter *l,
                        colour c) {
  for (int x = 0; x < 5 * SCALE; x++)
    for (int y = 0; y < 7 * SCALE; y++)
      if (l->columns[x / SCALE] >> (y / SCALE) & 1)
        blend(d, left + x, top + y, 1, c);
}

void raster_text(drawing *d, int left, int top, const char *text, colour c) {
  for (; *text; text++, left += STEP)
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
      if (letters[i].name == *text) draw_letter(d, left, top, &letters[i], c);
}
