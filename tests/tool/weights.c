/* Two weights files, tensor by tensor. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "helper.h"

static double difference(const mae_tensor *a, const mae_tensor *b) {
  double most = 0, scale = 1e-30;
  for (int64_t i = 0; i < mae_tensor_size(a); i++) {
    double x = mae_tensor_data(a)[i], d = fabs(x - mae_tensor_data(b)[i]);
    if (!(d <= most)) most = d;
    if (fabs(x) > scale) scale = fabs(x);
  }
  return most / scale;
}

/* A B LEAST MOST: the largest relative error of a tensor. */
void check_weights(int n, char **arguments) {
  mae_model *a, *b;
  double worst = 0;
  (void)n;
  need(mae_model_load(arguments[0], &a));
  need(mae_model_load(arguments[1], &b));
  if (mae_model_num_tensors(a) != mae_model_num_tensors(b))
    die("%d tensors and %d", mae_model_num_tensors(a),
        mae_model_num_tensors(b));
  for (int32_t i = 0; i < mae_model_num_tensors(a); i++) {
    const char *name = mae_model_tensor_name(a, i);
    const mae_tensor *x = mae_model_tensor(a, i), *y = mae_model_find(b, name);
    if (!y || mae_tensor_size(x) != mae_tensor_size(y)) die("%s", name);
    double d = difference(x, y);
    if (!(d <= worst)) worst = d;
  }
  if (!(worst >= atof(arguments[2]) && worst <= atof(arguments[3])))
    die("weights differ by %g", worst);
  mae_model_destroy(a);
  mae_model_destroy(b);
}
