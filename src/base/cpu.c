#include "base/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Register states that the system switches between threads (XCR0). */
static uint64_t states_in_use(void) {
  const unsigned osxsave = 1u << 27;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & osxsave)) return 0;
  __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  return (uint64_t)d << 32 | a;
}

bool mae_cpu_has_avx512_bf16(void) {
  unsigned a, b, c, d;
  return mae_cpu_has(MAE_ISA_AVX512) &&
         __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
}

bool mae_cpu_has_amx_bf16(void) {
  const uint64_t tiles = 3u << 17; /* their shapes and their data */
  unsigned a, b, c, d;
  return mae_cpu_has(MAE_ISA_AVX512) &&
         __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) &&
         (d >> 24 & 1) && (states_in_use() & tiles) == tiles;
}

/* Linux keeps large registers for processes that ask. */
static bool amx_is_allowed;

static void ask_for_amx(void) {
  const int request = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM */
  amx_is_allowed = syscall(SYS_arch_prctl, request, tile_data) == 0;
}

static bool may_use_amx(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, ask_for_amx);
  return amx_is_allowed;
}

#else

bool mae_cpu_has_avx512_bf16(void) { return false; }
bool mae_cpu_has_amx_bf16(void) { return false; }

#endif

bool mae_cpu_has(mae_isa isa) {
  switch (isa) {
    case MAE_ISA_AUTO:
    case MAE_ISA_PORTABLE: return true;
#if defined(__x86_64__)
    case MAE_ISA_AVX2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case MAE_ISA_AVX512:
      return mae_cpu_has(MAE_ISA_AVX2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl");
    case MAE_ISA_AMX:
      return MAE_HAVE_BF16 && mae_cpu_has_avx512_bf16() &&
             mae_cpu_has_amx_bf16() && may_use_amx();
#endif
    default: return false;
  }
}
