/* Classes of images: by folders, by a file of labels, of one's own; what comes
 * with a loader's batches; images one by one. */
#include <sys/stat.h>
#include <unistd.h>

#include "count_alloc.h"
#include "data/dataset.h"
#include "folder.h"
#include "golden.h"
#include "suites.h"

#ifdef MAE_HAVE_PNG
#include <png.h>
#endif

typedef struct file_path {
  char text[256];
} file_path;

static file_path at(const char *name) {
  file_path path;
  snprintf(path.text, sizeof path.text, "%s/%s", folder, name);
  return path;
}

static void spit(const char *name, const void *data, size_t size) {
  FILE *file = fopen(at(name).text, "wb");
  ck_assert_ptr_nonnull(file);
  ck_assert_uint_eq(fwrite(data, 1, size, file), size);
  ck_assert_int_eq(fclose(file), 0);
}

/* Files of no pixels, in folders made as needed. */
static void touch(const char *const *names, int n) {
  for (int i = 0; i < n; i++) {
    file_path path = at(names[i]);
    for (char *slash = path.text + strlen(folder) + 1;
         (slash = strchr(slash, '/')); slash++) {
      *slash = '\0';
      mkdir(path.text, 0755);
      *slash = '/';
    }
    spit(names[i], "", 0);
  }
}

static mae_dataset *open_labelled(const char *name, const char *const *classes,
                                  int32_t n) {
  mae_dataset *d;
  ASSERT_OK(mae_dataset_open_labelled(at(name).text, classes, n, &d));
  return d;
}

/* Classes and labels, and nothing beyond them. */
static void assert_labels(const mae_dataset *d, int32_t classes,
                          const char *const *names, int n,
                          const int32_t *labels) {
  ck_assert_int_eq(mae_dataset_num_classes(d), classes);
  for (int32_t c = 0; names && c < classes; c++)
    ck_assert_str_eq(mae_dataset_class_name(d, c), names[c]);
  ck_assert_ptr_null(mae_dataset_class_name(d, -1));
  ck_assert_ptr_null(mae_dataset_class_name(d, classes));
  ck_assert_int_eq(mae_dataset_size(d), n);
  for (int i = 0; i < n; i++)
    ck_assert_int_eq(mae_dataset_label(d, i), labels[i]);
  ck_assert_int_eq(mae_dataset_label(d, -1), -1);
  ck_assert_int_eq(mae_dataset_label(d, n), -1);
}

/* -------------------------------------------------------------- folders --- */

/* Of the paths "a-b/" comes before "a/", of the names a before a-b. */
static const char *const tree[] = {"all/a/2.jpg",        "all/a-b/1.png",
                                   "all/a/1.jpg",        "all/a/deep/er/x.png",
                                   "all/zebra/only.webp", "all/B/1.jpg"};
enum { TREE = sizeof tree / sizeof *tree };
/* all/B/1, all/a-b/1, all/a/1, all/a/2, all/a/deep/er/x, all/zebra/only */
static const char *const tree_classes[] = {"B", "a", "a-b", "zebra"};

START_TEST(folders_are_classes) {
  static const int32_t want[TREE] = {0, 2, 1, 1, 1, 3};
  static const char *const roots[] = {"all", "all/", "all///"};
  touch(tree, TREE);
  ck_assert_int_eq(mkdir(at("all/empty").text, 0755), 0);
  for (int i = 0; i < 3; i++) {
    mae_dataset *d = open_labelled(roots[i], NULL, i == 1 ? 4 : 0);
    assert_labels(d, 4, tree_classes, TREE, want);
    ck_assert_str_eq(mae_dataset_name(d, 4), at("all/a/deep/er/x.png").text);
    mae_dataset_destroy(d);
  }
}
END_TEST

