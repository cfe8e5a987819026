/* The ground the rest stands on: random numbers, the thread pool, tensors,
 * options structs, contexts, statuses and error texts. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "suites.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
#define ASSERT_OK(call) ASSERT_STATUS(MAE_OK, call)
#define ASSERT_STATUS(expected, call)                                 \
  do {                                                                \
    mae_status got_status = (call);                                   \
    if (got_status != (expected))                                     \
      ck_abort_msg("%s: %s (%s)", #call, mae_status_name(got_status), \
                   mae_last_error());                                 \
  } while (0)
#define ASSERT_INVALID(call) ASSERT_STATUS(MAE_ERROR_INVALID_ARGUMENT, call)

/* ------------------------------------------------------------- random --- */

/* Philox4x32-10 as published with Random123 (kat_vectors).  A block's counter
 * is (value number / 4, stream), its key the seed, low words first. */
typedef struct known_block {
  uint64_t seed, stream, counter;
  uint32_t word[4];
} known_block;

/* Value numbers reach 2^64 - 1, that is counters to 2^62 - 1, so of the
 * published vectors the first alone has a counter that can be asked for; the
 * other two, whose counters are all ones and digits of pi, are cut to fit and
 * come from an independent program (below). */
static const known_block known_blocks[] = {
    {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
};

START_TEST(philox_known_answers) {
  const known_block *k = &known_blocks[_i];
  float out[4];
  ASSERT_OK(mae_random_uniform(k->seed, k->stream, 4 * k->counter, 4, out));
  for (int i = 0; i < 4; i++)
    ck_assert_double_eq(out[i], (k->word[i] >> 8) / 16777216.0);
}
END_TEST
