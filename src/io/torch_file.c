#include "io/torch_file.h"

#ifdef MAE_HAVE_ZIP

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

#include "io/atomic_file.h"
#include "io/pickle.h"
#include "io/regular_file.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "storages are read as little-endian");

/* A ViT's pickle has some hundred kilobytes.  PyTorch's own operations take 64
 * dimensions at the most; many tensors may share one long tuple of sizes, so
 * without a limit a small file would take hours. */
enum {
  MOST_PICKLE = 16 << 20,
  MOST_ENTRY_NAME = 512,
  MOST_TENSOR_NAME = 256,
  MOST_DIMS = 64
};

struct mae_torch_file {
  char *path;
  int64_t bytes; /* of the file */
  zip_t *archive;
  int prefix;             /* length of "NAME/" before every entry */
  const char *first_name; /* "NAME/data.pkl", lent by the archive */
  char *pickle_bytes;
  mae_pickle *pickle;
  mae_torch_tensor *tensors; /* by name */
  int32_t count;
};

static mae_status bad(const mae_torch_file *file, const char *what,
                      const char *name) {
  return mae_fail(MAE_ERROR_FORMAT, "%s: %s%s%.100s", file->path, what,
                  name ? ": " : "", name ? name : "");
}

/* What libzip says when a malloc or a read fails is now one code, now another;
 * so callers clear errno first. */
static mae_status zip_failed(const mae_torch_file *file, const char *what,
                             const char *why) {
  const int error = errno;
  if (error == ENOMEM || error == EIO)
    return mae_io_fail("read", file->path, error);
  return bad(file, what, why);
}

/* Put the file's name before the latest message. */
static mae_status in_file(const mae_torch_file *file, mae_status status) {
  return mae_fail(status, "%s: %s", file->path, mae_last_error());
}

/* ------------------------------------------------------------ archive --- */

static mae_status open_archive(mae_torch_file *file) {
  int fd;
  MAE_TRY(mae_open_regular(file->path, &fd, &file->bytes));
  int code = 0;
  errno = 0;
  file->archive = zip_fdopen(fd, ZIP_CHECKCONS, &code); /* takes fd over */
  if (file->archive) return MAE_OK;
  zip_error_t error;
  const int number = errno;
  close(fd);
  zip_error_init_with_code(&error, code);
  errno = number;
  mae_status status =
      zip_failed(file, "no sound zip archive", zip_error_strerror(&error));
  zip_error_fini(&error);
  return status;
}

/* Stored plain, so that a file cannot unpack to more than it is. */
static mae_status stat_entry(const mae_torch_file *file, uint64_t entry,
                             int64_t *bytes) {
  zip_stat_t info;
  errno = 0;
  const zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE |
                              ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
  if (zip_stat_index(file->archive, entry, 0, &info) ||
      (info.valid & needed) != needed)
    return zip_failed(file, "no sound zip archive", NULL);
  const char *name = zip_get_name(file->archive, entry, ZIP_FL_ENC_RAW);
  if (info.comp_method != ZIP_CM_STORE || info.encryption_method != ZIP_EM_NONE)
    return bad(file,
               "an entry is compressed or encrypted, which torch.save "
               "never does",
               name);
  if (info.size != info.comp_size || info.size > (uint64_t)file->bytes)
    return bad(file, "an entry's size does not fit the file", name);
  *bytes = (int64_t)info.size;
  return MAE_OK;
}

/* Entry NAME/`name`. */
static bool find_entry(const mae_torch_file *file, const char *name,
                       size_t length, uint64_t *entry) {
  char full[MOST_ENTRY_NAME];
  int n = snprintf(full, sizeof full, "%.*s%.*s", file->prefix,
                   file->first_name, (int)length, name);
  if (n < 0 || n >= (int)sizeof full || memchr(name, '\0', length))
    return false;
  errno = 0;
  zip_int64_t found = zip_name_locate(file->archive, full, ZIP_FL_ENC_RAW);
  if (found < 0) return false;
  *entry = (uint64_t)found;
  return true;
}

