#!/bin/sh
# The ABI of the shared library against the one described in tests/abi, by
# libabigail:
#   sh tests/abi.sh BUILD check [OTHER]   additions pass; removals and changes
#                                         fail.  OTHER: in place of BUILD's
#   sh tests/abi.sh BUILD self-test       what check must refuse, it refuses
#   sh tests/abi.sh BUILD update          describe anew, for a release
set -eu
build=$1
known=tests/abi/libmae.abi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

case $(${CC:-cc} -dumpmachine) in
x86_64*linux*) ;;
*) echo "abi: described for x86-64 Linux alone; not checked here"; exit 0 ;;
esac

# Only what mae.h declares, without places of this machine or of the source.
describe() {
  abidw --exported-interfaces-only --headers-dir include --drop-private-types \
    --no-corpus-path --no-comp-dir-path --no-show-locs --no-elf-needed \
    --no-parameter-names --no-architecture --type-id-style hash "$1"
}

# The newer description as an older program sees it: structs with struct_size
# cut to the size they had.  What lies in the padding that the older struct
# ended with stays: such a field would be read where nobody wrote it.
as_before() { # as_before OLD NEW
  awk -F"'" '
    /<class-decl name=.mae_/ { struct = /size-in-bits/ ? $2 : "" }
    NR == FNR {
      if (/<class-decl/) size = $4
      if (struct && /<var-decl name=.struct_size/) was[struct] = size + 0
      next }
    /<class-decl/ && struct in was { sub($4, was[struct]) }
    struct in was && /layout-offset-in-bits/ && $4 + 0 >= was[struct] { cut = 1 }
    !cut { print }
    /<.data-member>/ { cut = 0 }
    /<.class-decl>/ { struct = "" }' "$1" "$2"
}

# Fields with their offsets and enumerators with their values, one a line:
# abidiff takes renaming for harmless.
names() {
  awk -F"'" '
    /<class-decl|<enum-decl/ { in_type = $2 }
    /layout-offset-in-bits/ { offset = $4 }
    /<var-decl/ { print in_type "." $2, offset }
    /<enumerator/ { print in_type "." $2, $4 }' "$1" | LC_ALL=C sort -u
}

compare() { # compare OLD NEW
  as_before "$1" "$2" >"$tmp/as_before.abi"
  names "$1" >"$tmp/old_names"
  names "$2" | LC_ALL=C comm -23 "$tmp/old_names" - >"$tmp/gone"
  sed 's/$/ is not there any more/' "$tmp/gone"
  abidiff --no-added-syms "$1" "$tmp/as_before.abi" && [ ! -s "$tmp/gone" ]
}

# ------------------------------------------------------------- self-test --

# edit NAME AWK: the description with one change.
edit() {
  awk -F"'" "$2" $known >"$tmp/$1.abi"
  if cmp -s $known "$tmp/$1.abi"; then
    echo "abi: $1 changes nothing"
    exit 1
  fi
}
refused() { # refused NAME AWK
  edit "$1" "$2"
  if compare $known "$tmp/$1.abi" >"$tmp/out" 2>&1; then
    echo "abi: $1 passes"
    exit 1
  fi
}
accepted() { # accepted NAME AWK
  edit "$1" "$2"
  compare $known "$tmp/$1.abi" >"$tmp/out" 2>&1 ||
    { cat "$tmp/out"; echo "abi: $1 is refused"; exit 1; }
}

# In awk: within struct S, and its field F.
in_struct='function is(s) { return at == s }
  /<class-decl|<enum-decl/ { at = $2 }
  function field(name, offset, type) {
    print "<data-member access='\''public'\'' layout-offset-in-bits='\''" offset "'\''>"
    print "<var-decl name='\''" name "'\'' type-id='\''" type "'\'' visibility='\''default'\''/>"
    print "</data-member>" }
  '
int=$(awk -F"'" '/<typedef-decl name=.int32_t/ {print $6; exit}' $known)
double=$(awk -F"'" '/<type-decl name=.double/ {print $6; exit}' $known)

