/* An encoded image through the decoder, at each size it can come in. */
#ifndef FUZZ_COMMON_PICTURE_H
#define FUZZ_COMMON_PICTURE_H

#include "data/image.h"

/* Inputs that do not begin as the format does are passed over, and so are those
 * of more pixels than would be quick. */
void picture_use(const char *begin, size_t n, const uint8_t *data, size_t size);

#endif
