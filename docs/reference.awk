# Turns the headers' plain comments into Doxygen's while `make docs` runs, so
# that mae.h is written for those who read mae.h.  What it goes by:
#  - /* ---- title ---- */ begins a group; a comment followed by an empty line
#    is about the group (above the first one: about the file);
#  - a comment above a declaration is its text, and that of declarations right
#    below it that have none of their own;
#  - a comment behind a field is its text, and that of all fields of its line;
#  - *_destroy, *_options, *_options_init and struct_size are as the header's
#    conventions say;
#  - a class or member of the C++ wrapper without comment is what it wraps.

# ------------------------------------------------------------ comments ----

# A line of comment: nothing in it is a command or a tag; text set apart by
# three spaces, unless it goes on with an item of a list, is shown as it is.
function text(line, apart, end) {
  end = line ~ /\*\/ *$/
  sub(/ *\*\/ *$/, "", line)
  if (line ~ /^ *\*? +- /) in_list = 1
  else if (line ~ /^ \*( ?[^ ]|$)/) in_list = 0
  apart = line ~ /^ \*    *[^ ]/ && !in_list
  if (!apart) {
    gsub(/\\/, "\\\\", line)
    gsub(/[@<>]/, "\\\\&", line)
    gsub(/ \.\. /, "..", line)
  }
  if (apart) sub(/^ \*/, "", line)
  if (apart && !verbatim) line = " * \\verbatim\n" line
  if (!apart && verbatim) line = "\\endverbatim\n" line
  if (apart && end) line = line "\n\\endverbatim"
  verbatim = apart && !end
  return line (end ? " */" : "")
}

function begin_comment() {
  in_list = verbatim = 0
}

# What the comment collected last is about stands right below it, or nowhere.
function take_comment(taken) {
  taken = comment
  comment = ""
  return taken
}

function stands_alone(taken) {
  if (comment == "") return
  taken = take_comment()
  if (group == "") {
    if (FILENAME ~ /\.h$/) {
      print "/** @file */"
      sub(/\/\*\*/, "/** @mainpage\n *", taken)
    }
    sub(/\/\*\*\n/, "/** @file\n", taken)
    print taken
    return
  }
  sub(/\/\*\*/, "/** @addtogroup " group "\n *", taken)
  print "/** @} */\n" taken "\n/** @{ */"
}

function close_group() {
  if (group != "") print "/** @} */"
  group = inherited = ""
}

function open_group(title) {
  close_group()
  group = title
  gsub(/[^a-z0-9]+/, "_", group)
  printf "/** @defgroup %s %s%s */\n/** @{ */\n", group, \
         toupper(substr(title, 1, 1)), substr(title, 2)
}

# --------------------------------------------------------- declarations ----

function called(line) {
  return match(line, /mae_[a-z0-9_]+\([^)]/) ? substr(line, RSTART, RLENGTH - 2) : ""
}

function of_conventions(line, name) {
  name = called(line)
  if (name ~ /_destroy$/) return "/** Releases it; destroying NULL does nothing. */"
  if (name ~ /_options_init$/)
    return "/** Fills with defaults; struct_size is the sizeof of the struct. */"
  if (match(line, /^typedef struct mae_[a-z_]*_options/))
    return "/** Options, first filled with defaults by " substr(line, 16, RLENGTH - 15) "_init(). */"
  return ""
}

function declare(line, own) {
  own = take_comment()
  if (own != "") inherited = own
  else own = of_conventions(line)
  if (own == "" && line ~ /^MAE_API/) own = inherited
  if (own != "") print own
  if (called(line) ~ /_(destroy|init)$/ || line !~ /^MAE_API/) inherited = ""
}

