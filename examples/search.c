/* The images of a folder that are most like a given one:
 *
 *   search WEIGHTS FOLDER IMAGE [COUNT]
 *
 * Every image of the folder is described by its class token, scaled to length
 * 1, so that the product of two descriptions is the cosine of their angle.
 * Prints the COUNT (5) nearest, the nearest first: the cosine and the path.
 * What cannot be read is said and passed over.  Build:
 *
 *   cc search.c $(pkg-config --cflags --libs libmae) -o search */
#include <dirent.h>
#include <libmae/mae.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct item {
  char *path;
  float *features;
  double likeness;
} item;

typedef struct collection {
  item *items;
  size_t count;
  int64_t width; /* of the features */
} collection;

/* The features of a file, or NULL after saying why not. */
static float *describe(mae_session *session, const char *path) {
  size_t size = (size_t)mae_session_feature_size(session);
  float *features = malloc(size * sizeof *features);
  mae_image image;
  if (!features) return fprintf(stderr, "%s: no memory\n", path), NULL;
  mae_status status = mae_image_load(path, &image);
  if (status == MAE_OK) {
    status = mae_features_u8(session, &image, 1, features);
    mae_image_free(&image);
  }
  if (status == MAE_OK) return features;
  fprintf(stderr, "%s: %s\n", path, mae_last_error());
  free(features);
  return NULL;
}

static char *join(const char *folder, const char *name) {
  size_t size = strlen(folder) + strlen(name) + 2;
  char *path = malloc(size);
  if (path) snprintf(path, size, "%s/%s", folder, name);
  return path;
}

/* Takes the path over. */
static int add(collection *all, mae_session *session, char *path) {
  float *features = path ? describe(session, path) : NULL;
  if (!features) return free(path), path ? 0 : -1;
  item *items = realloc(all->items, (all->count + 1) * sizeof *items);
  if (!items) return free(path), free(features), -1;
  all->items = items;
  items[all->count++] = (item){path, features, 0};
  return 0;
}

static int add_folder(collection *all, mae_session *session,
                      const char *folder) {
  DIR *open = opendir(folder);
  const struct dirent *entry;
  int failed = 0;
  if (!open) return perror(folder), -1;
  while (!failed && (entry = readdir(open)))
    if (entry->d_name[0] != '.')
      failed = add(all, session, join(folder, entry->d_name));
  closedir(open);
  return failed;
}

static double product(const float *a, const float *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
  return sum;
}

static int nearest_first(const void *a, const void *b) {
  double x = ((const item *)a)->likeness, y = ((const item *)b)->likeness;
  return x < y   ? 1
         : x > y ? -1
                 : strcmp(((const item *)a)->path, ((const item *)b)->path);
}

static int search(mae_session *session, const char *folder, const char *image,
                  size_t count) {
  collection all = {NULL, 0, mae_session_feature_size(session)};
  float *query = describe(session, image);
  int failed = !query || add_folder(&all, session, folder);
  for (size_t i = 0; !failed && i < all.count; i++)
    all.items[i].likeness = product(query, all.items[i].features, all.width);
  if (all.count) qsort(all.items, all.count, sizeof *all.items, nearest_first);
  for (size_t i = 0; !failed && i < all.count && i < count; i++)
    printf("%.4f %s\n", all.items[i].likeness, all.items[i].path);
  for (size_t i = 0; i < all.count; i++) {
    free(all.items[i].path);
    free(all.items[i].features);
  }
  free(all.items);
  free(query);
  return failed != 0;
}

int main(int argc, char **argv) {
  long count = argc == 5 ? strtol(argv[4], NULL, 10) : 5;
  if (argc < 4 || argc > 5 || count < 1)
    return fputs("usage: search WEIGHTS FOLDER IMAGE [COUNT]\n", stderr), 2;
  mae_context *context = NULL;
  mae_model *model = NULL;
  mae_session *session = NULL;
  mae_session_options options;
  mae_session_options_init(&options, sizeof options);
  options.l2_normalize = 1;
  int failed = mae_context_create(NULL, &context) != MAE_OK ||
               mae_model_load(argv[1], &model) != MAE_OK ||
               mae_session_create(context, model, &options, &session) != MAE_OK;
  if (failed)
    fprintf(stderr, "%s\n", mae_last_error());
  else
    failed = search(session, argv[2], argv[3], (size_t)count);
  mae_session_destroy(session);
  mae_model_destroy(model);
  mae_context_destroy(context);
  return failed || fflush(stdout);
}