static mae_status read_into(const mae_torch_file *file, zip_file_t *entry,
                            void *into, int64_t bytes) {
  char *at = into;
  while (bytes > 0) {
    errno = 0;
    zip_int64_t n = zip_fread(entry, at, (zip_uint64_t)bytes);
    if (n < 0)
      return zip_failed(file, "a damaged entry", zip_file_strerror(entry));
    if (n == 0) return bad(file, "the file is truncated", NULL);
    at += n;
    bytes -= n;
  }
  return MAE_OK;
}

/* One byte more than there is: the archive then checks the sum of an entry
 * read from its begin. */
static mae_status check_end(const mae_torch_file *file, zip_file_t *entry) {
  char more;
  errno = 0;
  if (zip_fread(entry, &more, 1) == 0) return MAE_OK;
  return zip_failed(file, "a damaged entry", zip_file_strerror(entry));
}

static zip_file_t *open_entry(const mae_torch_file *file, uint64_t entry) {
  errno = 0;
  return zip_fopen_index(file->archive, entry, 0);
}

static mae_status entry_failed(const mae_torch_file *file) {
  return zip_failed(file, "a damaged entry", zip_strerror(file->archive));
}

static mae_status read_whole(const mae_torch_file *file, uint64_t entry,
                             void *into, int64_t bytes) {
  zip_file_t *opened = open_entry(file, entry);
  if (!opened) return entry_failed(file);
  mae_status status = read_into(file, opened, into, bytes);
  if (status == MAE_OK) status = check_end(file, opened);
  zip_fclose(opened);
  return status;
}

/* ------------------------------------------------------------- pickle --- */

static bool is_data_pkl(const char *name) {
  const char *slash = name ? strchr(name, '/') : NULL;
  return slash && slash - name < MOST_ENTRY_NAME / 2 &&
         !strcmp(slash, "/data.pkl");
}

