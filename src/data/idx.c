/* IDX files of unsigned bytes: two zeros, type 8, the number of dimensions,
 * each dimension as a big-endian 32-bit number, then the bytes. */
#include "base/memory.h"

#include <stdlib.h>

struct mae_idx {
  int32_t ndim;
  int64_t dims[4];
  uint8_t *data;
};

#ifdef MAE_HAVE_ZLIB

#include <errno.h>
#include <unistd.h>
#include <zlib.h>

#include "io/atomic_file.h"
#include "io/regular_file.h"

static mae_status bad(const char *path, const char *what) {
  return mae_fail(MAE_ERROR_FORMAT, "%s: %s", path, what);
}

static mae_status read_bytes(gzFile in, const char *path, void *into,
                             unsigned size) {
  int n = gzread(in, into, size), error = Z_OK;
  if (n == (int)size) return MAE_OK;
  const char *text = gzerror(in, &error);
  if (error == Z_ERRNO) return mae_io_fail("read", path, errno);
  if (error == Z_MEM_ERROR) return mae_io_fail("read", path, ENOMEM);
  return bad(path,
             n < 0 && error != Z_BUF_ERROR ? text : "the file is truncated");
}

static mae_status read_header(gzFile in, const char *path, mae_idx *idx,
                              int64_t *size) {
  uint8_t magic[4], dim[4];
  MAE_TRY(read_bytes(in, path, magic, sizeof magic));
  if (magic[0] || magic[1] || magic[2] != 8 || magic[3] < 1 || magic[3] > 4)
    return bad(path, "not an IDX file of bytes in 1 to 4 dimensions");
  idx->ndim = magic[3];
  *size = 1;
  for (int32_t i = 0; i < idx->ndim; i++) {
    MAE_TRY(read_bytes(in, path, dim, sizeof dim));
    idx->dims[i] = (int64_t)dim[0] << 24 | dim[1] << 16 | dim[2] << 8 | dim[3];
    if (!mae_mul(*size, idx->dims[i], size))
      return bad(path, "dimensions that overflow");
  }
  return MAE_OK;
}

/* Memory grows with what was really read: a header may lie. */
static mae_status read_data(gzFile in, const char *path, mae_idx *idx,
                            int64_t size) {
  const int64_t piece = 1 << 24;
  for (int64_t have = 0; have < size || !idx->data;) {
    int64_t take = size - have < piece ? size - have : piece;
    uint8_t *grown = mae_realloc(idx->data, (size_t)(have + take), 1);
    if (!grown) return MAE_ERROR_OUT_OF_MEMORY;
    idx->data = grown;
    MAE_TRY(read_bytes(in, path, grown + have, (unsigned)take));
    have += take;
  }
  /* Reading on to the end has zlib check the sum of a gzipped file. */
  uint8_t more;
  int n = gzread(in, &more, 1), error = Z_OK;
  gzerror(in, &error);
  if (error == Z_ERRNO) return mae_io_fail("read", path, errno);
  if (n > 0) return bad(path, "more data than its dimensions say");
  return n || error != Z_OK ? bad(path, "the compressed data are corrupt")
                            : MAE_OK;
}

static mae_status load(gzFile in, const char *path, mae_idx *idx) {
  int64_t size = 0;
  MAE_TRY(read_header(in, path, idx, &size));
  return read_data(in, path, idx, size);
}

static mae_status open_stream(const char *path, gzFile *in) {
  int fd;
  int64_t size;
  MAE_TRY(mae_open_regular(path, &fd, &size));
  if ((*in = gzdopen(fd, "rb"))) return MAE_OK;
  close(fd);
  return mae_io_fail("open", path, ENOMEM);
}

mae_status mae_idx_load(const char *path, mae_idx **out) {
  MAE_REQUIRE(path);
  MAE_REQUIRE(out);
  mae_idx *idx = mae_calloc(1, sizeof *idx);
  if (!idx) return MAE_ERROR_OUT_OF_MEMORY;
  gzFile in = NULL;
  mae_status status = open_stream(path, &in);
  if (status == MAE_OK) status = load(in, path, idx);
  if (in) gzclose_r(in);
  if (status != MAE_OK) {
    mae_idx_destroy(idx);
    return status;
  }
  *out = idx;
  return MAE_OK;
}

#else

mae_status mae_idx_load(const char *path, mae_idx **out) {
  (void)path, (void)out;
  return mae_fail(MAE_ERROR_UNSUPPORTED, "this libmae was built without zlib");
}

#endif

void mae_idx_destroy(mae_idx *idx) {
  if (!idx) return;
  free(idx->data);
  free(idx);
}

int32_t mae_idx_ndim(const mae_idx *idx) { return idx ? idx->ndim : 0; }

int64_t mae_idx_dim(const mae_idx *idx, int32_t axis) {
  return idx && axis >= 0 && axis < idx->ndim ? idx->dims[axis] : 0;
}

const uint8_t *mae_idx_data(const mae_idx *idx) {
  return idx ? idx->data : NULL;
}
