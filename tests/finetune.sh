#!/bin/sh
# `mae finetune`, `probe`, `eval` and `predict` as a user runs them.
# tests/finetune.sh BUILD_FOLDER
. "$(dirname "$0")/tool/lib.sh"

fashion=/usr/share/datasets/fashion-mnist
for part in "train 48" "t10k 40"; do
  set -- $part
  expect 0 helper idx $1-images-idx3-ubyte $fashion/$1-images-idx3-ubyte.gz $2
  expect 0 helper idx $1-labels-idx1-ubyte $fashion/$1-labels-idx1-ubyte.gz $2
done
train=train-images-idx3-ubyte
val=t10k-images-idx3-ubyte
sizes="--in-chans 1 --image-size 28 --patch-size 7 --embed-dim 32 --depth 2
  --num-heads 4"
expect 0 mae pretrain --data $train --out pre $sizes --decoder-embed-dim 16 \
  --decoder-depth 1 --decoder-num-heads 2 --batch 8 --accum 1 --epochs 2 \
  --warmup-epochs 0 --blr 0.01 --threads 1 --decoders 1 --samples 0 --quiet
# 48 images, 6 passes of 8 an epoch, 2 passes an update.
tiny="--batch 8 --accum 2 --warmup-epochs 1 --blr 0.02 --threads 1 --decoders 1"
# finetune OUT OPTIONS...
finetune() {
  out=$1
  shift
  mae finetune --data $train --val $val -m pre/model.safetensors --out "$out" \
    $tiny "$@"
}
# same_run OUT: it ended as the run `whole`.
same_run() {
  same_file whole/model.safetensors "$1/model.safetensors"
  same_file whole/model-ema.safetensors "$1/model-ema.safetensors"
  same_file whole/best.safetensors "$1/best.safetensors"
  same_file whole/checkpoint-00000024.safetensors \
    "$1/checkpoint-00000024.safetensors"
  numbers whole >want.txt
  numbers "$1" >got.txt
  same_file want.txt got.txt
  expect 0 helper metrics "$1/metrics.jsonl" 24 8 8
}
# top1 KEY of each test in `metrics.jsonl`, in percent as mae eval says it.
top1() {
  sed -n "s/.*\"$1\": \([0-9.e-]*\).*/\1/p" "$2/metrics.jsonl" |
    awk '{ printf "%.2f\n", 100 * $1 }'
}
# evaluated MODEL PERCENT: so it is by mae eval.
evaluated() {
  expect 0 mae eval -q -m "$1" --data $val
  printed "^top-1  *$2 %\$"
}

# ------------------------------------------------------------ a whole run --
whole="--epochs 8 --ema-decay 0.9"
expect 0 finetune whole $whole
said '^mae finetune: .*pre/model.safetensors, 0.0 million parameters, 10 classes; 48 images; an epoch is 6 passes of 8, an update 2 of them; 24 updates$'
said '^mae finetune: epoch 8/8  loss '
said '^mae finetune: test 8/8  top-1 [0-9.]* %  top-5 [0-9.]* %  loss [0-9.]*  averaged weights [0-9.]* %$'
said '^mae finetune: finished: whole/model.safetensors$'
expect 0 helper metrics whole/metrics.jsonl 24 8 8
expect 0 helper png whole/loss.png 960 540 8
expect 0 grep -q 'Top-1 on the test images' whole/report.html
expect 0 grep -q '<title>whole – mae finetune' whole/report.html
absent whole/*.tmp-* whole/reconstruction-*
# What is saved is what was tested, and the best of it is the best.
evaluated whole/model.safetensors "$(top1 val_top1 whole | tail -n 1)"
evaluated whole/model-ema.safetensors "$(top1 ema_top1 whole | tail -n 1)"
best=$( (top1 val_top1 whole; top1 ema_top1 whole) | sort -n | tail -n 1)
evaluated whole/best.safetensors "$best"
expect 0 grep -q "<b id=\"best-top1\">$best %" whole/report.html
# The official recipe, but for what was asked.
for line in 'recipe = finetune' 'epochs = 8' 'warmup-epochs = 1' 'blr = 0.02' \
  'layer-decay = 0.65' 'weight-decay = 0.05' 'beta2 = 0.999' 'min-lr = 1e-06' \
  'drop-path = 0.1' 'label-smoothing = 0.1' 'mixup = 0.8' 'cutmix = 1' \
  'ema-decay = 0.9' 'rand-augment-ops = 2' 'rand-augment-magnitude = 9' \
  'erase = 0.25' 'scale-min = 0.08' 'trainable-blocks = -1' 'global-pool = 1' \
  'embed-dim = 32' 'depth = 2' 'mean = 0.449' "data = $tmp/$train" \
  "val = $tmp/$val" "model = $tmp/pre/model.safetensors"; do
  expect 0 grep -q -x -e "$line" whole/config.txt
done
expect 0 finetune defaults --epochs 1 --batch 48 --accum 1 --quiet \
  --warmup-epochs 0
# Of few images: 3 updates, each of more than an epoch.
expect 0 finetune few --epochs 4 --accum 8 --warmup-epochs 0
said 'an update takes more than an epoch: .*--effective-batch than 64'
[ "$(grep -c '"lr"' few/metrics.jsonl)" = 3 ] || { cat few/metrics.jsonl; exit 1; }
expect 0 mae finetune --help
silent
cp out help.txt
sed -n 's/^\([a-z0-9-]*\) = .*/\1/p' whole/config.txt >keys.txt
[ "$(wc -l <keys.txt)" -ge 50 ] || { echo "FAILED, few settings"; exit 1; }
while read -r key; do
  expect 0 grep -q "^  --$key [A-Z]" help.txt
