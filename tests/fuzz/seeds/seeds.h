/* Seeds of the fuzz targets, made anew at each build: OUT/TARGET/NAME. */
#ifndef FUZZ_SEEDS_SEEDS_H
#define FUZZ_SEEDS_SEEDS_H

#include <stddef.h>

void seed_put(const char *target, const char *name, const void *data,
              size_t size);
/* A file as a seed. */
void seed_copy(const char *target, const char *name, const char *path);
/* A path to write to; the file is a seed once it is there. */
const char *seed_path(const char *target, const char *name);
/* All bytes, for free(). */
void *seed_slurp(const char *path, size_t *size);

void seed_weights(void);  /* safetensors, checkpoint, metadata, hf_config */
void seed_torch(void);    /* pickle, state_dict, torch */
void seed_pictures(void); /* jpeg, png, webp */
void seed_data(void);     /* idx, tar, list */
void seed_tool(void);     /* settings, rows, augment */

#endif
