#include "common/archive.h"
#include "common/input.h"
#include "common/weights.h"
#include "seeds/seeds.h"
#include "torch_builder.h"

/* All tensors of a model, as views of one storage. */
static void put_model(builder *b, int32_t classes) {
  mae_model *model = weights_model(classes);
  int64_t offset = 0;
  for (int32_t i = 0; i < mae_model_num_tensors(model); i++) {
    const mae_tensor *tensor = mae_model_tensor(model, i);
    tensor_text t = {.name = mae_model_tensor_name(model, i),
                     .elements = ARCHIVE_FLOATS,
                     .offset = offset,
                     .n_sizes = mae_tensor_ndim(tensor),
                     .n_strides = mae_tensor_ndim(tensor)};
    int64_t stride = 1;
    for (int k = t.n_sizes; k-- > 0;) {
      t.sizes[k] = mae_tensor_dim(tensor, k);
      t.strides[k] = stride;
      stride *= t.sizes[k];
    }
    put_tensor(b, &t);
    offset += mae_tensor_size(tensor);
  }
  REQUIRE(offset <= ARCHIVE_FLOATS);
  mae_model_destroy(model);
}

/* Each for the reader of pickles, for the state dict, and as a whole file. */
static void put_all(const char *name, const builder *b) {
  size_t size;
  uint8_t *archive = archive_of_pickle(b->bytes, b->size, &size);
  seed_put("pickle", name, b->bytes, b->size);
  seed_put("state_dict", name, b->bytes, b->size);
  seed_put("torch", name, archive, size);
  free(archive);
}

static void put_state_dict(const char *name, int32_t classes, int nested) {
  builder b = {0};
  begin_dict(&b);
  if (nested) {
    put_text(&b, "model");
    PUT(&b, "}(");
  }
  put_model(&b, classes);
  if (nested) PUT(&b, "u");
  end_dict(&b);
  put_all(name, &b);
  free(b.bytes);
}

static void put_views(void) {
  static const tensor_text tensors[] = {
      {"module.a", NULL, NULL, ARCHIVE_FLOATS, 3, 2, 2, {2, 3}, {1, 2}},
      {"b", "HalfStorage", "1", ARCHIVE_BYTES / 2, 0, 0, 0, {0}, {0}},
      {"c", "DoubleStorage", "1", ARCHIVE_BYTES / 8, 1, 1, 1, {5}, {25}},
      {"d",
       "BFloat16Storage",
       "1",
       ARCHIVE_BYTES / 2,
       2,
       4,
       4,
       {1, 2, 1, 2},
       {9, 8, 7, 1}},
      {"e", "LongStorage", "1", ARCHIVE_BYTES / 8, 0, 2, 2, {0, 9}, {9, 1}},
      {"f",
       NULL,
       NULL,
       ARCHIVE_FLOATS,
       0,
       5,
       5,
       {1, 1, 1, 1, 2},
       {1, 1, 1, 1, 1}}};
  builder b = {0};
  begin_dict(&b);
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
    put_tensor(&b, &tensors[i]);
  end_dict(&b);
  put_all("views", &b);
  free(b.bytes);
}

/* Opcodes that the above do without. */
static void put_opcodes(void) {
  builder b = {0};
  PUT(&b,
      "\x80\x04\x95\x5a\0\0\0\0\0\0\0}\x94(\x8c\x01k\x94]\x94(K\x01M\x02\x01"
      "J\x03\0\0\0e\x8c\x01n\x94NX\x01\0\0\0tG\0\0\0\0\0\0\0\0"
      "\x8c\x01o\x94\x8c\x0b"
      "collections\x94\x8c\x0bOrderedDict\x94\x93"
      "\x94)R\x94}\x94\x8c\x01_\x94K\x01sbK\x05\x88\x89\x86\x8a\x02\x01\xff"
      "h\x01\x85u.");
  put_all("opcodes", &b);
  free(b.bytes);
}

void seed_torch(void) {
  put_state_dict("model", 0, 1);
  put_state_dict("classifier", 3, 0);
  put_views();
  put_opcodes();
  seed_copy("torch", "views.pt", "tests/data/import/views.pt");
  seed_copy("torch", "namespace.pth", "tests/data/import/namespace.pth");
  seed_copy("torch", "old.pth", "tests/data/import/old.pth");
}
