#!/bin/sh
# The tool `mae` as a user runs it.  tests/tool.sh BUILD_FOLDER
. "$(dirname "$0")/tool/lib.sh"

expect 0 helper model colour.safetensors colour
expect 0 helper model grey.safetensors grey
expect 0 helper model encoder.safetensors encoder
expect 0 helper model classifier.safetensors classifier
mkdir -p photos/b photos/a/deep
expect 0 helper image photos/a/1.png 1 64 48
expect 0 helper image photos/a/deep/2.jpg 2 40 70
mv photos/a/deep/2.jpg photos/a/deep/2.JPG
expect 0 helper image photos/b/3.webp 3 32 32
expect 0 helper image photos/4.png 4 300 200
expect 0 helper image unnamed 5 50 50
# They are what their names say.
od -An -c -N 10 photos/a/deep/2.JPG | grep -q 'J   F   I   F' || exit 1
od -An -c -N 4 photos/b/3.webp | grep -q 'R   I   F   F' || exit 1
echo "no image" >photos/notes.txt
all="photos/4.png photos/a/1.png photos/a/deep/2.JPG photos/b/3.webp"

# ------------------------------------------------------------ the program --
expect 0 mae --version
printed '^mae [0-9][0-9]*\.[0-9][0-9]*\.[0-9][0-9]*$'
expect 0 mae --help
for command in pretrain finetune features reconstruct probe eval predict plan \
  info convert; do
  expect 0 mae --help
  printed "^  $command "
  expect 0 mae $command --help
  printed "^Usage: mae $command "
  silent
  expect 0 mae $command -h
  printed "^Usage: mae $command "
  expect 0 mae help $command
  printed "^Usage: mae $command "
  expect 2 mae $command --no-such-option
  said "Try: mae $command --help"
done
expect 2 mae
expect 2 mae fetures
said "no command 'fetures'"
expect 1 sh -c "'$build/mae' --help >/dev/full"
said "cannot write"

# --------------------------------------------------------------- features --
# features OUT WHAT OPTIONS: the tool and the library on all images.
features() {
  expect 0 mae features -q -m colour.safetensors $3 photos -o "$1"
  silent
  expect 0 helper features want colour.safetensors "$2" $all
  expect 0 helper same "$1" want
}
features class.npy class ""
expect 0 env MAE_PROFILE=1 "$build/mae" features -q -m colour.safetensors photos \
  -o profiled.npy
said '^part  *op  *pass  *calls  *seconds  *share  *GFLOP/s$'
said '^encoder  *attention  *forward  *[1-9][0-9]*  *[0-9.]*  *[01]\.[0-9]*  *[0-9.]*$'
said '^all '
same_file class.npy profiled.npy
expect 0 env MAE_PROFILE=0 "$build/mae" features -q -m colour.safetensors photos \
  -o profiled.npy
silent
expect 0 env MAE_ISA=portable "$build/mae" features -q -m colour.safetensors photos \
  -o portable.npy
expect 0 helper same portable.npy want
expect 1 env MAE_ISA=abacus "$build/mae" features -q -m colour.safetensors photos \
  -o none.npy
said '^MAE_ISA is abacus, not auto'
expect 0 helper npy class.npy '<f4' '(4, 48)'
lines class.txt $all
features mean.npy mean,l2 "--output mean --l2"
expect 0 helper npy mean.npy '<f4' '(4, 48)'
features tokens.npy tokens "--output tokens --batch 3 --threads 2"
expect 0 helper npy tokens.npy '<f4' '(4, 17, 48)'
features raw.npy tokens,nonorm "--output tokens --no-final-norm"
features attention.npy attention "--output attention --batch 1"
expect 0 helper npy attention.npy '<f4' '(4, 4, 17, 17)'
features blocks.npy tokens,blocks "--output tokens --blocks 0,2,-1"
expect 0 helper npy blocks.npy '<f4' '(4, 3, 17, 48)'
features first.npy first "--blocks 0"
expect 0 helper npy first.npy '<f4' '(4, 48)'
features size.npy tokens,size \
  "--output tokens --image-size 48x32 --crop-ratio 1 --mode throughput --batch 1"
