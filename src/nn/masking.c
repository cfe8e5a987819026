#include "nn/masking.h"

#include <string.h>

int64_t mae_masking_kept(int64_t patches, double ratio) {
  return (int64_t)((double)patches * (1 - ratio));
}

/* Noise and patch number in one integer that sorts as the pair does. */
static uint64_t sort_key(float noise, int64_t patch) {
  uint32_t bits;
  noise += 0.0f; /* -0 is 0 */
  memcpy(&bits, &noise, sizeof bits);
  bits ^= bits >> 31 ? 0xffffffffu : 0x80000000u;
  return (uint64_t)bits << 32 | (uint64_t)patch;
}

static void sift_down(uint64_t *keys, int64_t at, int64_t n) {
  for (int64_t child; (child = 2 * at + 1) < n; at = child) {
    if (child + 1 < n && keys[child + 1] > keys[child]) child++;
    if (keys[at] >= keys[child]) return;
    uint64_t swap = keys[at];
    keys[at] = keys[child];
    keys[child] = swap;
  }
}

/* Heap sort: qsort may allocate, and a training step must not. */
static void sort(uint64_t *keys, int64_t n) {
  for (int64_t i = n / 2 - 1; i >= 0; i--) sift_down(keys, i, n);
  for (int64_t i = n - 1; i > 0; i--) {
    uint64_t top = keys[0];
    keys[0] = keys[i];
    keys[i] = top;
    sift_down(keys, 0, i);
  }
}

void mae_masking(int64_t batch, int64_t patches, int64_t kept,
                 const float *noise, uint64_t *keys, int32_t *keep,
                 int32_t *restore, float *mask, int32_t *removed) {
  for (int64_t b = 0; b < batch; b++) {
    for (int64_t i = 0; i < patches; i++)
      keys[i] = sort_key(noise[b * patches + i], i);
    sort(keys, patches);
    for (int64_t i = 0; i < patches; i++) {
      int32_t patch = (int32_t)(keys[i] & 0xffffffffu);
      if (i < kept) keep[b * kept + i] = patch;
      else if (removed) removed[b * (patches - kept) + i - kept] = patch;
      if (restore) restore[b * patches + patch] = (int32_t)i;
      if (mask) mask[b * patches + patch] = i >= kept;
    }
  }
}
