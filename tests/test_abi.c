/* Structs that grow: programs of older and newer headers, for every struct of
 * mae.h that has a struct_size.  (tests/abi.sh: the ABI as a whole.) */
#include <stddef.h>

#include "folder.h"
#include "golden.h"
#include "suites.h"

enum { ROWS = 8, CLASSES = 2, OLDEST = 16, MOST = 1024 };

static mae_context *context;
static mae_model *model;
static mae_trainer *trainer;
static mae_dataset *dataset;
static float *images;
static char path[128];

static mae_status fetch(void *arg, int64_t i, float *out) {
  (void)arg;
  memcpy(out, images + i * SMALL_IMAGE, SMALL_IMAGE * sizeof *out);
  return MAE_OK;
}

static void set_up(void) {
  make_folder();
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  context = make_context(1, MAE_ISA_AUTO);
  model = small_model(1);
  images = small_images(ROWS, 2);
  ASSERT_OK(mae_model_save(model, path));
  mae_trainer_options o;
  mae_trainer_options_init(&o, sizeof o);
  o.batch_size = ROWS;
  ASSERT_OK(mae_trainer_create(context, model, &o, &trainer));
  ASSERT_OK(mae_dataset_from_callback(ROWS, fetch, NULL, &dataset));
}

static void tear_down(void) {
  mae_dataset_destroy(dataset);
  mae_trainer_destroy(trainer);
  free(images);
  mae_model_destroy(model);
  mae_context_destroy(context);
  remove_folder();
}

/* ----------------------------------------------------- the library reads --- */

static mae_status use_context(const void *o) {
  mae_context *c = NULL;
  mae_status status = mae_context_create(o, &c);
  ck_assert_int_eq(c != NULL, status == MAE_OK);
  mae_context_destroy(c);
  return status;
}

static mae_status plan_of(const void *config, const void *options) {
  mae_training_plan p = {.struct_size = sizeof p, .parameters = -1};
  mae_status status = mae_trainer_plan(context, config, options, &p);
  ck_assert_int_eq(p.parameters > 0, status == MAE_OK);
  return status;
}

static mae_status use_config(const void *o) { return plan_of(o, NULL); }

static mae_status use_trainer(const void *o) {
  const mae_config c = small_config();
  return plan_of(&c, o);
}

static mae_status use_load(const void *o) {
  mae_model *m = NULL;
  mae_status status = mae_model_import(path, o, &m, NULL);
  ck_assert_int_eq(m != NULL, status == MAE_OK);
  mae_model_destroy(m);
  return status;
}

static mae_status use_session(const void *o) {
  mae_session *s = NULL;
  mae_status status = mae_session_create(context, model, o, &s);
  ck_assert_int_eq(s != NULL, status == MAE_OK);
  mae_session_destroy(s);
  return status;
}

static mae_status use_loader(const void *o) {
  mae_loader *l = NULL;
  mae_status status = mae_loader_create(dataset, o, &l);
  ck_assert_int_eq(l != NULL, status == MAE_OK);
  mae_loader_destroy(l);
  return status;
}

static mae_status use_fit(const void *o) {
  mae_loader_options l;
  mae_loader *loader;
  mae_loader_options_init(&l, sizeof l);
  l.batch_size = ROWS;
  l.image_height = l.image_width = 16;
  l.in_chans = 1;
  ASSERT_OK(mae_loader_create(dataset, &l, &loader));
  const int64_t before = mae_trainer_steps(trainer);
  mae_status status = mae_trainer_fit(trainer, loader, o);
  if (status != MAE_OK) ck_assert_int_eq(mae_trainer_steps(trainer), before);
  mae_loader_destroy(loader);
  return status;
}

static mae_status use_communicator(const void *o) {
  return mae_trainer_set_communicator(trainer, o);
}

static mae_status use_probe(const void *o) {
  const int32_t labels[ROWS] = {0, 1, 0, 1, 0, 1, 1, 0};
  float weight[CLASSES * SMALL_IMAGE], bias[CLASSES] = {-77, -77};
  mae_status status = mae_linear_probe(context, images, labels, ROWS,
                                       SMALL_IMAGE, CLASSES, o, weight, bias);
  ck_assert_int_eq(bias[0] != -77, status == MAE_OK);
  return status;
}

static void init_config(mae_config *c, size_t size) {
  ASSERT_OK(mae_config_init(c, size, NULL));
}

static void init_loader_recipe(mae_loader_options *o, size_t size) {
  ASSERT_OK(mae_loader_options_recipe(o, size, MAE_RECIPE_FINETUNE));
}

static void init_trainer_recipe(mae_trainer_options *o, size_t size) {
  const mae_config c = small_config();
  ASSERT_OK(mae_trainer_options_recipe(o, size, MAE_RECIPE_PRETRAIN, &c, NULL,
                                       NULL));
}

/* There is no mae_communicator_init: the application fills it in. */
static void init_communicator(mae_communicator *c, size_t size) {
  memset(c, 0, size);
  c->struct_size = size;
  c->ranks = 1;
}

