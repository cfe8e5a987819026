/* The types of elements that weight files hold, and their way to f32. */
#ifndef MAE_IO_ELEMENT_H
#define MAE_IO_ELEMENT_H

#include <stdbool.h>
#include <stdint.h>

typedef enum mae_element {
  MAE_ELEMENT_F32,
  MAE_ELEMENT_F64,
  MAE_ELEMENT_F16,
  MAE_ELEMENT_BF16,
  MAE_ELEMENT_I64,
  MAE_ELEMENT_I32,
  MAE_ELEMENT_I16,
  MAE_ELEMENT_I8,
  MAE_ELEMENT_U64,
  MAE_ELEMENT_U32,
  MAE_ELEMENT_U16,
  MAE_ELEMENT_U8,
  MAE_ELEMENT_BOOL,
  MAE_ELEMENT_F8_E4M3,
  MAE_ELEMENT_F8_E5M2,
  MAE_ELEMENTS
} mae_element;

/* As safetensors files spell it: "BF16". */
const char *mae_element_name(mae_element element);
/* MAE_ELEMENTS when there is no such name; name may be NULL. */
mae_element mae_element_find(const char *name);
int64_t mae_element_bytes(mae_element element);

/* F32, F64, F16 or BF16? */
bool mae_element_is_real(mae_element element);
/* n values of a real element, at any address, as f32: exact but for F64, which
 * is rounded. */
void mae_element_to_f32(mae_element element, const void *from, int64_t n,
                        float *to);

#endif
