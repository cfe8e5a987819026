#!/bin/sh
# `mae pretrain` as a user runs it.  tests/pretrain.sh BUILD_FOLDER
. "$(dirname "$0")/tool/lib.sh"

fashion=/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz
expect 0 helper idx images.idx "$fashion" 50
# 50 images, 6 passes of 8 an epoch, 2 passes an update.
tiny="--in-chans 1 --image-size 28 --patch-size 7 --embed-dim 16 --depth 1
  --num-heads 2 --decoder-embed-dim 16 --decoder-depth 1 --decoder-num-heads 2
  --batch 8 --accum 2 --warmup-epochs 1 --blr 0.01 --threads 1 --decoders 1
  --samples 4"
# pretrain OUT OPTIONS...: a tiny run.
pretrain() {
  out=$1
  shift
  mae pretrain --data images.idx --out "$out" $tiny "$@"
}

# wait_for COMMAND...: until it succeeds, 60 s at most.
wait_for() {
  tries=0
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 3000 ]; then
      echo "FAILED, waited for: $*"
      cat log
      exit 1
    fi
    sleep 0.02
  done
}
# ended STATUS: of the process $tool in the background.
ended() {
  checks=$((checks + 1))
  wait "$tool" 2>/dev/null
  got=$?
  [ "$got" = "$1" ] && return
  echo "FAILED, status $got instead of $1"
  cat log
  exit 1
}
# in_background OPTIONS...: as pretrain does, signals as in a terminal.
in_background() {
  out=$1
  shift
  env --default-signal=INT,TERM,HUP "$build/mae" pretrain --data images.idx \
    --out "$out" $tiny "$@" >log 2>&1 &
  tool=$!
}
same_run() {
  expect 0 helper weights whole/model.safetensors "$1/model.safetensors" 0 0
  same_file whole/model.safetensors "$1/model.safetensors"
  same_file whole/best.safetensors "$1/best.safetensors"
  same_file whole/checkpoint-00000120.safetensors \
    "$1/checkpoint-00000120.safetensors"
  numbers whole >want.txt
  numbers "$1" >got.txt
  same_file want.txt got.txt
  expect 0 helper metrics "$1/metrics.jsonl" 120 40
}

# ------------------------------------------------------------ a whole run --
expect 0 mae pretrain --help
silent
printed '^  --mask-ratio X  .*(0.75)$'
printed '^  --blr X  .*(1.5e-4)$'
printed '^  --weight-decay X  *(0.05)$'
printed '^  --warmup-epochs N\|X .*(40)$'
expect 0 pretrain whole --epochs 40
said '^mae pretrain: vit_b16, 0.0 million parameters; 50 images; an epoch is 6 passes of 8, an update 2 of them; 120 updates$'
said '^mae pretrain: epoch 1/40  loss [0-9.]*  lr [0-9.e-]*  [0-9]* images/s  ETA [0-9:]*$'
said '^mae pretrain: epoch 40/40 '
said '^mae pretrain: finished: whole/model.safetensors$'
expect 0 helper metrics whole/metrics.jsonl 120 40
expect 0 helper png whole/loss.png 960 540 8
for epoch in 01 02 17 40; do # 4 images of 28 pixels in 3 rows, gaps of 2
  expect 0 helper png whole/reconstruction-00$epoch.png 118 88 50
done
absent whole/reconstruction-0041.png whole/*.tmp-* \
  whole/checkpoint-00000119.safetensors
expect 0 mae info whole/model.safetensors
printed '^images  *28 x 28, 1 channel$'
expect 0 mae info whole/best.safetensors
expect 0 mae features -q -m whole/model.safetensors --mean 0.449 --std 0.226 \
  whole/reconstruction-0001.png -o f.npy
# The loss has fallen by a tenth at least.
first=$(sed -n '1s/.*"loss": \([0-9.]*\).*/\1/p' whole/metrics.jsonl)
last=$(sed -n '$s/.*"loss": \([0-9.]*\).*/\1/p' whole/metrics.jsonl)
expect 0 awk "BEGIN { exit !($last < 0.9 * $first) }"
# Warm-up of an epoch, 3 updates, to 0.01 * 16 / 256, then the cosine to 0.
expect 0 grep -q '"step": 3, .*"lr": 0.000416666667,' whole/metrics.jsonl
expect 0 grep -q '"step": 4, .*"lr": 0.000625,' whole/metrics.jsonl

