#!/bin/sh
# Installs a copy into a temporary folder and uses it from outside the tree,
# by pkg-config alone: the README's C program, a C++ program, shared and static.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$top"
make -s install PREFIX="$tmp/usr" >/dev/null
make -s install DESTDIR="$tmp/staged" PREFIX=/usr >/dev/null
test -e "$tmp/staged/usr/lib/libmae.so" -a -e "$tmp/staged/usr/include/libmae/mae.h"
grep -q '^prefix=/usr$' "$tmp/staged/usr/lib/pkgconfig/libmae.pc"

sed -n '/^```c$/,/^```$/p' README.md | sed '/^```/d' >"$tmp/pretrain.c"
cp tests/installed.cpp tests/wrapper.cpp "$tmp"
cd "$tmp"
export PKG_CONFIG_PATH="$tmp/usr/lib/pkgconfig" LD_LIBRARY_PATH="$tmp/usr/lib"
cc -std=c99 -pedantic -Wall -Wextra -Werror pretrain.c $(pkg-config --cflags --libs libmae) -o shared
cc -std=c99 pretrain.c $(pkg-config --cflags libmae) "$tmp/usr/lib/libmae.a" \
  $(pkg-config --static --libs libmae | sed 's/-lmae//') -o static
c++ -Wall -Wextra -Werror installed.cpp $(pkg-config --cflags --libs libmae) -o cxx
c++ -std=c++11 -pedantic -Wall -Wextra -Werror wrapper.cpp $(pkg-config --cflags --libs libmae) -o wrapper
usr/bin/mae --version | grep -q "^mae $(pkg-config --modversion libmae)$"
test -e "$tmp/staged/usr/share/man/man1/mae.1" -a -e "$tmp/staged/usr/share/man/man3/libmae.3"
test -x "$tmp/staged/usr/bin/mae" -a -e "$tmp/staged/usr/include/libmae/mae.hpp"
for program in shared static cxx wrapper; do
  ./$program >$program.out || { cat $program.out; echo "$program failed"; exit 1; }
done
ldd shared | grep -q 'libmae.so.0 =>'
if ldd static | grep -q libmae; then echo "static is not"; exit 1; fi
# Only the public names are exported.
if nm -D --defined-only usr/lib/libmae.so | awk '$2 != "A" {print $3}' | sed 's/@.*//' |
  grep -v '^mae_' | grep .; then echo "exported by mistake"; exit 1; fi
for name in $(grep -o 'mae_[a-z0-9_]*(' "$top/include/libmae/mae.h" | tr -d '(' | sort -u); do
  nm -D --defined-only usr/lib/libmae.so | grep -q " $name@" || { echo "$name is not exported"; exit 1; }
  grep -q "^ $name@LIBMAE_0 " "$top/debian/libmae0.symbols" || { echo "debian/libmae0.symbols lacks $name: make symbols"; exit 1; }
done
echo "install: C, C++, static, exports and the tool as they should be"