static mae_status find_pickle(mae_torch_file *file, uint64_t *entry) {
  zip_int64_t n = zip_get_num_entries(file->archive, 0);
  for (zip_int64_t i = 0; i < n; i++) {
    const char *name =
        zip_get_name(file->archive, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
    if (!is_data_pkl(name)) continue;
    if (file->first_name) return bad(file, "more than one data.pkl", NULL);
    file->first_name = name;
    file->prefix = (int)(strchr(name, '/') + 1 - name);
    *entry = (uint64_t)i;
  }
  if (!file->first_name)
    return bad(file,
               "a zip archive without a data.pkl is no file of "
               "torch.save",
               NULL);
  return MAE_OK;
}

static mae_status check_byte_order(const mae_torch_file *file) {
  static const char little[] = {'l', 'i', 't', 't', 'l', 'e'};
  char order[sizeof little];
  uint64_t entry;
  int64_t bytes = 0;
  if (!find_entry(file, "byteorder", 9, &entry)) return MAE_OK;
  MAE_TRY(stat_entry(file, entry, &bytes));
  if (bytes == sizeof order) {
    MAE_TRY(read_whole(file, entry, order, bytes));
    if (!memcmp(order, little, sizeof order)) return MAE_OK;
  }
  return mae_fail(MAE_ERROR_UNSUPPORTED, "%s: its byte order is not little",
                  file->path);
}

static mae_status read_pickle(mae_torch_file *file) {
  uint64_t entry = 0;
  int64_t bytes = 0;
  MAE_TRY(find_pickle(file, &entry));
  MAE_TRY(check_byte_order(file));
  MAE_TRY(stat_entry(file, entry, &bytes));
  if (bytes > MOST_PICKLE)
    return bad(file, "its data.pkl is larger than any state dict's", NULL);
  file->pickle_bytes = mae_calloc((size_t)bytes, 1);
  if (!file->pickle_bytes) return MAE_ERROR_OUT_OF_MEMORY;
  MAE_TRY(read_whole(file, entry, file->pickle_bytes, bytes));
  mae_status status =
      mae_pickle_read(file->pickle_bytes, (size_t)bytes, &file->pickle);
  return status == MAE_OK ? MAE_OK : in_file(file, status);
}

/* ------------------------------------------------------------ tensors --- */

typedef const mae_pickle_value value;

/* Sizes and strides in step: the shape, how many elements there are and the
 * last one's place after the first. */
static bool measure(const mae_pickle *p, value *sizes, value *strides,
                    mae_torch_tensor *t) {
  if (sizes->count != strides->count || sizes->count > MOST_DIMS) return false;
  int32_t size_at = sizes->first, stride_at = strides->first;
  int64_t reach = 0, count = 1;
  bool empty = false;
  t->ndim = sizes->count;
  for (int32_t i = 0; i < sizes->count; i++) {
    value *size = mae_pickle_next(p, &size_at);
    value *stride = mae_pickle_next(p, &stride_at);
    if (size->kind != MAE_PICKLE_INT || stride->kind != MAE_PICKLE_INT ||
        size->number < 0 || stride->number < 0)
      return false;
    int64_t step;
    if (size->number == 0) empty = true;
    if (!empty && (!mae_mul(count, size->number, &count) ||
                   !mae_mul(size->number - 1, stride->number, &step) ||
                   __builtin_add_overflow(reach, step, &reach)))
      return false;
    if (i >= MAE_MAX_DIMS) continue;
    t->shape[i] = size->number;
    t->stride[i] = stride->number;
  }
  t->count = empty ? 0 : count;
  return empty || !__builtin_add_overflow(t->first, reach, &t->last);
}

/* Check the view against its storage, and the storage against the archive. */
static mae_status read_tensor(const mae_torch_file *file, value *v,
                              mae_torch_tensor *t) {
  const mae_pickle *p = file->pickle;
  value *storage = mae_pickle_item(p, v, 0);
  value *key = mae_pickle_item(p, storage, 2);
  const int64_t elements = mae_pickle_item(p, storage, 4)->number;
  char name[MOST_ENTRY_NAME / 2] = "data/";
  const size_t begin = strlen(name);
  int64_t bytes = 0, expected;
  t->element = mae_pickle_storage_element(p, storage);
  t->first = mae_pickle_item(p, v, 1)->number;
  if (t->first < 0 || elements < 0 ||
      !measure(p, mae_pickle_item(p, v, 2), mae_pickle_item(p, v, 3), t))
    return bad(file, "a tensor of impossible size or strides", t->name);
  if (t->count && (t->last >= elements || t->count > elements))
    return bad(file, "a tensor beyond its storage", t->name);
  if ((uint64_t)key->number >= sizeof name - begin)
    return bad(file, "a storage of too long a name", t->name);
  const size_t length = (size_t)key->number;
  memcpy(name + begin, key->text, length);
  if (!find_entry(file, name, begin + length, &t->entry))
    return bad(file, "a tensor's storage is not in the archive", t->name);
  MAE_TRY(stat_entry(file, t->entry, &bytes));
  if (!mae_mul(elements, mae_element_bytes(t->element), &expected) ||
      bytes != expected)
    return bad(file, "a storage of another size than it should have", t->name);
  return MAE_OK;
}

static mae_status copy_name(const mae_torch_file *file, value *key,
                            char **name) {
  static const char module[] = "module."; /* of DataParallel */
  const size_t skip = sizeof module - 1;
  const char *text = key->text;
  size_t length = (size_t)key->number;
  if (length > skip && !memcmp(text, module, skip))
    text += skip, length -= skip;
  if (!length || length > MOST_TENSOR_NAME || memchr(text, '\0', length))
    return bad(file, "a tensor of empty, overlong or broken name", NULL);
  *name = mae_calloc(length + 1, 1);
  if (!*name) return MAE_ERROR_OUT_OF_MEMORY;
  memcpy(*name, text, length);
  return MAE_OK;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const mae_torch_tensor *)a)->name,
                ((const mae_torch_tensor *)b)->name);
}

/* Views may share a storage; a small file must not make a large model of
 * it. */