done <keys.txt
expect 2 finetune whole
said 'whole has a run in it'

# --------------------------------------------------------------- resuming --
expect 0 sh -c "'$build/mae' finetune --config whole/config.txt --out again -q"
same_run again
# Stopped at some update, and killed; then to the end.
env --default-signal=INT,TERM "$build/mae" finetune --data $train --val $val \
  -m pre/model.safetensors --out stopped $tiny $whole \
  --checkpoint-minutes 0.0001 >log 2>&1 &
tool=$!
tries=0
until grep -q '"epoch": 2' stopped/metrics.jsonl 2>/dev/null; do
  tries=$((tries + 1))
  [ $tries -lt 3000 ] || { echo "FAILED, it does not begin"; cat log; exit 1; }
  sleep 0.02
done
kill -TERM $tool
wait $tool
[ $? = 143 ] || { echo "FAILED, status not 143"; cat log; exit 1; }
# The weights it began with are in its checkpoints.
mv pre/model.safetensors aside
expect 0 mae finetune --out stopped --resume
said 'resumed after update [0-9]* of 24'
same_run stopped
mv aside pre/model.safetensors
# Killed between the last update and the test that follows it.
cp -r whole untested
sed '$d' whole/metrics.jsonl >untested/metrics.jsonl
rm untested/model.safetensors
expect 0 mae finetune --out untested --resume
said '^mae finetune: test 8/8 '
same_run untested
# Nothing left to do.
expect 0 mae finetune --out whole --resume
same_run again

# ----------------------------------------------- what is trained, and how --
# Without test images the best is that of the loss.
expect 0 mae finetune --data $train -m pre/model.safetensors --out head $tiny \
  --epochs 3 --trainable-blocks 0 --quiet
silent
expect 0 helper metrics head/metrics.jsonl 9 3
expect 0 test -e head/best.safetensors
absent head/model-ema.safetensors
expect 0 mae finetune --data $train -m pre/model.safetensors --out head2 $tiny \
  --epochs 3 --trainable-blocks 0 --quiet --blr 0
expect 0 helper weights head/model.safetensors head2/model.safetensors 1e-3 1e9
# But for the head they are alike: so are the features.
mkdir photos
for i in 1 2 3; do expect 0 helper image photos/$i.png $i 28 28; done
for run in head head2 whole; do
  expect 0 mae features -q -m $run/model.safetensors photos --output mean \
    -o $run.npy
done
same_file head.npy head2.npy
if cmp -s head.npy whole.npy; then echo "FAILED, nothing trained"; exit 1; fi
# In bf16, and tested in it after the epoch.
expect 0 finetune rounded --epochs 1 --warmup-epochs 0 --precision bf16 --quiet
expect 0 grep -q -x 'precision = bf16' rounded/config.txt
expect 0 mae eval -q -m rounded/model.safetensors --data $val --precision bf16
printed "^top-1  *$(top1 val_top1 rounded) %\$"
# From scratch.
expect 0 mae finetune --recipe scratch --data $train --val $val --out scratch \
  $sizes --epochs 2 --warmup-epochs 0 --batch 8 --accum 2 --threads 1 --quiet
expect 0 helper metrics scratch/metrics.jsonl 6 2 2
for line in 'model = vit_b16' 'blr = 0.0001' 'weight-decay = 0.3' \
  'beta2 = 0.95' 'layer-decay = 1' 'ema-decay = 0.9999' 'erase = 0' \
  'drop-path = 0.1' 'mixup = 0.8'; do
  expect 0 grep -q -x -e "$line" scratch/config.txt
done
expect 0 test -e scratch/model-ema.safetensors
# A larger image, and the class token.
expect 0 finetune large --image-size 42x35 --global-pool 0 --epochs 1 \
  --warmup-epochs 0 --quiet
