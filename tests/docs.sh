#!/bin/sh
# The manual pages: sound, in step with the tool, and their program runs; the
# documents' links.  tests/docs.sh BUILD_FOLDER
. "$(dirname "$0")/tool/lib.sh"
pages=$top/docs/man

wrong() {
  echo "FAILED, $*"
  exit 1
}

# ------------------------------------------------------------------- form --
for page in mae.1 libmae.3; do
  expect 0 mandoc -T lint -W warning "$pages/$page"
  expect 0 env LC_ALL=C.UTF-8 man --warnings -l "$pages/$page"
  silent
done

# ------------------------------------------------------------------ flags --
# section NAME: what mae.1 has under this heading.
section() {
  awk -v heading=".Ss $1" '/^\.S[sh] / { on = $0 == heading } on' "$pages/mae.1"
}
# documented COMMAND: flags of its section, and of those it refers to with
# "Also the options of".
documented() {
  section "$1" >own
  sed -n '/^Also the options/,$s/^\.Sx \(.*[^ .]\) *\.*$/\1/p' own |
    while read -r other; do section "$other"; done | cat own - | flags_of_page
}
flags_of_page() {
  grep '^\.It Fl' | sed 's/Fl Fl /--/g; s/Fl /-/g' | flags
}
flags() {
  grep -oE '(^| )(--[a-z][-a-z0-9]*|-[a-zA-Z0-9]\b)' | tr -d ' ' | sort -u
}

commands=$(mae --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
[ "$(echo "$commands" | wc -l)" -ge 6 ] || wrong "too few commands"
for command in $commands; do
  expect 0 mae "$command" --help
  # --help itself, and -h, are of every command.
  { echo "-h, --help" && sed -n 's/^ \{1,8\}\(-[^ ].*\)/\1/p' out; } |
    sed 's/  .*//' | flags >printed
  documented "$command" >page
  [ -s page ] || wrong "mae.1 has no section on $command"
  checks=$((checks + 1))
  diff printed page >different ||
    wrong "$command: --help has <, mae.1 has >:" "$(grep '^[<>]' different)"
done
# And no command that there is not.
section_names=$(sed -n 's/^\.Ss \([a-z]*\)$/\1/p' "$pages/mae.1" | sort)
[ "$section_names" = "$(echo "$commands" | sort)" ] ||
  wrong "mae.1 has other commands: $section_names"

# ------------------------------------------------------------------ links --
(cd "$top" && grep -oE '\]\([^):#]+' README.md CHANGELOG.md docs/*.md) >links
[ -s links ] || wrong "no links"
while IFS=: read -r from to; do
  checks=$((checks + 1))
  to=${to#"]("}
  [ -e "$top/$(dirname "$from")/$to" ] || wrong "$from links to $to"
done <links

# ----------------------------------------------------------------- errors --
for name in $(grep -oE '\bMAE_ERROR_[A-Z_]+ = ' "$top/include/libmae/mae.h"); do
  [ "$name" = "=" ] || grep -q "^.It Dv $name$" "$pages/libmae.3" ||
    wrong "libmae.3 lacks $name"
done

# ---------------------------------------------------------------- program --
expect 0 helper model model.safetensors colour
expect 0 helper image photo.png 3 60 40
expect 0 helper features want model.safetensors class photo.png
helper text want >want.txt
expect 0 "$build/examples/man" model.safetensors photo.png
silent
cmp -s out want.txt || wrong "the program's features"
expect 1 "$build/examples/man" missing photo.png

echo "docs: $checks checks, all as they should be"