# Nothing is left to do; and a run is not overwritten unasked.
cp whole/model.safetensors kept
expect 0 mae pretrain --out whole --resume
said 'resumed after update 120 of 120'
same_file whole/model.safetensors kept
expect 2 pretrain whole
said 'whole has a run in it: --resume .* --force'
expect 0 helper metrics whole/metrics.jsonl 120 40
cp -r whole forced
echo mine >forced/notes.txt
expect 0 pretrain forced --force --epochs 1 --warmup-epochs 0 --quiet
silent
expect 0 helper metrics forced/metrics.jsonl 3 1
absent forced/checkpoint-00000120.safetensors forced/reconstruction-0002.png
expect 0 grep -q mine forced/notes.txt
expect 2 pretrain nothing --resume
said 'no run in it to resume'
expect 2 pretrain whole --resume --force

# ------------------------------------------------------- the report, seen --
# shown FILE: what a browser makes of it: the page in `dom`, a picture.
shown() {
  expect 0 timeout 120 chromium --headless --no-sandbox --disable-gpu \
    --user-data-dir="$tmp/chromium" --dump-dom "file://$tmp/$1"
  cp out dom
  expect 0 timeout 120 chromium --headless --no-sandbox --disable-gpu \
    --user-data-dir="$tmp/chromium" --hide-scrollbars --window-size=1240,1500 \
    --screenshot="$tmp/seen.png" "file://$tmp/$1"
  expect 0 helper png seen.png 1240 1500 100
}
in_dom() {
  checks=$((checks + 1))
  grep -q -e "$1" dom && return
  echo "FAILED, no \"$1\" in the page"
  exit 1
}
if command -v chromium >/dev/null; then
  shown whole/report.html
  in_dom '<title>whole – mae pretrain</title>'
  in_dom '<span id="status" class="state finished">finished</span>'
  in_dom '<b id="epochs">40 / 40</b>'
  in_dom '<b id="updates">120 / 120</b>'
  in_dom '<span id="images">50</span> images of'
  in_dom '<td id="setting-mask-ratio">0.75</td>'
  in_dom '<td id="setting-image-size">28x28</td>'
  best=$(awk -F'[:,]' '{ sum[$4] += $6; n[$4]++ } END {
    for (e in sum) if (!best || sum[e] / n[e] < best) best = sum[e] / n[e]
    printf "%.4f", best }' whole/metrics.jsonl)
  in_dom "<b id=\"best\">$best</b>"
  [ "$(grep -c '<path class="curve" d="M[0-9.]* [0-9.]*L' dom)" = 4 ] || {
    echo "FAILED, not 4 curves"; exit 1; }
  [ "$(grep -o 'src="data:image/png;base64,iVBOR' dom | wc -l)" = 6 ] || {
    echo "FAILED, not 6 drawings"; exit 1; }
  # Nothing is fetched from anywhere.
  if grep -E '(src|href)="(http|//|file)' dom; then exit 1; fi
  browser="looked at in $(chromium --version 2>/dev/null | head -n 1)"
else
  browser="NOT LOOKED AT: there is no chromium"
  echo "WARNING: chromium is not installed, so report.html was not looked at"
fi

# ------------------------------------------------------ settings and files --
cat >settings.txt <<'END'
# As the flags are called.
epochs = 2   # a short run
data=images.idx
  samples =  2
blr = 0.01

mask-ratio = 0.5
END
expect 0 mae pretrain --config settings.txt --out configured $tiny --quiet \
  --blr 0.02 --seed 18446744073709551615
expect 0 helper metrics configured/metrics.jsonl 6 2
for line in 'epochs = 2' 'samples = 4' 'blr = 0.02' 'mask-ratio = 0.5' \
  'seed = 18446744073709551615' 'beta2 = 0.95' 'effective-batch = 16' \
  'precision = f32' 'mean = 0.449' "data = $tmp/images.idx"; do
  expect 0 grep -q -x -e "$line" configured/config.txt
done
# That file alone makes the same run again, from another folder.
expect 0 sh -c "mkdir elsewhere && cd elsewhere && '$build/mae' pretrain -q \
  --config ../configured/config.txt --out ../again"
same_file configured/model.safetensors again/model.safetensors
same_file configured/config.txt again/config.txt
# With updates in the backward pass, too, but one that accumulates has none.
expect 1 mae pretrain -q --config configured/config.txt --out early \
  --update-in-backward 1