static mae_status check_whole(mae_torch_file *file) {
  int64_t sum = 0;
  qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, by_name);
  for (int32_t i = 0; i < file->count; i++) {
    const mae_torch_tensor *t = &file->tensors[i];
    if (i && !strcmp(t[-1].name, t->name))
      return bad(file, "two tensors of one name", t->name);
    sum += t->count * mae_element_bytes(t->element); /* each below the file's */
    if (sum / 2 > file->bytes)
      return bad(file, "the tensors have more bytes than the file", NULL);
  }
  return MAE_OK;
}

static int32_t tensors_in(const mae_pickle *p, value *dict) {
  int32_t n = 0;
  for (int32_t at = dict->first; at >= 0;) {
    value *key = mae_pickle_next(p, &at), *item = mae_pickle_next(p, &at);
    n += key->kind == MAE_PICKLE_TEXT && item->kind == MAE_PICKLE_TENSOR;
  }
  return n;
}

/* The dict of that name in a dict, when it holds tensors. */
static value *child(const mae_pickle *p, value *dict, const char *name) {
  value *found = NULL;
  for (int32_t at = dict->first; at >= 0;) {
    value *key = mae_pickle_next(p, &at), *item = mae_pickle_next(p, &at);
    if (mae_pickle_is(key, name) && item->kind == MAE_PICKLE_DICT) found = item;
  }
  return found && tensors_in(p, found) ? found : NULL;
}

static value *find_state_dict(const mae_pickle *p) {
  static const char *const names[] = {"model", "state_dict", "model_state_dict",
                                      "model_state"};
  value *root = mae_pickle_root(p), *found = NULL;
  if (root->kind != MAE_PICKLE_DICT) return NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++)
    found = child(p, root, names[i]);
  if (!found && tensors_in(p, root)) found = root;
  return found;
}

static mae_status read_tensors(mae_torch_file *file) {
  const mae_pickle *p = file->pickle;
  value *dict = find_state_dict(p);
  if (!dict)
    return bad(file,
               "no state dict, neither at the top nor under \"model\" or "
               "\"state_dict\"",
               NULL);
  file->tensors =
      mae_calloc((size_t)tensors_in(p, dict), sizeof *file->tensors);
  if (!file->tensors) return MAE_ERROR_OUT_OF_MEMORY;
  for (int32_t at = dict->first; at >= 0;) {
    value *key = mae_pickle_next(p, &at), *item = mae_pickle_next(p, &at);
    if (key->kind != MAE_PICKLE_TEXT || item->kind != MAE_PICKLE_TENSOR)
      continue;
    mae_torch_tensor *t = &file->tensors[file->count];
    MAE_TRY(copy_name(file, key, &t->name));
    file->count++;
    MAE_TRY(read_tensor(file, item, t));
  }
  return check_whole(file);
}

/* ------------------------------------------------------------- opening --- */

static mae_status open_file(mae_torch_file *file) {
  MAE_TRY(open_archive(file));
  MAE_TRY(read_pickle(file));
  return read_tensors(file);
}

mae_status mae_torch_open(const char *path, mae_torch_file **out) {
  mae_torch_file *file = mae_calloc(1, sizeof *file);
  if (!file) return MAE_ERROR_OUT_OF_MEMORY;
  file->path = strdup(path);
  mae_status status =
      file->path ? open_file(file)
                 : mae_fail(MAE_ERROR_OUT_OF_MEMORY, "no memory for a name");
  if (status != MAE_OK) {
    mae_torch_close(file);
    return status;
  }
  *out = file;
  return MAE_OK;
}

void mae_torch_close(mae_torch_file *file) {
  if (!file) return;
  if (file->archive) zip_discard(file->archive);
  for (int32_t i = 0; i < file->count; i++) free(file->tensors[i].name);
  free(file->tensors);
  mae_pickle_free(file->pickle);
  free(file->pickle_bytes);
  free(file->path);
  free(file);
}

int32_t mae_torch_count(const mae_torch_file *file) { return file->count; }

const mae_torch_tensor *mae_torch_tensor_at(const mae_torch_file *file,
                                            int32_t i) {
  return &file->tensors[i];
}

/* ------------------------------------------------------------- reading --- */

