#include "probe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fashion.h"

enum { BATCH = 250 };
static const double rate = 0.02, momentum = 0.9, decay = 1e-5;

/* Bring each feature to mean 0 and variance 1 over the training set. */
static void standardise(probe_data *train, probe_data *test) {
  const int64_t d = train->width;
  for (int64_t j = 0; j < d; j++) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < train->n; i++) {
      double v = train->features[i * d + j];
      sum += v;
      squares += v * v;
    }
    double mean = sum / (double)train->n;
    double std = sqrt(squares / (double)train->n - mean * mean + 1e-6);
    for (int64_t i = 0; i < train->n; i++)
      train->features[i * d + j] =
          (float)((train->features[i * d + j] - mean) / std);
    for (int64_t i = 0; i < test->n; i++)
      test->features[i * d + j] =
          (float)((test->features[i * d + j] - mean) / std);
  }
}

/* The classifier as a graph of one operation. */
typedef struct classifier {
  mae_tensor *weight, *dweight, *bias, *dbias;
  float *velocity;
  mae_tape *tape;
  mae_var x, logits;
} classifier;

static classifier build(mae_context *context, int64_t width, int64_t classes) {
  classifier c;
  const int64_t w[] = {classes, width}, in[] = {BATCH, width};
  mae_var weight, bias;
  need(mae_tensor_create(2, w, &c.weight));
  need(mae_tensor_create(2, w, &c.dweight));
  need(mae_tensor_create(1, w, &c.bias));
  need(mae_tensor_create(1, w, &c.dbias));
  c.velocity = calloc((size_t)(classes * (width + 1)), sizeof *c.velocity);
  if (!c.velocity) exit(1);
  need(mae_tape_create(context, &c.tape));
  need(mae_tape_input(c.tape, 2, in, 0, &c.x));
  need(mae_tape_parameter(c.tape, c.weight, c.dweight, &weight));
  need(mae_tape_parameter(c.tape, c.bias, c.dbias, &bias));
  need(mae_tape_linear(c.tape, c.x, weight, bias, MAE_ACTIVATION_NONE,
                       &c.logits));
  need(mae_tape_plan(c.tape, c.logits));
  return c;
}

static void destroy(classifier *c) {
  mae_tape_destroy(c->tape);
  mae_tensor_destroy(c->weight);
  mae_tensor_destroy(c->dweight);
  mae_tensor_destroy(c->bias);
  mae_tensor_destroy(c->dbias);
  free(c->velocity);
}

/* Gradient of the mean cross-entropy: (softmax(logits) - one hot) / BATCH. */
static void cross_entropy_gradient(const float *logits, int classes, int label,
                                   float *grad) {
  double top = logits[0], sum = 0;
  for (int k = 1; k < classes; k++) top = fmax(top, logits[k]);
  for (int k = 0; k < classes; k++) sum += exp(logits[k] - top);
  for (int k = 0; k < classes; k++)
    grad[k] = (float)((exp(logits[k] - top) / sum - (k == label)) / BATCH);
}

static void descend(const mae_tensor *value, const mae_tensor *grad,
                    float *velocity, double lr) {
  float *x = mae_tensor_data(value);
  const float *g = mae_tensor_data(grad);
  for (int64_t i = 0; i < mae_tensor_size(value); i++) {
    velocity[i] = (float)(momentum * velocity[i] + g[i] + decay * x[i]);
    x[i] -= (float)(lr * velocity[i]);
  }
}

static void train_batch(classifier *c, const probe_data *data,
                        const uint32_t *order, int classes, double lr) {
  float *x = mae_tensor_data(mae_tape_value(c->tape, c->x));
  for (int64_t b = 0; b < BATCH; b++)
    memcpy(x + b * data->width, data->features + order[b] * data->width,
           (size_t)data->width * sizeof *x);
  need(mae_tape_forward(c->tape));
  const float *logits = mae_tensor_data(mae_tape_value(c->tape, c->logits));
  float *grad = mae_tensor_data(mae_tape_grad(c->tape, c->logits));
  for (int64_t b = 0; b < BATCH; b++)
    cross_entropy_gradient(logits + b * classes, classes,
                           data->labels[order[b]], grad + b * classes);
  need(mae_tape_backward(c->tape, 1, 0));
  descend(c->weight, c->dweight, c->velocity, lr);
  descend(c->bias, c->dbias, c->velocity + mae_tensor_size(c->weight), lr);
}

static double accuracy(classifier *c, const probe_data *data, int classes) {
  int64_t right = 0;
  for (int64_t at = 0; at < data->n; at += BATCH) {
    int64_t n = data->n - at < BATCH ? data->n - at : BATCH;
    memcpy(mae_tensor_data(mae_tape_value(c->tape, c->x)),
           data->features + at * data->width,
           (size_t)(n * data->width) * sizeof(float));
    need(mae_tape_forward(c->tape));
    const float *logits = mae_tensor_data(mae_tape_value(c->tape, c->logits));
    for (int64_t b = 0; b < n; b++) {
      int best = 0;
      for (int k = 1; k < classes; k++)
        if (logits[b * classes + k] > logits[b * classes + best]) best = k;
      right += best == data->labels[at + b];
    }
  }
  return (double)right / (double)data->n;
}

double probe_accuracy(mae_context *context, probe_data *train,
                      probe_data *test, int classes, int epochs) {
  standardise(train, test);
  classifier c = build(context, train->width, classes);
  uint32_t *order = malloc((size_t)train->n * sizeof *order);
  if (!order) exit(1);
  int64_t batches = train->n / BATCH, step = 0;
  for (int epoch = 0; epoch < epochs; epoch++) {
    need(mae_random_permutation(7, (uint64_t)epoch, (size_t)train->n, order));
    for (int64_t b = 0; b < batches; b++, step++) {
      double part = (double)step / (double)(batches * epochs);
      double lr = rate * 0.5 * (1 + cos(3.14159265358979 * part));
      train_batch(&c, train, order + b * BATCH, classes, lr);
    }
  }
  double share = accuracy(&c, test, classes);
  free(order);
  destroy(&c);
  return share;
}