said 'update_in_backward goes with accum_steps 1'
for early in 0 1; do
  expect 0 mae pretrain -q --config configured/config.txt --out early --force \
    --accum 1 --update-in-backward $early
  mv early/model.safetensors early-$early.safetensors
done
same_file early-0.safetensors early-1.safetensors
# In bf16 it is another, which keeps to that when it is resumed, and may end in
# f32.
expect 0 mae pretrain -q --config configured/config.txt --out rounded \
  --precision bf16
expect 0 grep -q -x 'precision = bf16' rounded/config.txt
expect 1 cmp -s configured/model.safetensors rounded/model.safetensors
expect 0 mae pretrain -q --out rounded --resume --epochs 3
expect 0 grep -q -x 'precision = bf16' rounded/config.txt
expect 0 mae pretrain -q --out rounded --resume --epochs 4 --precision f32
expect 0 grep -q -x 'precision = f32' rounded/config.txt
expect 0 helper metrics rounded/metrics.jsonl 12 4
# Of batch, accum and effective-batch, options win over what the file says.
for want in '4 8 32 --accum 8 --batch 4' '8 4 32 --effective-batch 32' \
  '4 4 16 --batch 4' '8 3 24 --accum 3'; do
  set -- $want
  expect 0 mae pretrain -q --config configured/config.txt --out batches --force \
    --epochs 2 "$4" "$5" ${6:-} ${7:-}
  for line in "batch = $1" "accum = $2" "effective-batch = $3"; do
    expect 0 grep -q -x -e "$line" batches/config.txt
  done
done
# Every setting in it is a flag of the help.
mae pretrain --help >help.txt
sed -n 's/^\([a-z0-9-]*\) = .*/\1/p' configured/config.txt >keys.txt
[ "$(wc -l <keys.txt)" -ge 40 ] || { echo "FAILED, few settings"; exit 1; }
while read -r key; do
  expect 0 grep -q "^  --$key [A-Z]" help.txt
done <keys.txt

# bad_file LINE PATTERN
bad_file() {
  printf '# settings\n\n%s\n' "$1" >bad.txt
  expect 2 pretrain bad --config bad.txt
  said "bad.txt:3: $2"
}
bad_file 'epoch = 3' "there is no setting 'epoch'"
bad_file 'epochs = three' "epochs: 'three' is not 1 to"
bad_file 'epochs =' "epochs: '' is not"
bad_file 'mask-ratio = 1.5' "mask-ratio: '1.5' is not 0 to 1"
bad_file 'seed = -1' 'seed'
bad_file 'mean = a,b' 'mean'
bad_file 'precision = f16' "precision: 'f16' is not f32 or bf16"
printf 'epochs 3\n' >bad.txt
expect 1 pretrain bad --config bad.txt
said "bad.txt:1: this is not 'key = value': epochs 3"
expect 1 pretrain bad --config missing.txt
said 'missing.txt'
# usage PATTERN OPTIONS...
usage() {
  word=$1
  shift
  expect 2 pretrain bad "$@"
  said "$word"
}
usage "--epochs: '0' is not 1 to" --epochs 0
usage "--batch: 'x'" --batch x
usage 'mean: not one value' --mean 0.5,0.5,0.5
usage 'std: not above 0' --std 0
usage "model: 'vit_x'" --model vit_x
usage 'effective-batch: 30 is not a multiple of batch, 8' --effective-batch 30
usage 'effective-batch 32 is not batch 8 x accum 2' --effective-batch 32
usage 'what is .more. for' more
usage 'see the options\|unrecognized' --no-such-thing 3
expect 2 mae pretrain --out bad
said 'which images'
expect 2 mae pretrain --data images.idx
said 'where to'
expect 1 mae pretrain --data missing --out bad
said 'missing'
expect 1 pretrain bad --image-size 30
said 'patches of 7'
expect 1 pretrain bad --batch 64 --accum 1
said '50'
expect 1 pretrain bad --mask-ratio 0
expect 1 pretrain no/such/folder
said 'no/such/folder'
expect 0 pretrain bad --epochs 1 -q # what failed before did not begin a run
expect 1 mae pretrain --out bad --resume --embed-dim 32 --epochs 2
said 'another config'
expect 0 pretrain long --epochs 1 --warmup-epochs 5
said 'the warm-up of 5 epochs is no shorter than the run of 1'

