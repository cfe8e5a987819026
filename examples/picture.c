#include "picture.h"

#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

picture picture_create(int width, int height) {
  picture p = {width, height, malloc((size_t)width * (size_t)height)};
  if (p.pixels) memset(p.pixels, 255, (size_t)width * (size_t)height);
  return p;
}

void picture_destroy(picture *p) {
  free(p->pixels);
  p->pixels = NULL;
}

static void put(picture *p, int x, int y, int grey) {
  if (x >= 0 && y >= 0 && x < p->width && y < p->height)
    p->pixels[y * p->width + x] = (unsigned char)grey;
}

void picture_image(picture *p, int x, int y, const float *values, int rows,
                   int columns, int scale, float mean, float std) {
  for (int i = 0; i < rows * scale; i++)
    for (int j = 0; j < columns * scale; j++) {
      float v = values[i / scale * columns + j / scale] * std + mean;
      v = v < 0 ? 0 : v > 1 ? 1 : v;
      put(p, x + j, y + i, (int)(v * 255 + 0.5f));
    }
}

/* A stroke of 2 x 2 pixels, by steps of at most one pixel. */
static void line(picture *p, double x0, double y0, double x1, double y1,
                 int grey) {
  double dx = x1 - x0, dy = y1 - y0;
  double far = (dx < 0 ? -dx : dx) > (dy < 0 ? -dy : dy) ? dx : dy;
  int steps = (int)(far < 0 ? -far : far) + 1;
  for (int i = 0; i <= steps; i++) {
    int x = (int)(x0 + dx * i / steps), y = (int)(y0 + dy * i / steps);
    put(p, x, y, grey);
    put(p, x + 1, y, grey);
    put(p, x, y + 1, grey);
    put(p, x + 1, y + 1, grey);
  }
}

void picture_curve(picture *p, const float *y, int n) {
  const double left = 20, right = p->width - 20, top = 20;
  const double bottom = p->height - 20;
  line(p, left, top, left, bottom, 160);
  line(p, left, bottom, right, bottom, 160);
  float low = 0, high = 0; /* the axis begins at 0: losses are positive */
  for (int i = 0; i < n; i++) high = y[i] > high ? y[i] : high;
  if (high <= low || n < 2) return;
  double px = 0, py = 0;
  for (int i = 0; i < n; i++) {
    double qx = left + (right - left) * i / (n - 1);
    double qy = bottom - (bottom - top) * (y[i] - low) / (high - low);
    if (i) line(p, px, py, qx, qy, 0);
    px = qx;
    py = qy;
  }
}

int picture_write_png(const picture *p, const char *path) {
  png_image image;
  memset(&image, 0, sizeof image);
  image.version = PNG_IMAGE_VERSION;
  image.width = (png_uint_32)p->width;
  image.height = (png_uint_32)p->height;
  image.format = PNG_FORMAT_GRAY;
  errno = 0;
  if (png_image_write_to_file(&image, path, 0, p->pixels, 0, NULL)) return 0;
  return errno ? errno : -1;
}