expect 0 mae info large/model.safetensors
printed '^images  *42 x 35, 1 channel$'
evaluated large/model.safetensors "$(top1 val_top1 large)"

# --------------------------------------------------------------- mistakes --
# usage PATTERN OPTIONS...
usage() {
  word=$1
  shift
  expect 2 finetune bad "$@"
  said "$word"
}
usage "recipe: 'x' is not finetune or scratch" --recipe x
usage "patch-size: 4 is not the weights' 7" --patch-size 4
usage "depth: 3 is not the weights' 2" --depth 3
usage "trainable-blocks: '-2'" --trainable-blocks -2
usage 'effective-batch: 30 is not a multiple of batch, 8' --effective-batch 30
expect 2 mae finetune --data $train --out bad
said 'which weights?'
expect 2 mae finetune -m pre/model.safetensors --out bad
said 'which images?'
expect 1 finetune bad -m missing.safetensors
said 'missing.safetensors'
expect 1 finetune bad --data photos
said 'photos/1.png: an image beside the folders'
expect 1 finetune bad --trainable-blocks 3
said 'trainable_blocks'
expect 1 mae finetune --out whole --resume --embed-dim 64 --num-heads 8
said 'another'

# ------------------------------------------------- folders, names, colours --
for class in cat 'dog, big'; do
  for i in 1 2 3 4; do
    mkdir -p "train/$class" "val/$class/deep"
    seed=$i
    [ "$class" = cat ] && seed=$((i + 50))
    expect 0 helper image "train/$class/$i.png" $seed 40 30
    expect 0 helper image "val/$class/deep/$i.jpg" $((seed + 4)) 40 30
  done
done
head -c 100 train/cat/1.png >val/cat/broken.png
expect 0 mae finetune --recipe scratch --data train --val val --out pets \
  $sizes --in-chans 3 --mean 0.5,0.4,0.3 --std 0.2,0.25,0.3 --epochs 2 \
  --warmup-epochs 0 --batch 4 --accum 1 --threads 1 --blr 0.05
said '1 of 9 images to test on cannot be read, the first: .*broken.png'
[ "$(grep -c 'broken' err)" = 1 ] || { cat err; exit 1; }
pets=pets/model.safetensors
expect 0 grep -q 'broken.png' pets/report.html
expect 1 mae eval -m $pets --data val --confusion table.csv
said 'broken.png'
said '1 of 9 could not be read'
printed '^images  *8$'
printed "^top-1  *$(top1 val_top1 pets | tail -n 1) %\$"
printed '^true . told  *cat *dog, b$'
[ "$(head -n 1 table.csv)" = 'true \ told,cat,"dog, big"' ] || {
  cat table.csv; exit 1; }
expect 0 awk -F, 'NR > 1 { for (i = NF - 1; i <= NF; i++) n += $i }
  END { exit n != 8 }' table.csv
rm val/cat/broken.png
expect 0 mae eval -q -m $pets --data train
silent
# A class that it does not know.
mkdir val/eel
cp val/cat/deep/1.jpg val/eel/1.jpg
expect 1 mae eval -q -m $pets --data val
said "val/eel/1.jpg: its class 'eel' is none of the 2"
rm -r val/eel

# Weights of others, which do not say how many heads they have; their decoder
# is left behind.
for weights in "official 2 2" "official_pool 2" "hf_state_dict 2 2"; do
  set -- $weights
  expect 0 mae finetune --data train --val val -m $data/import/$1.pth \
    --out others --force --num-heads $2 ${3:+--decoder-num-heads $3} --batch 4 \
    --accum 1 --epochs 1 --warmup-epochs 0 --threads 1 --quiet
  expect 0 helper metrics others/metrics.jsonl 2 1 1
done

# ---------------------------------------------------------------- predict --
expect 0 mae predict -q -m $pets val
silent
[ "$(wc -l <out)" = 8 ] || { cat out; exit 1; }
expect 0 awk -F'\t' 'NF != 5 || $3 < $5 || ($3 + $5 - 1) ^ 2 > 1e-7 ||
  ($2 != "cat" && $4 != "cat") || ($2 != "dog, big" && $4 != "dog, big") {
  bad = 1 } END { exit bad }' out
mae predict -q -m $pets val >own.txt
expect 0 mae predict -q -m $pets val --mean 0.5,0.4,0.3 --std 0.2,0.25,0.3
same_file out own.txt
expect 0 mae predict -q -m $pets val --mean 0.1,0.1,0.1 --std 0.9,0.9,0.9
if cmp -s out own.txt; then echo "FAILED, the mean does nothing"; exit 1; fi
# The classes told are those of mae eval.
right=$(awk -F'\t' '{ split($1, at, "/"); n += at[2] == $2 } END { print n }' own.txt)
expect 0 mae eval -q -m $pets --data val
printed "^top-1  *$(awk "BEGIN { printf \"%.2f\", 100 * $right / 8 }") %\$"
echo 'no image' >"bad \"name\".png"
expect 1 mae predict -q -m $pets --top 1 --json val/cat/deep/1.jpg \
  "bad \"name\".png" val/cat/deep/2.jpg