# --------------------------------------------- killed at random, and again --
often="--epochs 40 --checkpoint-minutes 0.0005"
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
began=$(milliseconds)
expect 0 pretrain timed $often --quiet
most=$((($(milliseconds) - began) / 5))
same_run timed
# kill_and_resume: until the run has been killed 7 times; 1 when it ended
# before 5.
kill_and_resume() {
  rm -rf killed
  kills=0
  while [ $kills -lt 7 ]; do
    if [ -e killed/config.txt ]; then again=--resume; else again=; fi
    in_background killed $often $again
    sleep "$(od -An -N2 -tu2 /dev/urandom |
      awk "{ printf \"%.3f\", \$1 % $most / 1000 }")"
    kill -KILL $tool 2>/dev/null
    wait $tool 2>/dev/null
    status=$?
    [ $status = 137 ] || break
    kills=$((kills + 1))
  done
  if [ $kills = 7 ]; then
    in_background killed $often --resume
  elif [ $status != 0 ]; then
    echo "FAILED, status $status"
    cat log
    exit 1
  fi
  [ $kills -ge 5 ]
}
# On a machine that has become faster since: sooner.
until kill_and_resume; do
  most=$((most / 2))
  [ $most -gt 5 ] || { echo "FAILED, only $kills kills"; exit 1; }
done
[ $kills = 7 ] && ended 0
grep -q 'finished: killed/model' log || { cat log; exit 1; }
same_run killed
absent killed/*.tmp-*
[ "$(ls killed/checkpoint-* | wc -l)" -le 3 ] || { ls killed; exit 1; }

# ---------------------------------------------------------------- signals --
for signal in INT:130:SIGINT TERM:143:SIGTERM HUP:129:SIGHUP; do
  name=${signal%%:*}
  status=${signal#*:}
  rm -rf stopped
  in_background stopped $often
  wait_for test -e stopped/reconstruction-0002.png
  kill -$name $tool
  ended ${status%:*}
  expect 0 grep -q "stopped by ${status#*:} after update [0-9]* of 120; --resume goes on" log
  expect 0 grep -q 'class="state stopped' stopped/report.html
  steps=$(wc -l <stopped/metrics.jsonl)
  expect 0 test -e "$(printf 'stopped/checkpoint-%08d.safetensors' "$steps")"
  absent stopped/model.safetensors
  expect 0 mae pretrain --out stopped --resume
  said "resumed after update $steps of 120"
  same_run stopped
done
# The second ends it at once, in the middle of a long update.
env --default-signal=INT,TERM,HUP "$build/mae" pretrain --data images.idx \
  --out slow $tiny --accum 900000 --epochs 1000000 >log 2>&1 &
tool=$!
wait_for test -e slow/metrics.jsonl
sleep 0.3
kill -INT $tool
sleep 0.3
kill -INT $tool
ended 130
if grep -q 'goes on' log; then echo "FAILED, it took its time"; exit 1; fi
absent slow/checkpoint-*
# Killed before its first checkpoint, a run begins anew.
expect 0 mae pretrain --out slow --resume --accum 2 --epochs 1
said 'from the beginning'
expect 0 helper metrics slow/metrics.jsonl 3 1
# A folder is for one run at a time.
in_background busy $often --epochs 4000
wait_for test -e busy/reconstruction-0001.png
expect 1 pretrain busy --resume
said 'another mae pretrain is at work in busy'
kill -TERM $tool
ended 143

# ------------------------------------------------------- damaged, and full --
cp -r stopped damaged
rm damaged/model.safetensors
for file in damaged/checkpoint-*; do newest=$file; done
head -c 1000 "$newest" >cut && cp cut "$newest"
expect 0 mae pretrain --out damaged --resume
said "${newest##*/}.*; resumed from checkpoint-"
same_run damaged

# A limit on file sizes: no checkpoint can be written, the rest goes on.
cp -r whole full
in_background part $often
wait_for test -e part/reconstruction-0002.png
kill -TERM $tool
ended 143
for file in part/checkpoint-*; do newest=$file; done
cp "$newest" good
expect 1 sh -c "trap '' XFSZ; ulimit -f 150; exec '$build/mae' pretrain \
  --out part --resume"
