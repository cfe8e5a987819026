#!/bin/sh
# Adds the header's new calls to libmae0.symbols: debian/symbols.sh VERSION,
# the release they will first be in.
set -eu
file=debian/libmae0.symbols
for name in $(grep -o 'mae_[a-z0-9_]*(' include/libmae/mae.h | tr -d '(' | sort -u); do
  grep -q "^ $name@" $file || echo " $name@LIBMAE_0 $1"
done >$file.new
(grep -v '^ ' $file && grep -h '^ ' $file $file.new | LC_ALL=C sort) >$file.all
mv $file.all $file
rm $file.new
