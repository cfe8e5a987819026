/* The parts of the helper; each ends the program when something is wrong. */
#ifndef TESTS_TOOL_HELPER_H
#define TESTS_TOOL_HELPER_H

#include <libmae/mae.h>

void die(const char *format, ...)
    __attribute__((format(printf, 1, 2), noreturn));
void need(mae_status status);
void *need_memory(size_t size);                  /* zeroed */
char *read_file(const char *path, size_t *size); /* a zero byte follows */
void write_file(const char *path, const void *data, size_t size);

void make_model(int n, char **arguments);
void make_image(int n, char **arguments);
void make_frames(int n, char **arguments);
void make_features(int n, char **arguments);
void check_npy(int n, char **arguments);
void check_tensors(int n, char **arguments);
void check_same(int n, char **arguments);
void check_picture(int n, char **arguments);
void check_weights(int n, char **arguments);
void make_idx(int n, char **arguments);
void check_png(int n, char **arguments);
void check_metrics(int n, char **arguments);
void print_text(int n, char **arguments);

#endif
