/* Models out of files that are not trusted, and models for seeds. */
#ifndef FUZZ_COMMON_WEIGHTS_H
#define FUZZ_COMMON_WEIGHTS_H

#include "libmae/mae.h"

/* Import the file (or folder) in each way there is, and use what opens. */
void weights_use(const char *path);

/* A context of one thread, and a model of some hundred numbers; of a
 * classifier with classes > 0, else with a decoder. */
mae_context *weights_context(void);
mae_config weights_config(int32_t classes);
mae_model *weights_model(int32_t classes);

#endif
