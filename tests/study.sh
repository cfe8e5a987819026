#!/bin/sh
# The study at its smallest: tests/study.sh BUILD_FOLDER.  Does it go on where
# it was left, and does its document say what its results say?
. "$(dirname "$0")/tool/lib.sh"
study() { "$build/study" --smoke --runs runs --docs docs "$@"; }
results=runs/results.jsonl

same() { # same WHAT FILE FILE
  checks=$((checks + 1))
  cmp -s "$2" "$3" && return
  echo "FAILED, $1 differ:"
  diff "$2" "$3" | head -n 8
  exit 1
}
holds() { # holds TEXT: a line of the document
  checks=$((checks + 1))
  grep -q -F -e "$1" docs/study.md && return
  echo "FAILED, no \"$1\" in:"
  cat docs/study.md
  exit 1
}
count() { # count LINES: of the results
  checks=$((checks + 1))
  [ "$(wc -l <$results)" = "$1" ] && return
  echo "FAILED, $results should have $1 lines"
  wc -l $results
  exit 1
}
# Values of a cell over its seeds, in their order, a line each.
values() { # values VARIANT PROTOCOL FIELD
  grep "\"variant\": \"$1\", \"protocol\": \"$2\"," $results |
    sed -n "s/.*\"seed\": \([0-9]*\),.*\"$3\": \([-+.e0-9]*\).*/\1 \2/p" |
    sort -n | cut -d ' ' -f 2
}
# Mean and deviation of numbers a line each, times SCALE, by FORMAT.
spread() { # spread SCALE FORMAT
  awk -v scale="$1" -v format="$2" '
    { x[NR] = $1 * scale; sum += x[NR] }
    END {
      for (i = 1; i <= NR; i++) squares += (x[i] - sum / NR) ^ 2
      printf format, sum / NR, sqrt(squares / (NR - 1))
    }'
}
accuracy() { values "$1" "$2" top1 | spread 100 '%.2f ± %.2f'; }
# The first four columns of a variant's row.
row() { # row WORDS VARIANT
  echo "| $1 | $(accuracy "$2" finetune) | $(accuracy "$2" linear) | $(accuracy "$2" knn) | "
}
difference() { # difference VARIANT VARIANT PROTOCOL
  values "$1" "$3" top1 >a
  values "$2" "$3" top1 >b
  paste -d ' ' a b | awk '{ printf "%.9f\n", $1 - $2 }' |
    spread 100 '%+.2f ± %.2f points'
}

# Killed while it wrote a line, and gone on with.
expect 0 study --cells 5
silent
count 5
holds "| 90 % | - | - | - | - | - | "
printf '{"variant": "base", "proto' >>$results
expect 0 study
silent
count 120
[ "$(cut -d , -f 1-3 $results | sort -u | wc -l)" = 120 ] ||
  { echo "FAILED, a cell ran twice"; exit 1; }

# Nothing is left to do, and the document is the same again.
mv docs once
expect 0 study
printed '^wrote'
[ "$(wc -l <out)" = 1 ] || { echo "FAILED, cells ran again"; cat out; exit 1; }
count 120
same documents once/study.md docs/study.md
for plot in masking-ratio step-time design decoder-depth protocols; do
  same plots once/study/$plot.svg docs/study/$plot.svg
  head -n 1 docs/study/$plot.svg | grep -q '^<svg xmlns=' &&
    tail -n 1 docs/study/$plot.svg | grep -q '^</svg>$' ||
    { echo "FAILED, $plot.svg is no whole SVG"; exit 1; }
  holds "(study/$plot.svg)"
done

# The document's figures are those of the results.
holds "$(row '25 %' mask25)"
holds "$(row '50 %' mask50)"
holds "$(row '75 %' base)"
holds "$(row '90 %' mask90)"
holds "$(row 'raw pixels as the target' raw)"
holds "$(row 'mask tokens in the encoder' masktokens)"
holds "$(row 1 decoder1)"
holds "$(row 4 decoder4)"
holds "| $(values base pretrain loss | spread 1 '%.4f ± %.4f') | $(values base pretrain step_ms | spread 1 '%.1f ± %.1f') | "
for line in "from scratch, plain=scratch" "the head alone=last0" \
  "the last 3 blocks=last3" "from scratch, regularised=scratchrecipe" \
  "linear probe, untrained encoder=untrained"; do
  protocol=${line#*=}
  holds "| ${line%=*} | $(accuracy base "$protocol") | $(values base "$protocol" top5 | spread 100 '%.2f ± %.2f') | $(values base "$protocol" test_loss | spread 1 '%.3f ± %.3f') | "
done
holds "raw pixels: fine-tuning $(difference base raw finetune) ("
holds ", k-NN $(difference decoder4 decoder1 knn) ("

# A cell that runs again has the same numbers but for the times, on the same
# model, which is made again when it is gone.
without_times() { sed 's/"step_ms": [^,]*, //; s/, "seconds": [^}]*//' "$1" | sort; }
without_times $results >want
cell='"variant": "mask50", "protocol": "finetune", "seed": 2'
grep -v "$cell" $results >fewer
mv fewer $results
rm runs/models/mask50-2.safetensors
expect 0 study
count 121 # pretraining has a line more
without_times $results | uniq >got
same "numbers of the same cell" want got

# The words go by the numbers.
set_accuracies() { # set_accuracies VARIANT "SEED1 SEED2 SEED3": fine-tuned
  for seed in 1 2 3; do
    top1=$(echo "$2" | cut -d ' ' -f $seed)
    sed -i "/\"$1\", \"protocol\": \"finetune\", \"seed\": $seed,/s/\"top1\": [^,]*/\"top1\": $top1/" $results
  done
}
set_accuracies base "0.83 0.81 0.82"
set_accuracies raw "0.82 0.79 0.81"
expect 0 study --cells 0
holds "raw pixels: fine-tuning +1.33 ± 0.58 points (clear, of the same sign as in the paper)"
set_accuracies raw "0.84 0.83 0.83"
expect 0 study --cells 0
holds "raw pixels: fine-tuning -1.33 ± 0.58 points (the reverse of the paper)"
set_accuracies raw "0.84 0.80 0.82"
expect 0 study --cells 0
holds "raw pixels: fine-tuning +0.00 ± 1.00 points (no clear difference, unlike in the paper)"

# Results of another study, and damaged ones, are refused and left alone.
cp $results before
expect 1 "$build/study" --runs runs --docs docs --cells 0
said 'of other settings'
same results before $results
echo '{"variant": "base"}' >>$results
expect 1 study --cells 0
said 'damaged'
expect 2 study --cells
expect 2 study --what
echo "study: $checks checks passed"