/* n elements from where the entry stands on, as f32. */
static mae_status convert(const mae_torch_file *file, zip_file_t *entry,
                          mae_element element, int64_t n, float *into) {
  char buffer[16384];
  const int64_t each = mae_element_bytes(element);
  if (element == MAE_ELEMENT_F32) return read_into(file, entry, into, n * each);
  while (n > 0) {
    const int64_t most = (int64_t)sizeof buffer / each,
                  part = n < most ? n : most;
    MAE_TRY(read_into(file, entry, buffer, part * each));
    mae_element_to_f32(element, buffer, part, into);
    into += part;
    n -= part;
  }
  return MAE_OK;
}

/* Elements first to last of the tensor's storage.  When they are all of it,
 * the archive checks their sum. */
static mae_status read_span(const mae_torch_file *file,
                            const mae_torch_tensor *t, float *into) {
  const int64_t each = mae_element_bytes(t->element);
  int64_t bytes = 0;
  MAE_TRY(stat_entry(file, t->entry, &bytes));
  zip_file_t *entry = open_entry(file, t->entry);
  if (!entry) return entry_failed(file);
  mae_status status = MAE_OK;
  if (t->first && zip_fseek(entry, t->first * each, SEEK_SET))
    status = zip_failed(file, "a damaged entry", zip_file_strerror(entry));
  if (status == MAE_OK)
    status = convert(file, entry, t->element, t->last - t->first + 1, into);
  if (status == MAE_OK && !t->first && (t->last + 1) * each == bytes)
    status = check_end(file, entry);
  zip_fclose(entry);
  return status;
}

static bool is_contiguous(const mae_torch_tensor *t) {
  int64_t expected = 1;
  for (int64_t i = t->ndim; i-- > 0;) {
    if (t->shape[i] != 1 && t->stride[i] != expected) return false;
    expected *= t->shape[i];
  }
  return true;
}

/* Put the elements that lie `stride` apart in row-major order. */
static void gather(const mae_torch_tensor *t, const float *from, float *into) {
  int64_t size[MAE_MAX_DIMS] = {1, 1, 1, 1}, step[MAE_MAX_DIMS] = {0};
  for (int64_t i = 0; i < t->ndim; i++) {
    size[MAE_MAX_DIMS - t->ndim + i] = t->shape[i];
    step[MAE_MAX_DIMS - t->ndim + i] = t->stride[i];
  }
  for (int64_t a = 0; a < size[0]; a++)
    for (int64_t b = 0; b < size[1]; b++)
      for (int64_t c = 0; c < size[2]; c++)
        for (int64_t d = 0; d < size[3]; d++)
          *into++ = from[a * step[0] + b * step[1] + c * step[2] + d * step[3]];
}

mae_status mae_torch_read(mae_torch_file *file, const mae_torch_tensor *tensor,
                          float *into) {
  if (!tensor->count) return MAE_OK;
  if (is_contiguous(tensor)) return read_span(file, tensor, into);
  float *span =
      mae_calloc((size_t)(tensor->last - tensor->first + 1), sizeof *span);
  if (!span) return MAE_ERROR_OUT_OF_MEMORY;
  mae_status status = read_span(file, tensor, span);
  if (status == MAE_OK) gather(tensor, span, into);
  free(span);
  return status;
}

#else /* built with ZIP=none */

mae_status mae_torch_open(const char *path, mae_torch_file **file) {
  (void)file;
  return mae_fail(MAE_ERROR_UNSUPPORTED,
                  "%s: this libmae was built without libzip, which PyTorch's "
                  "files need",
                  path);
}

/* No file can be open, so the rest is never reached. */
void mae_torch_close(mae_torch_file *file) { (void)file; }

int32_t mae_torch_count(const mae_torch_file *file) {
  (void)file;
  return 0;
}

const mae_torch_tensor *mae_torch_tensor_at(const mae_torch_file *file,
                                            int32_t i) {
  (void)file, (void)i;
  return NULL;
}

mae_status mae_torch_read(mae_torch_file *file, const mae_torch_tensor *tensor,
                          float *into) {
  (void)file, (void)tensor, (void)into;
  return mae_fail(MAE_ERROR_UNSUPPORTED, "built without libzip");
}

#endif
