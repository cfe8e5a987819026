#!/bin/sh
# The headers alone, as the first thing an application includes, by each
# compiler there is.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
strict='-pedantic -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -fsyntax-only -Iinclude'
loose=$(echo "$strict" | sed 's/-Wstrict-prototypes//')
echo '#include <libmae/mae.h>
int unused(void);' >"$tmp/c.c"
cp "$tmp/c.c" "$tmp/c.cpp"
echo '#include <libmae/mae.hpp>' >"$tmp/wrapper.cpp"
seen=
for cc in gcc clang; do
  command -v $cc >/dev/null || continue
  for std in c99 c11 c17; do $cc -std=$std $strict "$tmp/c.c"; done
  for std in c++98 c++11 c++17; do
    $cc -std=$std -Wundef $loose "$tmp/c.cpp"
  done
  for std in c++11 c++17; do $cc -std=$std $loose "$tmp/wrapper.cpp"; done
  seen="$seen $cc"
done
[ -n "$seen" ] || { echo "header: no compiler"; exit 1; }
echo "header: self-contained in C99 and C++98 to 17, by$seen"
