#!/bin/sh
# Runs the fuzz targets:
#   tests/fuzz.sh BUILD check              each for a fixed number of inputs
#   tests/fuzz.sh BUILD MINUTES [TARGET]   each for its share of the minutes
# What is learnt stays in build/fuzz/corpus, what fails in build/fuzz/failed.
set -u
build=$1 minutes=$2
shift 2
here=$(cd "$(dirname "$0")/.." && pwd)
seeds=$here/$build/fuzz/inputs
learnt=$here/build/fuzz/corpus failed=$here/build/fuzz/failed
logs=$here/build/fuzz/logs
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TMPDIR="$scratch"
# A leak, a wrong sum, two gigabytes, 25 seconds: each is a failure.
export ASAN_OPTIONS=detect_leaks=1:quarantine_size_mb=64:allocator_may_return_null=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
# One thread: BLAS libraries bring a pool of their own.
export OPENBLAS_NUM_THREADS=1
limits="-timeout=25 -rss_limit_mb=2048 -max_len=20480"

mkdir -p "$learnt" "$failed" "$logs"
[ $# -gt 0 ] || for program in "$here/$build"/fuzz/bin/*; do
  set -- "$@" "${program##*/}"
done

options_of() {
  [ ! -f "$here/tests/fuzz/dict/$1" ] || echo "-dict=$here/tests/fuzz/dict/$1"
}

# run TARGET CORPUS OPTION...
run() {
  target=$1 corpus=$2
  shift 2
  mkdir -p "$corpus"
  # shellcheck disable=SC2046,SC2086
  "$here/$build/fuzz/bin/$target" $limits $(options_of "$target") \
    -artifact_prefix="$failed/$target-" -print_final_stats=1 "$@" \
    "$corpus" "$seeds/$target" >"$logs/$target.log" 2>&1
}

# "16 inputs a second, 900 places": from the log's last lines.
report() {
  awk -v target="$1" '
    $1 ~ /^#[0-9]+$/ { for (i = 3; i < NF; i += 2) value[$i] = $(i + 1) }
    /number_of_executed_units/ { runs = $2 }
    /peak_rss_mb/ { rss = $2 }
    END {
      printf "  %-12s %9d inputs, %5s edges, %6s features, %s MiB\n", target,
        runs, value["cov:"], value["ft:"], rss
    }' "$logs/$1.log"
}

bad=
for target in "$@"; do
  if [ "$minutes" = check ]; then
    run "$target" "$scratch/$target" -runs=1000 -seed=1
  else
    run "$target" "$learnt/$target" -max_total_time=$((minutes * 60 / $#))
  fi || {
    bad="$bad $target"
    echo "  $target FAILED; its log: $logs/$target.log"
    tail -n 40 "$logs/$target.log"
  }
  report "$target"
done
[ -z "$bad" ] || {
  echo "inputs that failed are in $failed:$bad"
  exit 1
}
