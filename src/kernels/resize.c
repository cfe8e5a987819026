/* 8-bit images to the network's input: antialiased resampling with the
 * arithmetic of Pillow, then mean and std.
 *
 * Across first: each row is brought to groups of 1 or 4 bytes a pixel, so that
 * a vector holds whole pixels, and leaves as a plane per channel; then down,
 * where every column is alike.  Both round to 8 bits. */
#include "kernels/simd.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

/* LANES bytes as numbers.  gcc makes __builtin_convertvector of them byte by
 * byte. */
static inline vi widen(const uint8_t *p) {
#if MAE_VEC_BYTES == 64 && defined(__AVX512F__)
  return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
#elif MAE_VEC_BYTES == 32 && defined(__AVX2__)
  return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
#else
  uint8_t v __attribute__((vector_size(LANES)));
  memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, vi);
#endif
}

static inline vi vi_load(const int32_t *p) {
  vi v;
  memcpy(&v, p, sizeof v);
  return v;
}

enum { HALF = 1 << (MAE_RESAMPLE_BITS - 1) };

static inline vi to_bytes(vi sum) {
  vi v = sum >> MAE_RESAMPLE_BITS;
  v &= ~(v >> 31);
  const vi over = v > 255;
  return (v & ~over) | (over & 255);
}

static inline uint8_t to_byte(int32_t sum) {
  const int32_t v = sum >> MAE_RESAMPLE_BITS;
  return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* ------------------------------------------------------------- across --- */

typedef struct across_job {
  const mae_pixels *source;
  const mae_axis *axis;
  int64_t pitch, scratch_size;
  uint8_t *y, *scratch;
} across_job;

static void luma_row(uint8_t *y, const uint8_t *x, int64_t n,
                     int64_t channels) {
  for (int64_t i = 0; i < n; i++, x += channels)
    y[i] = (uint8_t)((19595u * x[0] + 38470u * x[1] + 7471u * x[2] + 0x8000u) >>
                     16);
}

/* Channels first .. first + count - 1 (at most 4) in groups of 4; what fills
 * up a group does not matter. */
static void group_row(uint8_t *y, const uint8_t *x, int64_t n, int64_t channels,
                      int64_t first, int64_t count) {
  int64_t i = 0;
  if (channels == 4 || first + 4 <= channels) count = 4;
  if (channels == 3) /* the next pixel's first byte fills up */
    for (; i < n - 1; i++) memcpy(y + 4 * i, x + 3 * i, 4);
  for (; i < n; i++)
    for (int64_t c = 0; c < count; c++)
      y[4 * i + c] = x[i * channels + first + c];
}

/* Sums of `group` channels over the taps of an output. */
static inline void dot(const uint8_t *x, const int32_t *weights, int64_t lanes,
                       int32_t group, int32_t *sums) {
  vi sum = {0};
  for (int64_t i = 0; i < lanes; i += LANES)
    sum += vi_load(weights + i) * widen(x + i);
  int32_t lane[LANES];
  memcpy(lane, &sum, sizeof sum);
  for (int n = LANES / 2; n >= group; n /= 2)
    for (int i = 0; i < n; i++) lane[i] += lane[i + n];
  memcpy(sums, lane, (size_t)group * sizeof *sums);
}

static inline void resample_row(const across_job *s, const uint8_t *x,
                                int32_t group, int64_t planes, uint8_t *y) {
  const mae_axis *a = s->axis;
  for (int64_t i = 0; i < a->count; i++) {
    int32_t sums[4];
    dot(x + (int64_t)a->first[i] * group, a->weights + i * a->pitch,
        (int64_t)a->taps[i] * group, group, sums);
    for (int64_t c = 0; c < planes; c++)
      y[c * s->pitch + i] = to_byte(sums[c] + HALF);
  }
}

static void across_rows(void *arg, int64_t begin, int64_t end, int32_t worker) {
  const across_job *s = arg;
  const mae_pixels *p = s->source;
  const int64_t n = s->axis->end - s->axis->begin;
  uint8_t *row = s->scratch + worker * s->scratch_size;
  for (int64_t i = begin; i < end; i++) {
    const uint8_t *x = p->data + i * p->stride + s->axis->begin * p->channels;
    uint8_t *y = s->y + i * p->planes * s->pitch;
    if (p->planes == 1) {
      if (p->channels == 1)
        memcpy(row, x, (size_t)n);
      else
        luma_row(row, x, n, p->channels);
      resample_row(s, row, 1, 1, y);
      continue;
    }
    for (int64_t c = 0; c < p->planes; c += 4) {
      const int64_t count = p->planes - c < 4 ? p->planes - c : 4;
      group_row(row, x, n, p->channels, c, count);
      resample_row(s, row, 4, count, y + c * s->pitch);
    }
  }
}

void KERNEL(resize_across)(mae_pool *pool, const mae_pixels *source,
                           const mae_axis *axis, int64_t pitch,
                           uint8_t *scratch, int64_t scratch_size, uint8_t *y) {
  across_job s = {.source = source, .axis = axis, .pitch = pitch,
                  .scratch = scratch, .scratch_size = scratch_size, .y = y};
  mae_pool_for(pool, source->rows, row_grain(axis->count * axis->pitch),
               across_rows, &s);
}

/* --------------------------------------------------------------- down --- */

typedef struct down_job {
  const mae_axis *axis;
  int64_t planes, chans, width, pitch;
  const uint8_t *x;
  const float *mean, *std;
  float *y;
} down_job;

/* One row of one plane; a single plane goes to every channel. */
static void down_row(const down_job *s, int64_t row, int64_t plane) {
  const mae_axis *a = s->axis;
  const int64_t step = s->planes * s->pitch;
  const int64_t copies = s->planes == 1 ? s->chans : 1;
  const int32_t *weights = a->weights + row * a->pitch, taps = a->taps[row];
  const uint8_t *x = s->x + a->first[row] * step + plane * s->pitch;
  FOR_VECTORS(i, lanes, s->width, {
    vi sum = (vi){0} + HALF;
    for (int64_t k = 0; k < taps; k++)
      sum += weights[k] * widen(x + k * step + i);
    const vf v = __builtin_convertvector(to_bytes(sum), vf) / 255.0f;
    for (int64_t c = plane; c < plane + copies; c++)
      STORE(s->y + (c * a->count + row) * s->width + i,
            (v - s->mean[c]) / s->std[c], lanes);
  });
}

static void down_rows(void *arg, int64_t begin, int64_t end, int32_t worker) {
  (void)worker;
  const down_job *s = arg;
  for (int64_t i = begin; i < end; i++)
    for (int64_t c = 0; c < s->planes; c++) down_row(s, i, c);
}

void KERNEL(resize_down)(mae_pool *pool, int64_t planes, int64_t chans,
                         int64_t width, int64_t pitch, const mae_axis *axis,
                         const uint8_t *x, const float *mean, const float *std,
                         float *y) {
  down_job s = {.axis = axis, .planes = planes, .chans = chans, .width = width,
                .pitch = pitch, .x = x, .mean = mean, .std = std, .y = y};
  mae_pool_for(pool, axis->count, row_grain(planes * width * axis->pitch),
               down_rows, &s);
}