/* As of a classifier that knows more classes. */
START_TEST(names_fix_the_numbering) {
  static const char *const names[] = {"zebra", "yak", "a-b", "a", "B", "x"};
  static const int32_t want[TREE] = {4, 2, 3, 3, 3, 0};
  touch(tree, TREE);
  mae_dataset *d = open_labelled("all", names, 6);
  assert_labels(d, 6, names, TREE, want);
  mae_dataset_destroy(d);
  d = NULL;
  ASSERT_FAILS(mae_dataset_open_labelled(at("all").text, names, 4, &d),
               MAE_ERROR_MISMATCH, "/all/B/1.jpg: its class 'B' is none of");
  ASSERT_FAILS(mae_dataset_open_labelled(at("all").text, NULL, 5, &d),
               MAE_ERROR_MISMATCH, "4 classes, not 5");
  ASSERT_FAILS(mae_dataset_open_labelled(at("all").text, NULL, 3, &d),
               MAE_ERROR_MISMATCH, "4 classes, not 3");
  static const char *const twice[] = {"a", "b", "c", "a"};
  ASSERT_FAILS(mae_dataset_open_labelled(at("all").text, twice, 4, &d),
               MAE_ERROR_INVALID_ARGUMENT, "two class_names are 'a'");
  static const char *const hole[] = {"a", NULL};
  ASSERT_FAILS(mae_dataset_open_labelled(at("all").text, hole, 2, &d),
               MAE_ERROR_INVALID_ARGUMENT, "class_names[1]");
  ASSERT_FAILS(mae_dataset_open_labelled(at("all").text, names, 0, &d),
               MAE_ERROR_INVALID_ARGUMENT, "num_classes is 0");
  ASSERT_FAILS(mae_dataset_open_labelled(at("all").text, NULL, -1, &d),
               MAE_ERROR_INVALID_ARGUMENT, "num_classes is -1");
  ASSERT_FAILS(mae_dataset_open_labelled(NULL, NULL, 0, &d),
               MAE_ERROR_INVALID_ARGUMENT, "path");
  ASSERT_FAILS(mae_dataset_open_labelled(at("all").text, NULL, 0, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "NULL");
  ck_assert_ptr_null(d);
}
END_TEST

START_TEST(images_in_no_class) {
  static const char *const stray[] = {"all/b.png"};
  mae_dataset *d = NULL;
  touch(tree, TREE);
  touch(stray, 1);
  ASSERT_FAILS(mae_dataset_open_labelled(at("all").text, NULL, 0, &d),
               MAE_ERROR_FORMAT, "all/b.png: an image beside");
  ASSERT_FAILS(mae_dataset_open_labelled(at("none").text, NULL, 0, &d),
               MAE_ERROR_NOT_FOUND, "none");
  ck_assert_ptr_null(d);
  ASSERT_OK(mae_dataset_open(at("all").text, &d)); /* without labels */
  ck_assert_int_eq(mae_dataset_num_classes(d), 0);
  ck_assert_int_eq(mae_dataset_label(d, 0), -1);
  ck_assert_ptr_null(mae_dataset_class_name(d, 0));
  mae_dataset_destroy(d);
}
END_TEST

START_TEST(paths_without_classes) {
  mae_dataset *d = NULL;
  spit("list.txt", "a/1.jpg\nb/2.jpg\n", 16);
  ASSERT_FAILS(mae_dataset_open_labelled(at("list.txt").text, NULL, 0, &d),
               MAE_ERROR_UNSUPPORTED, "list.txt: only folders");
#ifdef MAE_HAVE_ARCHIVE
  char tar[1024 + 512 + 1024] = "a/1.png";
  memcpy(tar + 100, "0000644", 7);
  memcpy(tar + 124, "00000000003", 11);
  memcpy(tar + 136, "00000000000", 11);
  memcpy(tar + 257, "ustar\00000", 8);
  tar[156] = '0';
  memset(tar + 148, ' ', 8);
  unsigned sum = 0;
  for (int i = 0; i < 512; i++) sum += (unsigned char)tar[i];
  snprintf(tar + 148, 8, "%06o", sum);
  ck_assert_int_eq(mkdir(at("shards").text, 0755), 0);
  spit("shards/1.tar", tar, sizeof tar);
  ASSERT_FAILS(mae_dataset_open_labelled(at("shards").text, NULL, 0, &d),
               MAE_ERROR_UNSUPPORTED, "shards: only folders");
  ASSERT_FAILS(mae_dataset_open_labelled(at("shards/1.tar").text, NULL, 0, &d),
               MAE_ERROR_UNSUPPORTED, "1.tar: only folders");
#endif
  ck_assert_ptr_null(d);
}
END_TEST

/* ------------------------------------------------------------------ IDX --- */

#ifdef MAE_HAVE_ZLIB
enum { IDX = 6, IDX_SIDE = 3 };

/* Image i is filled with 10 i, its first pixel 10 i + 1. */
static void spit_images(const char *name, int n) {
  unsigned char bytes[16 + 100 * IDX_SIDE * IDX_SIDE] = {0, 0, 8, 3};
  bytes[7] = (unsigned char)n;
  bytes[11] = bytes[15] = IDX_SIDE;
  for (int i = 0; i < n; i++) {
    unsigned char *image = bytes + 16 + i * IDX_SIDE * IDX_SIDE;
    memset(image, 10 * i, IDX_SIDE * IDX_SIDE);
    image[0]++;
  }
  spit(name, bytes, (size_t)(16 + n * IDX_SIDE * IDX_SIDE));
}

static void spit_labels(const char *name, const unsigned char *labels, int n) {
  unsigned char bytes[8 + 100] = {0, 0, 8, 1};
  bytes[7] = (unsigned char)n;
  memcpy(bytes + 8, labels, (size_t)n);
  spit(name, bytes, (size_t)(8 + n));
}

static const unsigned char idx_labels[IDX] = {2, 0, 3, 3, 0, 2};
static const char *const digits[] = {"0", "1", "2", "3", "4", "5"};

START_TEST(idx_labels_beside) {
  static const char *const files[][2] = {
      {"t-images-idx3-ubyte", "t-labels-idx1-ubyte"},
      {"images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"}, /* not gzipped: fine */
      {"u-images-idx3-ubyte.gz", "u-labels-idx1-ubyte"},
      {"v-images-idx3-ubyte", "v-labels-idx1-ubyte.gz"},
      {"w-images.idx3-ubyte", "w-labels.idx1-ubyte"},
      {"images/more images.idx", "images/more labels.idx"}};
  static const int32_t want[IDX] = {2, 0, 3, 3, 0, 2};
  ck_assert_int_eq(mkdir(at("images").text, 0755), 0);
  for (int i = 0; i < 6; i++) {
    spit_images(files[i][0], IDX);
    spit_labels(files[i][1], idx_labels, IDX);
    mae_dataset *d = open_labelled(files[i][0], NULL, 0);
    assert_labels(d, 4, digits, IDX, want);
    mae_dataset_destroy(d);
  }
  mae_dataset *d = open_labelled(files[0][0], NULL, 6);
  assert_labels(d, 6, digits, IDX, want);
  mae_dataset_destroy(d);
}
END_TEST

START_TEST(idx_labels_by_names) {
  static const char *const names[] = {"3", "x", "0", "2"};
  static const int32_t want[IDX] = {3, 2, 0, 0, 2, 3};
  mae_dataset *d;
  spit_images("t-images-idx3-ubyte", IDX);
  spit_labels("t-labels-idx1-ubyte", idx_labels, IDX);
  d = open_labelled("t-images-idx3-ubyte", names, 4); /* no image of a 1 */
  assert_labels(d, 4, names, IDX, want);
  mae_dataset_destroy(d);
  d = NULL;
  const file_path path = at("t-images-idx3-ubyte");
  ASSERT_FAILS(mae_dataset_open_labelled(path.text, names, 3, &d),
               MAE_ERROR_MISMATCH, "#0: its class '2' is none of the 3");
  ASSERT_FAILS(mae_dataset_open_labelled(path.text, NULL, 3, &d),
               MAE_ERROR_MISMATCH, "4 classes, not 3");
  ck_assert_ptr_null(d);
}
END_TEST

START_TEST(bad_label_files) {
  mae_dataset *d = NULL;
  const file_path path = at("t-images-idx3-ubyte");
  spit_images("t-images-idx3-ubyte", IDX);
  ASSERT_FAILS(mae_dataset_open_labelled(path.text, NULL, 0, &d),
               MAE_ERROR_NOT_FOUND, "t-labels-idx1-ubyte");
  spit_labels("t-labels-idx1-ubyte", idx_labels, IDX - 1);
  ASSERT_FAILS(mae_dataset_open_labelled(path.text, NULL, 0, &d),
               MAE_ERROR_MISMATCH, "5 labels for 6 images");
  spit_images("t-labels-idx1-ubyte", IDX);
  ASSERT_FAILS(mae_dataset_open_labelled(path.text, NULL, 0, &d),
               MAE_ERROR_FORMAT, "3 dimensions");
  spit("t-labels-idx1-ubyte", "\0\0\10\1\0\0\0\6ab", 10);
  ASSERT_FAILS(mae_dataset_open_labelled(path.text, NULL, 0, &d),
               MAE_ERROR_FORMAT, "truncated");
  spit_images("t.idx", IDX);
  ASSERT_FAILS(mae_dataset_open_labelled(at("t.idx").text, NULL, 0, &d),
               MAE_ERROR_NOT_FOUND, "not in its name");
  ck_assert_ptr_null(d);
}
END_TEST

START_TEST(images_of_idx) {
  spit_images("t-images-idx3-ubyte", IDX);
  mae_dataset *d;
  ASSERT_OK(mae_dataset_open(at("t-images-idx3-ubyte").text, &d));
  mae_image images[IDX];
  for (int i = 0; i < IDX; i++)
    ASSERT_OK(mae_dataset_load_image(d, i, &images[i]));
  ASSERT_FAILS(mae_dataset_load_image(d, IDX, &images[0]),
               MAE_ERROR_INVALID_ARGUMENT, "image 6 of 6");
  ASSERT_FAILS(mae_dataset_load_image(d, -1, &images[0]),
               MAE_ERROR_INVALID_ARGUMENT, "image -1");
  ASSERT_FAILS(mae_dataset_load_image(d, 0, NULL), MAE_ERROR_INVALID_ARGUMENT,
               "NULL");
  mae_dataset_destroy(d); /* the images are copies */
  for (int i = 0; i < IDX; i++) {
    ck_assert_int_eq(images[i].width, IDX_SIDE);
    ck_assert_int_eq(images[i].height, IDX_SIDE);
    ck_assert_int_eq(images[i].channels, 1);
    ck_assert_int_eq(images[i].data[0], 10 * i + 1);
    ck_assert_int_eq(images[i].data[IDX_SIDE * IDX_SIDE - 1], 10 * i);
    mae_image_free(&images[i]);
  }
}
END_TEST
#endif

/* --------------------------------------------------------- labels given --- */

enum { N = 23 };

/* Every seventh image is bad; an image's only pixel is its number. */
static mae_status fetch(void *arg, int64_t i, float *out) {
  (void)arg;
  *out = (float)i;
  return i % 7 ? MAE_OK : MAE_ERROR_IO;
}

static mae_dataset *numbers(void) {
  mae_dataset *d;
  ASSERT_OK(mae_dataset_from_callback(N, fetch, NULL, &d));
  return d;
}

static void number_labels(int32_t factor, int32_t labels[N]) {
  for (int i = 0; i < N; i++) labels[i] = i * factor % 5;
}

START_TEST(labels_given) {
  static const char *const names[] = {"one", "two", "three", "one", "five"};
  int32_t labels[N], again[N];
  mae_dataset *d = numbers();
  number_labels(3, labels);
  memcpy(again, labels, sizeof labels);
  ASSERT_OK(mae_dataset_set_labels(d, again, 5, NULL));
  memset(again, 99, sizeof again); /* they are copied */
  assert_labels(d, 5, NULL, N, labels);
  ck_assert_ptr_null(mae_dataset_class_name(d, 0));
  number_labels(2, labels);
  ASSERT_OK(mae_dataset_set_labels(d, labels, 5, names)); /* equal names */
  assert_labels(d, 5, names, N, labels);
  memcpy(again, labels, sizeof labels);
  again[N - 1] = 5;
  ASSERT_FAILS(mae_dataset_set_labels(d, again, 5, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "labels[22] is 5, not 0 to 4");
  again[N - 1] = -1;
  ASSERT_FAILS(mae_dataset_set_labels(d, again, 5, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "labels[22] is -1");
  ASSERT_FAILS(mae_dataset_set_labels(d, labels, 0, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "num_classes");
  static const char *const hole[] = {"one", "two", NULL, "four", "five"};
  ASSERT_FAILS(mae_dataset_set_labels(d, labels, 5, hole),
               MAE_ERROR_INVALID_ARGUMENT, "class_names[2]");
  ASSERT_FAILS(mae_dataset_set_labels(d, NULL, 5, NULL),
               MAE_ERROR_INVALID_ARGUMENT, "NULL");
  assert_labels(d, 5, names, N, labels); /* as they were */
  mae_image image;
  ASSERT_FAILS(mae_dataset_load_image(d, 1, &image), MAE_ERROR_UNSUPPORTED,
               "callback");
  mae_dataset_destroy(d);
  assert_labels(NULL, 0, NULL, 0, NULL);
}
END_TEST

static mae_loader *make_loader(const mae_dataset *d, int32_t threads) {
  mae_loader_options o;
  mae_loader *l;
  mae_loader_options_init(&o, sizeof o);
  o.batch_size = 5;
  o.image_height = o.image_width = o.in_chans = 1;
  o.threads = threads;
  ASSERT_OK(mae_loader_create(d, &o, &l));
  return l;
}

/* Also of the images that take an unreadable one's place; from any number of
 * threads, and after a seek. */
START_TEST(labels_come_with_batches) {
  int32_t labels[N];
  mae_dataset *d = numbers();
  number_labels(3, labels);
  ASSERT_OK(mae_dataset_set_labels(d, labels, 5, NULL));
  for (int32_t threads = 1; threads <= 3; threads++) {
    mae_loader *l = make_loader(d, threads);
    const float *images;
    ck_assert_ptr_null(mae_loader_labels(l));
    for (int b = 0; b < 40; b++) {
      if (b == 20) ASSERT_OK(mae_loader_seek(l, 35));
      if (b == 20) ck_assert_ptr_null(mae_loader_labels(l));
      ASSERT_OK(mae_loader_next(l, &images));
      const int32_t *got = mae_loader_labels(l);
      ck_assert_ptr_nonnull(got);
      for (int i = 0; i < 5; i++)
        ck_assert_int_eq(got[i], labels[(int)images[i]]);
    }
    ck_assert_int_eq(mae_loader_skipped(l), 4);
    mae_loader_destroy(l);
  }
  ck_assert_ptr_null(mae_loader_labels(NULL));
  mae_dataset_destroy(d);
}
END_TEST

START_TEST(batches_without_labels) {
  mae_dataset *d = numbers();
  mae_loader *l = make_loader(d, 1);
  const float *images;
  ASSERT_OK(mae_loader_next(l, &images));
  ck_assert_ptr_null(mae_loader_labels(l));
  mae_loader_destroy(l);
  mae_dataset_destroy(d);
}
END_TEST

START_TEST(steady_batches_allocate_nothing) {
  if (count_alloc_calls() < 0) return;
  int32_t labels[N], sum = 0;
  mae_dataset *d = numbers();
  number_labels(3, labels);
  ASSERT_OK(mae_dataset_set_labels(d, labels, 5, NULL));
  mae_loader *l = make_loader(d, 2);
  const float *images;
  for (int i = 0; i < 30; i++) ASSERT_OK(mae_loader_next(l, &images));
  const long before = count_alloc_calls();
  int failed = 0;
  for (int i = 0; i < 50; i++) {
    failed |= mae_loader_next(l, &images);
    sum += mae_loader_labels(l)[0];
  }
  const long after = count_alloc_calls();
  ck_assert_int_eq(failed, 0);
  ck_assert_int_gt(sum, 0);
  ck_assert_int_eq(after - before, 0);
  mae_loader_destroy(l);
  mae_dataset_destroy(d);
}
END_TEST

/* ----------------------------------------------------- images one by one --- */

#ifdef MAE_HAVE_PNG
START_TEST(images_of_files) {
  static const unsigned char grey[] = {1, 2, 3, 4, 5, 6};
  png_image png = {.version = PNG_IMAGE_VERSION, .width = 2, .height = 3,
                   .format = PNG_FORMAT_GRAY};
  mae_image image = {.width = 77};
  touch((const char *const[]){"all/x/1.png", "all/y/2.png"}, 2);
  ck_assert(png_image_write_to_file(&png, at("all/y/2.png").text, 0, grey, 0,
                                    NULL));
  mae_dataset *d = open_labelled("all", NULL, 0);
  ASSERT_FAILS(mae_dataset_load_image(d, 0, &image), MAE_ERROR_FORMAT,
               "1.png");
  ck_assert_int_eq(image.width, 77); /* as it was */
  ASSERT_OK(mae_dataset_load_image(d, 1, &image));
  ck_assert_int_eq(image.width, 2);
  ck_assert_int_eq(image.height, 3);
  ck_assert_int_eq(image.channels, 1);
  ck_assert_mem_eq(image.data, grey, sizeof grey);
  mae_image_free(&image);
  mae_dataset_destroy(d);
}
END_TEST
#endif

Suite *labels_suite(void) {
  Suite *suite = suite_create("labels");
  TCase *tests = tcase_create("labels");
  tcase_add_checked_fixture(tests, make_folder, remove_folder);
  tcase_add_test(tests, folders_are_classes);
  tcase_add_test(tests, names_fix_the_numbering);
  tcase_add_test(tests, images_in_no_class);
  tcase_add_test(tests, paths_without_classes);
#ifdef MAE_HAVE_ZLIB
  tcase_add_test(tests, idx_labels_beside);
  tcase_add_test(tests, idx_labels_by_names);
  tcase_add_test(tests, bad_label_files);
  tcase_add_test(tests, images_of_idx);
#endif
  tcase_add_test(tests, labels_given);
  tcase_add_test(tests, labels_come_with_batches);
  tcase_add_test(tests, batches_without_labels);
  tcase_add_test(tests, steady_batches_allocate_nothing);
#ifdef MAE_HAVE_PNG
  tcase_add_test(tests, images_of_files);
#endif
  suite_add_tcase(suite, tests);
  return suite;
}
