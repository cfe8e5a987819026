#!/bin/sh
# What the tests have reached, by gcov, in a build with --coverage:
#   GCOV=gcov sh tests/coverage.sh BUILD
# writes BUILD/coverage.txt and fails when less than 90 % of the library's lines
# were reached, or when io or model can fail in a way that was not and that
# tests/coverage.allow does not list.
#
# Ways to fail are the statements that make, pass on or look at a status.  Each
# of their lines must be reached, and each outcome of each of their conditions.
# A kernel counts once for each instruction set that ran.
set -eu
build=$1 report=$1/coverage.txt allowed=tests/coverage.allow
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

find "$build" -name '*.gcno' ! -path '*/examples/*' |
  sort | xargs "${GCOV:-gcov}" -t -b -c >"$tmp/gcov" 2>"$tmp/err" ||
  { cat "$tmp/err"; exit 1; }

awk -v allowed="$allowed" -v least=90 '
  function trim(s) { gsub(/^[ \t]+|[ \t]+$/, "", s); return s }
  function percent(a, b) { return b ? 100 * a / b : 100 }
  function watched(file) { return file ~ /^src\/(io|model)\// }

  FILENAME == allowed {
    if ($1 ~ /^src/) {
      key = $1 " " trim(substr($0, length($1) + 1))
      why[key] = 0
      entry[++entries] = key
    }
    next
  }

  # ------------------------------------------------------ gcov, line by line
  /^ *-: *0:Source:/ { file = substr($0, index($0, "Source:") + 7); at = 0; next }
  /^ *-: *0:Graph:/ {
    isa = ""
    if (file ~ /^src\/kernels\// && match($0, /\.(portable|avx2|avx512)\.gcno/)) {
      isa = substr($0, RSTART + 1, RLENGTH - 6)
      file = file " (" isa ")"
    }
    next
  }
  file !~ /^src\// || /^ *[-#=0-9*]+: *0:/ { next }
  /^(function|call|----)/ { next }
  /^branch/ {
    key = file SUBSEP at SUBSEP branch++
    if (!(key in taken)) taken[key] = 0
    if ($3 == "taken") taken[key] += $4
    if (branch > branches[file, at]) branches[file, at] = branch
    next
  }
  {
    count = $0
    sub(/:.*/, "", count)
    text_of = substr($0, index($0, ":") + 1)
    at = text_of + 0
    sub(/^ *[0-9]+:/, "", text_of)
    branch = 0
    if (at < 1) next
    if (!(file in last)) files[++n_files] = file
    if (at > last[file]) last[file] = at
    text[file, at] = text_of
    if (count ~ /-/) next
    if (!((file, at) in reached)) reached[file, at] = 0
    if (count !~ /[#=]/) {
      reached[file, at] = 1
      if (isa != "") ran[isa] = 1
    }
  }

  # ---------------------------------------------------------------- judging
  function fails(statement) {
    return statement ~ /(mae_fail|mae_io_fail|bad|refuse|unsupported) *\(/ ||
           statement ~ /MAE_ERROR_|MAE_TRY|MAE_REQUIRE|status|return (false|-1)/
  }
  # Why a line is incomplete, or "".
  function lacks(file, line,    i, missing) {
    if (!((file, line) in reached)) return ""
    if (!reached[file, line]) return "not reached"
    for (i = 0; i < branches[file, line]; i++)
      if (!taken[file, line, i]) missing++
    return missing ? missing " of " branches[file, line] " outcomes missing" : ""
  }
  # A line not reached stands for its statement.
  function judge(file, first, final,    line, lost) {
    for (line = first; line <= final && !lost; line++)
      if (lacks(file, line) == "not reached") lost = line
    for (line = lost ? lost : first; line <= (lost ? lost : final); line++)
      judge_line(file, line, lacks(file, line))
  }
  function judge_line(file, line, what,    key) {
    if (what == "") return
    key = file " " trim(text[file, line])
    if (key in why) why[key]++
    else gaps[++n_gaps] = sprintf("%s:%d: %s: %s", file, line, what,
                                  trim(text[file, line]))
  }
  function judge_file(file,    line, first, statement, code) {
    first = 1
    statement = ""
    for (line = 1; line <= last[file]; line++) {
      code = text[file, line]
      gsub(/\/\*.*\*\//, "", code)
      statement = statement " " code
      if (code !~ /[;{}:] *$/ && code !~ /^#/) continue
      if (fails(statement)) judge(file, first, line)
      first = line + 1
      statement = ""
    }
  }

  function sort(list, n,    i, j, item) {
    for (i = 2; i <= n; i++) {
      item = list[i]
      for (j = i - 1; j > 0 && list[j] > item; j--) list[j + 1] = list[j]
      list[j + 1] = item
    }
  }
  function row(name, a, b) {
    printf "%-44s %6d of %6d  %6.2f %%\n", name, a, b, percent(a, b)
  }

  END {
    sort(files, n_files)
    print "Lines reached by the tests\n"
    for (i = 1; i <= n_files; i++) {
      file = files[i]
      if (match(file, / \(.*\)/) &&
          !(substr(file, RSTART + 2, RLENGTH - 3) in ran)) continue
      hits = all = 0
      for (line = 1; line <= last[file]; line++)
        if ((file, line) in reached) { all++; hits += reached[file, line] }
      if (!all) continue
      row(file, hits, all)
      part = file ~ /^src\/tool\// ? "tool" : "library"
      part_hits[part] += hits
      part_all[part] += all
      if (watched(file)) judge_file(file)
    }
    print ""
    row("The library (src without src/tool)", part_hits["library"], part_all["library"])
    row("The tool (src/tool)", part_hits["tool"], part_all["tool"])
    row("Both", part_hits["library"] + part_hits["tool"],
        part_all["library"] + part_all["tool"])

    print "\nLines of src/io and src/model not reached\n"
    for (i = 1; i <= n_files; i++) {
      if (!watched(file = files[i])) continue
      for (line = 1; line <= last[file]; line++)
        if (((file, line) in reached) && !reached[file, line])
          printf "%s:%d: %s\n", file, line, trim(text[file, line])
    }
    print "\nWays to fail in src/io and src/model not reached, nor allowed by " \
          allowed "\n"
    for (i = 1; i <= n_gaps; i++) print gaps[i]
    if (!n_gaps) print "none"
    for (i = 1; i <= entries; i++)
      if (!why[entry[i]]) {
        if (!stale++) print "\nAllowed, yet reached or gone\n"
        print entry[i]
      }
    share = percent(part_hits["library"], part_all["library"])
    if (share < least) printf "\nLess than %d %% of the library\n", least
    print part_hits["library"] + 0, part_all["library"] + 0, n_gaps + 0, stale + 0,
          entries + 0 >"'"$tmp/verdict"'"
    exit share < least || n_gaps || stale
  }' "$allowed" "$tmp/gcov" >"$report" && good=yes || good=

sed -n '/^The library/,/^Both/p' "$report"
read -r hits all gaps stale entries <"$tmp/verdict"
echo "ways to fail not reached: $gaps, allowed: $entries, allowed in vain: $stale"
echo "all of it: $report"
[ "$good" ] && exit
sed -n '/^Ways to fail/,$p' "$report"
exit 1