said 'cannot write part/checkpoint-00000120.safetensors: File too large'
said '^mae pretrain: epoch 40/40 '
same_file "$newest" good
absent part/*.tmp-* part/checkpoint-00000120.safetensors
expect 0 grep -q 'id="trouble">.*File too large' part/report.html
expect 0 mae pretrain --out part --resume
same_run part

# A disk that is full for a while.
mkdir disk
if mount -t tmpfs -o size=4m tmpfs disk 2>/dev/null; then
  trap 'umount "$tmp/disk"; rm -rf "$tmp"' EXIT
  in_background disk/run $often --samples 0
  wait_for sh -c 'ls disk/run/checkpoint-*.safetensors'
  kill -STOP $tool
  head -c 8m /dev/zero >disk/fill 2>/dev/null
  kill -CONT $tool
  wait_for grep -q 'checkpoint-.*No space left' log
  kill -STOP $tool
  rm disk/fill
  kill -CONT $tool
  ended 0
  same_run disk/run
  umount disk
  trap 'rm -rf "$tmp"' EXIT
  disk="and a full disk"
else
  disk="but no full disk: this user cannot mount one"
  echo "WARNING: no tmpfs can be mounted, so no full disk was tried"
fi

# A run that diverges ends, and says so once; its checkpoints stay.
expect 1 pretrain diverged --epochs 9 --blr 9e5 --warmup-epochs 0 \
  --checkpoint-minutes 1e-6
[ "$(grep -c 'not finite\|the loss is' err)" = 1 ] || { cat err; exit 1; }
expect 0 grep -q 'class="state failed">failed: ' diverged/report.html
expect 0 mae info "$(ls diverged/checkpoint-* | tail -n 1)"
absent diverged/model.safetensors

# ------------------------------------------------------------ bad images --
mkdir photos
for i in 1 2 3 4 5 6 7 8 9; do
  expect 0 helper image photos/$i.jpg $i 40 30
done
head -c 200 photos/3.jpg >photos/3b.jpg
echo "no image" >photos/9.png
expect 0 mae pretrain --data photos --out seen $tiny --in-chans 3 \
  --image-size 28x14 --batch 4 --accum 1 --epochs 4 --samples 3
said '^mae pretrain: passed over: .*photos/3b.jpg: '
said '^mae pretrain: passed over: .*photos/9.png: '
[ "$(grep -c 'passed over' err)" = 2 ] || { cat err; exit 1; }
expect 0 helper metrics seen/metrics.jsonl 8 4
expect 0 helper png seen/reconstruction-0004.png 46 88 50
expect 0 grep -q '<span id="skipped">2</span>' seen/report.html
expect 0 grep -q '<li>.*photos/3b.jpg: ' seen/report.html

# -------------------------------------------------------- several processes --
# ranks N OPTIONS...: the same run by N processes, the images shared out.
ranks() {
  n=$1
  shift
  expect 0 timeout -k 5 300 mpirun $flags -n "$n" "$build/mae" pretrain "$@"
}
# Losses of two runs, update by update, as near as sums in another order are.
near() {
  expect 0 sh -c "sed 's/.*\"loss\": \([0-9.e+-]*\).*/\1/' '$1/metrics.jsonl' >a
    sed 's/.*\"loss\": \([0-9.e+-]*\).*/\1/' '$2/metrics.jsonl' >b
    paste a b | awk '{ d = (\$1 - \$2) / \$1; if (d * d > 1e-8) bad = 1; n++ }
      END { exit bad || n != 120 }'"
}
together="and no mpirun"
if command -v mpirun >/dev/null && [ "$2" != none ]; then
  flags= # as tests/mpi.sh has them
  export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
  if mpirun --version 2>&1 | grep -q 'Open MPI'; then
    flags="--oversubscribe --bind-to none"
    [ "$(id -u)" = 0 ] && flags="$flags --allow-run-as-root"
    export OMPI_MCA_btl_vader_single_copy_mechanism=none
  fi
  ranks 2 --data images.idx --out two $tiny --epochs 40 --quiet
  expect 0 helper metrics two/metrics.jsonl 120 40
  near whole two
  # Begun by one, continued by four.
  in_background mixed $often
  wait_for test -e mixed/reconstruction-0002.png
  kill -TERM $tool
  ended 143
  ranks 4 --out mixed --resume
  said 'resumed after update'
  expect 0 helper metrics mixed/metrics.jsonl 120 40
  near whole mixed
  together="and by 2 and 4 processes"
fi

echo "pretrain: $checks checks, $kills kills $disk; report.html $browser $together"
