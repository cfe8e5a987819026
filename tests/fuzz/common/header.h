/* For mutators of safetensors files. */
#ifndef FUZZ_COMMON_HEADER_H
#define FUZZ_COMMON_HEADER_H

#include <stddef.h>
#include <stdint.h>

/* Make the header's size that of the JSON object that stands there. */
void header_mend(uint8_t *data, size_t size);

#endif
