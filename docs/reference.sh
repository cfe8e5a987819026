#!/bin/sh
# Makes the reference of the public headers: docs/reference.sh OUT.  Fails when
# Doxygen warns, as of a call or a field without text, or when it lost a name.
set -eu
rm -rf "$1"
mkdir -p "$1"
# The filter must leave the code alone.
awk -f docs/reference.awk include/libmae/mae.h | ${CC:-cc} -fsyntax-only -x c -
awk -f docs/reference.awk include/libmae/mae.hpp |
  ${CXX:-c++} -std=c++11 -Iinclude -fsyntax-only -x c++ -
(cat docs/Doxyfile && echo "OUTPUT_DIRECTORY = $1") | doxygen -
for name in $(grep -oE '\bmae_[a-z0-9_]+ ?\(' include/libmae/mae.h | tr -d ' (' | sort -u); do
  grep -rqE "<name>$name</name>" "$1/xml" || { echo "not in the reference: $name" >&2; exit 1; }
done
echo "$1/html/index.html"
