#!/bin/sh
# Training by processes that mpirun starts.  tests/mpi.sh BUILD_FOLDER PACKAGE,
# the latter the MPI it was built with, or none.
command -v mpirun >/dev/null || { echo "mpi: skipped, there is no mpirun"; exit 0; }
[ "$2" != none ] || { echo "mpi: skipped, built without"; exit 0; }
. "$(dirname "$0")/tool/lib.sh"

# One thread a rank.  Open MPI counts processors, does not like root, and wants
# to copy from process to process in a way that containers forbid.
export OPENBLAS_NUM_THREADS=1 BLIS_NUM_THREADS=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none
# MPI keeps what it has to the end.
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
flags=
if mpirun --version 2>&1 | grep -q 'Open MPI'; then
  flags="--oversubscribe --bind-to none"
  [ "$(id -u)" = 0 ] && flags="$flags --allow-run-as-root"
fi
train() { "$build/mpi_train" "$@"; }
# ranks N WISH...: so many processes, which end within two minutes.
ranks() {
  n=$1
  shift
  timeout -k 5 120 mpirun $flags -n "$n" "$build/mpi_train" "$@"
}

# close FILE EXPECTED: the same numbers of updates, losses within 1e-4.
close() {
  checks=$((checks + 1))
  paste -d' ' "$1" "$2" | awk '
    function far(a, b, t) { d = a - b; return (d < 0 ? -d : d) > t * b }
    NF != 8 || $1 != $5 || far($2, $6, 1e-4) || far($3, $7, 1e-8) ||
      far($4, $8, 1e-3) { print "line " NR ": " $0; bad = 1 }
    END { exit bad || NR == 0 }' && return
  echo "FAILED, the losses of $1 and $2 differ"
  exit 1
}
alike() {
  checks=$((checks + 1))
  first=$1
  for file in "$@"; do
    cmp "$first" "$file" || { echo "FAILED, $first and $file differ"; exit 1; }
  done
}

# -------------------------------------------------------- the same curve --
expect 0 train batch 8 save one
cp out one.txt
expect 0 train batch 8 accum 2 steps 24
cp out one-accum.txt
[ "$(wc -l <one.txt)" = 12 ] || exit 1
for n in 2 4; do
  expect 0 ranks $n batch 8 save $n
  cp out $n.txt
  close $n.txt one.txt
  [ $n = 2 ] && alike 2.0 2.1 || alike 4.0 4.1 4.2 4.3
  expect 0 ranks $n batch 8 accum 2 steps 24
  cp out $n-accum.txt
  close $n-accum.txt one-accum.txt
done
expect 0 ranks 1 batch 8
alike out one.txt
# The buckets change nothing but when sums begin.
expect 0 ranks 2 batch 8 bucket 1
close out one.txt
expect 0 ranks 2 batch 8 bucket 0
close out one.txt

# -------------------------------------------------------------- resuming --
expect 0 train batch 8 steps 8 resume one.0
cp out rest.txt
for n in 2 4; do
  expect 0 ranks $n batch 8 steps 8 resume one.0
  close out rest.txt
  expect 0 train batch 8 steps 8 resume $n.0
  close out rest.txt
done
expect 0 ranks 4 batch 8 steps 8 resume 2.1
close out rest.txt

# -------------------------------------------------------------- failures --
expect 0 ranks 4 batch 8 nan 5
said 'rank 0 skips: the loss is not finite on 1 of 4 ranks'
said 'rank 3 skips: the loss is not finite on 1 of 4 ranks'
[ "$(wc -l <out)" = 11 ] || exit 1
expect 1 ranks 2 batch 8 odd 1
said 'rank 1 has trainer options other than rank 0'

# broken SECONDS WISH...: all end with an error, within so many seconds.
broken() {
  checks=$((checks + 1))
  most=$1
  shift
  began=$(date +%s)
  ranks 4 batch 8 steps 1000000 "$@" >out 2>err
  got=$?
  cat out >>err # where MPICH's mpirun reports
  took=$(($(date +%s) - began))
  if [ $got = 0 ] || [ $got = 124 ] || [ $took -gt "$most" ]; then
    echo "FAILED, status $got after $took s: $*"
    cat err
    exit 1
  fi
}
broken 30 kill 2 at 10
said '[Kk]illed\|KILLED\|signal 9'
broken 30 kill 0 at 10
broken 30 fail 1 at 10
said 'rank 1 has had enough'
sleep 1
if ls -l /proc/[0-9]*/exe 2>/dev/null | grep -q -F "$build/mpi_train"; then
  echo "FAILED, ranks are left over"
  exit 1
fi
echo "mpi: $checks checks passed"