# A field each of "int32_t a, *b;", with its text above.
function fields(line, about, type, names, n, i) {
  sub(/;[^;]*$/, "", line)
  if (line ~ /[(=]/ || line !~ /,/) n = split(line, names, "\n")
  else n = split(line, names, /, */)
  match(names[1], /^ *(const )?[a-z_0-9]+ /)
  type = substr(names[1], 1, RLENGTH)
  for (i = 1; i <= n; i++) {
    if (about != "") print about
    print (i > 1 ? type : "") names[i] ";"
  }
}

# What a member of the C++ wrapper calls.
function calls_of(body, calls, name) {
  calls = ""
  while ((name = called(body)) != "") {
    if (index(calls, name "()") == 0) calls = calls (calls == "" ? "" : ", ") name "()"
    body = substr(body, index(body, name "(") + length(name))
  }
  return calls == "" ? "" : "/** " calls " */"
}

# ---------------------------------------------------------------- lines ----

# The rest of a member of the C++ wrapper.
in_body {
  body = body "\n" $0
  if ($0 !~ end_of_body && !/\{}$/) next
  if (body_comment == "") body_comment = calls_of(body)
  if (body_comment != "") print body_comment
  print body
  in_body = 0
  next
}
in_above {
  comment = comment "\n" text($0)
  in_above = !/\*\/ *$/
  next
}
in_behind {
  behind = behind "\n" text($0)
  in_behind = !/\*\/ *$/
  if (!in_behind) fields(code, above behind)
  next
}
/^\/\* -+ .* -+ \*\/$/ {
  title = $0
  gsub(/^\/\* -+ | -+ \*\/$/, "", title)
  stands_alone()
  open_group(title)
  next
}
/^ *\/\*/ {
  stands_alone()
  begin_comment()
  match($0, /^ *\/\*/)
  comment = substr($0, 1, RLENGTH) "*" text(substr($0, RLENGTH + 1))
  in_above = !/\*\/ *$/
  next
}
/^$|^#ifndef/ {
  stands_alone()
  inherited = ""
  print
  next
}
/^} \/\* namespace|^#ifdef __cplusplus/ { close_group() }

# The C++ wrapper.
/^ protected:/ { print "/** @cond */"; hidden = 1 }
/^ (public|private):|^};/ && hidden { print "/** @endcond */"; hidden = 0 }
/^ public:/ { in_public = 1 }
/^ (protected|private):|^};/ { in_public = 0 }
(in_public && /^  [A-Za-z~]/) || /^inline / {
  body_comment = take_comment()
  body = $0
  end_of_body = in_public ? "^  }" : "^}"
  in_body = !/[};]$/
  if (in_body) next
  if (body_comment == "") body_comment = calls_of(body)
  if (body_comment != "") print body_comment
  print
  next
}
/^class .*Handle<mae_/ && comment == "" {
  match($0, /mae_[a-z_]+/)
  comment = "/** Owns a handle, " substr($0, RSTART, RLENGTH) ". */"
}

# The C header.
/^(MAE_API|typedef|#define MAE_[A-Z_]+|class|template) ?/ { declare($0) }
/^typedef struct .*{$/ { in_struct = 1 }
/^}/ { in_struct = 0 }
/^  .*\/\*/ {
  begin_comment()
  match($0, / *\/\*/)
  code = substr($0, 1, RSTART - 1)
  behind = "  /**" text(substr($0, RSTART + RLENGTH))
  above = comment == "" ? "" : take_comment() "\n" # a heading among fields
  in_behind = !/\*\/ *$/
  if (code ~ /;$/) { if (!in_behind) fields(code, above behind); next }
  in_behind = 0
  print code " /**<" text(substr($0, RSTART + RLENGTH))
  next
}
/^  size_t struct_size;$/ && comment == "" {
  comment = "  /** The sizeof of this struct. */"
}
in_struct && /^  .*;$/ { fields($0, take_comment()); next }
/^(MAE_API|#define) .*\/\*/ { sub(/\/\*/, "/**<") }
{
  if (comment != "") print take_comment()
  print
}
END { close_group() }