said 'name".png'
said '1 of 3 could not be read'
[ "$(wc -l <out)" = 2 ] || { cat out; exit 1; }
cp "val/cat/deep/1.jpg" 'quo"te.jpg'
expect 0 mae predict -q -m $pets --json 'quo"te.jpg'
printed '^{"file": "quo\\"te.jpg", "predictions": \[{"class": "[a-z, ]*", "index": [01], "probability": 0.[0-9]*}, {"class": "[a-z, ]*", "index": [01], "probability": 0.[0-9]*}\]}$'
expect 0 mae predict -q -m whole/model.safetensors photos/1.png $val --top 3
[ "$(wc -l <out)" = 41 ] || { wc -l out; exit 1; }
printed "^$val#0	[0-9]	[01]"
expect 1 mae predict -q -m pre/model.safetensors photos
said 'pre/model.safetensors is no classifier'
expect 1 mae eval -q -m pre/model.safetensors --data $val
said 'pre/model.safetensors is no classifier'
expect 1 mae predict -q -m whole/model.safetensors 'bad "name".png'
said 'no images'
expect 2 mae predict -m whole/model.safetensors
said 'which images?'
expect 2 mae eval --data $val
said 'which classifier?'
expect 2 mae eval -m whole/model.safetensors
said 'which images?'
expect 1 mae eval -q -m $pets --data $val
said "its class '[0-9]' is none of the 2"

# ------------------------------------------------------------------ probe --
for what in class_token mean; do
  expect 0 mae probe -q -m pre/model.safetensors --data $train --val $val \
    --features $what --epochs 30 --blr 2 --knn=3 --threads 1 \
    -o probe.safetensors
  silent
  printed '^linear probe$'
  printed '^3 nearest neighbours$'
  grep -E '^(images|top|loss)' out | head -n 4 >probed
  # The classifier saved says the same.
  expect 0 mae eval -q -m probe.safetensors --data $val --threads 1
  grep -E '^(images|top|loss)' out >tested
  same_file probed tested
done
expect 0 mae probe -q -m pre/model.safetensors --data $train --val $train \
  --no-linear --knn=1
printed '^1 nearest neighbours$'
printed '^top-1  *100.00 %$' # each is its own neighbour
if grep -q 'linear\|loss' out; then cat out; exit 1; fi
expect 0 mae probe -q -m pre/model.safetensors --data $train --val $val \
  --epochs 2 --precision bf16
printed '^linear probe$'
# It can be fine-tuned as any weights.
expect 0 finetune further -m probe.safetensors --epochs 1 --warmup-epochs 0 -q
expect 2 mae probe --data $train --val $val
said 'which weights?'
expect 2 mae probe -m pre/model.safetensors --data $train
said 'which images to test on?'
expect 2 mae probe -m pre/model.safetensors --data $train --val $val --no-linear
said 'no-linear goes with --knn'
expect 2 mae probe -m pre/model.safetensors --data $train --val $val --precision x
said "precision: 'x' is not f32 or bf16"
expect 2 mae probe -m pre/model.safetensors --data $train --val $val --features x
said "'x' is not class_token or mean"
expect 1 mae probe -q -m pre/model.safetensors --data photos --val $val
said 'beside the folders'

# ------------------------------------------------------ several processes --
# ranks N OPTIONS...
ranks() {
  n=$1
  shift
  expect 0 timeout -k 5 300 mpirun $flags -n "$n" "$build/mae" finetune "$@"
}
together="not by several processes"
if command -v mpirun >/dev/null && [ "$2" != none ]; then
  flags= # as tests/mpi.sh has them
  export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
  if mpirun --version 2>&1 | grep -q 'Open MPI'; then
    flags="--oversubscribe --bind-to none"
    [ "$(id -u)" = 0 ] && flags="$flags --allow-run-as-root"
    export OMPI_MCA_btl_vader_single_copy_mechanism=none
  fi
  plain="--mixup 0 --cutmix 0 --epochs 2"
  expect 0 finetune one $plain --quiet
  ranks 2 --data $train --val $val -m pre/model.safetensors --out two $tiny \
    $plain
  said '^mae finetune: test 2/2 '
  [ "$(grep -c 'test 2/2' err)" = 1 ] || { cat err; exit 1; }
  expect 0 helper metrics two/metrics.jsonl 6 2 2
  expect 0 helper weights one/model.safetensors two/model.safetensors 0 1e-2
  together="and by 2 processes"
fi

echo "finetune: $checks checks $together"