expect 0 helper npy size.npy '<f4' '(4, 25, 48)'
features half.npy half "--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 --map"
features bf16.npy tokens,bf16 "--output tokens --precision bf16"
expect 1 helper same tokens.npy want
features tokens.npy tokens "--output tokens --precision f32"
features f16.npy mean "--output mean --f16"
expect 0 helper npy f16.npy '<f2' '(4, 48)'
features class.safetensors class ""
expect 0 helper tensors class.safetensors F32 '[4, 48]' $all
features tokens.safetensors tokens "--f16 --output tokens"
expect 0 helper tensors tokens.safetensors F16 '[4, 17, 48]' $all
absent class.safetensors.txt ./*.tmp-*

# Not what the same call without the option gives.
expect 1 helper same first.npy want
expect 0 helper features want colour.safetensors class $all
expect 1 helper same half.npy want
expect 1 helper same mean.npy want

# Files as they are named, whatever their names; lists; several folders.
expect 0 mae features -q -m colour.safetensors unnamed photos/b/ photos/a -o some.npy
lines some.txt unnamed photos/b/3.webp photos/a/1.png photos/a/deep/2.JPG
printf 'photos/4.png\n\nunnamed\r\nphotos/b' >list
expect 0 mae features -q -m colour.safetensors photos/a --list list -o listed.npy
lines listed.txt photos/a/1.png photos/a/deep/2.JPG photos/4.png unnamed photos/b/3.webp
expect 0 helper features want colour.safetensors class $(cat listed.txt)
expect 0 helper same listed.npy want
printf 'unnamed\0photos/b/3.webp\0' >list
expect 0 sh -c "'$build/mae' features -q -m colour.safetensors -0 --list - -o listed.npy <list"
lines listed.txt unnamed photos/b/3.webp

printf 'unnamed\nphotos/4.png\n' >list
expect 0 sh -c "'$build/mae' features -q -m colour.safetensors photos/b - photos/a/1.png -o listed.npy <list"
lines listed.txt photos/b/3.webp unnamed photos/4.png photos/a/1.png
printf 'unnamed\0photos/b/3.webp\0' >list
expect 1 mae features -q -m colour.safetensors --list list -o x.npy
said 'null'

# What cannot be read is reported, and the rest is written.
head -c 300 photos/4.png >photos/a/cut.png
: >photos/b/empty.jpg
echo "not an image" >text
expect 1 mae features -q -m colour.safetensors photos text missing.png unnamed -o rest.npy
said '^mae features: photos/a/cut.png: '
said '^mae features: photos/b/empty.jpg: '
said '^mae features: text: '
said '^mae features: missing.png: .*No such file'
said '^mae features: 4 of 9 could not be read$'
[ "$(wc -l <"$tmp/err")" = 5 ] || { echo "FAILED, more said:"; cat err; exit 1; }
lines rest.txt $all unnamed
expect 0 helper npy rest.npy '<f4' '(5, 48)'
expect 0 helper features want colour.safetensors class $all unnamed
expect 0 helper same rest.npy want
expect 1 mae features -m colour.safetensors --verbose --batch 2 photos text -o rest.safetensors
said '^mae features: photos/a/cut.png: '
said '^mae features: text: '
said '^mae features: 4 images in '
said '^mae features: 3 of 7 could not be read$'
expect 0 helper tensors rest.safetensors F32 '[4, 48]' $all
expect 0 helper features want colour.safetensors class $all
expect 0 helper same rest.safetensors want
rm photos/a/cut.png photos/b/empty.jpg

# Nothing read: no file, and an old one stays.
cp class.npy old.npy
expect 1 mae features -m colour.safetensors text -o old.npy
said 'nothing to write'
cmp -s class.npy old.npy || { echo "FAILED, old.npy is changed"; exit 1; }
mkdir nothing
expect 1 mae features -m colour.safetensors nothing -o none.npy
said 'no images found'
absent none.npy none.txt

# Odd names: a line break, quotes, bytes that are no UTF-8, a loop of links.
odd='a "b" \c'
mkdir odd
cp unnamed "odd/$odd.png"
cp unnamed "$(printf 'odd/\351.png')"
expect 0 mae features -q -m colour.safetensors odd -o odd.safetensors
expect 0 helper tensors odd.safetensors F32 '[2, 48]' "odd/$odd.png" 'odd/?.png'
cp unnamed "$(printf 'odd/x\ny.png')"
expect 0 mae features -q -m colour.safetensors odd -o odd.safetensors
expect 1 mae features -q -m colour.safetensors odd -o odd.npy
said 'line break'
expect 0 helper npy odd.npy '<f4' '(2, 48)'
ln -s ../odd odd/loop
expect 1 mae features -q -m colour.safetensors odd -o odd.safetensors
said '^mae features: odd/loop: '
expect 0 helper npy odd.npy '<f4' '(2, 48)'

# Mistakes on the command line.
usage() {
  word=$1
  shift
  expect 2 mae features "$@"
  said "$word"
}
usage 'which weights' photos -o x.npy
usage 'where to' -m colour.safetensors photos
usage 'which images' -m colour.safetensors -o x.npy
usage "'f16' is not f32 or bf16" -m colour.safetensors photos -o x.npy --precision f16
usage 'does not end in' -m colour.safetensors photos -o x.txt
usage '--batch' -m colour.safetensors --batch 0 photos -o x.npy
usage '--threads' -m colour.safetensors --threads 2x photos -o x.npy
usage '--output' -m colour.safetensors --output patches photos -o x.npy
usage '--mode' -m colour.safetensors --mode fast photos -o x.npy
usage '--blocks' -m colour.safetensors --blocks 1,,2 photos -o x.npy
usage '--image-size' -m colour.safetensors --image-size 32x photos -o x.npy
usage '--mean' -m colour.safetensors --mean 0.5 photos -o x.npy
usage '--std' -m colour.safetensors --std 1,2,3,4 photos -o x.npy
usage '--crop-ratio' -m colour.safetensors --crop-ratio nan photos -o x.npy
usage 'requires an argument' photos -m
cp list list.txt
usage 'overwritten' -m colour.safetensors --list list.txt -o list.npy
expect 2 sh -c "'$build/mae' features -m colour.safetensors - -o list.npy <list.txt"
cmp -s list list.txt || { echo "FAILED, list.txt is changed"; exit 1; }
expect 1 mae features -m text photos -o x.npy
expect 1 mae features -m missing.safetensors photos -o x.npy
said missing.safetensors
expect 1 mae features -m colour.safetensors --blocks 3 photos -o x.npy
said 'block'
expect 1 mae features -m colour.safetensors --image-size 30 photos -o x.npy
expect 1 mae features -m colour.safetensors photos -o no/folder/x.npy
said 'no/folder/x'
expect 1 mae features -m colour.safetensors --list missing photos -o x.npy
absent x.npy x.txt x.safetensors

# A full disk (a limit on file sizes), and a signal: no trace, old files stay.
expect 1 sh -c "trap '' XFSZ; ulimit -f 1; exec '$build/mae' features -q \
  -m colour.safetensors --output tokens photos -o old.npy"
said 'cannot write'
cmp -s class.npy old.npy || { echo "FAILED, old.npy is changed"; exit 1; }
absent ./*.tmp-*
yes photos/a/1.png | head -n 500000 >long
"$build/mae" features -m colour.safetensors --list long -o old.npy 2>err &
tool=$!
tries=0
until [ -e old.npy.tmp-0 ] || [ $tries -gt 300 ]; do
  sleep 0.1
  tries=$((tries + 1))
done
sleep 0.3
kill -TERM $tool
wait $tool 2>/dev/null
status=$?
[ $status = 143 ] || { echo "FAILED, status $status after SIGTERM"; cat err; exit 1; }
absent ./*.tmp-*
cmp -s class.npy old.npy || { echo "FAILED, old.npy is changed"; exit 1; }

# ------------------------------------------------------------------- plan --
expect 0 mae plan
silent
printed '^encoder  *768 wide, 12 blocks, 12 heads$'
printed '^parameters  *111907840$'
printed '^step  *64 images, 0.75 of the patches hidden$'
printed '^weights  *0\.417  *0\.417$'
printed '^optimiser  *0\.832  *0\.832$'
printed '^total  *[45]\.[0-9]*  *2\.[0-9]*$'
printed '^encoder  *8\.6[0-9]*  *an image, forward$'
printed '^available  *[0-9.]* GiB: it '
expect 0 mae plan --depth 3 --model vit_l16 --image-size 96x64 --patch-size 8 \
  --in-chans 1 --embed-dim 48 --num-heads 4 --decoder-embed-dim 32 --decoder-num-heads 2 \
  --decoder-depth 2 --mlp-ratio 2 --layer-norm-eps 1e-5 --norm-pix-loss 0 --batch 1 \
  --mask-ratio 0.5 --threads 1
silent
printed '^images  *96 x 64, 1 channel, patches of 8 x 8$'
printed '^encoder  *48 wide, 3 blocks, 4 heads$'
printed '^decoder  *32 wide, 2 blocks, 2 heads$'
printed '^step  *1 image, 0.5 of the patches hidden$'
printed 'GiB: it fits$'
expect 0 mae plan --update-in-backward
printed '^gradients  *0\.000  *0\.000$'
expect 0 mae plan --precision bf16
printed '^activations '
expect 0 mae plan --encoder-mask-tokens 1
printed '^encoder  *3[0-9.]*  *an image, forward$'
expect 0 mae plan --model vit_h14 --batch 60000 --recompute
printed 'GiB: it does not fit$'
# As many images as would take twice the memory that there is.
deep="--embed-dim 192 --num-heads 3 --depth 60 --decoder-depth 1"
expect 0 mae plan $deep --batch 1000
batch=$(awk '/^total/ { each = $2 / 1000 }
             /^available/ { print int(2 * $2 / each) }' out)
expect 0 mae plan $deep --batch "$batch"
printed 'does not fit; with --recompute it does$'
expect 0 mae plan $deep --batch "$batch" --recompute
printed 'GiB: it fits$'
for mistake in '--model vit_x' '--image-size 1x' '--patch-size x' '--num-heads -1' \
  '--mlp-ratio 0' '--layer-norm-eps 2' '--batch 0' '--mask-ratio 2' '--threads 0' \
  '--precision f16'; do
  expect 2 mae plan $mistake
  said "${mistake%% *}: "
done
expect 2 mae plan vit_b16
said "what is 'vit_b16'"
expect 1 mae plan --image-size 30
said '^mae plan: .*patches'
expect 1 mae plan --mask-ratio 0
said '^mae plan: mask ratio'
expect 1 mae plan --decoder-embed-dim 0 --decoder-depth 0 --decoder-num-heads 0
said 'no decoder'
expect 1 sh -c "'$build/mae' plan >/dev/full"

# ------------------------------------------------------------------- info --
expect 0 mae info colour.safetensors
silent
printed '^format  *safetensors, official names$'
printed '^images  *32 x 32, 3 channels$'
printed '^patches  *4 x 4 of 8 x 8 pixels$'
printed '^encoder  *48 wide, 3 blocks, 4 heads, MLP ratio 4$'
printed '^decoder  *32 wide, 1 blocks, 2 heads, predicts normalised patches$'
printed '^parameters  *[1-9][0-9]* in [1-9][0-9]* tensors'
printed '^missing  *0$'
printed '^not used  *0$'
if grep -q qkv out; then echo "FAILED, tensors unasked"; exit 1; fi
expect 0 mae info --tensors encoder.safetensors
printed '^decoder  *none$'
printed '^  blocks.2.attn.qkv.weight \[144, 48\]$'
expect 0 mae info classifier.safetensors
printed '^head  *2 classes$'
printed '^classes  *cat, dog$'
printed '^mean  *0.5, 0.25, 0.125$'
printed '^deviation  *1, 2, 3$'
expect 0 mae info --num-heads 6 --decoder-num-heads 4 --layer-norm-eps 1e-5 --grid 2x8 colour.safetensors
printed '^images  *16 x 64, 3 channels$'
printed '^patches  *2 x 8 of'
printed '^encoder  *48 wide, 3 blocks, 6 heads'
printed '^decoder  *32 wide, 1 blocks, 4 heads'
printed '^norms  *epsilon 1e-05$'
for mistake in '--num-heads 0' '--decoder-num-heads x' '--layer-norm-eps 2' '--grid 2x'; do
  expect 2 mae info $mistake colour.safetensors
  said "${mistake%% *}: "
done
expect 2 mae info
expect 1 mae info text
said '^mae info: '
expect 1 mae info missing.safetensors
expect 1 sh -c "'$build/mae' info colour.safetensors >/dev/full"

# What a file lacks, and has too much of: one tensor under another name, some
# of another shape.
LC_ALL=C sed 's/blocks.1.norm1.weight/blocks.1.norm9.weight/' colour.safetensors >renamed.safetensors
expect 1 mae info renamed.safetensors
printed '^missing  *1$'
printed '^  blocks.1.norm1.weight$'
printed '^not used  *1$'
printed '^  blocks.1.norm9.weight$'
expect 1 mae features -m renamed.safetensors photos -o x.npy
said 'missing: blocks.1.norm1.weight$'
LC_ALL=C sed 's/\[144,48\]/[48,144]/g' colour.safetensors >turned.safetensors
expect 1 mae info turned.safetensors
printed '^misshapen  *3$'
printed '^  blocks.0.attn.qkv.weight: \[48, 144\], expected \[144, 48\]$'
expect 1 mae convert turned.safetensors x.safetensors --to hf
said 'misshapen: blocks.2.attn.qkv.weight: '

# Files of others.
heads="--num-heads 2 --decoder-num-heads 2"
expect 1 mae info "$data/import/official.pth"
said '--num-heads N'
expect 1 mae info --num-heads 2 "$data/import/wide.pth"
said '--grid HxW'
expect 0 mae info $heads "$data/import/official.pth"
printed '^format  *pytorch, official names$'
printed '^images  *16 x 16, 3 channels$'
printed '^norms  *epsilon 1e-06$'
expect 0 mae info "$data/import/hf_vit"
printed '^format  *safetensors, Hugging Face names$'
printed '^not used  *2$'
printed '^  pooler.dense.bias$'
expect 0 mae info --num-heads 2 "$data/import/official_pool.pth"
printed '^norms .*mean of the patch tokens'
printed '^head  *3 classes$'
for file in official.pth official_pool.pth hf_mae timm_mae.safetensors hf_vit; do
  expect 0 mae features -q $heads -m "$data/import/$file" photos -o others.npy
  [ $file != hf_vit ] || said '2 tensors of .*hf_vit not used'
  expect 0 helper npy others.npy '<f4' '(4, 16)'
done
for file in official_cls.pth official_pool.pth; do
  expect 0 mae features -q --num-heads 2 -m "$data/import/$file" photos --output logits -o others.npy
  expect 0 helper npy others.npy '<f4' '(4, 3)'
done
expect 1 mae features -q $heads -m "$data/import/official.pth" photos --output logits -o others.npy
said 'no head'

# ---------------------------------------------------------------- convert --
expect 0 mae convert colour.safetensors copy.safetensors --to official
silent
expect 0 helper weights colour.safetensors copy.safetensors 0 0
expect 0 mae convert --to hf colour.safetensors hf
expect 0 mae info hf
printed 'Hugging Face names'
printed '^images  *32 x 32, 3 channels$'
expect 0 mae convert hf back.safetensors --to official
expect 0 helper weights colour.safetensors back.safetensors 0 0
expect 0 mae convert --to hf --f16 colour.safetensors half.safetensors
expect 0 mae convert half.safetensors back.safetensors --to official --num-heads 4 \
  --decoder-num-heads 2
expect 0 helper weights colour.safetensors back.safetensors 1e-7 1e-3
expect 0 mae convert colour.safetensors big.safetensors --to official --image-size 48x32
expect 0 mae info big.safetensors
printed '^images  *48 x 32, 3 channels$'
expect 0 mae convert $heads "$data/import/official.pth" theirs.safetensors --to official
expect 0 mae convert $heads "$data/import/official.pth" theirs --to hf
expect 0 mae convert theirs back.safetensors --to official
expect 0 helper weights theirs.safetensors back.safetensors 0 0
expect 0 mae convert "$data/import/hf_vit" theirs.safetensors --to official
said 'not carried over: pooler.dense.bias$'
expect 1 mae convert --num-heads 2 "$data/import/official_cls.pth" theirs --to hf
said 'head'
expect 2 mae convert colour.safetensors --to hf
expect 2 mae convert colour.safetensors x.safetensors
expect 2 mae convert colour.safetensors x.safetensors --to timm
expect 2 mae convert colour.safetensors x.pth --to official
expect 1 mae convert text x.safetensors --to official
expect 1 mae convert colour.safetensors no/folder/x.safetensors --to official
absent x.safetensors x.pth ./*.tmp-*

# ------------------------------------------------------------ reconstruct --
expect 0 mae reconstruct -m colour.safetensors photos -o drawn.png
silent
expect 0 helper picture drawn.png colour.safetensors 0 0.75 $all
expect 0 mae reconstruct -m colour.safetensors unnamed -o drawn.png --seed 5 --mask-ratio 0.5
expect 0 helper picture drawn.png colour.safetensors 5 0.5 unnamed
expect 1 helper picture drawn.png colour.safetensors 6 0.5 unnamed
expect 0 mae reconstruct -m colour.safetensors unnamed -o drawn.png --precision bf16
expect 0 mae reconstruct -m grey.safetensors unnamed -o drawn.png
expect 0 helper picture drawn.png grey.safetensors 0 0.75 unnamed
expect 1 mae reconstruct -m colour.safetensors text unnamed -o drawn.png
said '^mae reconstruct: text: '
expect 0 helper picture drawn.png colour.safetensors 0 0.75 unnamed
expect 1 mae reconstruct -m encoder.safetensors unnamed -o x.png
said 'no decoder'
expect 1 mae reconstruct -m colour.safetensors text -o x.png
expect 2 mae reconstruct -m colour.safetensors -o x.png
expect 2 mae reconstruct -m colour.safetensors --precision half unnamed -o x.png
expect 2 mae reconstruct -m colour.safetensors --mask-ratio 2 unnamed -o x.png
absent x.png ./*.tmp-*

echo "tool: $checks checks, all as they should be"
