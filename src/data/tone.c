#include "data/tone.h"

#include <stdbool.h>

#include "data/blend.h"

enum { LEVELS = 256 };

static uint8_t to_byte(int64_t v) {
  return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void map(uint8_t *x, int64_t n, const uint8_t table[LEVELS]) {
  for (int64_t i = 0; i < n; i++) x[i] = table[x[i]];
}

static void map_all(mae_planes *planes, const uint8_t table[LEVELS]) {
  map(planes->data, planes->chans * mae_planes_area(planes), table);
}

/* ---------------------------------------------------------- histograms --- */

static void count(const uint8_t *x, int64_t n, int64_t histogram[LEVELS]) {
  for (int v = 0; v < LEVELS; v++) histogram[v] = 0;
  for (int64_t i = 0; i < n; i++) histogram[x[i]]++;
}

/* The least and the largest value that occur. */
static void find_range(const int64_t histogram[LEVELS], int *least, int *most) {
  for (*least = 0; *least < LEVELS - 1 && !histogram[*least];) ++*least;
  for (*most = LEVELS - 1; *most > 0 && !histogram[*most];) --*most;
}

/* By a table made of each channel's histogram, unless there is none: false. */
static void map_each(mae_planes *planes,
                     bool (*make)(const int64_t *histogram, uint8_t *table)) {
  const int64_t n = mae_planes_area(planes);
  for (int32_t c = 0; c < planes->chans; c++) {
    uint8_t *x = planes->data + c * n, table[LEVELS];
    int64_t histogram[LEVELS];
    count(x, n, histogram);
    if (make(histogram, table)) map(x, n, table);
  }
}

static bool make_spread(const int64_t *histogram, uint8_t *table) {
  int least, most;
  find_range(histogram, &least, &most);
  if (most <= least) return false;
  const double scale = 255.0 / (most - least), offset = -least * scale;
  for (int v = 0; v < LEVELS; v++)
    table[v] = to_byte((int64_t)(v * scale + offset));
  return true;
}

/* Steps of equal numbers of pixels; those of the largest value do not count. */
static bool make_even(const int64_t *histogram, uint8_t *table) {
  int least, most;
  int64_t below = 0;
  find_range(histogram, &least, &most);
  for (int v = 0; v < most; v++) below += histogram[v];
  const int64_t step = below / 255;
  if (!step) return false;
  int64_t n = step / 2;
  for (int v = 0; v < LEVELS; v++) {
    table[v] = to_byte(n / step);
    n += histogram[v];
  }
  return true;
}

void mae_tone_auto_contrast(mae_planes *planes) {
  map_each(planes, make_spread);
}

void mae_tone_equalize(mae_planes *planes) { map_each(planes, make_even); }

/* --------------------------------------------------------- fixed tables --- */

void mae_tone_invert(mae_planes *planes) { mae_tone_solarize(planes, 0); }

void mae_tone_posterize(mae_planes *planes, int32_t bits) {
  uint8_t table[LEVELS];
  for (int v = 0; v < LEVELS; v++)
    table[v] = (uint8_t)(v & ~((1 << (8 - bits)) - 1));
  map_all(planes, table);
}

void mae_tone_solarize(mae_planes *planes, int32_t threshold) {
  uint8_t table[LEVELS];
  for (int v = 0; v < LEVELS; v++)
    table[v] = (uint8_t)(v < threshold ? v : 255 - v);
  map_all(planes, table);
}

void mae_tone_solarize_add(mae_planes *planes, int32_t add) {
  uint8_t table[LEVELS];
  for (int v = 0; v < LEVELS; v++) table[v] = to_byte(v < 128 ? v + add : v);
  map_all(planes, table);
}

static void blend_with(mae_planes *planes, uint8_t level, double factor) {
  uint8_t table[LEVELS];
  for (int v = 0; v < LEVELS; v++)
    table[v] = mae_blend(level, (uint8_t)v, (float)factor);
  map_all(planes, table);
}

void mae_tone_brightness(mae_planes *planes, double factor) {
  blend_with(planes, 0, factor);
}

static uint8_t mean_grey(const mae_planes *planes) {
  const int64_t n = mae_planes_area(planes);
  const uint8_t *x = planes->data;
  int64_t sum = 0;
  for (int64_t i = 0; i < n; i++)
    sum += planes->chans == 1 ? x[i] : mae_luma(x[i], x[n + i], x[2 * n + i]);
  return (uint8_t)((double)sum / (double)n + 0.5);
}

void mae_tone_contrast(mae_planes *planes, double factor) {
  blend_with(planes, mean_grey(planes), factor);
}