typedef void (*init_call)(void *, size_t);
#define READ(name, init, use) {#name, sizeof(name), (init_call)(init), use}

static const struct {
  const char *name;
  size_t size;
  init_call init;
  mae_status (*use)(const void *options);
} read_by_library[] = {
    READ(mae_context_options, mae_context_options_init, use_context),
    READ(mae_config, init_config, use_config),
    READ(mae_load_options, mae_load_options_init, use_load),
    READ(mae_session_options, mae_session_options_init, use_session),
    READ(mae_trainer_options, mae_trainer_options_init, use_trainer),
    READ(mae_trainer_options, init_trainer_recipe, use_trainer),
    READ(mae_communicator, init_communicator, use_communicator),
    READ(mae_loader_options, mae_loader_options_init, use_loader),
    READ(mae_loader_options, init_loader_recipe, use_loader),
    READ(mae_fit_options, mae_fit_options_init, use_fit),
    READ(mae_probe_options, mae_probe_options_init, use_probe),
};
enum { READ_STRUCTS = sizeof read_by_library / sizeof *read_by_library };

/* The struct number i of `size` bytes as its _init makes it, with others'
 * bytes after it; and what every use needs: sizes that fit ROWS images. */
static void init(int i, void *o, size_t size) {
  memset(o, 0xA5, MOST);
  read_by_library[i].init(o, size);
  if (!strcmp(read_by_library[i].name, "mae_fit_options"))
    ((mae_fit_options *)o)->epochs = 1;
  if (!strcmp(read_by_library[i].name, "mae_loader_options"))
    ((mae_loader_options *)o)->batch_size = 2;
}

#define EACH_SIZE(size, from, to) \
  for (size_t size = (from); size <= (to); size += 8)

START_TEST(init_writes_what_there_is) {
  _Alignas(8) unsigned char whole[MOST], o[MOST];
  const size_t ours = read_by_library[_i].size;
  init(_i, whole, ours);
  EACH_SIZE(size, OLDEST, ours + 64) {
    init(_i, o, size);
    ck_assert_uint_eq(*(size_t *)o, size);
    const size_t common = size < ours ? size : ours;
    ck_assert_mem_eq(o + sizeof size, whole + sizeof size,
                     common - sizeof size);
    for (size_t k = common; k < MOST; k++)
      ck_assert_msg(o[k] == (k < size ? 0 : 0xA5), "%s of %zu bytes: byte %zu",
                    read_by_library[_i].name, size, k);
  }
}
END_TEST

/* Were a byte beyond read, it would make most fields nonsense. */
START_TEST(older_programs_work) {
  _Alignas(8) unsigned char o[MOST];
  EACH_SIZE(size, OLDEST, read_by_library[_i].size) {
    init(_i, o, size);
    mae_status status = read_by_library[_i].use(o);
    ck_assert_msg(status == MAE_OK, "%s of %zu bytes: %s",
                  read_by_library[_i].name, size, mae_last_error());
  }
}
END_TEST

START_TEST(newer_programs_work_while_nothing_new_is_set) {
  _Alignas(8) unsigned char o[MOST];
  const size_t ours = read_by_library[_i].size;
  EACH_SIZE(size, ours + 8, ours + 64) {
    init(_i, o, size);
    ASSERT_OK(read_by_library[_i].use(o));
    for (size_t k = ours; k < size; k++) {
      o[k] = 1;
      ASSERT_FAILS(read_by_library[_i].use(o), MAE_ERROR_UNSUPPORTED,
                   read_by_library[_i].name);
      o[k] = 0;
    }
  }
}
END_TEST

START_TEST(size_never_set) {
  _Alignas(8) unsigned char o[MOST];
  static const size_t sizes[] = {0, 8, 15, 4097, (size_t)-1};
  for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
    init(_i, o, read_by_library[_i].size);
    *(size_t *)o = sizes[k];
    ASSERT_FAILS(read_by_library[_i].use(o), MAE_ERROR_INVALID_ARGUMENT,
                 "struct_size");
  }
}
END_TEST

/* Models are made by another call than plans. */
START_TEST(config_of_a_model) {
  struct {
    mae_config c;
    int64_t more;
  } newer = {small_config(), 0};
  mae_model *m = NULL;
  newer.c.struct_size = sizeof newer;
  ASSERT_OK(mae_model_create(&newer.c, 1, &m));
  mae_model_destroy(m);
  m = NULL;
  newer.more = 1;
  ASSERT_FAILS(mae_model_create(&newer.c, 1, &m), MAE_ERROR_UNSUPPORTED,
               "mae_config");
  ck_assert_ptr_null(m);
}
END_TEST

/* ---------------------------------------------------- the library writes --- */

static mae_status fill_result(void *o) {
  return mae_trainer_step(trainer, images, NULL, o);
}

static mae_status fill_plan(void *o) {
  const mae_config c = small_config();
  return mae_trainer_plan(context, &c, NULL, o);
}

static mae_status fill_config(void *o) { return mae_model_config(model, o); }

