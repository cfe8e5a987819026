#include "io/element.h"

#include <string.h>

#include "base/half.h"

static const struct {
  const char *name;
  int64_t bytes;
} elements[MAE_ELEMENTS] = {
    [MAE_ELEMENT_F32] = {"F32", 4},
    [MAE_ELEMENT_F64] = {"F64", 8},
    [MAE_ELEMENT_F16] = {"F16", 2},
    [MAE_ELEMENT_BF16] = {"BF16", 2},
    [MAE_ELEMENT_I64] = {"I64", 8},
    [MAE_ELEMENT_I32] = {"I32", 4},
    [MAE_ELEMENT_I16] = {"I16", 2},
    [MAE_ELEMENT_I8] = {"I8", 1},
    [MAE_ELEMENT_U64] = {"U64", 8},
    [MAE_ELEMENT_U32] = {"U32", 4},
    [MAE_ELEMENT_U16] = {"U16", 2},
    [MAE_ELEMENT_U8] = {"U8", 1},
    [MAE_ELEMENT_BOOL] = {"BOOL", 1},
    [MAE_ELEMENT_F8_E4M3] = {"F8_E4M3", 1},
    [MAE_ELEMENT_F8_E5M2] = {"F8_E5M2", 1},
};

const char *mae_element_name(mae_element element) {
  return elements[element].name;
}

mae_element mae_element_find(const char *name) {
  for (int i = 0; i < MAE_ELEMENTS; i++)
    if (name && !strcmp(elements[i].name, name)) return (mae_element)i;
  return MAE_ELEMENTS;
}

int64_t mae_element_bytes(mae_element element) {
  return elements[element].bytes;
}

bool mae_element_is_real(mae_element element) {
  return element <= MAE_ELEMENT_BF16;
}

void mae_element_to_f32(mae_element element, const void *from, int64_t n,
                        float *to) {
  const char *at = from;
  if (element == MAE_ELEMENT_F32) memcpy(to, from, (size_t)n * sizeof *to);
  for (int64_t i = 0; i < n && element != MAE_ELEMENT_F32; i++) {
    uint16_t half;
    double wide;
    switch (element) {
      case MAE_ELEMENT_F16:
        memcpy(&half, at + 2 * i, sizeof half);
        to[i] = mae_from_f16(half);
        break;
      case MAE_ELEMENT_BF16:
        memcpy(&half, at + 2 * i, sizeof half);
        to[i] = mae_from_bf16(half);
        break;
      default:
        memcpy(&wide, at + 8 * i, sizeof wide);
        to[i] = (float)wide;
    }
  }
}
