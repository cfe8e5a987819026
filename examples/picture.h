/* Small grey pictures for the examples, written as PNG. */
#ifndef EXAMPLES_PICTURE_H
#define EXAMPLES_PICTURE_H

typedef struct picture {
  int width, height;
  unsigned char *pixels; /* row by row, 0 black */
} picture;

/* White; pixels is NULL without memory. */
picture picture_create(int width, int height);
void picture_destroy(picture *p);

/* Draw rows x columns values at (x, y), each as a square of `scale` pixels;
 * value v becomes the grey (v * std + mean) of 0 to 1. */
void picture_image(picture *p, int x, int y, const float *values, int rows,
                   int columns, int scale, float mean, float std);
/* Plot y[0 .. n-1] from left to right, between axes. */
void picture_curve(picture *p, const float *y, int n);
/* 0 on success; else errno, or -1 for libpng's own trouble. */
int picture_write_png(const picture *p, const char *path);

#endif
