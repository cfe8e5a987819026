# What tests/tool.sh and tests/examples.sh share.  Sourced with $1 the build
# folder; makes and later removes $tmp, and works in it.
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
build=$top/$1
data=$top/tests/data
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp" || exit 1
checks=0

mae() { "$build/mae" "$@"; }
helper() { "$build/tool_helper" "$@"; }

# expect STATUS COMMAND...: run it, its output in $tmp/out and $tmp/err.
expect() {
  want=$1
  shift
  checks=$((checks + 1))
  "$@" >"$tmp/out" 2>"$tmp/err"
  got=$?
  [ "$got" = "$want" ] && return
  echo "FAILED, status $got instead of $want: $*"
  cat "$tmp/out" "$tmp/err"
  exit 1
}

# said PATTERN: a line of the errors of the last command; printed: of its
# output; silent: there were no errors.
said() { look_for err "$1"; }
printed() { look_for out "$1"; }
silent() {
  [ -s "$tmp/err" ] || return 0
  echo "FAILED, unexpected errors:"
  cat "$tmp/err"
  exit 1
}
look_for() {
  checks=$((checks + 1))
  grep -q -e "$2" "$tmp/$1" && return
  echo "FAILED, no \"$2\" in:"
  cat "$tmp/$1"
  exit 1
}

# absent FILE...: none is there.
absent() {
  checks=$((checks + 1))
  for file in "$@"; do
    [ -e "$file" ] || continue
    echo "FAILED, $file is there"
    exit 1
  done
}

# lines FILE LINE...: these and no others.
lines() {
  checks=$((checks + 1))
  file=$1
  shift
  printf '%s\n' "$@" | cmp -s - "$file" && return
  echo "FAILED, $file should be: $*"
  cat "$file"
  exit 1
}

# same_file FILE FILE
same_file() {
  checks=$((checks + 1))
  cmp -s "$1" "$2" && return
  echo "FAILED, $1 is not $2"
  exit 1
}

# The numbers of a run that do not depend on its speed.
numbers() { sed 's/, "images_per_second.*//' "$1/metrics.jsonl"; }
