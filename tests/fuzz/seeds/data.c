#include <archive.h>
#include <archive_entry.h>
#include <string.h>
#include <zlib.h>

#include "common/input.h"
#include "seeds/seeds.h"

/* ----------------------------------------------------------------- idx --- */

static void put_idx(const char *name, const void *data, size_t size) {
  char zipped[64];
  snprintf(zipped, sizeof zipped, "%s.gz", name);
  seed_put("idx", name, data, size);
  gzFile out = gzopen(seed_path("idx", zipped), "wb9");
  REQUIRE(out && gzwrite(out, data, (unsigned)size) == (int)size);
  REQUIRE(gzclose(out) == Z_OK);
}

static void put_idx_files(void) {
  static const unsigned char grey[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0,
                                       0, 2, 0, 0, 0, 1, 9, 8, 7, 6};
  static const unsigned char colour[] = {0, 0, 8, 4, 0, 0, 0, 1, 0, 0, 0, 1,
                                         0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3};
  static const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 7, 1};
  put_idx("grey", grey, sizeof grey);
  put_idx("colour", colour, sizeof colour);
  put_idx("labels", labels, sizeof labels);
}

/* ----------------------------------------------------------------- tar --- */

/* A PNG of one grey pixel. */
static const unsigned char pixel[] = {
    0x89, 'P', 'N', 'G',  '\r', '\n', 0x1a, '\n', 0,    0, 0, 13,
    'I',  'H', 'D', 'R',  0,    0,    0,    1,    0,    0, 0, 1,
    8,    0,   0,   0,    0,    0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0,
    10,   'I', 'D', 'A',  'T',  8,    0xd7, 0x63, 0x60, 0, 0, 0,
    2,    0,   1,   0xe2, 0x21, 0xbc, 0x33, 0,    0,    0, 0, 'I',
    'E',  'N', 'D', 0xae, 0x42, 0x60, 0x82};

static void add(struct archive *a, const char *name, unsigned type,
                const void *data, size_t size) {
  struct archive_entry *e = archive_entry_new();
  archive_entry_set_pathname(e, name);
  archive_entry_set_filetype(e, type);
  archive_entry_set_perm(e, 0644);
  archive_entry_set_size(e, (la_int64_t)size);
  if (type == AE_IFLNK) archive_entry_set_symlink(e, "a.png");
  REQUIRE(archive_write_header(a, e) == ARCHIVE_OK);
  if (size) REQUIRE(archive_write_data(a, data, size) == (la_ssize_t)size);
  archive_entry_free(e);
}

static void put_tar(const char *name, int format) {
  char longer[160];
  memset(longer, 'n', sizeof longer);
  strcpy(longer + sizeof longer - 5, ".png");
  struct archive *a = archive_write_new();
  archive_write_set_format(a, format);
  archive_write_set_bytes_in_last_block(a, 1);
  REQUIRE(archive_write_open_filename(a, seed_path("tar", name)) == ARCHIVE_OK);
  add(a, "a.png", AE_IFREG, pixel, sizeof pixel);
  add(a, "b.cls", AE_IFREG, "7", 1);
  add(a, "link.png", AE_IFLNK, NULL, 0);
  if (format != ARCHIVE_FORMAT_TAR_USTAR)
    add(a, longer, AE_IFREG, pixel, sizeof pixel);
  REQUIRE(archive_write_close(a) == ARCHIVE_OK);
  archive_write_free(a);
}

/* ---------------------------------------------------------------- list --- */

static void put_lists(void) {
  static const char lines[] = "a/1.jpg\r\n\n/b.png\nlast one.webp";
  static const char zeros[] = "a\0b c\0\0d\n";
  seed_put("list", "lines", lines, sizeof lines - 1);
  seed_put("list", "zeros", zeros, sizeof zeros - 1);
}

void seed_data(void) {
  put_idx_files();
  put_tar("ustar", ARCHIVE_FORMAT_TAR_USTAR);
  put_tar("pax", ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE);
  put_tar("gnu", ARCHIVE_FORMAT_TAR_GNUTAR);
  put_lists();
}
