#!/bin/sh
# The hardening flags, as they show in what was built:
#   sh tests/hardening.sh BUILD 'FLAGS THAT THE OBJECTS WERE COMPILED WITH'
set -eu
build=$1 flags=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() { echo "hardening: $*"; exit 1; }
has() { # has FILE OPTION PATTERN WHAT
  readelf -W "$2" "$1" >"$tmp/out" 2>/dev/null
  grep -Eq "$3" "$tmp/out" || fail "$1 has no $4"
}
lacks() { # lacks FILE OPTION PATTERN WHAT
  readelf -W "$2" "$1" >"$tmp/out" 2>/dev/null
  if grep -Eq "$3" "$tmp/out"; then fail "$1 has $4"; fi
}

for file in "$build/libmae.so.0" "$build/mae"; do
  has "$file" -l 'GNU_RELRO' 'read-only relocations'
  has "$file" -d 'BIND_NOW|Flags:.* NOW' 'immediate binding'
  has "$file" -l 'GNU_STACK.* RW ' 'stack without execution'
  lacks "$file" -l 'LOAD.* RWE ' 'memory both writable and executable'
  lacks "$file" -d 'TEXTREL' 'relocations in its code'
  lacks "$file" -d 'RPATH|RUNPATH' 'a path of this machine'
done
has "$build/mae" -h 'Type: *DYN' 'changing place in memory (PIE)'
has "$build/mae" -d 'Flags:.*PIE' 'PIE flag'

case $flags in
*-fstack-protector-strong*)
  for file in "$build/libmae.so.0" "$build/mae"; do
    has "$file" --dyn-syms '__stack_chk_fail' 'stack protector'
  done ;;
esac
case $flags in
*_FORTIFY_SOURCE*)
  for file in "$build/libmae.so.0" "$build/mae"; do
    has "$file" --dyn-syms '__[a-z]*printf_chk' 'fortified calls'
  done ;;
esac
# Each object by itself: what is linked to it may lack the mark.
case $flags in
*-fcf-protection*)
  # Older ones are of sources that are gone.
  find "$build" -name '*.o' -newer "$build/flags" | grep -v "^$build/tests" >"$tmp/objects"
  while read -r object; do
    has "$object" -n 'x86 feature: IBT, SHSTK' 'control-flow marks'
  done <"$tmp/objects"
  [ "$(wc -l <"$tmp/objects")" -gt 50 ] || fail "no objects in $build" ;;
esac
# Probes of the stack leave no name behind; gcc writes its flags down (-g).
case $flags in
*-fstack-clash-protection*)
  readelf -W --debug-dump=info "$build/libmae.so.0" 2>/dev/null |
    grep DW_AT_producer | grep GNU >"$tmp/gcc" || true
  if grep -v -e '-fstack-clash-protection' "$tmp/gcc" | grep -v 'GNU AS'; then
    fail "compiled without stack clash protection"
  fi ;;
esac
echo "hardening: relro, now, noexecstack, pie; $flags"
