#include "base/profile.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"

/* Twice what all graphs, trainers and sessions of the library can name. */
enum { MOST_ENTRIES = 512 };

struct mae_profile {
  pthread_mutex_t lock;
  int32_t count;
  mae_profile_entry entries[MOST_ENTRIES];
};

/* Time of this thread that spans which have ended account for. */
static _Thread_local int64_t counted;

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

mae_status mae_profile_create(mae_profile **out) {
  mae_profile *profile = mae_calloc(1, sizeof *profile);
  if (!profile) return MAE_ERROR_OUT_OF_MEMORY;
  pthread_mutex_init(&profile->lock, NULL);
  *out = profile;
  return MAE_OK;
}

void mae_profile_destroy(mae_profile *profile) {
  if (!profile) return;
  pthread_mutex_destroy(&profile->lock);
  free(profile);
}

mae_span mae_span_begin(const mae_profile *profile) {
  if (!profile) return (mae_span){0, 0};
  return (mae_span){now(), counted};
}

static mae_profile_entry *find(mae_profile *p, const char *part,
                               const char *op, mae_profile_pass pass) {
  for (int32_t i = 0; i < p->count; i++) {
    mae_profile_entry *e = &p->entries[i];
    if (e->pass == pass && !strcmp(e->op, op) && !strcmp(e->part, part))
      return e;
  }
  return NULL;
}

/* The last place is for what finds none. */
static mae_profile_entry *find_or_add(mae_profile *p, const char *part,
                                      const char *op, mae_profile_pass pass) {
  mae_profile_entry *e = find(p, part, op, pass);
  if (e) return e;
  if (p->count == MOST_ENTRIES) return &p->entries[MOST_ENTRIES - 1];
  const bool last = p->count == MOST_ENTRIES - 1;
  e = &p->entries[p->count++];
  *e = (mae_profile_entry){.struct_size = sizeof *e,
                           .part = last ? "other" : part,
                           .op = last ? "other" : op,
                           .pass = last ? MAE_PROFILE_NO_PASS : pass};
  return e;
}

void mae_span_end(mae_profile *profile, mae_span span, const char *part,
                  const char *op, mae_profile_pass pass, double flops) {
  if (!profile) return;
  const int64_t all = now() - span.began;
  const int64_t own = all - (counted - span.counted);
  counted = span.counted + all;
  pthread_mutex_lock(&profile->lock);
  mae_profile_entry *e = find_or_add(profile, part, op, pass);
  e->calls++;
  e->seconds += 1e-9 * (double)own;
  e->flops += flops;
  pthread_mutex_unlock(&profile->lock);
}

int32_t mae_profile_size(mae_profile *profile) {
  pthread_mutex_lock(&profile->lock);
  const int32_t count = profile->count;
  pthread_mutex_unlock(&profile->lock);
  return count;
}

bool mae_profile_get(mae_profile *profile, int32_t i,
                     mae_profile_entry *entry) {
  pthread_mutex_lock(&profile->lock);
  const bool there = i >= 0 && i < profile->count;
  if (there) *entry = profile->entries[i];
  pthread_mutex_unlock(&profile->lock);
  return there;
}

void mae_profile_reset(mae_profile *profile) {
  pthread_mutex_lock(&profile->lock);
  profile->count = 0;
  pthread_mutex_unlock(&profile->lock);
}