static mae_status fill_entry(void *o) {
  mae_context_options options;
  mae_context *c;
  mae_tape *tape;
  mae_var x, y;
  const int64_t shape = 4;
  mae_context_options_init(&options, sizeof options);
  options.profile = 1;
  ASSERT_OK(mae_context_create(&options, &c));
  ASSERT_OK(mae_tape_create(c, &tape));
  mae_tape_input(tape, 1, &shape, 0, &x);
  mae_tape_add(tape, x, x, &y);
  ASSERT_OK(mae_tape_plan(tape, (mae_var){MAE_NO_VAR}));
  ASSERT_OK(mae_tape_forward(tape));
  mae_status status = mae_context_profile(c, 0, o);
  mae_tape_destroy(tape);
  mae_context_destroy(c);
  return status;
}

static const struct {
  const char *name;
  size_t size;
  mae_status (*fill)(void *result);
} written_by_library[] = {
    {"mae_step_result", sizeof(mae_step_result), fill_result},
    {"mae_training_plan", sizeof(mae_training_plan), fill_plan},
    {"mae_config", sizeof(mae_config), fill_config},
    {"mae_profile_entry", sizeof(mae_profile_entry), fill_entry},
};
enum {
  WRITTEN_STRUCTS = sizeof written_by_library / sizeof *written_by_library
};

START_TEST(results_are_filled_as_far_as_they_go) {
  _Alignas(8) unsigned char o[MOST];
  const size_t ours = written_by_library[_i].size;
  EACH_SIZE(size, OLDEST, ours + 64) {
    memset(o, 0xA5, sizeof o);
    *(size_t *)o = size;
    ASSERT_OK(written_by_library[_i].fill(o));
    ck_assert_uint_eq(*(size_t *)o, size);
    ck_assert(o[8] != 0xA5 || o[15] != 0xA5); /* the first field */
    for (size_t k = ours < size ? ours : size; k < MOST; k++)
      ck_assert_msg(o[k] == (k < size ? 0 : 0xA5), "%s of %zu bytes: byte %zu",
                    written_by_library[_i].name, size, k);
  }
  *(size_t *)o = 8;
  ASSERT_FAILS(written_by_library[_i].fill(o), MAE_ERROR_INVALID_ARGUMENT,
               "struct_size");
}
END_TEST

/* The library's own, lent to callbacks: it is as large as the library says,
 * and an older program uses what it knows. */
static int32_t look_at_progress(void *arg, const mae_progress *p) {
  ck_assert_uint_eq(p->struct_size, sizeof *p);
  ck_assert_uint_eq(p->step->struct_size, sizeof *p->step);
  ++*(int *)arg;
  return 0;
}

START_TEST(progress_tells_its_size) {
  mae_fit_options o;
  int calls = 0;
  mae_fit_options_init(&o, sizeof o);
  o.epochs = 1;
  o.on_step = look_at_progress;
  o.arg = &calls;
  ASSERT_OK(use_fit(&o));
  ck_assert_int_eq(calls, 1);
}
END_TEST

/* ---------------------------------------------------------- none forgotten -- */

static bool is_tested(const char *name) {
  if (!strcmp(name, "mae_progress")) return true;
  for (size_t i = 0; i < READ_STRUCTS; i++)
    if (!strcmp(name, read_by_library[i].name)) return true;
  for (size_t i = 0; i < WRITTEN_STRUCTS; i++)
    if (!strcmp(name, written_by_library[i].name)) return true;
  return false;
}

START_TEST(every_growing_struct_is_here) {
  FILE *f = fopen("include/libmae/mae.h", "r");
  ck_assert_ptr_nonnull(f);
  char line[256], name[64] = "";
  int found = 0;
  while (fgets(line, sizeof line, f)) {
    if (!strcmp(line, "  size_t struct_size;\n") ||
        !strncmp(line, "  size_t struct_size; ", 22)) {
      ck_assert_msg(is_tested(name), "%s: add it to test_abi.c", name);
      found++;
    }
    if (sscanf(line, "typedef struct %63s {", name) == 1) continue;
  }
  fclose(f);
  ck_assert_int_ge(found, 12);
}
END_TEST

Suite *abi_suite(void) {
  Suite *suite = suite_create("abi");
  TCase *tc = tcase_create("abi");
  tcase_add_checked_fixture(tc, set_up, tear_down);
  tcase_set_timeout(tc, 60);
  tcase_add_loop_test(tc, init_writes_what_there_is, 0, READ_STRUCTS);
  tcase_add_loop_test(tc, older_programs_work, 0, READ_STRUCTS);
  tcase_add_loop_test(tc, newer_programs_work_while_nothing_new_is_set, 0,
                      READ_STRUCTS);
  tcase_add_loop_test(tc, size_never_set, 0, READ_STRUCTS);
  tcase_add_test(tc, config_of_a_model);
  tcase_add_loop_test(tc, results_are_filled_as_far_as_they_go, 0,
                      WRITTEN_STRUCTS);
  tcase_add_test(tc, progress_tells_its_size);
  tcase_add_test(tc, every_growing_struct_is_here);
  suite_add_tcase(suite, tc);
  return suite;
}
