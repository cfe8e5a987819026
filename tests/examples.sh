#!/bin/sh
# The examples as a user runs them.  tests/examples.sh BUILD_FOLDER
. "$(dirname "$0")/tool/lib.sh"
examples=$build/examples

expect 0 helper model model.safetensors colour
mkdir photos
for seed in 1 2 3 4 5 6 7; do
  expect 0 helper image photos/$seed.png $seed 60 40
done
echo "not an image" >photos/notes
echo "not an image" >text

# A number a line, those of the library.
expect 0 helper features want model.safetensors class photos/3.png
helper text want >want.txt
expect 0 "$examples/features" model.safetensors photos/3.png
silent
cmp -s out want.txt || { echo "FAILED, features:"; head -n 3 out want.txt; exit 1; }
expect 1 "$examples/features" model.safetensors text
said '^text: '
expect 1 "$examples/features" text photos/3.png
said 'text'
expect 2 "$examples/features" model.safetensors

# A line an image: its path, then the numbers.
expect 0 helper features want model.safetensors mean photos/1.png
helper text want | tr '\n' ' ' | sed 's|^|photos/1.png |; s| $||' >want.txt
echo >>want.txt
expect 0 helper features want model.safetensors mean photos/2.png
helper text want | tr '\n' ' ' | sed 's|^|photos/2.png |; s| $||' >>want.txt
echo >>want.txt
expect 0 "$examples/features_cpp" model.safetensors photos/1.png photos/2.png
silent
cmp -s out want.txt || { echo "FAILED, features_cpp:"; cat out want.txt; exit 1; }
expect 1 "$examples/features_cpp" model.safetensors text
said .
expect 1 "$examples/features_cpp" missing.safetensors photos/1.png
said 'missing.safetensors'

# An image is most like itself; the cosines go down.
for seed in 2 6; do
  expect 0 "$examples/search" model.safetensors photos photos/$seed.png 4
  said 'photos/notes: '
  head -n 1 out | grep -q "^1.0000 photos/$seed.png$" || { cat out; exit 1; }
  [ "$(wc -l <out)" = 4 ] || { echo "FAILED, not 4 lines"; cat out; exit 1; }
  sort -s -n -r -k 1,1 out | cmp -s - out || { echo "FAILED, order"; cat out; exit 1; }
  [ "$(cut -d ' ' -f 1 out | sort -u | wc -l)" -gt 1 ] || { cat out; exit 1; }
done
expect 0 "$examples/search" model.safetensors photos photos/1.png 100
[ "$(wc -l <out)" = 7 ] || { echo "FAILED, not 7 lines"; cat out; exit 1; }
expect 1 "$examples/search" model.safetensors photos text
expect 1 "$examples/search" model.safetensors nowhere photos/1.png
expect 2 "$examples/search" model.safetensors photos photos/1.png 0

# Three frames through a pipe that cuts them up.
frames="photos/5.png photos/1.png photos/7.png"
expect 0 helper frames frames.rgb $frames
expect 0 helper features want model.safetensors class $frames
filter() { "$examples/filter" model.safetensors "$@"; }
pieces() { dd if="$1" bs=1000 2>/dev/null; }
pieces frames.rgb | filter 60 40 >features.f32 || { echo "FAILED, filter"; exit 1; }
expect 0 helper same features.f32 want
# One frame in gives one out before the next comes.
mkfifo in
filter 60 40 <in >slow.f32 &
exec 3>in
head -c 7200 frames.rgb >&3
tries=0
until [ "$(wc -c <slow.f32)" = 192 ] || [ $tries -gt 300 ]; do
  sleep 0.1
  tries=$((tries + 1))
done
[ "$(wc -c <slow.f32)" = 192 ] || { echo "FAILED, a frame waits"; exit 1; }
exec 3>&-
wait $! || { echo "FAILED, filter"; exit 1; }
head -c 15000 frames.rgb >cut.rgb
expect 1 sh -c "'$examples/filter' model.safetensors 60 40 <cut.rgb"
said 'cut short'
[ "$(wc -c <out)" = 384 ] || { echo "FAILED, not two frames"; exit 1; }
expect 1 sh -c "'$examples/filter' model.safetensors 60 40 <frames.rgb >/dev/full"
said 'stdout'
expect 2 filter 60

echo "examples: $checks checks, all as they should be"