self_test() {
  compare $known $known >/dev/null
  refused a-call-removed '
    /elf-symbol name=.mae_version/ {next}
    /function-decl name=.mae_version/ {skip = 1}
    !skip {print}
    /<\/function-decl>/ {skip = 0}'
  refused an-argument-changed "
    /function-decl name='mae_loader_seek'/ {at = 1}
    at && /parameter/ && ++n == 2 {sub(\$2, \"$double\")}
    {print}"
  refused an-argument-added "
    {print}
    /function-decl name='mae_loader_seek'/ {print \"<parameter type-id='$int'/>\"}"
  refused a-field-retyped "$in_struct
    is(\"mae_config\") && \$2 == \"depth\" {sub(\$4, \"$double\")} {print}"
  refused a-field-renamed "$in_struct
    is(\"mae_config\") && \$2 == \"depth\" {sub(\$2, \"blocks\")} {print}"
  refused fields-swapped "$in_struct
    is(\"mae_image\") && \$2 == \"width\" {sub(\$2, \"was_width\")}
    is(\"mae_image\") && \$2 == \"height\" {sub(\$2, \"width\")}
    {sub(\"was_width\", \"height\"); print}"
  # mae_image has no struct_size.
  refused a-fixed-struct-grown "$in_struct
    is(\"mae_image\") && /<class-decl/ {sub(\$4, \$4 + 64)}
    is(\"mae_image\") && /<.class-decl/ {field(\"more\", 256, \"$double\")} {print}"
  refused an-enumerator-changed "
    /enumerator name='MAE_RECIPE_SCRATCH'/ {sub(\"'2'\", \"'3'\")} {print}"
  refused an-enumerator-removed "/enumerator name='MAE_RECIPE_SCRATCH'/ {next} {print}"
  refused a-field-in-old-padding "$in_struct
    is(\"mae_step_result\") && /<.class-decl/ {field(\"more\", 352, \"$int\")} {print}"
  refused grown-and-retyped "$in_struct
    is(\"mae_step_result\") && /<class-decl/ {sub(\$4, \$4 + 64)}
    is(\"mae_step_result\") && \$2 == \"loss\" {sub(\$4, \"9da381c4\")}
    is(\"mae_step_result\") && /<.class-decl/ {field(\"more\", 384, \"$double\")} {print}"
  refused grown-in-the-middle "$in_struct
    is(\"mae_step_result\") && /<class-decl/ {sub(\$4, \$4 + 64)}
    is(\"mae_step_result\") && /offset-in-bits/ && \$4 >= 64 {sub(\"'\" \$4 \"'\", \"'\" (\$4 + 64) \"'\")}
    {print}
    is(\"mae_step_result\") && /<.data-member/ && ++n == 1 {field(\"more\", 64, \"$double\")}"
  accepted a-call-added "
    /<elf-function-symbols>/ {print; getline; print;
      sub(\$2, \"mae_added\")} {print}"
  accepted a-struct-grown "$in_struct
    is(\"mae_step_result\") && /<class-decl/ {sub(\$4, \$4 + 64)}
    is(\"mae_step_result\") && /<.class-decl/ {field(\"more\", 384, \"$double\")} {print}"
  accepted an-enumerator-added "{print}
    /enumerator name='MAE_RECIPE_SCRATCH'/ {
      print \"<enumerator name='MAE_RECIPE_MORE' value='3'/>\"}"
  echo "abi: changes are refused, additions are not"
}

library=${3:-$build/libmae.so.0}
case $2 in
check)
  readelf -S "$library" | grep -q debug_info ||
    { echo "abi: $library has no debug information (-g)"; exit 1; }
  describe "$library" >"$build/libmae.abi"
  compare $known "$build/libmae.abi" ||
    { echo "abi: $library breaks programs compiled before"; exit 1; }
  echo "abi: as described, or more"
  ;;
self-test) self_test ;;
update) describe "$library" >$known ;;
*) exit 1 ;;
esac
