#include "tool/confusion.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tool/text_file.h"

enum { MOST_NAME = 12, COLUMN = 6 };

/* A name cut to its column; continuation bytes of UTF-8 take no room. */
static void print_name(const char *name, int room, bool right) {
  int shown = 0, bytes = 0;
  for (; name[bytes]; bytes++) {
    const bool begins = ((unsigned char)name[bytes] & 0xc0) != 0x80;
    if (begins && shown == room) break;
    shown += begins;
  }
  printf("%*s%.*s%*s", right ? room - shown : 0, "", bytes, name,
         right ? 0 : room - shown, "");
}

void confusion_print(const mae_evaluation *e, const class_names *names) {
  printf("\n");
  print_name("true \\ told", MOST_NAME, false);
  for (int32_t c = 0; c < names->count; c++) {
    printf(" ");
    print_name(class_label_of(names, c).text, COLUMN, true);
  }
  for (int32_t t = 0; t < names->count; t++) {
    printf("\n");
    print_name(class_label_of(names, t).text, MOST_NAME, false);
    for (int32_t c = 0; c < names->count; c++)
      printf(" %*" PRId64, COLUMN, mae_evaluation_confusion(e, t, c));
  }
  printf("\n");
}

/* ----------------------------------------------------------------- CSV --- */

/* RFC 4180: quoted where it must be, quotes doubled. */
static void add_field(text *t, const char *plain) {
  if (!strpbrk(plain, ",\"\r\n")) {
    text_add(t, "%s", plain);
    return;
  }
  text_add(t, "\"");
  for (; *plain; plain++) text_add(t, *plain == '"' ? "\"\"" : "%c", *plain);
  text_add(t, "\"");
}

static void add_table(text *t, const mae_evaluation *e,
                      const class_names *names) {
  text_add(t, "true \\ told");
  for (int32_t c = 0; c < names->count; c++) {
    text_add(t, ",");
    add_field(t, class_label_of(names, c).text);
  }
  for (int32_t row = 0; row < names->count; row++) {
    text_add(t, "\n");
    add_field(t, class_label_of(names, row).text);
    for (int32_t c = 0; c < names->count; c++)
      text_add(t, ",%" PRId64, mae_evaluation_confusion(e, row, c));
  }
  text_add(t, "\n");
}

mae_status confusion_write(const mae_evaluation *e, const class_names *names,
                           const char *path) {
  text t = {NULL, 0, 0, false};
  add_table(&t, e, names);
  mae_status status = text_write(path, &t);
  text_free(&t);
  return status;
}
